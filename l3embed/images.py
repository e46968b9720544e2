"""Pictures and videos to vectors: decode -> picture front end -> engine, the corridor's other half.

Every picture or video gives one result or one failure; none is lost. A video's pictures pass one at a time.
"""

from __future__ import annotations

import contextlib
import itertools
import numbers
import os
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from . import decode, engine, imagefrontend, windows
from .errors import AudioError, ImageError, UsageError, reason
from .spec import ImageFrontEnd


class ImageModel(engine.Loaded):
    """A model of pictures, ready to embed. Made by `l3embed.load`; `engine.Loaded` lists its attributes."""

    def embed(self, *_, **__):
        """Raises UsageError."""
        raise UsageError(f"{self.name} embeds pictures, not sound: use embed_images or embed_video")

    def embed_images(self, images, frame_rate=None):
        """Embed pictures.

        Parameters
        ----------
        images : (H, W, 3) or (N, H, W, 3) array, uint8 or uint16 in its full range, or floats in [0, 1]; or the path of
            a picture; or a list of such, which may differ in size
        frame_rate : pictures per second, where arrays hold the frames of videos; a list where they differ

        Returns
        -------
        embedding : (N, D) float32, of all pictures in order
        timestamps : (N,) float64 seconds from the first picture of each array; only with `frame_rate`

        Raises ImageError for pictures that cannot be embedded. Pictures smaller than the network's input are enlarged,
        black ones embedded, both with an L3EmbedWarning. With the front end "openl3-0.4" as OpenL3 0.4.2 does it all.
        """
        items = list(images) if isinstance(images, list | tuple) else [images]
        rates = _rates(frame_rate, len(items))
        jobs = list(through(self, (_ArrayJob(item, i) for i, item in enumerate(items))))
        vectors = [rows for job in jobs for rows in job.vectors]
        embedding = np.concatenate([np.empty((0, self.dim), np.float32), *vectors])
        if rates is None:
            return embedding
        if self.spec.front_end.video == "openl3-0.4":
            rates = rates[-1:] * len(rates)  # its last one, for all
        return embedding, np.concatenate([np.empty(0), *(np.arange(j.n) / r for j, r in zip(jobs, rates, strict=True))])

    def embed_video(self, video, hop: float | None = None):
        """Embed the pictures of a video: each one, or what it shows every `hop` seconds.

        Parameters
        ----------
        video : path, bytes or binary file object; a picture counts as a video of one frame
        hop : seconds

        Returns
        -------
        embedding : (N, D) float32
        timestamps : (N,) float64 seconds from the beginning of the file: presentation times, or multiples of `hop`

        Raises ImageError.
        """
        (job,) = through(self, [_VideoJob(video)], None if hop is None else Grid.plain(hop))
        return np.concatenate([np.empty((0, self.dim), np.float32), *job.vectors]), np.array(job.times)

    def recipe(self, grid: Grid | None = None) -> dict:
        """Everything that decides the numbers of an output, apart from the pictures."""
        front_end = self.spec.front_end
        return {
            "model": self.name, "fingerprint": self.spec.fingerprint(), "weights_sha256": self.spec.weights_sha256,
            "front_end": front_end.name, "front_end_version": front_end.version, "precision": self.precision,
            "engine": self.engine.name, "numerics": engine.NUMERICS,
            **(grid.recipe() if grid else {"aligned": False}),
        }  # fmt: skip


