"""The folder of a probing run: what was asked, what came out, what it cost. Parquet and JSON only.

    RUN/run.json            settings, versions, machine, data sets, models, probes, protocols (`write_run`)
    RUN/data/NAME.parquet   a row for each clip of a data set
    RUN/jobs/ID.json        one job: what it was, what was chosen, what went wrong; its being there says that it is done
    RUN/jobs/ID.parquet     its prediction for every clip that was tested
    RUN/costs/MODEL--DATA.json  what the embeddings cost

Files appear whole or not at all; a killed run leaves nothing that could be taken for a result. docs/probing.md lists
the keys and columns.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import numpy as np

from l3embed.errors import StoreError, UsageError, reason
from l3embed.store.files import move_whole, naming, part_name, remove_abandoned, token, write_whole
from l3embed.store.manifest import need_pyarrow

SCHEMA = 1  # of the folder; a reader refuses a newer one
CLIP_COLUMNS = ("clip", "path", "label", "labels", "group", "fold", "split", "seconds", "rate_hz", "sha256", "start_s",
                "end_s", "excluded")  # fmt: skip


@dataclass
class Predictions:
    """What one job says of every clip it tested: one row for each test of a clip (several where draws repeat it)."""

    clip: list[str]
    fold: list[str]
    draw: np.ndarray  # (m,) int, 0 where nothing was drawn
    label: list[str]
    predicted: list[str]  # "" where the model failed on the clip
    scores: np.ndarray  # (m, C) float32, columns in the order of `classes`; NaN where the model failed
    classes: list[str] = field(default_factory=list)

    @property
    def right(self) -> np.ndarray:
        """(m,) bool; a failed clip is wrong."""
        return np.array([p == q for p, q in zip(self.predicted, self.label, strict=True)], bool)


# --- writing


def create(folder: str | Path) -> Path:
    """The folder of a run, made where it is not there. What a killed process left half-written is removed."""
    folder = Path(folder)
    with naming(folder):
        for name in ("data", "jobs", "costs"):
            (folder / name).mkdir(parents=True, exist_ok=True)
    for place in (folder, *(folder / name for name in ("data", "jobs", "costs"))):
        remove_abandoned(place)
    return folder


def write_run(folder: Path, table: dict) -> None:
    """run.json; `schema` is added."""
    _write_json(Path(folder) / "run.json", {"schema": SCHEMA, **table})


def write_clips(folder: Path, data: str, rows: list[dict]) -> None:
    """data/NAME.parquet: dictionaries with CLIP_COLUMNS."""
    pa = need_pyarrow()
    kinds = {"labels": pa.list_(pa.string()), **dict.fromkeys(("seconds", "rate_hz", "start_s", "end_s"), pa.float64())}
    schema = pa.schema([(name, kinds.get(name, pa.string())) for name in CLIP_COLUMNS])
    _write_parquet(Path(folder) / "data" / f"{file_name(data)}.parquet", pa.Table.from_pylist(rows, schema))


def write_job(folder: Path, job: dict, predictions: Predictions | None = None) -> None:
    """A job that is done (with its predictions) or failed (without). The predictions appear first: JSON says done."""
    jobs = Path(folder) / "jobs"
    if predictions is not None:
        pa = need_pyarrow()
        scores = np.asarray(predictions.scores, np.float32)
        m, n_classes = scores.shape
        columns = {
            "clip": pa.array(predictions.clip, pa.string()),
            "fold": pa.array(predictions.fold, pa.string()),
            "draw": pa.array(np.asarray(predictions.draw, np.int32)),
            "label": pa.array(predictions.label, pa.string()),
            "predicted": pa.array(predictions.predicted, pa.string()),
            "scores": pa.ListArray.from_arrays(
                pa.array(np.arange(m + 1, dtype=np.int32) * n_classes), pa.array(scores.ravel())
            ),
        }
        _write_parquet(jobs / f"{job['id']}.parquet", pa.table(columns))
    _write_json(jobs / f"{job['id']}.json", job)


def write_cost(folder: Path, cost: dict) -> None:
    """costs/MODEL--DATA.json"""
    _write_json(Path(folder) / "costs" / f"{file_name(cost['model'])}--{file_name(cost['data'])}.json", cost)


def _write_json(path: Path, table: dict) -> None:
    text = json.dumps(table, indent=1, ensure_ascii=False, default=_plain)
    write_whole(path, (text + "\n").encode("utf-8", "backslashreplace"))


def _plain(value):
    """NumPy's numbers, paths and tuples as JSON has them."""
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    return str(value)


