"""Runs of probes -> a report that opens offline, its tables and plots beside it. docs/reports.md says what it holds.

reading: run folders -> predictions    facts, fewshot: predictions -> scores, tests, tiers
content, clips, costs: -> tables       figures, maps, sound, words, page: -> the page     build: orders them
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from l3embed.errors import MissingExtraError

if TYPE_CHECKING:
    from .flips import Diff

__all__ = ["Diff", "diff", "write", "write_diff"]


def write(
    run: str | Path | Iterable[str | Path], out: str | Path | None = None, *, store: str | Path | None = None,
    maps: Iterable[str] | None = None, sounds: bool = True,
) -> Path:  # fmt: skip
    """Write the report of a run, or of several joined, and return the path of its page, OUT/index.html.

    Parameters
    ----------
    run : folder of a run, or several
    out : folder, whose former report is replaced (default: RUN/report, of the first run)
    store : where the embeddings lie (default: RUN/embeddings); without them there are no maps
    maps : models whose embeddings are mapped (default: the best one of each data set); () for none
    sounds : whether the page holds the hardest clips themselves, MP3, 6 MB together at most; else it shows names alone

    Equal runs give equal bytes. The report appears whole or not at all. Raises UsageError for what is no run or no
    report, DataError for runs that do not fit together, StoreError for what cannot be read or written.
    """
    _need_extra()
    from .build import write as build

    runs = [Path(run)] if isinstance(run, str | Path) else [Path(r) for r in run]
    place = Path(out) if out is not None else runs[0] / "report"
    return build(
        runs, place, store=Path(store) if store else None, map_of=None if maps is None else tuple(maps), sounds=sounds
    )


def diff(a: str | Path, b: str | Path) -> Diff:
    """Which clips run A and run B decide differently: `.jobs`, `.clips` (a table), `.lines()`, `.as_dict()`.

    Jobs are compared that ask the same: data set, model, probe, protocol, pooling, shots. Where each run has a single
    model, these are compared under whatever name. Raises UsageError where nothing is in common, DataError where a data
    set is not the same.
    """
    _need_extra()
    from .flips import diff as compare

    return compare(Path(a), Path(b))


def write_diff(found: Diff, out: str | Path) -> Path:
    """The comparison as a page that plays the clips, and as CSV; the path of OUT/index.html."""
    from .flips import write as write_page

    return write_page(found, Path(out))


def _need_extra() -> None:
    try:
        import jinja2  # noqa: F401
        import matplotlib  # noqa: F401
        import pyarrow  # noqa: F401
        import scipy  # noqa: F401
        import sklearn  # noqa: F401
    except ImportError as error:
        raise MissingExtraError("a report", "probe") from error
