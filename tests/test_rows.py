"""Vectors under way, in memory or in a file, against an array."""

import contextlib
import io

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from l3embed.store.rows import Rows


@given(
    pieces=st.lists(st.integers(0, 5), min_size=1, max_size=6), in_memory=st.sampled_from([1, 30, 10**6]),
    first=st.integers(0, 30), last=st.integers(0, 30),
)  # fmt: skip
def test_rows_that_grow_are_an_array(pieces, in_memory, first, last):
    whole = np.random.default_rng(0).standard_normal((sum(pieces), 3)).astype(np.float32)
    rows, at = Rows(in_memory=in_memory), 0
    with contextlib.closing(rows):
        for n in pieces:
            rows.append(whole[at : at + n])
            at += n
            assert len(rows) == at and np.array_equal(rows[first:last], whole[:at][first:last])
        assert np.array_equal(rows[:], whole)
        out = io.BytesIO()
        rows.write_to(out)
        out.seek(0)
        assert np.array_equal(np.load(out), whole)
