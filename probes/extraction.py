"""Every clip of a data set through every model once: what the store holds already is not computed again.

Recordings are known to the store by their content, so sets that share recordings share vectors, and two files of one
name stay apart (an id is the whole path of a file). docs/store.md describes the store.
"""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np

from l3embed import extract, store
from l3embed.errors import L3EmbedError, reason
from l3embed.plan import Item
from l3embed.spec import digest
from l3embed.store import layout, manifest
from l3embed.store.files import naming, write_whole

from .datasets import Clip, DataSet
from .features import MEMORY, ArrayFeatures, Features, corpus_of
from .models import System
from .segments import Segment


def features(
    system: System, data: DataSet, folder: Path, contents: list[str], *, jobs: int = 1, memory: int = MEMORY,
    tick: Callable[[], None] | None = None,
) -> tuple[Features | ArrayFeatures, dict]:  # fmt: skip
    """A model's vectors of a data set, and what they cost (as costs/MODEL--DATA.json of a run has it).

    `contents` are the SHA-256 of the clips' files. `tick` is called for each clip that is done. A clip that cannot be
    embedded is a row of its own, with the reason (`Features.failed`). Raises StoreError where the store cannot be used.
    """
    started, kept = time.monotonic(), folder / "costs" / f"{digest({**_key(system, data), 'of': contents})}.json"
    if system.model is None:
        found, cost = _baseline(system, data, folder, contents, jobs)
    else:
        found, cost = _embedded(system, data, folder, contents, jobs, memory, tick)
    took_s = round(time.monotonic() - started, 3)
    cost |= {"model": system.name, "data": data.name, "jobs": jobs, "peak_mb": _peak_mb(), "lookup_s": took_s,
             "precision": system.recipe.get("precision"), "device": system.recipe.get("engine", "numpy"),
             "failed": {data.clips[row].id: why for row, why in sorted(found.failed.items())}}  # fmt: skip
    if cost["cached"]:  # the figures of the run that computed them
        cost = {**_read(kept), **{k: v for k, v in cost.items() if v is not None and k != "peak_mb"}}
    else:
        cost["wall_s"] = took_s
        kept.parent.mkdir(parents=True, exist_ok=True)
        write_whole(
            kept, json.dumps({k: cost[k] for k in ("wall_s", "sound_s", "windows", "jobs", "peak_mb")}).encode()
        )
    return found, cost


def _key(system: System, data: DataSet) -> dict:
    return {"recipe": system.recipe, "clips": [[c.id, c.start_s, c.end_s] for c in data.clips]}


def _read(path: Path) -> dict:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {"wall_s": None, "sound_s": None, "windows": None, "peak_mb": None}


def _embedded(system: System, data: DataSet, folder: Path, contents, jobs: int, memory: int, tick):
    model, hop = system.model, system.named.hop or None
    rate_hz = model.spec.front_end.rate_hz
    items = [_item(clip, content, rate_hz) for clip, content in zip(data.clips, contents, strict=True)]
    ids = [layout.clip_id(item.name) for item in items]
    key = layout.key_of(json.loads(json.dumps({**system.recipe, "dtype": "float32"})))
    reasons, n, sound_s, windows = {}, 0, 0.0, 0
    done = _segments_done(folder, key, ids, data.clips)
    for result in extract.extract(
        model, [item for item, id in zip(items, ids, strict=True) if id not in done], folder, hop=hop, jobs=jobs,
        format="store",
    ):  # fmt: skip
        if result.error:
            reasons[result.source] = result.error
        elif not result.skipped:
            n, sound_s, windows = n + 1, sound_s + result.seconds, windows + result.n_windows
        if tick:
            tick()
    found, notes = _view(system, folder, key, items, ids, reasons, memory)
    n_bytes = int(found.n_windows.sum()) * found.dim * 4
    cost = {"cached": n == 0, "computed": n, "bytes": n_bytes, "notes": notes}
    return found, cost if n == 0 else cost | {"sound_s": round(sound_s, 3), "windows": windows}


def _item(clip: Clip, content: str, rate_hz: int) -> Item:
    path = os.path.abspath(clip.path)
    name, stretch = _names(path, clip.start_s, clip.end_s, content)
    if not stretch:
        return Item(path, name)
    return Segment(
        path + stretch, name + stretch, path=path, start_s=clip.start_s or 0.0, end_s=clip.end_s, rate_hz=rate_hz
    )


