"""Train an audio network of the small family to say of a second of sound what a published network says of it.

    python scripts/teach_l3_small.py prepare CONFIG.toml [--jobs 2]     sounds -> shards of spectrograms and targets
    python scripts/teach_l3_small.py train CONFIG.toml                  shards -> RUN/model

The target is the teacher's embedding of the same window; the loss is one minus the cosine between its root (embeddings
after ReLU have few large values) and a linear map of the student's embedding, which is thrown away afterwards. No label
is used. Both steps go on where they were interrupted.
"""

import argparse
import json
import os
import time
import tomllib
from dataclasses import replace
from pathlib import Path

import joblib
import numpy as np

import l3embed
from l3embed import decode, networks
from l3embed.avc import scenes
from l3embed.errors import AudioError
from l3embed.frontend import spectrograms
from l3embed.spec import Model, Network, small_front_end

FRONT_END = small_front_end()
RATE_HZ = FRONT_END.rate_hz
CLIP_S, CLIPS = 4, 250  # seconds of a clip; clips of a shard
HOP_S = 0.5  # from target to target
STARTS = [int(k * HOP_S * RATE_HZ) for k in range(int((CLIP_S - 1) / HOP_S) + 1)]  # of the windows in a clip
HELD_OUT = 20  # every so many-th shard
USED = 16  # files of a clip that are written down
BEGINNING_S = 30.0  # of a recording that is used, so that music does not crowd out what is short


class Sounds:
    """Draws clips from folders of recordings, weighed by the root of their duration, and so are the files in each."""

    def __init__(self, config: dict, rng: np.random.Generator):
        self.rng, self.paths, weights = rng, [], []
        for folder, durations in config["durations"].items():
            roots = np.sqrt(list(durations.values()))
            self.paths += [Path(folder, name) for name in durations]
            weights.append(roots / roots.sum() * np.sqrt(sum(durations.values())))
        self.cumulated = np.cumsum(np.concatenate(weights))
        self.used: list[int] = []  # files that the present clip is made of

    def clip(self) -> np.ndarray:
        """(CLIP_S x RATE_HZ,) float32: a synthesised scene, a recording, or a mixture of two."""
        rng, kind, self.used = self.rng, self.rng.random(), []
        if kind < 0.3:
            sound = scenes.scene(rng, CLIP_S, RATE_HZ, [lambda: self._stretch(3.0)] * 4)
        else:
            sound = self._recording()
            if kind > 0.8:
                sound = _level(sound) + 10 ** (rng.uniform(-12, 6) / 20) * _level(self._recording())
            if rng.random() < 0.2:
                sound = scenes.reverberate(rng, sound, RATE_HZ)
            if rng.random() < 0.4:
                sound = scenes.colour(rng, sound, RATE_HZ)
        peak = np.abs(sound).max()
        if not 1e-6 < peak < np.inf:
            return self.clip()
        return (sound / peak * 10 ** (min(0.0, rng.normal(-6, 6)) / 20)).astype(np.float32)

    def _recording(self) -> np.ndarray:
        """A stretch at its own or another speed; what is short lies in silence, or is repeated."""
        rng, n = self.rng, CLIP_S * RATE_HZ
        sound = self._stretch(1.7 * CLIP_S)
        if rng.random() < 0.5:
            sound = scenes.change_speed(sound, float(np.exp(rng.uniform(np.log(0.6), np.log(1.7)))))
        if len(sound) >= n:
            return sound[:n]
        if len(sound) > 0.6 * n or rng.random() < 0.25:
            return np.roll(np.pad(sound, (0, n - len(sound))), rng.integers(n - len(sound) + 1))
        return scenes.collage(rng, n, [lambda: sound])

    def _stretch(self, seconds: float) -> np.ndarray:
        """At most `seconds` of a file, from a random place in its beginning; one that can be read and is not silent."""
        while True:
            chosen = int(np.searchsorted(self.cumulated, self.rng.random() * self.cumulated[-1]))
            start = int(self.rng.uniform(0, BEGINNING_S) * RATE_HZ)
            try:
                sound = _read(self.paths[chosen], start, int(seconds * RATE_HZ))
            except AudioError:
                continue
            if len(sound) > 0.03 * RATE_HZ and np.abs(sound).max() > 1e-4:
                self.used.append(chosen)
                return sound


