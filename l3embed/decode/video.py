"""The pictures of a video, one after the other, through ffmpeg."""

from __future__ import annotations

import queue
import re
from collections.abc import Iterator
from fractions import Fraction
from functools import lru_cache

import numpy as np

from ..errors import ImageError
from .ffmpeg import TRUNCATED, Process, ffmpeg_binary, ffmpeg_command
from .source import CHANGED, Source


class Video(Process):
    """A video's pictures, to be iterated once for ``(time_s, (height, width, 3) uint8)``; memory for one of them.

    Pictures are upright (rotation tags are obeyed) and have the shape in which they are shown (pixels that are not
    square are made so). ffmpeg scales them, so that a shorter side above `shorter` becomes `shorter` and one below
    `crop` becomes `crop`, and cuts out the middle `crop` x `crop`: a stream may change its resolution on the way.

    Times are the presentation times of the stream, whatever its rate does, from the beginning of the file.

    With `as_openl3`: squeezed to `shorter` x `shorter`, at a constant rate (doubled or dropped where the stream's rate
    varies), times as if the rate were ``int(rate)``; so moviepy handed them to OpenL3 0.4.

    `notes` about a result that is nevertheless valid; `expected_s` is the duration that the header promises.
    """

    _CLOCK = re.compile(r"config in time_base: (\d+)/(\d+), frame_rate: (\d+)/(\d+)")
    _PICTURE = re.compile(r"n: *\d+ pts: *(-?\d+|NOPTS) ")
    _SIZE = re.compile(r"\[info\] +Stream #0.* Video: .*?, (\d+)x(\d+)")

    def __init__(self, source: Source, shorter: int, crop: int, as_openl3: bool = False):
        self._source, self._as_openl3 = source, as_openl3
        self._size = shorter if as_openl3 else crop
        self._crop, self._smallest = crop, None
        self._times: queue.SimpleQueue = queue.SimpleQueue()
        self._clock, self.rate_hz = Fraction(0), Fraction(0)  # seconds a tick; nominal pictures a second
        self.notes: list[str] = []
        super().__init__(_graph(shorter, crop, as_openl3), source.path())

    def __iter__(self) -> Iterator[tuple[float, np.ndarray]]:
        shape = (self._size, self._size, 3)
        n, last_s = 0, None
        try:
            while len(data := self._process.stdout.read(3 * self._size**2)) == 3 * self._size**2:
                at_s = self._time(n, last_s)
                if last_s is not None and at_s < last_s:
                    at_s = last_s
                    self._note("its time stamps run backwards: such pictures have the time of the one before")
                yield at_s, np.frombuffer(data, np.uint8).reshape(shape)
                n, last_s = n + 1, at_s
            self._finish(n, last_s)
        finally:
            self.close()

    def _time(self, n: int, last_s: float | None) -> float:
        """Of picture n. ffmpeg has told it before it wrote the picture; only the listener may be late."""
        if self._as_openl3 and n:  # told for each picture of the stream, not for each one at a constant rate
            return n / int(self.rate_hz)
        told = self._times.get()
        if self._as_openl3 and self.rate_hz < 1:
            raise ImageError(f"has {float(self.rate_hz):.3g} pictures a second: OpenL3 0.4 refuses less than one")
        if self._as_openl3:
            return 0.0
        if told is None:  # a bare stream without time stamps
            return 0.0 if last_s is None else last_s + float(1 / self.rate_hz if self.rate_hz else 0)
        return float(told)

    def _listen(self) -> None:
        super()._listen()
        self._times.put(None)  # ffmpeg has ended: nobody waits for more

    def _hear(self, text: str) -> None:
        super()._hear(text)
        if found := self._PICTURE.search(text):
            self._times.put(None if found[1] == "NOPTS" else int(found[1]) * self._clock)
        elif found := self._CLOCK.search(text):
            ticks, per, pictures, seconds = map(int, found.groups())
            self._clock = Fraction(ticks, per)
            self.rate_hz = Fraction(pictures, seconds) if seconds else Fraction(0)
        elif self._smallest is None and (found := self._SIZE.match(text)):
            self._smallest = min(map(int, found.groups()))

    def _finish(self, n: int, last_s: float | None) -> None:
        said = self._said()
        if self._source.changed():
            raise ImageError(CHANGED)
        if not n:
            raise ImageError(self._failure(said))
        if self._process.returncode:
            raise ImageError(f"is damaged: ffmpeg could not decode its picture past {last_s:.2f} s")
        if said:
            self._note("damaged: ffmpeg decoded on, some pictures may be missing or wrong")
        if self._smallest and self._smallest < self._crop and not self._as_openl3:
            self._note(f"smaller than {self._crop} x {self._crop}: enlarged")
        if self.expected_s and not self._estimated and last_s < 0.9 * self.expected_s - 1:
            self._note(f"the header promises {self.expected_s:.2f} s, the picture ends at {last_s:.2f} s")

    def _failure(self, said: str) -> str:
        if "matches no streams" in said:
            return "has no picture (a cover does not count)"
        if "moov atom not found" in said:
            return TRUNCATED
        if not self._recognised and "Invalid data" in said:
            return "is neither a picture nor a video: neither Pillow nor ffmpeg recognises it"
        if not self._process.returncode:
            return "holds no pictures: its header is valid, but none can be decoded"
        return (
            f"cannot be decoded: neither Pillow nor ffmpeg (status {self._process.returncode}) understands its picture"
        )

    def _note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)

    def close(self) -> None:
        super().close()
        self._source.close()


