"""PANNs against PyTorch: the same random checkpoint through l3embed and through a network of PyTorch's own layers.

    pip install torch torchlibrosa panns-hear
    python scripts/compare_torch.py [cnn6 mobilenetv1 resnet22 cnn14 cnn14-16k cnn14-8k]

The front end is torchlibrosa's, CNN14 with and without frames the authors' (packaged as panns-hear); the others are put
together here from their description. Checkpoints are written by torch.save, in its older format for every other
network. Prints for each network the largest relative error of embedding and scores over some sounds.
"""

import argparse
import os
import tempfile
from pathlib import Path

import numpy as np
import torch
from panns_hear.models import Cnn14, Cnn14_DecisionLevelMax, ConvBlock
from torch import nn
from torch.nn import functional as F
from torchlibrosa.stft import LogmelFilterBank, Spectrogram

import l3embed
from l3embed.zoo import panns

NAMES = ("cnn6", "mobilenetv1", "resnet22", "cnn14", "cnn14-16k", "cnn14-8k")


class Panns(nn.Module):
    """Front end at 32 kHz, normalised bands, a trunk (N, 1, T, 64) -> (N, C, T', F'), the head."""

    def __init__(self, dim: int):
        super().__init__()
        window, hop, f_max = panns.GRIDS[32]
        self.spectrogram_extractor = Spectrogram(n_fft=window, hop_length=hop, freeze_parameters=True)
        self.logmel_extractor = LogmelFilterBank(
            sr=32_000, n_fft=window, n_mels=64, fmin=50, fmax=f_max, ref=1.0, amin=1e-10, top_db=None
        )
        self.bn0 = nn.BatchNorm2d(64)
        self.fc1, self.fc_audioset = nn.Linear(dim, dim), nn.Linear(dim, 527)

    def forward(self, sound):
        x = self.logmel_extractor(self.spectrogram_extractor(sound))
        columns = self.trunk(self.bn0(x.transpose(1, 3)).transpose(1, 3)).mean(dim=3)
        embedding = F.relu(self.fc1(columns.amax(dim=2) + columns.mean(dim=2)))
        return {"embedding": embedding, "clipwise_output": torch.sigmoid(self.fc_audioset(embedding))}


def _conv(before: int, after: int, kernel: int, **how):
    return nn.Conv2d(before, after, kernel, padding=kernel // 2, bias=False, **how)


class Block5(nn.Module):
    def __init__(self, before: int, after: int):
        super().__init__()
        self.conv1, self.bn1 = _conv(before, after, 5), nn.BatchNorm2d(after)

    def forward(self, x):
        return F.avg_pool2d(F.relu(self.bn1(self.conv1(x))), 2)


class Cnn6(Panns):
    def __init__(self):
        super().__init__(512)
        for i, (before, after) in enumerate(((1, 64), (64, 128), (128, 256), (256, 512)), 1):
            setattr(self, f"conv_block{i}", Block5(before, after))

    def trunk(self, x):
        return self.conv_block4(self.conv_block3(self.conv_block2(self.conv_block1(x))))


class MobileNetV1(Panns):
    def __init__(self):
        super().__init__(1024)
        stages = [nn.Sequential(_conv(1, 32, 3), nn.AvgPool2d(2), nn.BatchNorm2d(32), nn.ReLU())]
        before = 32
        for after, stride in ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5, (1024, 2),
                              (1024, 1)):  # fmt: skip
            stages.append(nn.Sequential(
                _conv(before, before, 3, groups=before), nn.AvgPool2d(stride), nn.BatchNorm2d(before), nn.ReLU(),
                _conv(before, after, 1), nn.BatchNorm2d(after), nn.ReLU(),
            ))  # fmt: skip
            before = after
        self.features = nn.Sequential(*stages)

    def trunk(self, x):
        return self.features(x)


class Residual(nn.Module):
    def __init__(self, before: int, after: int):
        super().__init__()
        self.conv1, self.bn1 = _conv(before, after, 3), nn.BatchNorm2d(after)
        self.conv2, self.bn2 = _conv(after, after, 3), nn.BatchNorm2d(after)
        if before != after:
            self.downsample = nn.Sequential(nn.AvgPool2d(2), _conv(before, after, 1), nn.BatchNorm2d(after))

    def forward(self, x):
        smaller = hasattr(self, "downsample")
        inner = F.relu(self.bn1(self.conv1(F.avg_pool2d(x, 2) if smaller else x)))
        return F.relu(self.bn2(self.conv2(inner)) + (self.downsample(x) if smaller else x))


