"""What is wanted of recordings, and what is known of their vectors before there are any."""

from __future__ import annotations

from dataclasses import dataclass

from .. import __version__, pooling
from ..embed import EmbeddingModel
from ..store.layout import key_of
from ..windows import Framing
from .work import Work


@dataclass(frozen=True)
class Asked:
    """What is wanted of recordings."""

    model: EmbeddingModel
    framing: Framing
    pool: str | None = None

    @property
    def headers(self) -> dict[str, str]:
        return {"X-L3embed-Fingerprint": self.model.spec.fingerprint(), "X-L3embed-Recipe": self.recipe_hash}

    @property
    def recipe_hash(self) -> str:
        """The key that a store of `l3embed extract` would have."""
        return key_of({**self.model.recipe(self.framing), "dtype": "float32"})

    def about(self) -> dict:
        """What is known before the sound is."""
        recipe = self.model.recipe(self.framing)
        front_end = self.model.spec.front_end
        more = {"recipe_hash": self.recipe_hash, "dim": self.model.dim, "window_s": front_end.window_s}
        return {**recipe, **more, "l3embed": __version__, "pool": self.pool}

    def vectors(self, work: Work):
        """(n, D) and their times (n,) s, of a recording that is over; or the one that they are pooled to."""
        if self.pool is None:
            return work.rows, work.times(0, len(work.rows))
        return pooling.pool(work.rows, self.pool)[None], work.times(0, 1)
