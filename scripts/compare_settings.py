"""What precision and shared windows change: cosines with exact f32 vectors, and a linear probe's accuracy.

    python scripts/compare_settings.py esc10=FOLDER [digits=FOLDER ...] [--model NAME --weights FILE --front-end NAME]
        [--hop S] [--every N]

One row a setting: cosines window by window (median, 5th percentile, lowest), accuracy over the data set's folds, how
many clips are predicted otherwise than from exact f32 vectors, and windows per second on this machine. Settings that
come to the same for a model are computed once; int8 is left out for models that were not quantised.
"""

import argparse
import time
import warnings

import numpy as np

import l3embed
from l3embed.errors import WeightsError
from l3embed.pooling import pool
from probes import datasets, linear, scores

SETTINGS = [("f32", "exact"), ("bf16", "exact"), ("int8", "exact"), ("auto", "shared"), ("int8", "shared")]


def cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return (a * b).sum(axis=1) / np.maximum(np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1), 1e-12)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="+", metavar="[NAME=]FOLDER", help="data sets: docs/data-sets.md")
    parser.add_argument("--model")
    parser.add_argument("--weights")
    parser.add_argument("--front-end")
    parser.add_argument("--hop", type=float, default=0.1)
    parser.add_argument("--every", type=int, default=1, help="take every so many clips of each class and fold")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore", l3embed.errors.L3EmbedWarning)
    for item in arguments.sets:
        data = datasets.read(item)
        clips = data[:: arguments.every]
        print(f"{data.name}: {len(clips)} clips, hop {arguments.hop} s: cosine with exact f32 windows "
              "(median, 5 %, lowest)")  # fmt: skip
        _compare(clips, arguments)


def _compare(clips: list, arguments: argparse.Namespace) -> None:
    labels, folds, seen, reference = [c.label for c in clips], [c.fold for c in clips], set(), None
    for precision, windows in SETTINGS:
        try:
            model = l3embed.load(
                arguments.model, weights=arguments.weights, front_end=arguments.front_end, precision=precision
            )
        except WeightsError as error:
            print(f"{precision}: {error}")
            continue
        if model.spec.shares_exactly:
            windows = "exact"  # which is how it runs anyway
        elif windows == "shared":  # on the grid, for exact ones to compare with
            on_grid = model.framing(arguments.hop, windows=windows).hop == model.framing(arguments.hop).hop
            assert on_grid, "choose a hop on the grid"
        if (model.precision, windows) in seen:
            continue
        seen.add((model.precision, windows))
        started = time.perf_counter()
        vectors = [v for v, _ in model.each((c.path for c in clips), hop=arguments.hop, windows=windows)]
        rate = sum(map(len, vectors)) / (time.perf_counter() - started)
        x = np.stack([pool(v, "mean+max") for v in vectors])
        predicted, _ = linear.nested(x, labels, folds, jobs=2)
        reference = reference or (vectors, predicted)
        like = np.concatenate([cosines(a, b) for a, b in zip(vectors, reference[0], strict=True)])
        accuracy = 100 * np.mean(scores.fold_accuracies(predicted, labels, folds))
        changed = np.count_nonzero(predicted != reference[1])
        print(f"{model.precision:5} {windows:7} {np.median(like):.6f} {np.percentile(like, 5):.6f} {like.min():.6f}  "
              f"{accuracy:.2f} %  {changed} clips otherwise  {rate:.0f} windows per s", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
