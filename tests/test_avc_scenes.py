"""Synthesised scenes and drawn pictures."""

import numpy as np
import pytest

from l3embed.avc import picture, scenes

RATE = 16_000


def _scene(seed, seconds=2.0, snippets=()):
    return scenes.scene(np.random.default_rng(seed), seconds, RATE, snippets)


def _snippets():
    t = np.arange(RATE) / RATE
    return [lambda f=f: np.sin(2 * np.pi * f * t).astype(np.float32) for f in (300, 2000)]


@pytest.mark.parametrize("snippets", [(), _snippets()], ids=["textures", "snippets"])
def test_scenes_are_sound_of_the_asked_length_with_a_peak_of_at_most_one(snippets):
    for seed in range(40):
        x = _scene(seed, 1.5, snippets)
        assert x.shape == (24_000,) and x.dtype == np.float32
        assert np.isfinite(x).all(), seed
        assert 10 ** (-12 / 20) * 0.999 < np.abs(x).max() <= 1, seed  # the documented level; never silent


def test_the_seed_decides():
    a, b, c = _scene(1), _scene(1), _scene(2)
    np.testing.assert_array_equal(a, b)
    assert abs(np.corrcoef(a, c)[0, 1]) < 0.9


def test_a_scene_keeps_its_character():
    """The halves of a scene resemble each other more than halves of other scenes do: what there is to learn."""

    def spectrum(x):
        bands = np.array_split(np.abs(np.fft.rfft(x)) ** 2, 24)
        return np.log10([b.mean() + 1e-6 for b in bands])

    halves = [[spectrum(part) for part in np.split(_scene(seed, 8.0), 2)] for seed in range(12)]
    distance = np.array([[np.linalg.norm(a[0] - b[1]) for b in halves] for a in halves])
    assert np.mean(distance.argmin(axis=1) == np.arange(12)) > 0.6  # 1 in 12 by chance


def test_snippets_of_one_sample_and_of_silence_end_in_a_scene():
    for x in (np.ones(1, np.float32), np.zeros(100, np.float32)):
        for seed in range(5):
            assert np.abs(_scene(seed, 1.0, [lambda x=x: x])).max() > 0.2


def test_a_collage_is_made_of_its_snippets():
    x = scenes.collage(np.random.default_rng(0), 3 * RATE, _snippets()[:1])
    spectrum = np.abs(np.fft.rfft(x))
    peak_hz = spectrum.argmax() / 3
    assert 300 * 0.75 <= peak_hz <= 300 * 1.33  # at some speed


# --- pictures


def _tone(hz, seconds=1.0, level=0.5):
    return (level * np.sin(2 * np.pi * hz * np.arange(int(seconds * picture.RATE_HZ)) / picture.RATE_HZ)).astype("f4")


@pytest.mark.parametrize("size", [64, 73, 256])
def test_a_picture_is_a_square_of_bytes(size):
    image = picture.draw(_tone(440), size)
    assert image.shape == (size, size, 3) and image.dtype == np.uint8
    assert all(image[..., channel].max() > 100 for channel in range(3))


def test_the_two_parts_make_the_whole_picture():
    sound = _tone(440) + _tone(3000, level=0.2)
    full, spectrogram, curves = (picture.draw(sound, 64, what) for what in ("full", "spectrogram", "curves"))
    assert not spectrogram[..., 1:].any() and not curves[..., 0].any()
    np.testing.assert_array_equal(spectrogram + curves, full)


def test_silence_is_black():
    assert not picture.draw(np.zeros(picture.RATE_HZ, np.float32), 64).any()


@pytest.mark.parametrize("gain", [1e-6, 1e-3, 0.1, 30])
def test_a_picture_says_nothing_of_the_level(gain):
    x = _tone(700) + 0.05 * np.random.default_rng(0).standard_normal(picture.RATE_HZ).astype(np.float32)
    difference = picture.draw(x, 64).astype(int) - picture.draw(gain * x, 64)
    assert np.abs(difference).max() <= 1


def test_high_tones_are_drawn_higher():
    heights = []
    for hz in (200, 1000, 4000, 12_000):
        red = picture.draw(_tone(hz), 64)[..., 0].astype(float).sum(axis=1)
        heights.append(63 - red.argmax())
    assert heights == sorted(heights) and heights[0] < 16 and heights[-1] > 48


def test_time_runs_from_left_to_right():
    x = np.zeros(picture.RATE_HZ, np.float32)
    x[: len(x) // 4] = _tone(1000, 0.25)
    green = picture.draw(x, 64)[..., 1].astype(float).sum(axis=0)
    assert green[:14].min() > 4 * green[20:].max()