def _graph(shorter: int, crop: int, as_openl3: bool):
    """The graph that decodes, scales, cuts, and tells each picture's time stamp in the log (showinfo)."""
    import ffmpeg

    # V: a picture track that is no cover. Time stamps in ticks, for showinfo rounds seconds to six digits.
    pictures = ffmpeg.input("PATH", protocol_whitelist="file")["V:0"]
    if as_openl3:
        pictures = pictures.filter("scale", shorter, shorter, flags="bicubic").filter("format", "rgb24")
        return pictures.filter("showinfo").output("pipe:1", format="rawvideo")
    side = "min(iw*sar,ih)"
    factor = f"if(gt({side},{shorter}),{shorter}/{side},if(lt({side},{crop}),{crop}/{side},1))"
    size = [f"max({crop},round({length}*{factor}))" for length in ("iw*sar", "ih")]
    pictures = pictures.filter("scale", *size, flags="bicubic").filter("format", "rgb24").filter("crop", crop, crop)
    return pictures.filter("showinfo").output(
        "pipe:1", format="rawvideo", **{each_once(ffmpeg_binary()): "passthrough"}
    )


def sound_start(source) -> float:
    """When a recording's sound begins, in seconds on the clock of its pictures; 0.0 where ffmpeg does not say."""
    import subprocess

    import ffmpeg

    sound = ffmpeg.input("PATH", protocol_whitelist="file")["a:0"].filter("ashowinfo")
    first = sound.output("pipe:1", format="null", **{"frames:a": 1}).global_args("-nostdin", "-hide_banner")
    file = Source(source)
    try:
        said = subprocess.run(ffmpeg_command(first, file.path()), capture_output=True, check=False).stderr
    finally:
        file.close()
    found = re.search(rb" pts_time:(-?[0-9.e+-]+) ", said)
    return float(found[1]) if found else 0.0


@lru_cache
def each_once(binary: str) -> str:
    """The option that lets every picture through, once: -vsync until ffmpeg 5.0, -fps_mode since, only that since 8."""
    import subprocess

    said = subprocess.run([binary, "-hide_banner", "-h", "long"], capture_output=True, check=False).stdout
    return "fps_mode" if b"\n-fps_mode" in said else "vsync"
