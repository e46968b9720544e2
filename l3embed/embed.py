"""The corridor: decode -> windows -> front end -> engine, for sounds in memory and for whatever `Job` is made of.

The only place that knows the order of the rooms. Every sound gives one result or one failure; none is lost.
"""

from __future__ import annotations

import itertools
import os
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np

from . import decode, engine, weights, windows
from .errors import AudioError, L3EmbedError, L3EmbedWarning, UsageError, reason
from .frontend import spectrograms

CHUNK_WINDOWS = 64  # windows whose spectrograms are made at a time: bounds memory, whatever the length of a file
SHARE_UP_TO = 6  # steps in a hop: windows further apart are cheaper alone than as part of a strip
NUMERICS = 1  # raised when equal recipes give other vectors than before: then nothing that was made is reused
LOUDEST = 8.0  # floating-point sound may exceed full scale, by this much only if it was never scaled to it


class EmbeddingModel:
    """A model ready to embed. Made by `l3embed.load`; may be used from several threads.

    Attributes
    ----------
    card : weights.Card
    spec : spec.Model
    precision : "f32" or "bf16"
    """

    def __init__(self, card: weights.Card, kind: type[engine.Engine], precision: str = "auto", batch=engine.BATCH):
        self.card, self.spec = card, card.model
        self._kind, self._batch = kind, batch
        self._engines: dict[int, engine.Engine] = {}
        step = self.spec.step_samples
        first = self.engine(self.framing(step or self.spec.front_end.window_samples, True), precision)
        self.precision = first.precision

    def framing(self, hop_samples: int, center: bool) -> windows.Framing:
        """How this model cuts recordings: in strips, where the windows of a strip share computation at this hop."""
        window, step = self.spec.front_end.window_samples, self.spec.step_samples
        lead = windows.lead(window, center)
        if self._kind.can_strip and step and hop_samples % step == 0 and hop_samples <= SHARE_UP_TO * step:
            return windows.Framing(window, hop_samples, lead, engine.STRIP, hop_samples // step)
        return windows.Framing(window, hop_samples, lead)

    def engine(self, framing: windows.Framing, precision: str | None = None) -> engine.Engine:
        """The engine for rows of this framing, made when it is first needed."""
        strip = framing.strip
        if strip not in self._engines:
            precision = precision or self.precision
            self._engines[strip] = self._kind(self.card, precision=precision, batch=self._batch, strip=strip)
        return self._engines[strip]

    @property
    def name(self) -> str:
        return self.spec.name

    @property
    def dim(self) -> int:
        """Numbers in a vector."""
        return self.spec.dim

    def embed(self, audio, sample_rate=None, *, hop: float = 0.1, center: bool = True):
        """Embed sound.

        Parameters
        ----------
        audio : (n,) or (n, channels) array of floats in [-1, 1] or of integers in their full range, or the path of a
            file; or a list of such, which gives a list of results
        sample_rate : Hz, of arrays; a list where they differ
        hop : seconds between windows; held in whole samples
        center : whether window i is centred at time i x hop (the recording is preceded by half a window of zeros)

        Returns
        -------
        embedding : (T, D) float32
        timestamps : (T,) float64 seconds, the centre of each window if `center`, else its start

        Raises AudioError for sound that cannot be embedded and UsageError for settings out of range. Silence is
        embedded with an L3EmbedWarning; sound shorter than the window is padded with zeros. Framing after OpenL3 0.4.2.
        """
        many = isinstance(audio, list | tuple)
        results = list(self.each(audio if many else [audio], sample_rate, hop=hop, center=center))
        return results if many else results[0]

    def each(self, sounds: Iterable, sample_rate=None, *, hop: float = 0.1, center: bool = True) -> Iterator[tuple]:
        """The (embedding, timestamps) of many sounds, one after the other, computed in batches across them.

        As `embed` of a list, but only the sounds under way are in memory. `sounds` may be any iterable.
        """
        rate_hz = self.spec.front_end.rate_hz
        framing = self.framing(windows.hop_samples(hop, rate_hz), center)
        if isinstance(sample_rate, list | tuple):
            sounds = list(sounds)
            if len(sample_rate) != len(sounds):
                n = len(sounds)
                raise UsageError(f"sample_rate must be one number or one for each sound: {n}, not {len(sample_rate)}")
            rates = iter(sample_rate)
        else:
            rates = itertools.repeat(sample_rate)
        jobs = (_ArrayJob(sound, rate, i) for i, (sound, rate) in enumerate(zip(sounds, rates, strict=False)))
        for job in through(self, jobs, framing):
            yield job.result(framing.hop, rate_hz, self.dim)

    def recipe(self, hop: float, center: bool) -> dict:
        """Everything that decides the numbers of an output, apart from the sound."""
        front_end = self.spec.front_end
        hop_samples = windows.hop_samples(hop, front_end.rate_hz)
        return {
            "model": self.name, "fingerprint": self.spec.fingerprint(), "weights_sha256": self.spec.weights_sha256,
            "front_end": front_end.name, "front_end_version": front_end.version, "rate_hz": front_end.rate_hz,
            "window_samples": front_end.window_samples,
            "hop_samples": hop_samples, "hop_s": float(hop), "center": bool(center), "precision": self.precision,
            "engine": self._kind.name, "shared_windows": self.framing(hop_samples, center).strip > 1,
            "numerics": NUMERICS,
        }  # fmt: skip


def load(name=None, *, weights_file=None, front_end=None, precision="auto", batch=engine.BATCH) -> EmbeddingModel:
    """See `l3embed.load`."""
    card = weights.find(name, weights_file, front_end)
    return EmbeddingModel(card, engine.default(), precision, batch)


# --- the corridor


def through(model: EmbeddingModel, jobs: Iterable[Job], framing: windows.Framing) -> Iterator[Job]:
    """Send jobs through decode, windows, front end and engine; yields each one when it is finished or has failed."""
    front_end = model.spec.front_end
    of_rows = replace(front_end, window_samples=framing.row)  # a strip's spectrogram is that of a longer window

    def chunks():
        for job in jobs:
            try:
                blocks = job.blocks(front_end.rate_hz)
                for signal, starts, n in windows.chunks(blocks, framing, max(1, CHUNK_WINDOWS // framing.strip)):
                    job.n_wanted += n
                    yield job, spectrograms(signal, starts, of_rows)
            except Exception as error:  # whatever it is, it is this recording's: the others go on
                job.fail(error)
            yield job, None

    for job, vectors in engine.run(model.engine(framing), chunks()):
        if vectors is None:
            job.finish(front_end)
            yield job
            continue
        index = np.arange(job.n_seen, min(job.n_seen + len(vectors), job.n_wanted))
        job.add(vectors[index[index % framing.every == 0] - job.n_seen])
        job.n_seen += len(vectors)


class Job:
    """A recording on its way through the corridor: counts its windows (of all strips) as they enter and leave."""

    n_wanted = n_seen = 0


class _ArrayJob(Job):
    """An array (or the file at a path), its rows kept in memory; errors are raised."""

    def __init__(self, audio, sample_rate, index: int):
        self.audio, self.sample_rate, self.index = audio, sample_rate, index
        self.rows: list[np.ndarray] = []

    def blocks(self, rate_hz: int):
        with self._open(rate_hz) as recording:
            yield from recording
            self._warn(oddities(recording))

    def _open(self, rate_hz: int) -> decode.Recording:
        if isinstance(self.audio, str | os.PathLike):
            return decode.open_recording(self.audio, rate_hz)
        if self.sample_rate is None:
            raise UsageError("sample_rate is missing: arrays do not say how fast they were sampled")
        return decode.open_array(self.audio, self.sample_rate, rate_hz)

    def _warn(self, notes: list[str]) -> None:
        for note in notes:
            warnings.warn(self._where() + note, L3EmbedWarning, stacklevel=2)

    def _where(self) -> str:
        if isinstance(self.audio, str | os.PathLike):
            return f"{os.fspath(self.audio)}: "
        return f"sound {self.index}: "

    def add(self, rows: np.ndarray) -> None:
        self.rows.append(rows)

    def fail(self, error: Exception) -> None:
        if not isinstance(error, L3EmbedError | OSError):
            raise error
        kind = type(error) if isinstance(error, L3EmbedError) else AudioError
        raise kind(self._where() + reason(error)) from error

    def finish(self, front_end) -> None:
        pass

    def result(self, hop_samples: int, rate_hz: int, dim: int) -> tuple[np.ndarray, np.ndarray]:
        embedding = np.concatenate([np.empty((0, dim), np.float32), *self.rows])
        return embedding, windows.times(len(embedding), hop_samples, rate_hz)


def oddities(recording) -> list[str]:
    """What is odd about a sound that can be embedded nevertheless."""
    notes = list(recording.notes)
    if recording.peak == 0:
        notes.append("all samples are zero")
    if recording.peak > LOUDEST:
        notes.append(f"samples reach {recording.peak:.3g} where full scale is 1: divide by the range of the integers")
    return notes
