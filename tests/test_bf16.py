"""Rounding to bfloat16: the numbers are bfloat16's, and a filter's sum survives."""

import numpy as np

from l3embed import bf16


def _is_bfloat16(x):
    return not np.any(np.ascontiguousarray(x).view(np.uint32) & 0xFFFF)


def test_nearest_is_the_nearest():
    rng = np.random.default_rng(0)
    x = (rng.standard_normal(10_000) * 10.0 ** rng.integers(-20, 20, 10_000)).astype(np.float32)
    found = bf16.nearest(x).astype(float)
    assert _is_bfloat16(bf16.nearest(x))
    # eight significant bits, so half a step is 2^-9 of the power of two below the number
    mantissa, exponent = np.frexp(x.astype(float))
    expected = np.ldexp(np.round(mantissa * 2**8), exponent - 8)  # np.round, too, rounds ties to even
    np.testing.assert_array_equal(found, expected)
    ties = np.float32([1 + 2**-8, 1 + 3 * 2**-8, -1 - 2**-8, 0.0, 3.0])
    np.testing.assert_array_equal(bf16.nearest(ties), [1, 1 + 2**-6, -1, 0, 3])


def test_a_filter_keeps_its_sum_and_its_weights():
    rng = np.random.default_rng(0)
    step = 2**-7  # of bfloat16 just above 1, the largest weight here
    few = rng.choice(np.float32([-1.003, -0.301, 0.301, 1.003]), (6, 512, 3, 3))
    many = rng.uniform(-1, 1, (6, 512, 3, 3)).astype(np.float32)
    for kernel in (few, many):
        rounded = bf16.rounded(kernel)
        assert rounded.dtype == np.float32 and _is_bfloat16(rounded)
        off = np.abs(rounded.sum(axis=1, dtype=float) - kernel.sum(axis=1, dtype=float))
        assert off.max() <= step
        assert np.abs(rounded - kernel).max() <= step
    # what it is for: to the nearest, the sums of filters of few values are off by many steps
    assert np.abs(bf16.nearest(few).sum(axis=1, dtype=float) - few.sum(axis=1, dtype=float)).max() > 4 * step