def _write_parquet(path: Path, table) -> None:
    import pyarrow.parquet as pq

    part = path.with_name(part_name(token()))
    with naming(path):
        try:
            pq.write_table(table, part, compression="zstd")
            move_whole(part, path)
        finally:
            part.unlink(missing_ok=True)


def file_name(name: str) -> str:
    """A name of a model or data set as a file may be called: everything unusual as %XX; never hidden."""
    safe = quote(name, safe=" ()+,=@", encoding="utf-8", errors="backslashreplace")
    return re.sub(r"^\.", "%2E", safe)


# --- reading


def is_run(folder: str | Path) -> bool:
    return (Path(folder) / "run.json").is_file()


def read_run(folder: str | Path) -> dict:
    """run.json. Raises UsageError for a folder that is no run, StoreError for a damaged or newer one."""
    path = Path(folder) / "run.json"
    if not path.is_file():
        raise UsageError(f"{folder}: is not the folder of a probing run: it has no run.json")
    table = _read_json(path)
    if table.get("schema") != SCHEMA:
        raise StoreError(
            f"{path}: is of schema {table.get('schema')!r}, this version reads {SCHEMA}: update l3embed, or probe again"
        )
    return table


def read_clips(folder: Path, data: str):
    """pyarrow.Table of a data set's clips, in their order."""
    return _read_parquet(Path(folder) / "data" / f"{file_name(data)}.parquet")


def read_jobs(folder: Path) -> list[dict]:
    """All jobs, done and failed, in a fixed order: data, model, probe, protocol, pooling, shots."""
    jobs = [_read_json(path) for path in sorted((Path(folder) / "jobs").glob("*.json"))]
    return sorted(jobs, key=lambda j: (*(str(j[k]) for k in ("data", "model", "probe", "protocol", "pooling")),
                                       j["shots"] or 0, j["id"]))  # fmt: skip


def read_job(folder: Path, id: str) -> dict | None:
    """One job, None where it was not finished."""
    path = Path(folder) / "jobs" / f"{id}.json"
    return _read_json(path) if path.is_file() else None


def read_predictions(folder: Path, job: dict) -> Predictions:
    """Of a job that is done."""
    table = _read_parquet(Path(folder) / "jobs" / f"{job['id']}.parquet")
    clip, fold, label, predicted = (table.column(k).to_pylist() for k in ("clip", "fold", "label", "predicted"))
    classes = job["classes"]
    scores = table.column("scores").combine_chunks().flatten().to_numpy(zero_copy_only=False)
    scores = scores.astype(np.float32).reshape(len(clip), len(classes))
    return Predictions(clip, fold, table.column("draw").to_numpy(), label, predicted, scores, classes)


def read_costs(folder: Path) -> list[dict]:
    return [_read_json(path) for path in sorted((Path(folder) / "costs").glob("*.json"))]


def _read_json(path: Path) -> dict:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StoreError(f"{path}: cannot be read ({reason(error)}): remove it and run again") from error


def _read_parquet(path: Path):
    pa = need_pyarrow()
    try:
        return pa.parquet.ParquetFile(path).read()
    except (OSError, ValueError, pa.ArrowException) as error:
        raise StoreError(f"{path}: cannot be read ({reason(error)}): remove it and run again") from error


def prune(folder: Path, ids: Iterable[str]) -> None:
    """Only these jobs are the run's; what else lies there a kill has left, or a rule that an extension changed."""
    keep = set(ids)
    for path in (Path(folder) / "jobs").iterdir():
        if path.suffix in (".json", ".parquet") and path.stem not in keep:
            path.unlink(missing_ok=True)
