"""A card's graph to int8, calibrated on recordings, and how near it comes. Needs the int8 extra (NNCF).

Post-training quantisation of weights and activations: the ranges of the activations are taken from calibration windows,
every fifth window is kept apart to measure the result.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from collections.abc import Iterable, Iterator

import numpy as np

from . import decode, engine, weights
from .errors import L3EmbedError, MissingExtraError, UsageError, WeightsError, reason
from .frontend import spectrograms
from .windows import Framing, chunks

N_WINDOWS = 320  # NNCF's own default is 300; a fifth is kept apart
KEPT_APART = 5
PER_FILE = 8  # so that one long recording does not make up the sample


def quantize(card: weights.Card, recordings: Iterable[str | os.PathLike], n_windows: int = N_WINDOWS) -> weights.Card:
    """Make the card's int8 graph, beside its other files, and enter it in the card with its agreement with f32.

    Recordings that cannot be read are passed over. Raises UsageError where fewer than 20 windows are left, and
    WeightsError where the card's folder cannot be written to.
    """
    nncf = _nncf()
    import openvino

    if card.model.modality != "audio":
        raise UsageError(f"{card.model.name}: int8 is for models of sound")
    sample = np.concatenate([*_windows(card, recordings, n_windows)] or [np.empty((0, *card.model.front_end.shape))])
    if len(sample) < 20:
        raise UsageError(f"the recordings hold {len(sample)} windows: at least 20 are needed, hundreds are better")
    apart = np.arange(len(sample)) % KEPT_APART == 0
    rows = [row[None] for row in sample[~apart]]
    with contextlib.redirect_stdout(sys.stderr):  # its progress
        graph = nncf.quantize(
            openvino.Core().read_model(card.file("graph")), nncf.Dataset(rows), subset_size=len(rows)
        )  # fmt: skip
    path = card.path.with_name(f"{card.model.name}.int8.xml")
    try:
        openvino.save_model(graph, path, compress_to_fp16=False)
        found = weights.enter(card, {"int8_graph": path, "int8_graph_data": path.with_suffix(".bin")})
        cosine = agreement(found, sample[apart])
        about = {"calibration_windows": len(rows), "cosine_median": round(float(np.median(cosine)), 5)}
        return weights.enter(found, {}, int8={**about, "cosine_min": round(float(cosine.min()), 5)})
    except (OSError, RuntimeError) as error:
        raise WeightsError(f"{path}: cannot be written ({reason(error)})") from error


def agreement(card: weights.Card, sample: np.ndarray) -> np.ndarray:
    """(n,) cosines between the vectors of the int8 and the f32 graph for spectrograms (n, F, T, 1)."""
    int8, f32 = (_vectors(engine.OpenVinoEngine(card, precision=p), sample) for p in ("int8", "f32"))
    return (int8 * f32).sum(axis=1) / np.linalg.norm(int8, axis=1) / np.linalg.norm(f32, axis=1)


def _vectors(kind: engine.Engine, sample: np.ndarray) -> np.ndarray:
    return np.concatenate([v for _, v in engine.run(kind, [(0, sample), (0, None)]) if v is not None])


def _windows(card: weights.Card, recordings: Iterable, n_windows: int) -> Iterator[np.ndarray]:
    """Spectrograms (k, F, T, 1) of windows that follow each other, the same number of each recording."""
    recordings, fe = list(recordings), card.model.front_end
    framing = Framing(fe.window_samples, fe.window_samples)
    each = min(PER_FILE, max(1, -(-n_windows // max(1, len(recordings)))))
    step, left = max(1, len(recordings) * each // n_windows), n_windows
    for path in recordings[::step]:
        if left <= 0:
            return
        try:
            with decode.open_recording(path, fe.rate_hz) as recording:
                signal, starts, _ = next(chunks(recording, framing, at_most=min(each, left)))
        except (L3EmbedError, OSError):
            continue
        left -= len(starts)
        yield spectrograms(signal, starts, fe)


def _nncf():
    try:
        import nncf
    except ImportError as error:
        raise MissingExtraError("quantising a model", "int8") from error
    logging.getLogger("nncf").setLevel(logging.ERROR)  # its own way to do so reaches handlers of others
    return nncf
