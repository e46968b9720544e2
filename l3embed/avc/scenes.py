"""Synthesised sound scenes: unlimited recordings whose seconds belong together.

A scene is a few layers that each keep their character from beginning to end: textures from elementary sources (noise,
impacts, tones, sweeps, pulse trains) and snippets of a corpus, then one filter and one reverberation for all. No scene
imitates a class of any data set; parameters are drawn over wide ranges.

Conventions: mono float32, peak at most 1; every random value comes from the generator that is passed in.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

Snippets = Sequence[Callable[[], np.ndarray]]  # each call decodes one short recording at the scene's rate


def scene(rng: np.random.Generator, seconds: float, rate_hz: int, snippets: Snippets = ()) -> np.ndarray:
    """One scene, (seconds x rate,). With snippets about two layers in three are made of them."""
    n = int(seconds * rate_hz)
    mix = np.zeros(n, np.float32)
    for _ in range(rng.choice([1, 2, 3], p=[0.5, 0.35, 0.15])):
        from_corpus = len(snippets) > 0 and rng.random() < 0.65
        layer = collage(rng, n, snippets) if from_corpus else _texture(rng, n, rate_hz)
        level = 10 ** (rng.uniform(-18, 0) / 20)
        mix += level * layer / (np.sqrt(np.mean(layer**2)) + 1e-9)
    if rng.random() < 0.5:
        mix = reverberate(rng, mix, rate_hz)
    mix = colour(rng, mix, rate_hz)
    peak = np.abs(mix).max()
    if not peak:  # silent snippets, or a burst that fell outside
        return scene(rng, seconds, rate_hz, snippets)
    return (mix * (10 ** (rng.uniform(-12, 0) / 20) / max(peak, 1e-9))).astype(np.float32)


def collage(rng: np.random.Generator, n: int, snippets: Snippets) -> np.ndarray:
    """A few snippets, each at its own speed, laid out in random order and pauses until `n` samples are full."""
    chosen = [snippets[i]() for i in rng.integers(len(snippets), size=rng.integers(1, 4))]
    speed = np.exp(rng.uniform(np.log(0.75), np.log(1.33), len(chosen)))
    chosen = [change_speed(x, s) / (np.abs(x).max() + 1e-9) for x, s in zip(chosen, speed, strict=True)]
    out, at, pause = np.zeros(n, np.float32), 0, rng.exponential(0.15 * n / 4)
    while at < n:
        x = chosen[rng.integers(len(chosen))][: n - at]
        out[at : at + len(x)] += x
        at += max(len(x), n // 40) + int(rng.uniform(0, 2) * pause)
    return np.roll(out, rng.integers(n))


def change_speed(x: np.ndarray, speed: float) -> np.ndarray:
    return np.interp(np.arange(0, max(len(x) - 1, 1), speed), np.arange(len(x)), x).astype(np.float32)


def _texture(rng, n, rate_hz):
    kind = rng.choice([_noise, _impacts, _tone, _sweeps, _pulses])
    return kind(rng, n, rate_hz) * _modulation(rng, n, rate_hz)


def _log_uniform(rng, low, high, size=None):
    return np.exp(rng.uniform(np.log(low), np.log(high), size))


def _shape_spectrum(x, rate_hz, gain):
    """Multiply the spectrum of x by gain(frequency in Hz)."""
    spectrum = np.fft.rfft(x)
    return np.fft.irfft(spectrum * gain(np.fft.rfftfreq(len(x), 1 / rate_hz)), len(x)).astype(np.float32)


def _noise(rng, n, rate_hz):
    """Coloured noise in a band."""
    slope, centre, octaves = rng.uniform(-1.2, 0.6), _log_uniform(rng, 100, 10_000), rng.uniform(0.3, 8)

    def gain(f):
        distance = np.abs(np.log2(np.maximum(f, 1) / centre))
        return np.maximum(f, 20.0) ** slope / (1 + (distance / octaves * 2) ** 6)

    return _shape_spectrum(rng.standard_normal(n, np.float32), rate_hz, gain)


def _impacts(rng, n, rate_hz):
    """Struck resonances: a bank of damped modes, at random or at regular times."""
    rate = _log_uniform(rng, 0.7, 60)
    count = max(1, int(rate * n / rate_hz))
    times = rng.uniform(0, n, count) if rng.random() < 0.6 else (np.arange(count) + rng.random()) * rate_hz / rate
    train = np.zeros(n, np.float32)
    np.add.at(
        train, np.clip(times.astype(int), 0, n - 1), rng.lognormal(0, rng.uniform(0, 1), count).astype(np.float32)
    )
    decay_s, length = _log_uniform(rng, 0.001, 0.15), int(0.5 * rate_hz)
    t = np.arange(length) / rate_hz
    modes = _log_uniform(rng, 150, 12_000, rng.integers(1, 6))
    body = sum(
        np.sin(2 * np.pi * f * t + rng.uniform(0, 6)) * np.exp(-t / decay_s / rng.uniform(0.5, 1.5)) for f in modes
    )
    body = body + rng.uniform(0, 2) * rng.standard_normal(length) * np.exp(-t / decay_s)
    return _convolve(train, body.astype(np.float32))


def _tone(rng, n, rate_hz):
    """A harmonic voice with vibrato, drift and formants, held or in bursts."""
    t = np.arange(n) / rate_hz
    f0 = _log_uniform(rng, 50, 2000) * 2 ** (_wander(rng, n, rate_hz, _log_uniform(rng, 0.3, 6)) * rng.uniform(0, 0.5))
    f0 = f0 * (1 + rng.uniform(0, 0.03) * np.sin(2 * np.pi * rng.uniform(3, 9) * t))
    phase = ((2 * np.pi / rate_hz * np.cumsum(f0)) % (2 * np.pi)).astype(np.float32)
    roll_off, even = rng.uniform(0.3, 2), rng.random() < 0.3
    out = rng.uniform(0, 0.2) * rng.standard_normal(n, np.float32)
    # sin((k+1) x) = 2 cos(x) sin(k x) - sin((k-1) x): two products instead of a sine for each harmonic
    before, now, twice = np.zeros(n, np.float32), np.sin(phase, dtype=np.float32), 2 * np.cos(phase, dtype=np.float32)
    for k in range(1, int(min(24, 0.45 * rate_hz / f0.max())) + 1):
        if k == 1 or not (even and k % 2 == 0):
            out += np.float32(k**-roll_off) * now
        before, now = now, twice * now - before
    formants, sharp, boost = _log_uniform(rng, 300, 5000, rng.integers(1, 4)), rng.uniform(2, 8), rng.uniform(1, 8)

    def gain(f):
        octaves = np.log2(np.maximum(f, 1))
        return 1 + boost * sum(np.exp(-(((octaves - np.log2(c)) * sharp) ** 2)) for c in formants)

    return _shape_spectrum(out, rate_hz, gain)


def _sweeps(rng, n, rate_hz):
    """Chirps from one frequency to another, again and again."""
    period = _log_uniform(rng, 0.05, 1.5)
    position = (np.arange(n) / rate_hz / period + rng.random()) % 1
    low, high = _log_uniform(rng, 200, 8000, 2)
    frequency = low * (high / low) ** position
    duty = rng.uniform(0.2, 1)
    envelope = np.where(position < duty, np.sin(np.pi * np.minimum(position / duty, 1)), 0)
    return np.sin(2 * np.pi * np.cumsum(frequency) / rate_hz) * envelope


def _pulses(rng, n, rate_hz):
    """An engine: irregular pulses exciting a broad resonance, with noise that follows them."""
    rate = _log_uniform(rng, 8, 200) * 2 ** (_wander(rng, n, rate_hz, rng.uniform(0.3, 3)) * rng.uniform(0, 0.4))
    phase = np.cumsum(rate) / rate_hz
    pulse = ((phase % 1) ** _log_uniform(rng, 1, 30)).astype(np.float32)
    x = pulse - pulse.mean() + rng.uniform(0, 1) * pulse * rng.standard_normal(n, np.float32)
    centre, octaves = _log_uniform(rng, 80, 3000), rng.uniform(1, 4)
    return _shape_spectrum(x, rate_hz, lambda f: 1 / (1 + (np.log2(np.maximum(f, 1) / centre) / octaves) ** 4))


def _modulation(rng, n, rate_hz):
    """How loudness moves: steady, slowly wandering, or in bursts."""
    kind = rng.random()
    if kind < 0.35:
        return 1.0
    if kind < 0.65:
        return np.exp(_wander(rng, n, rate_hz, _log_uniform(rng, 0.2, 8)) * rng.uniform(0.3, 1.5))
    period, duty = _log_uniform(rng, 0.1, 2), rng.uniform(0.1, 0.8)
    position = (np.arange(n) / rate_hz / period + rng.random()) % 1
    attack = rng.uniform(0.02, 0.5) * duty
    return np.clip(np.minimum(position / attack, (duty - position) / (duty - attack)), 0, 1) ** rng.uniform(0.5, 2)


def _wander(rng, n, rate_hz, hz):
    """A smooth random walk of unit variance that changes about `hz` times a second."""
    points = rng.standard_normal(int(n / rate_hz * hz) + 4)
    return np.interp(np.linspace(1, len(points) - 2, n), np.arange(len(points)), points)


def reverberate(rng, x, rate_hz):
    t = np.arange(int(0.6 * rate_hz)) / rate_hz
    tail = rng.standard_normal(len(t)) * np.exp(-t * 6.9 / _log_uniform(rng, 0.1, 1.5))  # 60 dB down after that time
    wet = _convolve(x, tail.astype(np.float32))
    mix = rng.uniform(0.05, 0.6)
    return (1 - mix) * x + mix * wet * (np.sqrt(np.mean(x**2)) / (np.sqrt(np.mean(wet**2)) + 1e-9))


def colour(rng, x, rate_hz):
    """The recording's own sound: a tilt, a bump, a bandwidth, and background noise."""
    tilt, bump, where = rng.uniform(-0.5, 0.3), rng.uniform(-0.7, 2), _log_uniform(rng, 100, 10_000)
    cut = rate_hz if rng.random() < 0.5 else _log_uniform(rng, 3000, rate_hz / 2)
    level = np.sqrt(np.mean(x**2)) * 10 ** (rng.uniform(-70, -15) / 20)
    x = x + level * rng.standard_normal(len(x), np.float32)
    return _shape_spectrum(
        x,
        rate_hz,
        lambda f: (
            (np.maximum(f, 50) / 1000) ** tilt
            * (1 + bump * np.exp(-(np.log2(np.maximum(f, 1) / where) ** 2)))
            / (1 + (f / cut) ** 12)
        ),
    )


def _convolve(x, kernel):
    """Circular: scenes have no beginning."""
    return np.fft.irfft(np.fft.rfft(x) * np.fft.rfft(kernel, len(x)), len(x)).astype(np.float32)