@dataclass(frozen=True)
class Grid:
    """The times at which a video is looked at: the centres of a sound's windows, or multiples of a hop.

    Time i is ``(i hop + lead) / rate`` seconds. With a `window` there are as many as the sound has windows, otherwise
    as many as lie before the last picture or on it.
    """

    hop: float  # samples at the rate; seconds where the rate is 1
    rate_hz: int = 1
    window: int = 0  # samples; 0: no sound
    center: bool = True

    @classmethod
    def plain(cls, hop_s: float) -> Grid:
        number = isinstance(hop_s, numbers.Real) and not isinstance(hop_s, bool)
        if not number or not 0 < hop_s < float("inf"):
            raise UsageError(f"hop must be a number of seconds > 0. Received: {hop_s!r}")
        return cls(float(hop_s))

    @classmethod
    def of_sound(cls, framing: windows.Framing, rate_hz: int) -> Grid:
        return cls(framing.hop, rate_hz, framing.window, framing.lead > 0)

    def time(self, i: int) -> float:
        return (i * self.hop + (0 if self.center else self.window / 2)) / self.rate_hz

    def recipe(self) -> dict:
        return {
            "aligned": "sound" if self.window else "hop", "hop_s": self.hop / self.rate_hz, "rate_hz": self.rate_hz,
            "window_samples": self.window, "center": self.center,
        }  # fmt: skip

    def count(self, source) -> tuple[int | None, float, list[str]]:
        """(windows of the sound, when it begins in s, notes); None windows where there is no sound to align with."""
        if not self.window:
            return None, 0.0, []
        try:
            with decode.open_recording(source, self.rate_hz) as recording:
                n_samples = sum(map(len, recording))
            lead = windows.lead(self.window, self.center)
            return windows.count(n_samples, self.window, self.hop, lead), decode.sound_start(source), []
        except AudioError as error:
            return None, 0.0, [f"not aligned to its sound ({reason(error)}) but up to the end of its picture"]


def sampled(pictures: Iterable[tuple[float, np.ndarray]], time, n: int | None) -> Iterator[tuple]:
    """``(picture, its times)`` of those pictures that are on the screen at ``time(0), time(1), ...``.

    What is shown at a time is the last picture that began by then, or the first one; a millisecond counts for nothing,
    which is as fine as containers count. `n` times; with None, all up to the beginning of the last picture. No more
    pictures are read than are needed.
    """
    i, shown, began = 0, None, 0.0
    for at_s, picture in pictures:
        times = []
        while shown is not None and i != n and time(i) < at_s - 1e-3:
            times.append(time(i))
            i += 1
        if times:
            yield shown, times
        if i == n:
            return
        shown, began = picture, at_s
    if shown is None:
        return
    rest = map(time, itertools.count(i) if n is None else range(i, n))
    if times := list(rest if n is not None else itertools.takewhile(lambda t: t <= began + 1e-3, rest)):
        yield shown, times


# --- the corridor


def through(model: ImageModel, jobs: Iterable[ImageJob], grid: Grid | None = None) -> Iterator[ImageJob]:
    """Send jobs through front end and engine; yields each one when it is finished or has failed.

    A job has ``rows(front_end, grid)``, an iterator of ((H, W, 3) input of the network, the times it stands for), and
    `add`, `fail` and `finish`, as those of `embed.through`.
    """

    def chunks():
        for job in jobs:
            try:
                for row, times in job.rows(model.spec.front_end, grid):
                    job.expected.append(len(times))
                    job.times += times
                    yield job, row[None]
            except Exception as error:  # whatever it is, it is this job's: the others go on
                job.fail(error)
            yield job, None

    for job, vectors in engine.run(model.engine, chunks()):
        if vectors is None:
            job.finish(model.spec.front_end)
            yield job
        else:
            job.add(np.repeat(vectors, [job.expected.popleft() for _ in vectors], axis=0))


