"""The reader for everything else: ffmpeg, through a pipe; and where ffmpeg is found."""

from __future__ import annotations

import re
import shutil
import struct
import threading
from functools import lru_cache

import numpy as np

from ..errors import AudioError, reason
from .bounds import DEMUXERS
from .source import Source

_NO_FFMPEG = "needs ffmpeg to be decoded and none was found: install ffmpeg, or pip install imageio-ffmpeg"
TRUNCATED = "is truncated (its index, the moov atom, is missing, as in a recording that was cut off), or no MP4 at all"
_NOT_AUDIO = "is not audio: neither libsndfile nor ffmpeg recognises it"


class Process:
    """An ffmpeg that decodes into a pipe, and what it says while it does. `read` the pipe, then `close`."""

    # the level that ffmpeg puts in front of its lines, after the part of ffmpeg that speaks
    _ERROR = re.compile(r"(\[[^]]* @ [^]]*\] )*\[(error|fatal|panic)\]")

    def __init__(self, output, path: str, stdin: int | None = None):
        """`path` of a file, or "" where ffmpeg gets an open one as its standard input, and no name."""
        self.expected_s, self._errors, self._recognised, self._estimated = None, [], False, False
        output = output.global_args("-nostdin", "-hide_banner", "-nostats", "-loglevel", "level+info")
        self._process = _start(output, path, stdin)
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def _listen(self) -> None:
        """Empty ffmpeg's log as it fills, lest ffmpeg waits for us; keep what matters of it."""
        for line in self._process.stderr:
            self._hear(line.decode("utf-8", "replace"))

    def _hear(self, text: str) -> None:
        self._recognised |= text.startswith("[info] Input #0")
        self._estimated |= "Estimating duration" in text
        if self.expected_s is None:
            self.expected_s = _duration_s(text)
        if self._ERROR.match(text) and len(self._errors) < 20:
            self._errors.append(text)

    def _said(self) -> str:
        """All errors, once ffmpeg has ended."""
        self._process.wait()
        self._listener.join()
        return " ".join(self._errors)

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        self._listener.join()
        self._process.stdout.close()
        self._process.stderr.close()


class Ffmpeg(Process):
    """Reads through ffmpeg what libsndfile does not recognise: the first sound track, as AU (rate in its header)."""

    def __init__(self, source: Source, guarded: bool = False):
        """`guarded`: ffmpeg gets an open file and no name, and no protocol and no demuxer that leads elsewhere."""
        import ffmpeg

        as_sound = {"map": "0:a:0", "format": "au", "acodec": "pcm_f32be"}
        if guarded:
            protocol = _open_file_protocol()
            sound = ffmpeg.input(f"{protocol}:", protocol_whitelist=protocol, format_whitelist=DEMUXERS)
            super().__init__(sound.output("pipe:1", **as_sound), "", source.descriptor())
        else:
            sound = ffmpeg.input("PATH", protocol_whitelist="file")
            super().__init__(sound.output("pipe:1", **as_sound), source.path())
        try:
            header = self._process.stdout.read(24)
            if len(header) < 24 or header[:4] != b".snd":
                raise AudioError(self._failure(0))
            offset, _, _, self.rate_hz, self.channels = struct.unpack(">5I", header[4:])
            self._process.stdout.read(offset - 24)  # a title
        except BaseException:
            self.close()
            raise

    @property
    def is_estimate(self) -> bool:
        """Whether `expected_s` is no more than a guess."""
        return self._estimated

    def read(self, n: int) -> np.ndarray:
        data = self._process.stdout.read(n * self.channels * 4)
        whole = len(data) - len(data) % (self.channels * 4)
        return np.frombuffer(data[:whole], ">f4").reshape(-1, self.channels).astype(np.float32)

    def finish(self, seconds: float) -> list[str]:
        if self._process.wait():
            raise AudioError(self._failure(seconds))
        notes = ["damaged: ffmpeg decoded on, some sound may be missing or wrong"] if self._said() else []
        # a video may outlast its sound by a little
        if self.expected_s and not self._estimated and seconds < 0.9 * self.expected_s - 1:
            notes.append(f"the header promises {self.expected_s:.2f} s, the sound ends at {seconds:.2f} s")
        return notes

    def _failure(self, seconds: float) -> str:
        said = self._said()
        if "matches no streams" in said:
            return "has no sound track"
        if "moov atom not found" in said:
            return TRUNCATED
        if seconds:
            return f"is damaged: ffmpeg could not decode it past {seconds:.2f} s"
        if not self._recognised and ("Invalid data" in said or "Invalid argument" in said):  # or not in DEMUXERS
            return _NOT_AUDIO
        status = self._process.returncode
        return f"cannot be decoded: neither libsndfile nor ffmpeg (status {status}) understands its sound"