def _names(path: str, start_s: float | None, end_s: float | None, content: str) -> tuple[str, str]:
    """(the recording's name in the store, what is added for a stretch of it)"""
    name = os.path.splitdrive(path)[1].lstrip("/\\")
    if start_s is None and end_s is None:
        return name, ""
    return name, f"#{content[:16]}-{start_s or 0.0:.6f}-{'end' if end_s is None else f'{end_s:.6f}'}"


def store_id(clip: dict, content: str) -> str:
    """The id that a store knows a clip by: a row of data/NAME.parquet."""
    return layout.clip_id("".join(_names(os.path.abspath(clip["path"]), clip["start_s"], clip["end_s"], content)))


def baseline_file(folder: Path, recipe: dict, contents: list[str], segments: list[list]) -> Path:
    """Where the store keeps a baseline's vectors of a data set; segments are [start_s, end_s] of each clip."""
    return folder / "baselines" / f"{digest({**recipe, 'contents': contents, 'segments': segments})}.npz"


def _is_whole(clip: Clip) -> bool:
    return clip.start_s is None and clip.end_s is None


def _segments_done(folder: Path, key: str, ids: list[str], clips: tuple[Clip, ...]) -> set[str]:
    """Segments that are in the store: to ask it by their bytes would mean to decode them all again."""
    if all(map(_is_whole, clips)) or not (folder / key / "manifest").is_dir():
        return set()
    there = set(store.open(folder, key).clips)
    return {id for id, clip in zip(ids, clips, strict=True) if id in there and not _is_whole(clip)}


def _view(
    system: System, folder: Path, key: str, items, ids, reasons: dict, memory: int
) -> tuple[Features, dict[str, int]]:
    """The vectors, and what was odd about how many clips."""
    corpus = corpus_of(folder, key)
    names = ("clip", "status", "error", "n_rows", "n_nan", "notes")
    rows = {clip: facts for clip, *facts in manifest.columns(corpus.table(), *names)}
    n_windows, failed, said = np.zeros(len(ids), np.int64), {}, Counter()
    for i, (item, id) in enumerate(zip(items, ids, strict=True)):
        status, error, n_rows, n_nan, notes = rows.get(id, ("failed", None, 0, 0, None))
        said.update(notes or ())
        if item.source in reasons or status != "ok":
            failed[i] = reasons.get(item.source) or error or "its vectors are missing in the store"
        elif not n_rows:
            failed[i] = "gave no window: it is shorter than the model's window"
        elif n_nan:
            failed[i] = f"{n_nan} of its vectors' numbers are NaN"
        else:
            n_windows[i] = n_rows
    found = Features(system.name, folder, key, ids, corpus.dim or system.model.dim, n_windows, failed, memory)
    return found, dict(said.most_common())


def _baseline(system: System, data: DataSet, folder: Path, contents: list[str], jobs: int):
    from . import baselines

    path = baseline_file(folder, system.recipe, contents, [[c.start_s, c.end_s] for c in data.clips])
    if path.exists():
        with np.load(path, allow_pickle=False) as file:
            array, failed = file["array"], json.loads(str(file["failed"]))
        found = ArrayFeatures(system.name, array, {int(k): v for k, v in failed.items()})
        return found, {"cached": True, "computed": 0, "bytes": array.nbytes}
    found = baselines.features(system.named.model, data, jobs=jobs)
    found.name = system.name
    array = found.pooled()
    with naming(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    import io

    out = io.BytesIO()
    np.savez(out, array=array, failed=json.dumps({str(k): v for k, v in found.failed.items()}))
    write_whole(path, out.getvalue())
    return found, {"cached": False, "computed": int(found.ok.sum()), "bytes": array.nbytes, "windows": len(array),
                   "sound_s": None}  # fmt: skip


def _peak_mb() -> float | None:
    """Of this process so far; None where the system does not say."""
    try:
        import resource
    except ImportError:
        return None
    import sys

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (2**20 if sys.platform == "darwin" else 2**10), 1)


def describe(error: Exception) -> str:
    """Why a model could not be used on a data set at all."""
    return reason(error) if isinstance(error, L3EmbedError | OSError) else f"{type(error).__name__}: {reason(error)}"
