"""A model's vectors of a data set on a plane (t-SNE), to look at: neighbours mean something, distances do not.

t-SNE (van der Maaten & Hinton 2008) as scikit-learn has it, on the first 50 principal components of the standardised
mean vectors, begun from the first two, in one thread: equal vectors give equal maps on one machine.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from .reading import Found, Set

MOST = 1000  # clips of a map; more are drawn from
COMPONENTS = 50
LEAST = 10


def chart(found: Found, model: str, data: Set, store: Path | None = None) -> tuple[np.ndarray, np.ndarray] | None:
    """(rows of the set, (n, 2) places), None where the vectors are not at hand."""
    got = vectors(found, model, data, store)
    if got is None:
        return None
    rows, table = got
    if len(rows) > MOST:
        keep = np.sort(np.random.default_rng(0).choice(len(rows), MOST, replace=False))
        rows, table = rows[keep], table[keep]
    return (rows, place(table)) if len(rows) >= LEAST else None


def place(table: np.ndarray) -> np.ndarray:
    """(n, D) -> (n, 2), rounded."""
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    table = np.asarray(table, np.float64)
    table = (table - table.mean(axis=0)) / np.maximum(table.std(axis=0), 1e-9)
    n = len(table)
    with threadpool_limits(1):
        small = PCA(min(COMPONENTS, n, table.shape[1]), svd_solver="full").fit_transform(table)
        made = TSNE(2, perplexity=min(30, (n - 1) / 3), init="pca", random_state=0, n_jobs=1).fit_transform(small)
    return np.round(made.astype(np.float64), 2)


def vectors(found: Found, model: str, data: Set, store: Path | None = None) -> tuple[np.ndarray, np.ndarray] | None:
    """(rows, (n, D) mean over windows) from the store of a run, without embedding anything."""
    from l3embed.errors import L3EmbedError

    about = found.models[model]
    contents = [clip["sha256"] for clip in data.clips]
    for folder in [Path(store)] if store else [run / "embeddings" for run in found.runs]:
        try:
            read = _baseline if about.get("kind") == "baseline" else _stored
            got = read(folder, about["recipe"], data, contents)
        except (L3EmbedError, OSError, ValueError, KeyError):
            got = None
        if got is not None:
            return got
    return None


def _stored(folder: Path, recipe: dict, data: Set, contents: list[str]):
    from l3embed.store import layout

    from ..extraction import store_id
    from ..features import corpus_of

    key = layout.key_of(json.loads(json.dumps({**recipe, "dtype": "float32"})))
    if not (folder / key / "manifest").is_dir():
        return None
    corpus = corpus_of(folder, key)
    there = set(corpus.clips)
    ids = {row: store_id(clip, contents[row]) for row, clip in enumerate(data.clips)}
    rows = np.array([row for row, id in ids.items() if id in there], int)
    if not len(rows):
        return None
    table = np.asarray(corpus.pooled([ids[row] for row in rows], "mean"))
    fine = np.isfinite(table).all(axis=1)
    return rows[fine], table[fine]


def _baseline(folder: Path, recipe: dict, data: Set, contents: list[str]):
    from ..extraction import baseline_file

    segments = [[clip.get("start_s"), clip.get("end_s")] for clip in data.clips]
    path = baseline_file(folder, recipe, contents, segments)
    if not path.is_file():
        return None
    with np.load(path, allow_pickle=False) as file:
        table = file["array"]
    fine = np.isfinite(table).all(axis=1)
    return np.flatnonzero(fine), table[fine]
