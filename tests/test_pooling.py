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


@given(n=st.integers(1, 5), m=st.integers(1, 5), scale=st.sampled_from([1e-20, 1.0, 1e20]))
def test_cosines_are_those_of_one_pair_at_a_time(n, m, scale):
    rng = np.random.default_rng(n + 10 * m)
    a, b = (scale * rng.standard_normal((k, 4)) for k in (n, m))
    found = pooling.cosine(a.astype(np.float32), b.astype(np.float32))
    for i in range(n):
        for j in range(m):
            u, v = (x.astype(np.float32).astype(float) / scale for x in (a[i], b[j]))
            assert found[i, j] == pytest.approx(np.cos(np.arctan2(_crossed(u, v), u @ v)), abs=1e-7)


def _crossed(u, v):
    """|u| |v| sin of the angle between them, without their cosine (Lagrange's identity)."""
    return np.sqrt(sum((u[i] * v[j] - u[j] * v[i]) ** 2 for i in range(len(u)) for j in range(i)))


def test_cosines_of_nothing():
    assert pooling.cosine(np.zeros((2, 3)), np.ones((1, 3))).tolist() == [[0], [0]]
    assert pooling.cosine(np.ones((1, 3)), np.full((1, 3), 7.0))[0, 0] == pytest.approx(1)
