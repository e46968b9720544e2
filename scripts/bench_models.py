"""Models side by side: size, speed, and what a linear probe makes of their vectors.

    python scripts/bench_models.py [NAME[=FILE] ...] [--rest] [--esc10 FOLDER] [--scores yamnet-scores=yamnet.tflite]

NAME=FILE is a model with its weights; NAME alone, of a published one, the same network with random weights: as fast,
and not probed. `--rest`: after these one of each other network there is. A row a model: parameters, numbers in a
vector, its own window and hop, windows (or pictures) and seconds of sound per second, front end and network, of
recordings of 10 s in memory; and on ESC-10 the accuracy of `probes.linear.nested` on the mean of a clip's windows.
`--scores` prints for each class of ESC-10 which classes of a tagger score highest.
"""

import argparse
import gc
import tempfile
import time
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np

import l3embed
from l3embed import weights, zoo
from l3embed.embed import EmbeddingModel
from l3embed.engine import Loaded, choose
from l3embed.images import ImageModel
from l3embed.pooling import POOLINGS, pool
from l3embed.spec import Model, openl3_model, published_names
from l3embed.weights.release import add_graphs, build
from probes import datasets, linear, scores

EACH = (  # of networks and front ends that cost the same one
    "l3-small-taught-1", "openl3-linear-env-6144", "openl3-mel128-env-6144", "openl3-mel256-env-6144",
    "openl3-mel256-env-512", "openl3-image-mel256-env-8192", "edgel3-sea-512", "edgel3-sea-256", "edgel3-sea-128",
    "edgel3-sea-64", "edgel3-ft-95.45", "vggish", "vggish-pca", "yamnet", "panns-cnn6", "panns-cnn10",
    "panns-cnn14", "panns-cnn14-16k", "panns-cnn14-8k", "panns-mobilenetv1", "panns-resnet22",
    "soundnet-conv7", "soundnet-scenes", "imagenet-resnet50", "imagenet-resnet50-keras",
    "imagenet-mobilenet", "imagenet-squeezenet",
)  # fmt: skip
RECORDING_S = 10  # as long as AudioSet's
RUN_S, SPENT_S = 1.5, 4.0  # a run takes about so long, if it can; the best of those in this time counts
CONVERTED = 6  # networks at a time: bounds the memory that this takes


def models(said: list[str], folder: Path, precision: str):
    """(the model, whether its weights are real), one after the other."""
    for at in range(0, len(said), CONVERTED):
        part = said[at : at + CONVERTED]
        made = _random([name for name in part if "=" not in name and _published(name)], folder)
        for name, _, file in (text.partition("=") for text in part):
            if name in made and not file:
                kind = EmbeddingModel if made[name].model.modality == "audio" else ImageModel
                yield kind(made[name], choose(), precision), False
            else:
                yield l3embed.load(name, weights=file or None, precision=precision), True
            gc.collect()


def _published(name: str) -> Model | None:
    return openl3_model(name) if name in published_names() else zoo.find(name) and zoo.find(name).model


def _random(names: list[str], folder: Path) -> dict[str, weights.Card]:
    cards = []
    for name in names:
        model = _published(name)
        card = weights.save(model, build(model).get_weights(), folder / name, {}, "float32")
        cards.append(replace(card, model=replace(card.model, cutting=model.cutting, auto=model.auto)))
    return {card.model.name: card for card in add_graphs(cards)}


