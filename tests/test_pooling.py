"""Poolings against their definitions, whatever the number of rows."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from l3embed import pooling
from l3embed.errors import UsageError

DEFINITIONS = {
    "mean": lambda x: x.mean(0),
    "max": lambda x: x.max(0),
    "mean+max": lambda x: np.r_[x.mean(0), x.max(0)],
    "mean+std": lambda x: np.r_[x.mean(0), x.std(0)],
}


@given(n=st.integers(1, 40), rows=st.integers(1, 40), offset=st.sampled_from([0.0, 1e4, -1e6]))
def test_blocks_change_nothing(n, rows, offset):
    x = (offset + np.random.default_rng(n).standard_normal((n, 3))).astype(np.float32)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pooling, "ROWS", rows)
        for name in pooling.POOLINGS:
            found = pooling.pool(x, name)
            np.testing.assert_allclose(found, DEFINITIONS[name](x.astype(np.float64)), rtol=1e-6, atol=1e-7)
            assert found.dtype == np.float32


def test_half_precision_does_not_overflow():
    x = np.full((3000, 2), 60_000, np.float16)
    np.testing.assert_array_equal(pooling.pool(x, "mean+std"), [60_000, 60_000, 0, 0])


def test_what_cannot_be_pooled():
    with pytest.raises(UsageError, match="pooling must be one of mean, max"):
        pooling.pool(np.ones((2, 2)), "median")
    with pytest.raises(UsageError, match="no vectors"):
        pooling.pool(np.ones((0, 2)), "mean")
