"""What precision and shared windows change: cosines with exact f32 vectors, and a linear probe's accuracy on ESC-10.

    python scripts/compare_settings.py ESC10_FOLDER [--model NAME --weights FILE --front-end NAME] [--hop S] [--every N]

One row a setting: cosines window by window (median, 5th percentile, lowest), accuracy over the data set's own folds,
and seconds of sound per second on this machine. int8 is left out for models that were not quantised.
"""

import argparse
import time
import warnings
from pathlib import Path

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
    parser.add_argument("esc10", type=Path)
    parser.add_argument("--model")
    parser.add_argument("--weights")
    parser.add_argument("--front-end")
    parser.add_argument("--hop", type=float, default=0.1)
    parser.add_argument("--every", type=int, default=1, help="take every so many clips of each class and fold")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore", l3embed.errors.L3EmbedWarning)
    clips = datasets.read(f"esc10={arguments.esc10}")[:: arguments.every]
    labels, folds, reference = [c.label for c in clips], [c.fold for c in clips], None
    print(f"{len(clips)} clips, hop {arguments.hop} s: cosine with exact f32 windows (median, 5 %, lowest), accuracy")
    for precision, windows in SETTINGS:
        try:
            model = l3embed.load(
                arguments.model, weights=arguments.weights, front_end=arguments.front_end, precision=precision
            )
        except WeightsError as error:
            print(f"{precision}: {error}")
            continue
        hop = arguments.hop
        if windows == "shared" and not model.spec.shares_exactly:  # on the grid, for exact ones to compare with
            assert model.framing(hop, windows=windows).hop == model.framing(hop).hop, "choose a hop on the grid"
        started = time.perf_counter()
        vectors = [vector for vector, _ in model.each((c.path for c in clips), hop=hop, windows=windows)]
        seconds = time.perf_counter() - started
        reference = reference or vectors
        like = np.concatenate([cosines(a, b) for a, b in zip(vectors, reference, strict=True)])
        x = np.stack([pool(v, "mean+max") for v in vectors])
        predicted, _ = linear.nested(x, labels, folds, jobs=-1)
        accuracy = 100 * np.mean(scores.fold_accuracies(predicted, labels, folds))
        print(f"{model.precision:5} {windows:7} {np.median(like):.6f} {np.percentile(like, 5):.6f} {like.min():.6f}  "
              f"{accuracy:.2f} %  {5 * len(clips) / seconds:.1f} s of sound per s", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
