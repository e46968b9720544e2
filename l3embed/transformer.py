"""A scikit-learn transformer: recordings in, one vector each out. Needs the probe extra (scikit-learn)."""

from __future__ import annotations

import numpy as np

from .embed import load_of_sound
from .errors import MissingExtraError, UsageError
from .pooling import check, pool

try:
    from sklearn.base import BaseEstimator, TransformerMixin
except ImportError as error:
    raise MissingExtraError("the scikit-learn transformer", "probe") from error


class Embedder(TransformerMixin, BaseEstimator):
    """Paths or arrays -> (n_recordings, D) float32; nothing is learned from the data.

    Parameters
    ----------
    model, weights, front_end, precision : as in `l3embed.load`
    sample_rate : Hz of arrays; paths need none
    hop : seconds between windows; None: the model's own
    center : whether windows are centred on their time stamps; None: as the model's own program
    pooling : how the windows of a recording become one vector: "mean", "max", "mean+max", "mean+std"

    Attributes
    ----------
    model_ : embed.EmbeddingModel, after `fit` or the first `transform`
    """

    def __init__(
        self, model=None, *, weights=None, front_end=None, precision="auto", sample_rate=None, hop=None, center=None,
        pooling="mean",
    ):  # fmt: skip
        self.model = model
        self.weights = weights
        self.front_end = front_end
        self.precision = precision
        self.sample_rate = sample_rate
        self.hop = hop
        self.center = center
        self.pooling = pooling

    def fit(self, X, y=None):
        """Check the settings and load the model."""
        check(self.pooling)
        self.model_ = load_of_sound(
            self.model, weights_file=self.weights, front_end=self.front_end, precision=self.precision
        )  # fmt: skip
        return self

    def transform(self, X):
        """X : list of paths or of arrays (n,) or (n, channels)."""
        if isinstance(X, str):
            raise UsageError(f"X must be a list of recordings, not one path. Received: {X!r}")
        check(self.pooling)
        model = self._model()
        vectors = [pool(e, self.pooling) for e, _ in model.each(X, self.sample_rate, hop=self.hop, center=self.center)]
        if not vectors:
            raise UsageError("X must hold at least one recording")
        return np.stack(vectors)

    def get_feature_names_out(self, input_features=None):
        """Names of the columns: pooling and number."""
        dim = self._model().dim
        return np.array([f"{p}{i}" for p in self.pooling.split("+") for i in range(dim)], object)

    def _model(self):
        """Loaded again where a pickled pipeline has left it behind."""
        if not hasattr(self, "model_"):
            self.fit(None)
        return self.model_

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.requires_fit = False
        return tags

    def __getstate__(self):
        """A compiled model stays behind: a pickled pipeline loads it again where it is used."""
        return {key: value for key, value in super().__getstate__().items() if key != "model_"}
