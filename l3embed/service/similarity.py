"""How alike two recordings are."""

from __future__ import annotations

import json

from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from .. import pooling
from .answers import JSON
from .asked import Asked
from .problems import Problem
from .work import Work


async def answer(asked: Asked, works: list[Work], matrix: bool, max_cells: int) -> Response:
    """Cosine of the pooled vectors; with `matrix`, of every window with every one, too. Raises Problem."""
    a, b = works
    if matrix and len(a.rows) * len(b.rows) > max_cells:
        raise Problem(
            413, "too_many_windows", f"the matrix would have {len(a.rows)} x {len(b.rows)} values, at most {max_cells} "
            "are allowed: ask for a longer hop",
        )  # fmt: skip
    return Response(await run_in_threadpool(_body, asked, a, b, matrix), headers=asked.headers, media_type=JSON)


def _body(asked: Asked, a: Work, b: Work, matrix: bool) -> bytes:
    pool = asked.pool or "mean"
    pooled = [pooling.pool(work.rows, pool)[None] for work in (a, b)]
    table = {**asked.about(), "pool": pool, "similarity": float(pooling.cosine(*pooled)[0, 0])}
    for name, work in (("a", a), ("b", b)):
        times = work.times(0, len(work.rows)).tolist()
        table[name] = {"seconds": round(work.seconds, 6), "notes": work.notes, "timestamps": times}
    if matrix:
        table["matrix"] = [[round(c, 6) for c in row] for row in pooling.cosine(a.rows[:], b.rows[:]).tolist()]
    return json.dumps(table).encode()
