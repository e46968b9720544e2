"""Spectrograms to vectors. All engines share one way of batching; each knows only how to run one full batch.

Every batch of windows has the same shape: the last one is filled up with zeros. So a window's vector does not depend on
which windows share its batch, and a run that was interrupted ends with the same bytes as one that was not.
"""

from __future__ import annotations

import abc
import warnings
from collections import deque
from collections.abc import Iterable, Iterator

import numpy as np

from ..errors import L3EmbedError, L3EmbedWarning, UsageError, reason
from ..spec import STEP_COLUMNS
from ..weights import Card

NUMERICS = 1  # raised when equal recipes give other vectors than before: then nothing that was made is reused
PRECISIONS = ("auto", "f32", "bf16", "int8")


class Engine(abc.ABC):
    """Runs batches of rows, (rows, F, T, 1) of sound or (rows, height, width, 3), -> (rows, k, D), all float32.

    A row is a window (k = 1), or the spectrogram of k windows that share their computation, `step_samples` of the model
    apart. `batch` is counted in windows (None: what suits the engine); `n_ahead` batches may be under way at once.
    May be used from several threads.
    """

    name = "engine"
    n_ahead = 1
    can_share = False
    usual_batch = 16

    def __init__(self, card: Card, *, precision: str = "auto", batch: int | None = None):
        if batch is not None and (not isinstance(batch, int) or batch < 1):
            raise UsageError(f"batch must be at least 1, a whole number. Received: {batch!r}")
        if precision not in PRECISIONS:
            raise UsageError(f"precision must be one of {', '.join(PRECISIONS)}. Received: {precision!r}")
        self.card, self.batch = card, card.table.get("largest_batch") or batch or self.usual_batch
        exact = precision == "auto" and card.model.auto == "f32"
        self.precision = self.resolve("f32" if exact else precision)

    def resolve(self, precision: str) -> str:
        """What "auto" means for this engine on this machine."""
        return "f32" if precision == "auto" else precision

    def windows(self, row: tuple[int, int, int]) -> int:
        """How many windows a row of this shape (F, T, 1) holds; where windows stand alone one, however long."""
        model = self.card.model
        return 1 + (row[1] - model.front_end.shape[1]) // STEP_COLUMNS if model.step_samples else 1

    def shape(self, row: tuple[int, int, int]) -> tuple[int, int, int, int]:
        """Of a batch of such rows. A whole recording is a batch of its own."""
        if self.is_alone(row):
            return (1, *row)
        return (max(1, self.batch // self.windows(row)), *row)

    def is_alone(self, row: tuple[int, int, int]) -> bool:
        """Whether a row of this shape is a whole recording: few others are like it, and it fills an engine by itself.

        It is where it has another length than the model's window, or where the model's window is as long as the
        shortest recording that it takes whole.
        """
        model, cutting = self.card.model, self.card.model.cutting
        as_long_as_the_shortest = cutting.hop_s is None and cutting.least_samples == model.front_end.window_samples
        return model.step_samples is None and (as_long_as_the_shortest or tuple(row) != model.front_end.shape)

    @abc.abstractmethod
    def start(self, spectrograms: np.ndarray):
        """Begin a batch; returns what `finish` needs."""

    @abc.abstractmethod
    def finish(self, under_way) -> np.ndarray:
        """Wait for a batch; (rows, k, D) float32 that the caller may keep."""


class PlaceholderEngine(Engine):
    """A fixed linear map of the mean spectrum: for testing what surrounds an engine, in milliseconds."""

    name = "placeholder"

    def start(self, spectrograms):
        width = self.card.model.front_end.shape[1]
        starts = [i * STEP_COLUMNS for i in range(self.windows(spectrograms.shape[1:]))]
        return np.stack([spectrograms[:, :, at : at + width].mean(axis=(2, 3)) for at in starts], axis=1)

    def finish(self, under_way):
        bins = under_way.shape[2]
        return (under_way @ np.cos(np.arange(bins * self.card.model.dim).reshape(bins, -1))).astype(np.float32)


class Collecting:
    """An owner of rows that keeps their vectors in memory, and raises what goes wrong as its own: `where` in front.

    What is no error of l3embed but of the system becomes a `kind`; what nobody foresaw is raised as it is.
    """

    def __init__(self, where: str, kind: type[L3EmbedError]):
        self.where, self.kind = where, kind
        self.vectors: list[np.ndarray] = []

    def add(self, rows: np.ndarray) -> None:
        self.vectors.append(rows)

    def fail(self, error: Exception) -> None:
        if not isinstance(error, L3EmbedError | OSError):
            raise error
        kind = type(error) if isinstance(error, L3EmbedError) else self.kind
        raise kind(self.where + reason(error)) from error

    def finish(self, front_end) -> None:
        pass

    def warn(self, notes: Iterable[str]) -> None:
        for note in notes:
            warnings.warn(self.where + note, L3EmbedWarning, stacklevel=2)


class Loaded:
    """A model with the engine that runs it. May be used from several threads.

    Attributes
    ----------
    card : weights.Card
    spec : spec.Model
    engine : Engine
    precision : "f32", "bf16" or "int8"
    """

    def __init__(self, card: Card, kind: type[Engine], precision: str = "auto", batch: int | None = None):
        self.card, self.spec = card, card.model
        self.engine = kind(card, precision=precision, batch=batch)
        self.precision = self.engine.precision

    @property
    def name(self) -> str:
        return self.spec.name

    @property
    def dim(self) -> int:
        """Numbers in a vector."""
        return self.spec.dim

    @property
    def classes(self) -> list[str] | None:
        """What the numbers of a vector are the scores of, where they are scores and the model's files name them."""
        return self.card.table.get("classes")


class Batch:
    """Rows of one shape, of one owner or several, that an engine computes at once; zeros fill what is not used.

    Filled with `add` while they `fit`, and with `end` where an owner has no more; then `start`, then `finish`.
    """

    def __init__(self, engine: Engine):
        self.engine, self.used = engine, 0
        self.plan: list[tuple[object, slice | None]] = []  # whose rows are where; None: its end
        self._rows: np.ndarray | None = None
        self._under_way = None

    @property
    def size(self) -> int:
        """Rows that there is room for; 0 as long as none has come."""
        return 0 if self._rows is None else len(self._rows)

    @property
    def is_full(self) -> bool:
        return self.used > 0 and self.used == self.size

    def fits(self, rows: np.ndarray) -> bool:
        return self._rows is None or self._rows.shape[1:] == rows.shape[1:]

    def add(self, owner, rows: np.ndarray) -> int:
        """Take of the rows (n, F, T, 1) as many as there is room for; returns how many."""
        if self._rows is None:
            self._rows = np.zeros(self.engine.shape(rows.shape[1:]), np.float32)
        n = min(self.size - self.used, len(rows))
        self._rows[self.used : self.used + n] = rows[:n]
        self.plan.append((owner, slice(self.used, self.used + n)))
        self.used += n
        return n

    def end(self, owner) -> None:
        self.plan.append((owner, None))

    def start(self) -> None:
        self._under_way = self.engine.start(self._rows) if self.used else None

    def finish(self) -> Iterator[tuple[object, np.ndarray | None]]:
        """Wait; what was added, in order: owners with vectors (windows, D), and with None at their end."""
        vectors = self.engine.finish(self._under_way) if self.used else None
        for owner, rows in self.plan:
            yield owner, None if rows is None else vectors[rows].reshape(-1, vectors.shape[-1])


def run(engine: Engine, chunks: Iterable[tuple[object, np.ndarray | None]]) -> Iterator[tuple]:
    """Pass a stream of spectrograms through an engine in full batches, across owners, in order.

    `chunks` yields ``(owner, spectrograms (n, F, T, 1))``, or ``(owner, None)`` when the owner has no more; so does
    the result, with vectors (windows, D) in place of spectrograms. Rows of another shape begin a new batch. Memory:
    `n_ahead` + 1 batches and one chunk.
    """
    under_way: deque[Batch] = deque()
    batch = Batch(engine)

    def launch(left: int):
        nonlocal batch
        batch.start()
        under_way.append(batch)
        batch = Batch(engine)
        while len(under_way) > left:
            yield from under_way.popleft().finish()

    for owner, rows in chunks:
        if rows is None:
            batch.end(owner)
            continue
        at = 0
        while at < len(rows):
            if not batch.fits(rows):
                yield from launch(engine.n_ahead)
            at += batch.add(owner, rows[at:])
            if batch.is_full:
                yield from launch(engine.n_ahead)
    yield from launch(0)
