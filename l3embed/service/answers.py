"""Vectors -> the bytes of an answer, in the format that the client accepts."""

from __future__ import annotations

import io
import json

import numpy as np

JSON, NPZ = "application/json", "application/x-npz"


def as_json(embedding, timestamps, metadata: dict) -> bytes:
    rows = ",".join(row(vector) for vector in embedding)
    head = json.dumps({**metadata, "timestamps": timestamps.tolist()})
    return f'{head[:-1]}, "embedding": [{rows}]}}'.encode()


def row(vector) -> str:
    """A vector as JSON: nine digits tell every float32 from its neighbours."""
    return f"[{','.join(map('%.9g'.__mod__, vector.tolist()))}]"


def as_npz(embedding, timestamps, metadata: dict) -> bytes:
    out = io.BytesIO()
    np.savez(out, embedding=embedding, timestamps=timestamps, metadata=np.array(json.dumps(metadata, sort_keys=True)))
    return out.getvalue()


def accepted(header: str, offered: list[str]) -> str | None:
    """The offered media type that an Accept header likes best; the first of equals; None where it likes none."""
    ranges = []
    for part in (header or "*/*").split(","):
        kind, *parameters = (field.strip().lower() for field in part.split(";"))
        quality = next((p[2:] for p in parameters if p.startswith("q=")), "1")
        try:
            ranges.append((kind, float(quality)))
        except ValueError:
            ranges.append((kind, 0.0))

    def liking(offer: str) -> float:
        for wanted in (offer, f"{offer.split('/')[0]}/*", "*/*"):  # the most specific range decides
            if found := [quality for kind, quality in ranges if kind == wanted]:
                return max(found)
        return 0.0

    best = max(offered, key=liking)
    return best if liking(best) > 0 else None