def speed(model: Loaded) -> tuple[float, float | None]:
    """(windows or pictures, seconds of sound) per second."""
    rng = np.random.default_rng(0)
    if isinstance(model, ImageModel):
        images = rng.integers(0, 256, (1, 224, 224, 3), np.uint8)

        def run(n: int) -> int:
            return len(model.embed_images(np.repeat(images, n, axis=0)))
    else:
        rate_hz = model.spec.front_end.rate_hz
        sound = rng.normal(0, 0.1, RECORDING_S * rate_hz).astype(np.float32)

        def run(n: int) -> int:
            return sum(len(vectors) for vectors, _ in model.each([sound] * n, rate_hz))

    windows = run(1)  # compiles
    n, rate, spent = 1, 0.0, 0.0
    while spent < SPENT_S:
        started = time.perf_counter()
        run(n)
        seconds = time.perf_counter() - started
        rate, spent = max(rate, n / seconds), spent + seconds
        n = max(1, round(n * RUN_S / seconds))
    return rate * windows, None if isinstance(model, ImageModel) else rate * RECORDING_S


def accuracy(model: EmbeddingModel, clips: list, pooling: str) -> str:
    x = np.stack([pool(embedding, pooling) for embedding, _ in model.each(clip.path for clip in clips)])
    labels, folds = [clip.label for clip in clips], [clip.fold for clip in clips]
    each = 100 * scores.fold_accuracies(linear.nested(x, labels, folds, jobs=-1)[0], labels, folds)
    return f"{each.mean():.2f} +- {each.std(ddof=1):.2f}"


def cut(model: Loaded) -> str:
    """Window and hop of its own program."""
    if isinstance(model, ImageModel):
        return "a picture"
    front_end, cutting = model.spec.front_end, model.spec.cutting
    if cutting.hop_s is None:
        frame_s = cutting.frame_samples / front_end.rate_hz
        return f"whole, every {frame_s:.2g} s" if frame_s else "whole"
    return f"{front_end.window_s:g} s, {cutting.hop_s:g} s"


def top_classes(said: str, clips: list, precision: str) -> None:
    """For each label the classes of the highest scores: of a clip's windows the largest, of clips the mean."""
    name, _, file = said.partition("=")
    model = l3embed.load(name, weights=file or None, precision=precision)
    found: dict[str, list] = {}
    for clip, (of_windows, _) in zip(clips, model.each(clip.path for clip in clips), strict=True):
        found.setdefault(clip.label, []).append(of_windows.max(axis=0))
    names = model.classes or [str(i) for i in range(model.dim)]
    for label, of_clips in found.items():
        mean = np.mean(of_clips, axis=0)
        print(f"{label:16} {', '.join(f'{names[i]} {mean[i]:.2f}' for i in np.argsort(-mean)[:4])}")


def row(model: Loaded, probed: str) -> str:
    windows, seconds = speed(model)
    size = f"{weights.outline(model.spec).count_params():,} | {model.dim}"
    rates = f"{windows:.{1 if windows < 100 else 0}f} | {'-' if seconds is None else f'{seconds:.0f}'}"
    return f"| {model.name} | {size} | {cut(model)} | {model.precision} | {rates} | {probed} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", metavar="NAME[=FILE]")
    parser.add_argument("--rest", action="store_true", help="and one of each other network, with random weights")
    parser.add_argument("--esc10", type=Path, metavar="FOLDER")
    parser.add_argument("--scores", metavar="NAME=FILE")
    parser.add_argument("--pooling", default="mean", choices=POOLINGS)
    parser.add_argument("--precision", default="auto")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore", l3embed.errors.L3EmbedWarning)
    clips = datasets.read(f"esc10={arguments.esc10}") if arguments.esc10 else []
    named = {text.partition("=")[0] for text in arguments.models}
    said = arguments.models + [name for name in EACH if arguments.rest and name not in named]
    print("| model | parameters | numbers | window, hop | precision | windows/s | s of sound/s | ESC-10 |")
    print("|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for model, is_real in models(said, Path(folder), arguments.precision):
            can = clips and is_real and isinstance(model, EmbeddingModel)
            print(row(model, accuracy(model, clips, arguments.pooling) if can else "-"), flush=True)
    if arguments.scores:
        top_classes(arguments.scores, clips, arguments.precision)


if __name__ == "__main__":
    main()
