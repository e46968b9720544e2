"""Reference vectors of OpenL3 0.4.2 and torchopenl3 1.0.1 against l3embed's, case by case.

    python scripts/parity_table.py FIXTURES [f32 bf16]

FIXTURES holds ``openl3/``: weights in the published layout, sounds and pictures, ``expected_audio.npz`` with keys
``FRONTEND/REPRESENTATION/SIZE/CLIP/hopH/centerC``, and ``expected_image.npz`` with keys ``image/SIZE/NAME``. Prints the
lowest cosine and the relative error (norm of the difference over norm of the reference) of each case. Needs the train
extra, to convert the weights the first time.
"""

import sys
from collections.abc import Iterator
from functools import lru_cache, partial
from itertools import chain
from pathlib import Path

import numpy as np

import l3embed


def cases(fixtures: Path, precision: str) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """(key, vectors of l3embed, reference vectors); time stamps follow as a case of their own where there are any."""
    folder, load = fixtures / "openl3", _loader()
    with np.load(folder / "expected_audio.npz") as file:
        expected = dict(file)
    for key in (k for k in expected if not k.endswith("timestamps")):
        front_end, representation, size, clip, hop, center = key.split("/")
        weights = folder / f"openl3_audio_{representation}_synthetic.h5.gz"
        model = load(f"openl3-{representation}-music-{size}", weights=weights, front_end=front_end, precision=precision)
        found, times = model.embed(
            folder / "audio" / f"{clip}.wav", hop=float(hop.removeprefix("hop")), center=center == "center1"
        )
        yield key, found, expected[key]
        if (of_times := f"{key}/timestamps") in expected:
            yield of_times, times, expected[of_times]


def image_cases(fixtures: Path, precision: str) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """(key, vector of l3embed with OpenL3's defects, reference vector)."""
    folder, load = fixtures / "openl3", _loader()
    with np.load(folder / "expected_image.npz") as file:
        for key in file:
            _, size, name = key.split("/")
            weights = folder / "openl3_image_synthetic.h5.gz"
            model = load(
                f"openl3-image-mel256-music-{size}", weights=weights, front_end="openl3-0.4", precision=precision
            )
            (picture,) = (folder / "images").glob(f"{name}*.png")
            yield key, model.embed_images(str(picture)), file[key]


def _loader():
    """`l3embed.load`, each model once; of small batches, since they are filled up and clips are short."""
    return lru_cache(partial(l3embed.load, batch=2))


def compare(found: np.ndarray, reference: np.ndarray) -> tuple[float, float]:
    """(lowest cosine of a row, relative error of all)."""
    lengths = np.linalg.norm(found, axis=1) * np.linalg.norm(reference, axis=1)
    cosine = (found.astype(float) * reference).sum(axis=1) / lengths
    return float(cosine.min()), float(np.linalg.norm(found - reference) / np.linalg.norm(reference))


def main() -> None:
    for precision in sys.argv[2:] or ["f32"]:
        print(f"{precision:<58}  windows    1 - cosine  relative error")
        fixtures = Path(sys.argv[1])
        for key, found, reference in chain(cases(fixtures, precision), image_cases(fixtures, precision)):
            if not key.endswith("timestamps"):
                cosine, error = compare(found, reference)
                print(f"{key:<58}  {len(found):7d}  {1 - cosine:12.1e}  {error:14.1e}", flush=True)


if __name__ == "__main__":
    main()