class ResNet22(Panns):
    def __init__(self):
        super().__init__(2048)
        self.conv_block1, self.conv_block_after1 = ConvBlock(1, 64), ConvBlock(512, 2048)
        self.resnet = nn.Module()
        for i, (before, after) in enumerate(((64, 64), (64, 128), (128, 256), (256, 512)), 1):
            setattr(self.resnet, f"layer{i}", nn.Sequential(Residual(before, after), Residual(after, after)))

    def trunk(self, x):
        x = self.conv_block1(x)
        for i in range(1, 5):
            x = getattr(self.resnet, f"layer{i}")(x)
        return self.conv_block_after1(F.avg_pool2d(x, 2), pool_size=(1, 1))


def network(name: str, kind=Cnn14) -> nn.Module:
    own = {"cnn6": Cnn6, "mobilenetv1": MobileNetV1, "resnet22": ResNet22}
    if name in own:
        return own[name]()
    khz = _khz(name)
    window, hop, f_max = panns.GRIDS[khz]
    return kind(1000 * khz, window, hop, 64, 50, f_max, 527)


def _khz(name: str) -> int:
    return int(name.removeprefix("cnn14").strip("-k") or 32) if name.startswith("cnn14") else 32


def scrambled(model: nn.Module) -> nn.Module:
    """Random, and of a scale that tells sounds apart."""
    for name, layer in model.named_modules():
        if isinstance(layer, nn.BatchNorm2d):
            levels = (-35.0, 15.0) if name == "bn0" else (0.0, 1.0)  # decibels
            layer.weight.data.uniform_(0.6, 1.4)
            layer.bias.data.uniform_(-0.3, 0.3)
            layer.running_mean.uniform_(-0.3, 0.3).add_(levels[0])
            layer.running_var.uniform_(0.6, 1.4).mul_(levels[1] ** 2)
        elif isinstance(layer, nn.Conv2d | nn.Linear):
            layer.weight.data.normal_(0, (2 / layer.weight[0].numel()) ** 0.5)
    return model.eval()


def sounds(rate_hz: int) -> list[np.ndarray]:
    """A chirp, bursts of noise, and noise that dies away: of different lengths."""
    rng, t = np.random.default_rng(0), np.arange(int(2.35 * rate_hz)) / rate_hz
    made = [0.5 * np.sin(2 * np.pi * (50 + 1200 * t) * t), rng.normal(0, 0.1, len(t)) * (np.sin(9 * t) > 0.5),
            rng.normal(0, 0.3, rate_hz) * np.exp(-5 * t[:rate_hz])]  # fmt: skip
    return [np.round(sound * 32_767).astype(np.float32) / 32_768 for sound in made]


def worst(name: str, output: str, file: Path, wanted: list[np.ndarray]) -> float:
    model = l3embed.load(f"panns-{name}{output}", weights=file)
    found = [model.embed(sound, 1000 * _khz(name))[0] for sound in sounds(1000 * _khz(name))]
    if output == "-frame-scores":  # theirs repeats each for its 32 frames, and the last to the end
        found = [np.repeat(f, 32, axis=0)[np.minimum(np.arange(len(w)), 32 * len(f) - 1)]
                 for f, w in zip(found, wanted, strict=True)]  # fmt: skip
    return max(np.linalg.norm(f - w) / np.linalg.norm(w) for f, w in zip(found, wanted, strict=True))


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=NAMES, metavar="NAME")
    torch.manual_seed(0)
    print("| network | embedding | scores | frame scores |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["L3EMBED_CACHE"] = str(Path(folder) / "cache")
        for i, name in enumerate(parser.parse_args().names):
            model, file = scrambled(network(name)), Path(folder) / f"{name}.pth"
            torch.save({"model": model.state_dict()}, file, _use_new_zipfile_serialization=i % 2 == 0)
            inputs = [torch.from_numpy(sound)[None] for sound in sounds(1000 * _khz(name))]
            theirs = [model(sound) for sound in inputs]
            errors = [worst(name, output, file, [t[key][0].numpy() for t in theirs])
                      for output, key in (("", "embedding"), ("-scores", "clipwise_output"))]  # fmt: skip
            if name.startswith("cnn14"):
                framewise = network(name, Cnn14_DecisionLevelMax).eval()
                framewise.load_state_dict(model.state_dict())
                wanted = [framewise(sound)["framewise_output"][0].numpy() for sound in inputs]
                errors.append(worst(name, "-frame-scores", file, wanted))
            print(f"| {name} | {' | '.join(f'{e:.1e}' for e in errors)} |", flush=True)


if __name__ == "__main__":
    main()