def _read(path: Path, start: int, n: int) -> np.ndarray:
    """`n` samples from `start`, from an earlier place where the file ends before."""
    blocks, n_read = [], 0
    with decode.open_recording(path, RATE_HZ) as recording:
        start = min(start, max(0, int((recording.expected_s or 0) * RATE_HZ) - n))
        for block in recording:
            blocks.append(block)
            if (n_read := n_read + len(block)) >= start + n:
                break
    return np.concatenate(blocks or [np.zeros(0, np.float32)])[start : start + n]


def _level(sound: np.ndarray) -> np.ndarray:
    return sound / (np.sqrt(np.mean(sound**2)) + 1e-9)


# --- prepare


def prepare(config: dict, jobs: int) -> None:
    """Shards, each from its own seed: float16 `spectrogram` (CLIPS, F, T) and `target` (CLIPS, len(STARTS), D)."""
    folder = Path(config["shards"])
    folder.mkdir(parents=True, exist_ok=True)
    config["durations"] = _durations(config, folder / "durations.json")
    missing = [k for k in range(config["n_shards"]) if not _shard(config, k).exists()]
    joblib.Parallel(jobs, verbose=5)(joblib.delayed(_prepare_shard)(config, k) for k in missing)


def _durations(config: dict, cached: Path) -> dict[str, dict[str, float]]:
    """Folder -> file -> seconds, at most BEGINNING_S. Folders below a named one are folders of their own."""
    if cached.exists():
        return json.loads(cached.read_text())
    found = {}
    for path in sorted(p for root in config["sounds"] for p in Path(root).rglob("*")):
        if path.suffix.lower() in decode.AUDIO_SUFFIXES and path.is_file() and path.name not in config["left_out"]:
            root = next(Path(r) for r in config["sounds"] if path.is_relative_to(r))
            folder = root / path.relative_to(root).parts[0] if len(path.relative_to(root).parts) > 1 else root
            try:
                with decode.open_recording(path, RATE_HZ) as recording:
                    seconds = min(recording.expected_s or 1.0, BEGINNING_S)
            except AudioError as error:
                print(f"{path}: left out: {error}")
                continue
            found.setdefault(str(folder), {})[str(path.relative_to(folder))] = round(seconds, 3)
    cached.write_text(json.dumps(found))
    return found


def _shard(config: dict, number: int) -> Path:
    return Path(config["shards"]) / f"{number:05d}.npz"


def _prepare_shard(config: dict, number: int) -> None:
    sounds = Sounds(config, np.random.default_rng([config["seed"], number]))
    teacher = l3embed.load(config["teacher"], weights=config["teacher_weights"], precision="f32")
    whole = replace(FRONT_END, window_samples=CLIP_S * RATE_HZ)
    rows = {"spectrogram": [], "target": [], "used": []}
    for _ in range(CLIPS):
        clip = sounds.clip()
        rows["spectrogram"].append(spectrograms(clip, np.zeros(1, int), whole)[0, :, :, 0].astype(np.float16))
        embedding, _ = teacher.embed(clip, RATE_HZ, hop=HOP_S, center=False)
        rows["target"].append(embedding[: len(STARTS)].astype(np.float16))
        rows["used"].append(np.array((sounds.used + [-1] * USED)[:USED], np.int32))
    path = _shard(config, number)
    temporary = path.with_name(f"part.{path.name}")
    np.savez(temporary, **{key: np.stack(value) for key, value in rows.items()})
    os.replace(temporary, path)


# --- train


