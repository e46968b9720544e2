"""The child process that decodes what strangers send: an open file in, what the engine takes out.

It has no names, no network of its own making, and limits on memory, processor time and files; whatever becomes of it is
the end of one request. It trusts what it is told and is not trusted: its messages are plain bytes, never pickles.

A message: lengths of head and body (">II"), the head (JSON), the body (float32, of the head's shape).
"""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import signal
import socket
import struct
import traceback
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from .. import decode
from ..embed import oddities, prepared
from ..errors import AudioError, LimitError, UsageError, reason
from ..spec import FrontEnd, Waveform
from ..windows import Framing

LENGTHS = struct.Struct(">II")
NUMBER = struct.Struct(">i")  # between service and nursery: 0 and a socket, or the number of a process
HIGHEST_HZ = 1e9  # that is said of samples; what is allowed is less (Limits)
LARGE_KB = 512 * 1024


@dataclass(frozen=True)
class Task:
    """What is to be done with the file that comes along. `kind`: a recording of any format, or samples in .npy or JSON.

    `sample_rate`: Hz, of a .npy; JSON brings its own.
    """

    kind: str
    front_end: FrontEnd | Waveform
    framing: Framing
    bounds: decode.Bounds
    sample_rate: float | None
    cpu_s: float
    memory_bytes: int


def nursery(control: socket.socket) -> None:
    """Make children, each for the socket that is sent, and tell what became of them; until nobody asks any more.

    What decoding takes is loaded here, once: a child is there in milliseconds, and shares the memory of it.
    """
    import ffmpeg  # noqa: F401
    import soundfile  # noqa: F401
    import soxr  # noqa: F401

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the service's
    while True:
        asked, descriptors, _, _ = socket.recv_fds(control, NUMBER.size, 1)
        if not asked:
            return
        (pid,) = NUMBER.unpack(asked)
        if descriptors:
            control.sendall(NUMBER.pack(_child(control, descriptors[0])))
        else:
            _, status = os.waitpid(pid, 0)
            control.sendall(NUMBER.pack(os.waitstatus_to_exitcode(status)))


def _child(control: socket.socket, descriptor: int) -> int:
    pid = os.fork()
    if pid:
        os.close(descriptor)
        return pid
    try:
        control.close()
        main(socket.socket(fileno=descriptor))
    except (EOFError, OSError):  # the service is gone
        pass
    finally:
        os._exit(0)


def main(link: socket.socket) -> None:
    """Do what comes until nobody is there any more."""
    os.setsid()  # its ffmpeg can be ended with it
    with link:
        while received := _receive(link):
            task, file = received
            with file:
                _limit(task)
                for head, rows in messages(task, file):
                    _send(link, head | {"used_up": _is_large()}, rows)


def _receive(link: socket.socket) -> tuple[Task, object] | None:
    data, descriptors, _, _ = socket.recv_fds(link, LENGTHS.size, 1)
    if not data:
        return None
    (length, _) = LENGTHS.unpack(data)
    return pickle.loads(_exactly(link, length)), open(descriptors[0], "rb")


def _exactly(link: socket.socket, n: int) -> bytes:
    data = bytearray(n)
    read_into(link, memoryview(data))
    return bytes(data)


def read_into(link: socket.socket, buffer: memoryview) -> None:
    """Fill a buffer. Raises EOFError where the other side is gone before."""
    while len(buffer):
        n = link.recv_into(buffer)
        if not n:
            raise EOFError
        buffer = buffer[n:]


def _send(link: socket.socket, head: dict, rows: np.ndarray | None) -> None:
    text = json.dumps(head).encode()
    body = memoryview(b"") if rows is None else memoryview(np.ascontiguousarray(rows)).cast("B")
    link.sendall(LENGTHS.pack(len(text), len(body)) + text)
    link.sendall(body)


def _limit(task: Task) -> None:
    """Of this process, and of the ffmpeg that it may start: memory, processor time, no files, no core dumps."""
    import resource

    used = resource.getrusage(resource.RUSAGE_SELF)
    seconds = int(used.ru_utime + used.ru_stime + max(0.0, task.cpu_s)) + 1
    for what, most in (
        (resource.RLIMIT_AS, task.memory_bytes), (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_FSIZE, 0), (resource.RLIMIT_CORE, 0),
    ):  # fmt: skip
        _, hard = resource.getrlimit(what)
        resource.setrlimit(what, (most if hard < 0 else min(most, hard), hard))


def _is_large() -> bool:
    """Whether this process was ever so large that it had better end: what Python holds it may hold for ever."""
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss > LARGE_KB


def messages(task: Task, file) -> Iterator[tuple[dict, np.ndarray | None]]:
    """What becomes of a recording: heads with rows, then one without, that says how it ended."""
    try:
        front_end = task.front_end
        with _opened(task, file) as recording:
            recording.mix = front_end.mix
            yield {"expected_s": recording.expected_s}, None
            for n, rows in prepared(recording, front_end, task.framing):
                yield {"n_windows": n, "shape": rows.shape}, rows
            notes = oddities(recording, task.framing)
        yield {"end": "done", "seconds": recording.seconds, "notes": notes}, None
    except LimitError as error:
        yield _failed("too_long" if "longer" in str(error) else "beyond_limits", error), None
    except AudioError as error:
        yield _failed("bad_audio", error), None
    except UsageError as error:
        yield _failed("bad_setting", error), None
    except MemoryError:
        yield {"end": "too_costly", "detail": "needs more memory to be decoded than is allowed"}, None
    except Exception as error:  # nobody foresaw it: whatever it is, it is this recording's; the log has more
        traceback.print_exception(error)
        yield {"end": "bad_audio", "detail": "cannot be decoded"}, None


def _failed(why: str, error: Exception) -> dict:
    return {"end": why, "detail": reason(error)}


def _opened(task: Task, file) -> decode.Recording:
    rate_hz = task.front_end.rate_hz
    if task.kind == "recording":
        return decode.open_recording(file, rate_hz, task.bounds)
    samples, sample_rate = _json(file) if task.kind == "json" else (_npy(file), task.sample_rate)
    return decode.open_array(samples, sample_rate, rate_hz, task.bounds)


def _npy(file) -> np.ndarray:
    try:
        return np.lib.format.read_array(file, allow_pickle=False)
    except (ValueError, EOFError, OSError, SyntaxError, TypeError):
        raise AudioError("is not a .npy file of numbers") from None


def _json(file) -> tuple[np.ndarray, float]:
    """Samples (n,) or (n, channels) in [-1, 1], and their rate in Hz."""
    try:
        table = json.load(file)
        samples, rate_hz = table["samples"], table["sample_rate"]
    except (ValueError, RecursionError):
        raise AudioError("is not JSON") from None
    except (TypeError, KeyError, IndexError):
        raise AudioError('is not an object with "samples" and "sample_rate"') from None
    array = None
    with contextlib.suppress(TypeError, ValueError, OverflowError):
        array = np.asarray(samples)
    if array is None or array.dtype.kind not in "iuf":
        raise AudioError("has samples that are not a list of numbers, or a list of such lists, all of one length")
    if not isinstance(rate_hz, int | float) or isinstance(rate_hz, bool) or not 0 < rate_hz <= HIGHEST_HZ:
        raise UsageError("sample_rate must be a number of Hz, more than 0")
    return array.astype(np.float64), float(rate_hz)
