"""Models side by side: size, speed, and what a linear probe makes of their vectors.

    python scripts/bench_models.py yamnet=yamnet.tflite edgel3-sea-64=FILE.h5.gz vggish [--esc10 FOLDER]
                                   [--scores yamnet-scores=yamnet.tflite]

NAME=FILE is a model with its weights; NAME alone, of a published one, the same network with random weights: as fast,
and not probed. One row a model: parameters, numbers in a vector, window and hop of its own, windows and seconds of
sound per second (front end and network, recordings in memory), and on ESC-10 the accuracy of `probes.linear.nested` on
the mean of a clip's windows. `--scores` prints for each class of ESC-10 which classes of a tagger score highest.
"""

import argparse
import tempfile
import time
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np

import l3embed
from l3embed import weights, zoo
from l3embed.embed import EmbeddingModel
from l3embed.engine import choose
from l3embed.pooling import POOLINGS, pool
from l3embed.spec import openl3_model, published_names
from l3embed.weights.release import build
from probes import datasets, linear
from probes.scores import fold_accuracies

SECONDS, REPEATS = 60, 3


def load(said: str, folder: Path, precision: str) -> tuple[EmbeddingModel, bool]:
    """(the model, whether its weights are real)."""
    name, _, file = said.partition("=")
    if file or not (zoo.find(name) or name in published_names()):
        return l3embed.load(name or None, weights=file or None, precision=precision), True
    model = zoo.find(name).model if zoo.find(name) else openl3_model(name)
    card = weights.release(model, build(model).get_weights(), folder / name, {}, "float32")
    card = replace(card, model=replace(card.model, cutting=model.cutting, auto=model.auto))
    return EmbeddingModel(card, choose(), precision), False


def speed(model: EmbeddingModel) -> tuple[float, float]:
    """(windows, seconds of sound) per second: the best of some runs, after one that compiles."""
    rate_hz = model.spec.front_end.rate_hz
    sound = np.random.default_rng(0).normal(0, 0.1, SECONDS * rate_hz).astype(np.float32)
    model.embed(sound, rate_hz)
    best = 0.0
    for _ in range(REPEATS):
        started = time.perf_counter()
        n = len(model.embed(sound, rate_hz)[0])
        best = max(best, n / (time.perf_counter() - started))
    return best, best * SECONDS / n


def accuracy(model: EmbeddingModel, clips: list, pooling: str) -> str:
    x = np.stack([pool(embedding, pooling) for embedding, _ in model.each(clip.path for clip in clips)])
    labels, folds = [clip.label for clip in clips], [clip.fold for clip in clips]
    each = 100 * fold_accuracies(linear.nested(x, labels, folds, jobs=-1)[0], labels, folds)
    return f"{each.mean():.2f} +- {each.std(ddof=1):.2f}"


def n_parameters(model: EmbeddingModel) -> int:
    return weights.outline(model.spec).count_params()


def top_classes(said: str, clips: list, precision: str) -> None:
    """For each label the classes of the highest scores: of a clip's windows the largest, of clips the mean."""
    name, _, file = said.partition("=")
    model = l3embed.load(name, weights=file or None, precision=precision)
    found: dict[str, list] = {}
    for clip, (scores, _) in zip(clips, model.each(clip.path for clip in clips), strict=True):
        found.setdefault(clip.label, []).append(scores.max(axis=0))
    for label, scores in found.items():
        mean = np.mean(scores, axis=0)
        print(f"{label:16} {', '.join(f'{model.classes[i]} {mean[i]:.2f}' for i in np.argsort(-mean)[:4])}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", metavar="NAME[=FILE]")
    parser.add_argument("--esc10", type=Path)
    parser.add_argument("--scores", metavar="NAME=FILE")
    parser.add_argument("--pooling", default="mean", choices=POOLINGS)
    parser.add_argument("--precision", default="auto")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore", l3embed.errors.L3EmbedWarning)
    clips = datasets.read(f"esc10={arguments.esc10}") if arguments.esc10 else []
    print("| model | parameters | numbers | window, hop | precision | windows/s | s of sound/s | ESC-10 |")
    print("|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for said in arguments.models:
            model, is_real = load(said, Path(folder), arguments.precision)
            (windows, seconds), hop_s = speed(model), model.spec.cutting.hop_s
            cut = f"{model.spec.front_end.window_s:g} s, {f'{hop_s:g} s' if hop_s else 'whole'}"
            probed = accuracy(model, clips, arguments.pooling) if clips and is_real else "-"
            size = f"{n_parameters(model):,} | {model.dim}"
            print(f"| {model.name} | {size} | {cut} | {model.precision} | {windows:.0f} | {seconds:.0f} | {probed} |",
                  flush=True)  # fmt: skip
    if arguments.scores:
        top_classes(arguments.scores, clips, arguments.precision)


if __name__ == "__main__":
    main()
