"""The client of a service (`l3embed serve`): the methods of a local model, computed elsewhere. Needs NumPy only.

Vectors are those of the local model to the last bit, where the service computes in the same precision.
"""

from __future__ import annotations

import contextlib
import http.client
import io
import itertools
import json
import os
import secrets
import time
import urllib.parse
import warnings
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from .errors import AudioError, L3EmbedWarning, ServiceError, UsageError, reason

AT_ONCE = 4  # recordings sent at a time by `each`: the service computes them in the same batches
OURS = {"bad_setting": UsageError, "unknown_model": UsageError, "no_key": UsageError}  # reasons, as local errors
OF_SOUND = ("bad_audio", "beyond_limits", "too_long", "too_many_windows", "too_costly", "too_large", "empty")
AGAIN = (429, 502, 503)  # statuses after which a request may be sent again


class Client:
    """A service, seen as one of its models. May be used from several threads.

    Parameters
    ----------
    url : address of the service, such as "http://127.0.0.1:8000"
    api_key : where the service asks for one
    model : which of its models; None: its first
    timeout_s : without a byte from the service, after which it counts as lost
    retry_s : for how long in all a request is sent again where the service says that it is too busy (429, 503)
    """

    def __init__(
        self, url: str, api_key: str | None = None, *, model: str | None = None, timeout_s: float = 1800.0,
        retry_s: float = 300.0,
    ):  # fmt: skip
        parts = urllib.parse.urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise UsageError(f"url must be like http://127.0.0.1:8000. Received: {url!r}")
        self.url, self._parts, self._model = url.rstrip("/"), parts, model
        self._headers = {} if api_key is None else {"Authorization": f"Bearer {api_key}"}
        self._timeout_s, self._retry_s = timeout_s, retry_s
        self._idle: list[http.client.HTTPConnection] = []  # one for each thread that was at work
        self._card: dict | None = None

    # --- the model

    @property
    def info(self) -> dict:
        """Its card: name, dim, rate_hz, window_s, hop_s, precision, fingerprint, licence ..."""
        if self._card is None:
            told = self._json("GET", "/v1/models")
            wanted = self._model or told["default"]
            found = [card for card in told["models"] if card["name"] == wanted]
            if not found:
                known = ", ".join(card["name"] for card in told["models"])
                raise UsageError(f"{self.url} has no model {wanted!r}: one of {known}")
            self._card = found[0]
        return self._card

    @property
    def name(self) -> str:
        return self.info["name"]

    @property
    def dim(self) -> int:
        """Numbers in a vector."""
        return self.info["dim"]

    @property
    def precision(self) -> str:
        return self.info["precision"]

    @property
    def fingerprint(self) -> str:
        """As in the metadata of `l3embed extract`."""
        return self.info["fingerprint"]

    @property
    def classes(self) -> list[str] | None:
        """What the numbers of a vector are the scores of, where they are scores and have names."""
        return self.info["classes"]

    def models(self) -> list[dict]:
        """The cards of all models of the service."""
        return self._json("GET", "/v1/models")["models"]

    # --- embeddings

    def embed(
        self, audio, sample_rate=None, *, hop: float | None = None, center: bool | None = None,
        windows: str = "exact", timestamps: str = "exact",
    ):  # fmt: skip
        """As `embed` of the local model: (T, D) float32 and (T,) float64 s of an array or a file, or a list of them.

        Raises AudioError for sound that cannot be embedded, UsageError for settings out of range, ServiceError where
        the service does not answer.
        """
        many = isinstance(audio, list | tuple)
        how = {"hop": hop, "center": center, "windows": windows, "timestamps": timestamps}
        results = list(self.each(audio if many else [audio], sample_rate, **how))
        return results if many else results[0]

    def each(self, sounds: Iterable, sample_rate=None, **how) -> Iterator[tuple]:
        """The (embedding, timestamps) of many sounds, in order; a few are under way at a time."""
        if isinstance(sample_rate, list | tuple):
            sounds = list(sounds)
            if len(sample_rate) != len(sounds):
                n = len(sounds)
                raise UsageError(f"sample_rate must be one number or one for each sound: {n}, not {len(sample_rate)}")
            rates = iter(sample_rate)
        else:
            rates = itertools.repeat(sample_rate)
        under_way: deque = deque()
        with ThreadPoolExecutor(AT_ONCE, "l3embed-client") as threads:
            for i, (sound, rate) in enumerate(zip(sounds, rates, strict=False)):
                under_way.append(threads.submit(self._embed, _Sound(sound, rate, i), how))
                if len(under_way) > AT_ONCE:
                    yield _warned(under_way.popleft().result())
            while under_way:
                yield _warned(under_way.popleft().result())

    def _embed(self, sound: _Sound, how: dict) -> tuple[np.ndarray, np.ndarray, list[str]]:
        query = self._query({**how, "sample_rate": sound.sample_rate})
        headers = {"Content-Type": sound.kind, "Accept": "application/x-npz"}
        data = self._read("POST", f"/v1/embed{query}", sound.body, headers, sound.where)
        with np.load(io.BytesIO(data), allow_pickle=False) as file:
            notes = [sound.where + note for note in json.loads(str(file["metadata"]))["notes"]]
            return file["embedding"], file["timestamps"], notes

    def stream(self, audio, sample_rate=None, **how) -> Iterator[tuple[np.ndarray, float]]:
        """(D,) float32 and its time in s, of each window of one recording, as they are computed: for long ones.

        Settings as of `embed`. Raises what `embed` raises, after some windows where the sound goes wrong in its middle.
        """
        sound = _Sound(audio, sample_rate, 0)
        query = self._query({**how, "sample_rate": sound.sample_rate})
        headers = {"Content-Type": sound.kind, "Accept": "application/x-ndjson"}
        with self._answered("POST", f"/v1/embed{query}", sound.body, headers, sound.where) as answer:
            answer.readline()  # what is known beforehand
            for line in answer:
                row = json.loads(line)
                if "error" in row:
                    raise _error(row["error"], sound.where)
                if "embedding" not in row:
                    _warned((None, None, [sound.where + note for note in row["notes"]]))
                    answer.read()  # its end
                    return
                yield np.array(row["embedding"], np.float32), row["time_s"]
            raise ServiceError(f"{self.url}: the answer ended before the recording did")

    def similarity(self, a, b, *, pool: str = "mean", matrix: bool = False, **how):
        """Cosine of the pooled vectors of two files (paths or their bytes); with `matrix`, that and the (Ta, Tb) of
        their windows. Settings as of `embed`."""
        boundary = secrets.token_hex(16)
        parts = []
        for name, sound in (("a", a), ("b", b)):
            head = f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"; filename="{name}"\r\n\r\n'
            parts += [head.encode(), _bytes(sound), b"\r\n"]
        body = b"".join([*parts, f"--{boundary}--\r\n".encode()])
        query = self._query({**how, "pool": pool, "matrix": matrix})
        headers = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
        told = self._json("POST", f"/v1/similarity{query}", lambda: body, headers)
        return (told["similarity"], np.array(told["matrix"])) if matrix else told["similarity"]

    # --- the wire

    def close(self) -> None:
        """Let go of connections; the client makes new ones where it is used again."""
        while self._idle:
            self._idle.pop().close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *exc) -> None:
        self.close()

    def __del__(self):
        if hasattr(self, "_idle"):
            self.close()

    def _query(self, settings: dict) -> str:
        given = {"model": self._model, **settings}
        given = {name: str(v).lower() if isinstance(v, bool) else v for name, v in given.items() if v is not None}
        return f"?{urllib.parse.urlencode(given)}" if given else ""

    def _json(self, method: str, path: str, body=lambda: None, headers: dict | None = None) -> dict:
        return json.loads(self._read(method, path, body, headers or {}))

    def _read(self, method: str, path: str, body, headers: dict, where: str = "") -> bytes:
        """A whole answer."""
        with self._answered(method, path, body, headers, where) as answer:
            return answer.read()

    @contextlib.contextmanager
    def _answered(self, method: str, path: str, body, headers: dict, where: str):
        """A response of status 200, to be read. Raises what a problem stands for, and ServiceError."""
        connection, response = self._sent(method, path, body, headers, where)
        try:
            yield response
        except (OSError, http.client.HTTPException) as error:
            raise ServiceError(f"{self.url}: the answer broke off ({reason(error)})") from error
        finally:
            if response.isclosed():  # it was read to its end: the connection is good for another request
                self._idle.append(connection)
            else:
                response.close()
                connection.close()

    def _sent(self, method: str, path: str, body, headers: dict, where: str):
        """(connection, response) of a request, which is sent again while that may help."""
        until, lost = time.monotonic() + self._retry_s, 0
        while True:
            content = body()
            connection = self._idle.pop() if self._idle else self._connection()
            try:
                response = _exchange(connection, method, self._parts.path + path, content, {**self._headers, **headers})
                if response.status == 200:
                    return connection, response
                problem, wait_s = _problem(response), _retry_after_s(response)
                self._idle.append(connection)
            except (OSError, http.client.HTTPException) as error:
                connection.close()
                lost += 1
                if lost > 1 + AT_ONCE or isinstance(error, ConnectionRefusedError | TimeoutError):
                    raise ServiceError(f"{self.url}: cannot be reached ({reason(error)})") from error
                continue  # it was idle for too long, as may be those that were beside it
            if response.status not in AGAIN or time.monotonic() + wait_s > until:
                raise _error(problem, where)
            time.sleep(wait_s)

    def _connection(self) -> http.client.HTTPConnection:
        kind = http.client.HTTPSConnection if self._parts.scheme == "https" else http.client.HTTPConnection
        return kind(self._parts.hostname, self._parts.port, timeout=self._timeout_s)