def header_s(path) -> float | None:
    """The duration that a file's header promises, None where it says nothing, from ffmpeg: there may be no ffprobe."""
    import subprocess

    command = [ffmpeg_binary(), "-hide_banner", "-nostdin", "-loglevel", "level+info", "-i", f"file:{path}"]
    said = subprocess.run(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, check=False).stderr
    found = (_duration_s(line) for line in said.decode(errors="replace").splitlines())
    return next((seconds for seconds in found if seconds is not None), None)


def track_s(path, track: str) -> float:
    """Where a track ("a:0", "v:0") ends, read to its end but not decoded; 0.0 where there is none."""
    import subprocess

    command = [ffmpeg_binary(), "-nostdin", "-v", "error", "-progress", "pipe:1", "-i", f"file:{path}"]
    command += ["-map", f"0:{track}", "-c", "copy", "-f", "null", "-"]
    said = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False).stdout
    ends = re.findall(rb"out_time=(\d+):(\d+):([\d.]+)", said)
    return max((3600 * float(h) + 60 * float(m) + float(s) for h, m, s in ends), default=0.0)


def _duration_s(line: str) -> float | None:
    """Seconds, from the line of ffmpeg's log that tells the duration."""
    found = re.match(r"\[info\] +Duration: (\d+):(\d+):([\d.]+)", line)
    return 3600 * float(found[1]) + 60 * float(found[2]) + float(found[3]) if found else None


def _start(output, path: str, stdin: int | None):
    import subprocess

    command = ffmpeg_command(output, path) if path else output.compile(cmd=ffmpeg_binary())
    try:
        pipe = subprocess.PIPE
        return subprocess.Popen(command, stdin=subprocess.DEVNULL if stdin is None else stdin, stdout=pipe, stderr=pipe)
    except OSError as error:
        raise AudioError(f"needs ffmpeg to be decoded, which does not start: {reason(error)}") from None


@lru_cache
def _open_file_protocol() -> str:
    """How ffmpeg reads the file that is its standard input: "fd", which can seek (since 6.0), or else "pipe"."""
    import subprocess

    command = [ffmpeg_binary(), "-hide_banner", "-protocols"]
    known = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False).stdout.split()
    return "fd" if b"fd" in known else "pipe"


def ffmpeg_command(output, path) -> list[str]:
    """The command of a graph of ffmpeg-python whose input is called PATH.

    `file:` (and protocol_whitelist="file" of the input): the name is a name, and nothing leads to the network.
    """
    command = output.compile(cmd=ffmpeg_binary())
    command[command.index("PATH")] = f"file:{path}"  # ffmpeg-python fails on names that are not UTF-8
    return command


def ffmpeg_binary() -> str:
    if found := shutil.which("ffmpeg"):
        return found
    try:
        import imageio_ffmpeg

        return imageio_ffmpeg.get_ffmpeg_exe()
    except (ImportError, RuntimeError):
        raise AudioError(_NO_FFMPEG) from None
