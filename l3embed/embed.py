"""The corridor: decode -> windows -> front end -> engine, for sounds in memory and for whatever `Job` is made of.

The only place that knows the order of the rooms. Every sound gives one result or one failure; none is lost.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np

from . import decode, engine, weights
from .errors import AudioError, UsageError
from .frontend import spectrograms
from .images import ImageModel
from .spec import FrontEnd, Model, Waveform
from .windows import GROUP, Framing, chunks, hop_samples, nominal
from .windows import lead as lead_samples

SHARE_UP_TO = 0.6  # of a window: windows further apart are cheaper alone than as parts of a longer one
WINDOWS = ("exact", "shared")
LOUDEST = 8.0  # floating-point sound may exceed full scale, by this much only if it was never scaled to it


class EmbeddingModel(engine.Loaded):
    """A model of sound, ready to embed. Made by `l3embed.load`; `engine.Loaded` lists its attributes."""

    @property
    def front_end(self) -> FrontEnd | Waveform:
        """Its own; TensorFlow's rounding is made again only where the network keeps such differences: it takes time."""
        own = self.spec.front_end
        exact = self.precision == "f32" or isinstance(own, Waveform)
        return own if exact else replace(own, transform=None)

    def framing(
        self, hop: float | None = None, center: bool | None = None, windows: str = "exact", timestamps: str = "exact"
    ) -> Framing:
        """How this model cuts recordings at a hop in seconds. Raises UsageError for settings out of range.

        What is None is as in the model's own program. Overlapping windows share computation wherever that changes
        nothing, and where `windows` is "shared" also where it only comes near; the hop is then rounded to the grid of
        the network's last map.
        """
        if windows not in WINDOWS:
            raise UsageError(f"windows must be one of {', '.join(WINDOWS)}. Received: {windows!r}")
        if windows == "shared" and not self.spec.step_samples:
            raise UsageError(f"{self.name}: its windows cannot share their computation: leave windows at exact")
        cutting, window, step = self.spec.cutting, self.spec.front_end.window_samples, self.spec.step_samples
        lead = lead_samples(window, cutting.center if center is None else center)
        if hop is None and cutting.hop_s is None:
            return self._whole(lead)
        if cutting.frame_samples:
            raise UsageError(f"{self.name} has a vector every {self._frame_s:.4g} s: leave the hop out")
        hop = cutting.hop_s if hop is None else hop
        nominal_s = nominal(hop, timestamps)
        samples = hop_samples(hop, self.spec.front_end.rate_hz)
        if self.engine.can_share and step and samples <= SHARE_UP_TO * window:
            if windows == "shared":
                samples = max(1, round(samples / step)) * step
            if samples % step == 0 and (windows == "shared" or self.spec.shares_exactly):
                return Framing(window, samples, lead, samples // step, shared=True, nominal_s=nominal_s)
        return Framing(window, samples, lead, nominal_s=nominal_s, drop=cutting.end == "drop")

    def _whole(self, lead: int) -> Framing:
        if lead:
            raise UsageError(f"{self.name} takes a recording as one window, which cannot be centred: give a hop")
        cutting = self.spec.cutting
        window = cutting.most_samples or self.spec.front_end.window_samples
        return Framing(
            window, cutting.frame_samples or window, whole=True, least=cutting.least_samples, repeats=cutting.repeats,
            frames=cutting.frame_samples > 0,
        )  # fmt: skip

    @property
    def _frame_s(self) -> float:
        return self.spec.cutting.frame_samples / self.spec.front_end.rate_hz

    def embed(
        self, audio, sample_rate=None, *, hop: float | None = None, center: bool | None = None,
        windows: str = "exact", timestamps: str = "exact",
    ):  # fmt: skip
        """Embed sound.

        Parameters
        ----------
        audio : (n,) or (n, channels) array of floats in [-1, 1] or of integers in their full range, or the path of a
            file; or a list of such, which gives a list of results
        sample_rate : Hz, of arrays; a list where they differ
        hop : seconds between windows; held in whole samples. None: the model's own (0.1 for L3-Net, docs/models.md)
        center : whether window i is centred at time i x hop (the recording is preceded by half a window of zeros).
            None: as the model's own program does it
        windows : "exact", or "shared": computed together with their neighbours, several times faster, at a hop rounded
            to the network's own, and for OpenL3's networks only nearly the same vectors (docs/speed.md)
        timestamps : "exact", or "openl3" for multiples of `hop` even where windows lie elsewhere (see `windows.times`)

        Returns
        -------
        embedding : (T, D) float32
        timestamps : (T,) float64 seconds, the centre of each window if `center`, else its start

        Raises AudioError for sound that cannot be embedded and UsageError for settings out of range. Silence is
        embedded with an L3EmbedWarning; sound shorter than the window is padded with zeros. Framing after OpenL3 0.4.2.
        """
        many = isinstance(audio, list | tuple)
        how = {"hop": hop, "center": center, "windows": windows, "timestamps": timestamps}
        results = list(self.each(audio if many else [audio], sample_rate, **how))
        return results if many else results[0]

    def each(self, sounds: Iterable, sample_rate=None, **how) -> Iterator[tuple]:
        """The (embedding, timestamps) of many sounds, one after the other, computed in batches across them.

        As `embed` of a list, but only the sounds under way are in memory. `sounds` may be any iterable.
        """
        framing = self.framing(**how)
        if isinstance(sample_rate, list | tuple):
            sounds = list(sounds)
            if len(sample_rate) != len(sounds):
                n = len(sounds)
                raise UsageError(f"sample_rate must be one number or one for each sound: {n}, not {len(sample_rate)}")
            rates = iter(sample_rate)
        else:
            rates = itertools.repeat(sample_rate)
        jobs = (_ArrayJob(sound, rate, i, framing) for i, (sound, rate) in enumerate(zip(sounds, rates, strict=False)))
        for job in through(self, jobs, framing):
            yield job.result(framing, self.spec)

    def recipe(self, framing: Framing) -> dict:
        """Everything that decides the numbers of an output, apart from the sound."""
        front_end = self.spec.front_end
        return {
            "model": self.name, "fingerprint": self.spec.fingerprint(), "weights_sha256": self.spec.weights_sha256,
            "front_end": front_end.name, "front_end_version": front_end.version, "rate_hz": front_end.rate_hz,
            "window_samples": framing.window, "hop_samples": framing.hop, "hop_s": framing.hop / front_end.rate_hz,
            "center": framing.lead > 0, "nominal_s": framing.nominal_s,
            "shared_windows": GROUP if framing.shared else 1,
            "precision": self.precision, "engine": self.engine.name, "numerics": engine.NUMERICS, **framing.recipe(),
        }  # fmt: skip


def load(
    name=None, *, weights_file=None, front_end=None, precision="auto", batch=None, device="cpu"
) -> EmbeddingModel | ImageModel:
    """See `l3embed.load`."""
    card = weights.find(name, weights_file, front_end)
    kind = EmbeddingModel if card.model.modality == "audio" else ImageModel
    return kind(card, engine.choose(device), precision, batch)


def load_of_sound(*arguments, **how) -> EmbeddingModel:
    """`load` for those who have sound only. Raises UsageError for a model of pictures."""
    model = load(*arguments, **how)
    if not isinstance(model, EmbeddingModel):
        raise UsageError(f"{model.name} embeds pictures, and here is sound: name a model of sound")
    return model


# --- the corridor


def through(model: EmbeddingModel, jobs: Iterable[Job], framing: Framing) -> Iterator[Job]:
    """Send jobs through decode, windows, front end and engine; yields each one when it is finished or has failed."""
    front_end = model.front_end

    def rows():
        for job in jobs:
            try:
                for n, made in prepared(job.blocks(front_end.rate_hz, front_end.mix), front_end, framing):
                    job.n_wanted += n
                    yield job, made
            except Exception as error:  # whatever it is, it is this recording's: the others go on
                job.fail(error)
            yield job, None

    for job, vectors in engine.run(model.engine, rows()):
        if vectors is None:
            job.finish(front_end)
            yield job
        else:
            job.take(vectors, framing)


def prepared(
    blocks: Iterable[np.ndarray], front_end: FrontEnd | Waveform, framing: Framing
) -> Iterator[tuple[int, np.ndarray]]:
    """Blocks of sound to what an engine takes, ``(n_windows, rows)``: so many of the rows' windows are the sound's."""
    for signal, starts, n in chunks(blocks, framing):
        if framing.shared or framing.whole:  # one spectrogram, of all that is in the signal
            yield n, spectrograms(signal, starts[:1], replace(front_end, window_samples=len(signal)))
        else:
            yield n, spectrograms(signal, starts, front_end)


class Job:
    """A recording on its way through the corridor: counts windows (`Framing.step` apart) as they enter and leave."""

    n_wanted = n_seen = 0

    def take(self, vectors: np.ndarray, framing: Framing) -> None:
        """Of the vectors of its next rows, `add` those that were asked for."""
        if framing.whole:  # of a piece of a longer recording: what its convolutions see beyond its end is left out
            at_most = framing.window // framing.hop
            self.add(vectors[:at_most] if framing.frames else vectors)
            return
        index = np.arange(self.n_seen, min(self.n_seen + len(vectors), self.n_wanted))
        self.add(vectors[index[index % framing.every == 0] - self.n_seen])
        self.n_seen += len(vectors)


class _ArrayJob(Job, engine.Collecting):
    """An array, or the file at a path."""

    def __init__(self, audio, sample_rate, index: int, framing: Framing):
        super().__init__(
            f"{os.fspath(audio)}: " if isinstance(audio, str | os.PathLike) else f"sound {index}: ", AudioError
        )
        self.audio, self.sample_rate, self.framing = audio, sample_rate, framing

    def blocks(self, rate_hz: int, mix: str):
        with self._open(rate_hz) as recording:
            recording.mix = mix
            yield from recording
            self.warn(oddities(recording, self.framing))

    def _open(self, rate_hz: int) -> decode.Recording:
        if isinstance(self.audio, str | os.PathLike):
            return decode.open_recording(self.audio, rate_hz)
        if self.sample_rate is None:
            raise UsageError("sample_rate is missing: arrays do not say how fast they were sampled")
        return decode.open_array(self.audio, self.sample_rate, rate_hz)

    def result(self, framing: Framing, spec: Model) -> tuple[np.ndarray, np.ndarray]:
        embedding = np.concatenate([np.empty((0, spec.dim), np.float32), *self.vectors])
        return embedding, framing.times(len(embedding), spec.front_end.rate_hz)


def oddities(recording, framing: Framing) -> list[str]:
    """What is odd about a sound that can be embedded nevertheless."""
    notes = list(recording.notes)
    if recording.n_samples < framing.needed:
        made_up = "repeated" if framing.repeats else "padded with zeros"
        notes.append(f"is shorter than the {framing.needed / recording.rate_hz:.4g} s that the model needs: {made_up}")
    if recording.peak == 0:
        notes.append("all samples are zero")
    if recording.peak > LOUDEST:
        notes.append(f"samples reach {recording.peak:.3g} where full scale is 1: divide by the range of the integers")
    return notes
