"""What recordings from strangers may be: how much of them is decoded, and what ffmpeg is allowed to do for it."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..errors import LimitError


@dataclass(frozen=True)
class Bounds:
    """Limits that a header must keep before anything is decoded, and that hold for the sound whatever it says."""

    seconds: float = math.inf
    channels: int = 1 << 16
    least_hz: float = 0.0
    most_hz: float = math.inf

    def check(self, reader) -> None:
        """Raises LimitError for a reader whose header says that it is beyond them."""
        if reader.channels > self.channels:
            raise LimitError(f"has {reader.channels} channels, at most {self.channels} are allowed")
        if not self.least_hz <= reader.rate_hz <= self.most_hz:
            raise LimitError(
                f"has a rate of {reader.rate_hz:g} Hz, {self.least_hz:g} to {self.most_hz:g} Hz are allowed"
            )
        if not reader.is_estimate:
            self.check_seconds(reader.expected_s or 0)

    def check_seconds(self, seconds: float) -> None:
        """Raises LimitError where so much sound is too much."""
        if seconds > self.seconds:
            raise LimitError(f"is longer than the {self.seconds:g} s that are allowed")


# The demuxers of ffmpeg that hold sound and nothing but it or pictures beside it: what follows no reference to other
# files or addresses (as playlists, concat, dash and hls do) and generates nothing (as lavfi does).
DEMUXERS = (
    "aac,ac3,aiff,amr,amrnb,amrwb,ape,asf,au,avi,caf,dsf,dts,dtshd,eac3,flac,flv,gsm,iff,matroska,webm,"
    "mov,mp4,m4a,3gp,3g2,mj2,mp3,mpc,mpc8,mpeg,mpegts,nistsphere,ogg,oma,pvf,qcp,shn,sox,tak,truehd,tta,voc,w64,wav,"
    "wsd,wv,xwma"
)
