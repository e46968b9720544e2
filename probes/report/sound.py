"""A recording -> a small copy that a page can hold.

MP3 by libsndfile: every browser plays it (Ogg does not play in older Safaris), and equal sound gives equal bytes, which
libsndfile's Ogg files do not (each has a random number of its stream).
"""

from __future__ import annotations

import base64
import io
import os
from pathlib import Path

import numpy as np

from l3embed.errors import L3EmbedError

SECONDS = 8.0  # of a longer clip, its beginning
RATES_HZ = (8000, 16_000, 24_000, 32_000)  # that MP3 has, and enough to listen to
NONE = {"src": None, "href": None, "note": None}
BUDGET = 6_000_000  # bytes of a page's sounds together, before base64


class Sounds:
    """Copies of clips for one page, as long as there is room; afterwards links to the files."""

    def __init__(self, folder: Path, budget: int = BUDGET):
        self.folder, self.left = folder, budget  # links are relative to the folder
        self._made: dict[tuple, dict] = {}

    def of(self, clip: dict) -> dict:
        """{"src": data URI, "href": relative path, "note": what should be known of it}, None for what there is not."""
        key = (clip["path"], clip.get("start_s"), clip.get("end_s"))
        if key not in self._made:
            self._made[key] = NONE | self._make(clip)
        return self._made[key]

    def _make(self, clip: dict) -> dict:
        path = Path(clip["path"])
        if not path.is_file():
            return {"note": "not at hand"}
        link = {"href": _relative(path, self.folder)}
        if self.left <= 0:
            return link
        try:
            sound, cut = copy(path, clip.get("rate_hz"), clip.get("start_s") or 0.0, clip.get("end_s"))
        except (L3EmbedError, OSError, RuntimeError):
            return link | {"note": "cannot be played"}
        if len(sound) > self.left:
            self.left = 0
            return link
        self.left -= len(sound)
        note = {"note": f"first {SECONDS:.0f} s"} if cut else {}
        return {"src": "data:audio/mpeg;base64," + base64.b64encode(sound).decode(), **note}


def copy(path: Path, rate_hz: float | None, start_s: float = 0.0, end_s: float | None = None) -> tuple[bytes, bool]:
    """(MP3 of at most SECONDS, mono; whether it was cut), as loud as its peak allows. Raises AudioError."""
    import soundfile

    from l3embed import decode

    rate = max((r for r in RATES_HZ if r <= (rate_hz or RATES_HZ[-1])), default=RATES_HZ[0])
    until_s = min(start_s + SECONDS, end_s if end_s is not None else np.inf)
    blocks, n, cut = [], 0, False
    with decode.open_recording(path, rate) as recording:
        for block in recording:
            blocks.append(block)
            n += len(block)
            if cut := n > until_s * rate:
                break
    sound = np.concatenate(blocks)[round(start_s * rate) : round(until_s * rate)]
    sound = sound / max(np.abs(sound).max(initial=0), 1e-3) * 0.9
    out = io.BytesIO()
    soundfile.write(out, sound, rate, format="MP3", subtype="MPEG_LAYER_III", compression_level=0.7)
    return out.getvalue(), cut and until_s != end_s


def _relative(path: Path, folder: Path) -> str:
    from urllib.parse import quote

    try:
        return quote(Path(os.path.relpath(path, folder)).as_posix(), errors="backslashreplace")
    except ValueError:  # another drive
        return path.resolve().as_uri()
