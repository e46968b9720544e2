"""Windows against OpenL3's published counts and against a padded array cut by hand."""

import math
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from l3embed import windows
from l3embed.errors import UsageError

RATE = 48_000

# Frames that OpenL3 0.4.2 returns: duration in s, then (centred, not centred) for hops of 0.1, 0.5 and 1 s.
OPENL3_FRAMES = [
    (0.001, (1, 1), (1, 1), (1, 1)),
    (0.5, (1, 1), (1, 1), (1, 1)),
    (1.0, (6, 1), (2, 1), (2, 1)),
    (1.05, (7, 2), (3, 2), (2, 2)),
    (2.0, (16, 11), (4, 3), (3, 2)),
    (5.0, (46, 41), (10, 9), (6, 5)),
    (10.0, (96, 91), (20, 19), (11, 10)),
]


def cut_by_hand(sound: np.ndarray, window: int, hop: int, center: bool) -> np.ndarray:
    """(N, window), the plain way: pad the whole sound, then cut it until its end has been covered."""
    before = np.zeros(window // 2 if center else 0, np.float32)
    end = len(before) + len(sound)
    padded = np.concatenate([before, sound, np.zeros(window + hop, np.float32)])
    cut, start = [padded[:window]], 0
    while start + window < end:
        start += hop
        cut.append(padded[start : start + window] if start < end else np.zeros(window, np.float32))
    return np.stack(cut)


def gather(blocks, framing: windows.Framing, at_most: int) -> np.ndarray:
    """(N, window): the asked windows out of all chunks."""
    cut = []
    for signal, starts, n_windows in windows.chunks(blocks, framing, at_most):
        assert 1 <= n_windows <= len(starts) <= at_most
        assert framing.shared or n_windows == len(starts)
        assert len(signal) == starts[-1] + framing.window, "nothing beyond the last window: a group is one long window"
        cut += [signal[at : at + framing.window] for at in starts][:n_windows]
    return np.stack(cut[:: framing.every])


def split(sound: np.ndarray, cuts: list[int]) -> list[np.ndarray]:
    return np.split(sound, sorted(cut % (len(sound) + 1) for cut in cuts))


@pytest.mark.parametrize("seconds, frames", [(row[0], row[1:]) for row in OPENL3_FRAMES])
@pytest.mark.parametrize("center", [True, False])
@pytest.mark.parametrize("column, hop_s", enumerate([0.1, 0.5, 1.0]))
def test_as_many_windows_as_openl3(seconds, frames, center, column, hop_s):
    n, hop = round(seconds * RATE), windows.hop_samples(hop_s, RATE)
    expected = frames[column][0 if center else 1]
    framing = windows.Framing(RATE, hop, windows.lead(RATE, center))
    assert windows.count(n, RATE, hop, framing.lead) == expected
    assert sum(n_windows for *_, n_windows in windows.chunks([np.zeros(n, np.float32)], framing)) == expected


@given(
    n=st.integers(1, 400),
    cuts=st.lists(st.integers(0, 1000), max_size=12),
    window=st.integers(1, 40),
    hop=st.integers(1, 90),
    center=st.booleans(),
    at_most=st.integers(1, 9),
    shared=st.booleans(),
    every=st.integers(1, 4),
)
def test_however_the_stream_is_split_the_windows_are_those_of_the_whole(
    n, cuts, window, hop, center, at_most, shared, every
):
    """Cut one by one, or in groups of windows that lie closer than the ones that are asked for."""
    every = every if shared else 1
    sound, hop = np.arange(1, n + 1, dtype=np.float32), hop * every
    framing = windows.Framing(window, hop, windows.lead(window, center), every, shared)
    found = gather(split(sound, cuts), framing, at_most)
    np.testing.assert_array_equal(found, cut_by_hand(sound, window, hop, center))
    assert len(found) == windows.count(n, window, hop, framing.lead)


@given(
    n=st.integers(1, 400),
    cuts=st.lists(st.integers(0, 1000), max_size=12),
    window=st.integers(1, 40),
    hop=st.integers(1, 40),
    center=st.booleans(),
    at_most=st.integers(1, 9),
)
def test_no_sample_is_lost(n, cuts, window, hop, center, at_most):
    sound, hop = np.arange(1, n + 1, dtype=np.float32), min(hop, window)
    found = gather(split(sound, cuts), windows.Framing(window, hop, windows.lead(window, center)), at_most)
    joined = np.concatenate([*(row[:hop] for row in found[:-1]), found[-1]])
    before = window // 2 if center else 0
    np.testing.assert_array_equal(joined[before : before + n], sound)
    assert not joined[:before].any() and not joined[before + n :].any()


def test_a_long_stream_is_not_kept():
    """Chunks span what `at_most` windows span, whatever came before."""
    blocks = (np.ones(1000, np.float32) for _ in range(500))
    longest = max(len(signal) for signal, *_ in windows.chunks(blocks, windows.Framing(4000, 400), at_most=8))
    assert longest == 7 * 400 + 4000


@pytest.mark.parametrize("hop", [4001, 20_000, 10**6, 10**12])
def test_a_hop_longer_than_the_window_holds_no_more(hop):
    """One vector a minute, or one a recording."""
    blocks = (np.ones(1000, np.float32) for _ in range(500))
    longest = max(len(signal) for signal, *_ in windows.chunks(blocks, windows.Framing(4000, hop), at_most=8))
    assert longest <= 8 * 4000


def test_sound_between_windows_is_let_go():
    blocks = (np.ones(100_000, np.float32) for _ in range(200))
    tracemalloc.start()
    list(windows.chunks(blocks, windows.Framing(4000, 10**9), at_most=8))
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 10 * 400_000


def test_no_sound_no_windows():
    assert list(windows.chunks([], windows.Framing(10, 5))) == []
    assert list(windows.chunks([np.zeros(0, np.float32)], windows.Framing(10, 5))) == []


def test_times_do_not_drift():
    hop = windows.hop_samples(0.33333, RATE)
    assert hop == 15_999
    times = windows.times(9, hop, RATE)
    assert times.dtype == np.float64
    assert times[8] == pytest.approx(2.6665, abs=1e-9)  # OpenL3 says 8 x 0.33333 = 2.66664
    np.testing.assert_array_equal(times, [i * 15_999 / RATE for i in range(9)])


@pytest.mark.parametrize(
    "hop_s, rate_hz, samples",
    [
        (0.29, RATE, 13_920),
        (0.1, RATE, 4800),
        (0.1, 32_000, 3200),
        (1, RATE, RATE),
        (1 / RATE, RATE, 1),
        (0.00005, RATE, 2),
    ],
)
def test_hop_in_whole_samples(hop_s, rate_hz, samples):
    assert windows.hop_samples(hop_s, rate_hz) == samples


@given(samples=st.integers(1, 10**7), rate_hz=st.sampled_from([8000, 16_000, 22_050, 32_000, 44_100, RATE]))
def test_hop_of_whole_samples_survives_the_way_through_seconds(samples, rate_hz):
    assert windows.hop_samples(samples / rate_hz, rate_hz) == samples
    assert windows.hop_samples(np.float64(samples / rate_hz), rate_hz) == samples


@pytest.mark.parametrize(
    "hop_s",
    [0, 0.0, -0.1, 1e-6, 1e300, math.nan, math.inf, -math.inf, True, np.True_, "0.1", None, 1j, np.complex64(1), [0.1]],
)
def test_impossible_hops(hop_s):
    with pytest.raises(UsageError, match="hop must be") as caught:
        windows.hop_samples(hop_s, RATE)
    assert "\n" not in str(caught.value)


@given(n=st.integers(0, 50), first=st.integers(0, 10**6), hop=st.integers(1, 10**5), nominal_s=st.none() | st.just(0.1))
def test_times_from_the_middle_on_are_those_of_the_whole(n, first, hop, nominal_s):
    whole = windows.times(first + n, hop, RATE, nominal_s) if first < 1000 else None
    part = windows.times(n, hop, RATE, nominal_s, first)
    assert len(part) == n
    if whole is not None:
        assert np.array_equal(part, whole[first:])