def _exchange(connection, method: str, path: str, content, headers: dict) -> http.client.HTTPResponse:
    """Send and wait. A service that has heard enough answers before the end of a body: that answer counts."""
    try:
        if hasattr(content, "read"):
            headers = {**headers, "Content-Length": str(os.fstat(content.fileno()).st_size)}
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            connection.request(method, path, content, headers)
    finally:
        if hasattr(content, "close"):
            content.close()
    return connection.getresponse()


def _retry_after_s(response: http.client.HTTPResponse) -> float:
    """As the service says; a second where it says nothing that is understood."""
    text = response.headers.get("Retry-After", "")
    return float(text) if text.isdigit() else 1.0


def _problem(response: http.client.HTTPResponse) -> dict:
    """What a problem says, whoever sent it: a proxy in between has words of its own."""
    try:
        told = json.loads(response.read())
        return {"reason": str(told["reason"]), "detail": str(told["detail"])}
    except (ValueError, KeyError, TypeError):
        return {"reason": "", "detail": f"the service answered {response.status} {response.reason}"}
    finally:
        response.close()


def _error(problem: dict, where: str) -> Exception:
    """A problem as the local model would have raised it."""
    detail = problem["detail"]
    if problem["reason"] in OF_SOUND:
        return AudioError(where + detail.removeprefix("the recording "))
    return OURS.get(problem["reason"], ServiceError)(detail)