class Batches:
    """Windows and targets of some shards, held in memory; a batch depends on nothing but (seed, its number)."""

    def __init__(self, config: dict, numbers: list[int]):
        shards = [np.load(_shard(config, k)) for k in numbers]
        durations = json.loads((Path(config["shards"]) / "durations.json").read_text())
        names = [Path(name).name for folder in durations.values() for name in folder]
        bad = [i for i, name in enumerate(names) if name in config["left_out"]]  # also what was found out afterwards
        kept = [~np.isin(s["used"], bad).any(axis=1) for s in shards]
        self.spectrograms, self.targets = (
            np.concatenate([s[key][k] for s, k in zip(shards, kept, strict=True)]) for key in ("spectrogram", "target")
        )
        self.seed, self.size = config["seed"], config["batch"]

    def train(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """A random batch, each window at a level of its own: -8 to +4 dB."""
        rng = np.random.default_rng([self.seed, number])
        clip, start = rng.integers(len(self.targets), size=self.size), rng.integers(len(STARTS), size=self.size)
        return self._of(clip, start, rng.uniform(-4, 2, self.size))

    def every_second(self) -> tuple[np.ndarray, np.ndarray]:
        """Every second window, as it is."""
        starts, n = np.arange(0, len(STARTS), 2), len(self.targets)
        clip, start = np.repeat(np.arange(n), len(starts)), np.tile(starts, n)
        return self._of(clip, start, np.zeros(len(clip)))

    def _of(self, clip, start, gain):
        columns = [STARTS[s] // FRONT_END.hop_samples for s in start]
        x = [self.spectrograms[c][:, a : a + FRONT_END.n_frames] for c, a in zip(clip, columns, strict=True)]
        x = np.stack(x).astype(np.float32) + gain[:, None, None].astype(np.float32)
        floor = 10 * np.log10(FRONT_END.amin)
        return np.maximum(x, floor)[..., None], np.sqrt(self.targets[clip, start].astype(np.float32))


def train(config: dict) -> None:
    from l3embed import weights

    keras = networks.keras()
    run = Path(config["run"])
    run.mkdir(parents=True, exist_ok=True)
    keras.utils.set_random_seed(config["seed"])
    keras.config.set_dtype_policy("mixed_bfloat16")
    numbers = [k for k in range(config["n_shards"]) if _shard(config, k).exists()]
    held_out = Batches(config, numbers[::HELD_OUT])
    batches = Batches(config, sorted({*numbers} - {*numbers[::HELD_OUT]}))
    network = Network("l3-small", config["width"], (config["bands"], 1))
    student = networks.family("l3-small").audio_network(FRONT_END, network)
    x = keras.layers.ReLU()(keras.layers.BatchNormalization()(student.output))
    outputs = keras.layers.Dense(batches.targets.shape[-1], dtype="float32", name="teacher")(x)
    model = keras.Model(student.input, outputs)
    steps, epochs = config["steps"], config["epochs"]
    rate = keras.optimizers.schedules.CosineDecay(1e-5, steps * epochs, 1e-3, warmup_target=2e-3, warmup_steps=200)
    model.compile(keras.optimizers.AdamW(rate, weight_decay=1e-4), keras.losses.CosineSimilarity())

    class Train(keras.utils.PyDataset):
        epoch = 0  # set at the beginning of each

        def __len__(self):
            return steps

        def __getitem__(self, step):
            return batches.train(self.epoch * steps + step)

    data = Train(workers=1, max_queue_size=8)
    tell = keras.callbacks.LambdaCallback(on_epoch_begin=lambda epoch, logs: setattr(data, "epoch", epoch))
    backup = keras.callbacks.BackupAndRestore(run / "backup", delete_checkpoint=False)
    log = keras.callbacks.CSVLogger(run / "history.csv", append=True)
    started = time.monotonic()
    x, y = held_out.every_second()
    model.fit(
        data, epochs=epochs, validation_data=(x, y), validation_batch_size=256, verbose=2, callbacks=[backup, tell, log]
    )
    held_out_cosine = -round(model.evaluate(x, y, 256, verbose=0), 4)
    arrays = student.get_weights()
    hours = round((time.monotonic() - started) / 3600, 2)
    print(f"{steps * epochs * config['batch']} windows, {hours} h in this process")
    released = replace(network, pool=(config["released_bands"], 1))  # pooling has no weights
    dim = student.output_shape[-1] * config["released_bands"] // config["bands"]
    spec = Model(config["name"], FRONT_END, released, dim, "")
    told = {k: v for k, v in config.items() if k not in ("about", "shards", "run", "teacher_weights")}
    told["sounds"] = [Path(folder).name for folder in config["sounds"]]  # a card travels
    training = {
        "objective": "taught", "teacher": config["teacher"], "windows": steps * epochs * config["batch"],
        "clips": len(batches.targets), "hours": hours, "held_out_cosine": held_out_cosine, "config": told,
    }  # fmt: skip
    keras.config.set_dtype_policy("float32")
    weights.release(spec, arrays, run / "model", {**config["about"], "training": training})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("step", choices=("prepare", "train"))
    parser.add_argument("config", type=Path)
    parser.add_argument("--jobs", type=int, default=1, help="processes that prepare (default: 1)")
    arguments = parser.parse_args()
    config = tomllib.loads(arguments.config.read_text())
    for key in ("run", "shards", "teacher_weights"):
        config[key] = str(arguments.config.parent / config[key])
    config["sounds"] = [str(arguments.config.parent / folder) for folder in config["sounds"]]
    if arguments.step == "prepare":
        prepare(config, arguments.jobs)
    else:
        train(config)


if __name__ == "__main__":
    main()
