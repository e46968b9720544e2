"""VGGish's own smoke test, for whoever has its weights: do the published figures hold?

    python scripts/check_vggish.py [--weights vggish_model.ckpt]      # without: fetched

Three seconds of a tone of 1 kHz are embedded; mean and deviation of all numbers have to be, within a tenth of each,
those that the program's authors give for it (tensorflow/models, research/audioset/vggish/vggish_smoke_test.py): in the
release of 2017, with its ReLU, and in the one of 2020 without it, before and after PCA.
"""

import argparse
import sys

import numpy as np

import l3embed

TOLERANCE = 0.1  # of a figure, as in theirs
FIGURES = {  # model -> (rate of the tone in Hz, mean, standard deviation)
    "vggish": (16_000, 0.000657, 0.343),
    "vggish-pca": (16_000, 126.0, 89.3),
    "vggish-relu": (44_100, 0.131, 0.238),
    "vggish-relu-pca": (44_100, 123.0, 75.0),
}


def tone(rate_hz: int) -> np.ndarray:
    """The sound of the smoke test: (n,) in [-1, 1]."""
    return np.sin(2 * np.pi * 1000 * np.arange(3 * rate_hz) / rate_hz)


def holds(name: str, vectors: np.ndarray) -> bool:
    """Whether the figures of a model are the published ones."""
    _, mean, deviation = FIGURES[name]
    return bool(np.allclose([vectors.mean(), vectors.std()], [mean, deviation], rtol=TOLERANCE, atol=0))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", metavar="FILE", help="the checkpoint or a port; the PCA file may lie beside it")
    arguments = parser.parse_args()
    print("| model | examples | mean | published | deviation | published | holds |\n|---|---|---|---|---|---|---|")
    all_hold = True
    for name, (rate_hz, mean, deviation) in FIGURES.items():
        vectors, _ = l3embed.load(name, weights=arguments.weights, precision="f32").embed(tone(rate_hz), rate_hz)
        good = len(vectors) == 3 and holds(name, vectors)
        all_hold &= good
        print(f"| {name} | {len(vectors)} | {vectors.mean():.6g} | {mean:g} | {vectors.std():.4g} | {deviation:g} | "
              f"{'yes' if good else 'no'} |", flush=True)  # fmt: skip
    return 0 if all_hold else 1


if __name__ == "__main__":
    sys.exit(main())