def _warned(result: tuple) -> tuple:
    for note in result[2]:
        warnings.warn(note, L3EmbedWarning, stacklevel=3)
    return result[:2]


def _bytes(sound) -> bytes:
    if isinstance(sound, bytes):
        return sound
    with _open(sound) as file:
        return file.read()


def _open(path):
    try:
        return open(path, "rb")
    except (OSError, ValueError, TypeError) as error:
        text = "does not exist" if isinstance(error, FileNotFoundError) else f"cannot be read: {reason(error)}"
        raise AudioError(f"{path}: {text}") from None


class _Sound:
    """An array, or the file at a path, as the body of a request."""

    def __init__(self, audio, sample_rate, index: int):
        self._audio, self._is_file = audio, isinstance(audio, str | os.PathLike)
        self.where = f"{os.fspath(audio)}: " if self._is_file else f"sound {index}: "
        self.kind = "application/octet-stream" if self._is_file else "application/x-npy"
        self.sample_rate = None if self._is_file else sample_rate
        if not self._is_file and sample_rate is None:
            raise UsageError(f"{self.where}sample_rate is missing: arrays do not say how fast they were sampled")

    def body(self):
        if self._is_file:
            return _open(self._audio)
        out = io.BytesIO()
        try:
            array = np.asarray(self._audio)
            if array.dtype.kind == "f" and array.dtype.itemsize > 4:
                with np.errstate(over="ignore"):  # becomes infinite, and is refused as such
                    array = array.astype(np.float32)  # as the local model does first of all
            np.save(out, array, allow_pickle=False)
        except (TypeError, ValueError):
            raise AudioError(f"{self.where}is not an array of samples: expected (n,) or (n, channels)") from None
        return out.getvalue()