class ImageJob:
    """A picture or video on its way: the times of its rows, and for how many times each row under way stands."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.times: list[float] = []
        self.expected: deque[int] = deque()


def rows_of(
    pictures: decode.Still | decode.Video, source, front_end: ImageFrontEnd, grid: Grid | None, notes: list[str],
    tick=None,
) -> Iterator[tuple]:  # fmt: skip
    """Rows of an opened picture or video for `through`; closes it. What should be known is appended to `notes`.

    `tick` is called with (seconds since the last picture, the duration that the header promises).
    """
    try:
        largest = None if isinstance(pictures, decode.Still) else _largest(source, front_end)
        stream = _ticking(pictures, tick)
        if isinstance(pictures, decode.Still) or grid is None:
            chosen = ((picture, [at_s]) for at_s, picture in stream)
        else:
            n, start_s, remarks = grid.count(source)
            notes += remarks
            chosen = sampled(((at_s - start_s, picture) for at_s, picture in stream), grid.time, n)
        for picture, times in chosen:
            remarks = imagefrontend.check(picture, front_end)
            if isinstance(pictures, decode.Still):
                notes += remarks
            row = imagefrontend.prepare(picture, front_end)
            yield row / np.float32(largest or imagefrontend.top(row, front_end)), times
        notes += pictures.notes
    finally:
        pictures.close()


def _ticking(pictures, tick) -> Iterator[tuple]:
    last_s = 0.0
    for at_s, picture in pictures:
        yield at_s, picture
        if tick:
            tick(at_s - last_s, pictures.expected_s)
            last_s = at_s


def open_for(front_end: ImageFrontEnd, source) -> decode.Still | decode.Video:
    """A picture or video, opened as this front end wants it. Raises ImageError."""
    return decode.open_pictures(
        source, front_end.shorter, front_end.crop, upright=front_end.upright,
        as_openl3=front_end.video == "openl3-0.4",
    )  # fmt: skip


def _largest(source, front_end: ImageFrontEnd) -> float | None:
    """By what OpenL3 0.4 divides a video: the largest value of all of it. None: it is not divided.

    It takes a pass of its own, which ends at the first white pixel.
    """
    if front_end.values != "openl3-0.4":
        return None
    largest = 1.0
    with contextlib.closing(open_for(front_end, source)) as pictures:
        for _, picture in pictures:
            largest = max(largest, imagefrontend.top(imagefrontend.prepare(picture, front_end), front_end))
            if largest == 255:
                break
    return largest


class _Collecting(ImageJob, engine.Collecting):
    """Keeps its rows in memory; errors are raised."""

    @property
    def n(self) -> int:
        return sum(map(len, self.vectors))


class _ArrayJob(_Collecting):
    """An array of one picture or several, or the picture at a path."""

    def __init__(self, image, index: int):
        self.image = os.fspath(image) if isinstance(image, str | os.PathLike) else image
        super().__init__(f"{self.image}: " if isinstance(self.image, str) else f"image {index}: ", ImageError)

    def rows(self, front_end: ImageFrontEnd, grid: Grid | None) -> Iterator[tuple]:
        pictures, notes = self._pictures(front_end)
        notes += [note for picture in pictures for note in imagefrontend.check(picture, front_end)]
        largest = 1.0
        if len(pictures) > 1 and front_end.values == "openl3-0.4":
            largest = max(imagefrontend.top(imagefrontend.prepare(p, front_end), front_end) for p in pictures)
        for picture in pictures:
            row = imagefrontend.prepare(picture, front_end)
            yield row / np.float32(largest if len(pictures) > 1 else imagefrontend.top(row, front_end)), [0.0]
        self.warn(dict.fromkeys(notes))

    def _pictures(self, front_end: ImageFrontEnd) -> tuple[np.ndarray, list[str]]:
        """(N, H, W, 3)"""
        if isinstance(self.image, str):
            opened = open_for(front_end, self.image)
            try:
                pictures = np.stack([picture for _, picture in itertools.islice(opened, 1)])
                if not isinstance(opened, decode.Still):
                    raise UsageError("is a video: use embed_video")
                return pictures, opened.notes
            finally:
                opened.close()
        try:
            array = np.asarray(self.image)
        except (TypeError, ValueError):
            raise ImageError("is not an array of pixels: expected (height, width, 3)") from None
        if array.ndim not in (3, 4):
            raise ImageError(f"has shape {array.shape}: expected (height, width, 3), or (n, height, width, 3)")
        return array if array.ndim == 4 else array[None], []


class _VideoJob(_Collecting):
    def __init__(self, video):
        super().__init__(f"{os.fspath(video)}: " if isinstance(video, str | os.PathLike) else "", ImageError)
        self.video = video

    def rows(self, front_end: ImageFrontEnd, grid: Grid | None) -> Iterator[tuple]:
        notes: list[str] = []
        yield from rows_of(open_for(front_end, self.video), self.video, front_end, grid, notes)
        self.warn(dict.fromkeys(notes))


def _rates(frame_rate, n: int) -> list[float] | None:
    if frame_rate is None:
        return None
    rates = list(frame_rate) if isinstance(frame_rate, list | tuple | np.ndarray) else [frame_rate] * n
    if len(rates) != n:
        raise UsageError(f"frame_rate must be one number or one for each image: {n}, not {len(rates)}")
    for rate in rates:
        number = isinstance(rate, numbers.Real) and not isinstance(rate, bool)
        if not number or not 0 < rate < float("inf"):
            raise UsageError(f"frame_rate must be a finite number > 0. Received: {rate!r}")
    return rates
