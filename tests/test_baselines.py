"""Baselines: MFCC against librosa and against a naive computation, log-mel against the study's, streaming, failures."""

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("sklearn")
from conftest import tone, write

from probes import baselines, features
from probes.datasets import Clip, DataSet


@pytest.fixture(scope="module")
def sounds(tmp_path_factory):
    """A sweep in noise with a silent stretch, at the rates that are asked for: nothing is resampled."""
    folder, rng = tmp_path_factory.mktemp("sounds"), np.random.default_rng(0)
    out = {}
    for rate_hz in (44_100, 12_000):
        t = np.arange(round(2.3 * rate_hz)) / rate_hz
        sound = 0.4 * np.sin(2 * np.pi * (200 + 900 * t) * t) + 0.02 * rng.standard_normal(len(t))
        sound[len(t) // 2 : len(t) // 2 + rate_hz // 3] = 0
        out[rate_hz] = write(folder / f"{rate_hz}.wav", sound, rate_hz, subtype="FLOAT"), sound.astype(np.float32)
    return out


def _naive_mfcc(sound, rate_hz, n):
    """From the definitions, frame by frame."""
    padded = np.concatenate([np.zeros(1024), sound.astype(np.float64), np.zeros(1024)])
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(2048) / 2048)

    def to_hz(m):
        return m * 200 / 3 if m < 15 else 1000 * 6.4 ** ((m - 15) / 27)

    top = 15 + 27 * np.log(rate_hz / 2 / 1000) / np.log(6.4)
    edges = [to_hz(m) for m in np.linspace(0, top, 130)]
    hz = np.arange(1025) * rate_hz / 2048
    bank = np.array([np.clip(np.minimum((hz - a) / (b - a), (c - hz) / (c - b)), 0, None) * 2 / (c - a)
                     for a, b, c in zip(edges, edges[1:], edges[2:], strict=False)])  # fmt: skip
    frames = [padded[at : at + 2048] for at in range(0, len(padded) - 2047, 512)]
    db = np.array([10 * np.log10(np.maximum(bank @ np.abs(np.fft.rfft(window * f)) ** 2, 1e-10)) for f in frames])
    db = np.maximum(db, db.max() - 80)
    k = np.arange(n)[:, None]
    basis = np.cos(np.pi * k * (2 * np.arange(128) + 1) / 256) * np.where(k == 0, np.sqrt(1 / 128), np.sqrt(2 / 128))
    return basis @ db.T


def test_mfcc_by_hand(sounds, monkeypatch):
    path, sound = sounds[44_100]
    expected = _naive_mfcc(sound, 44_100, 13)
    monkeypatch.setattr(baselines, "BLOCK_FRAMES", 7)  # a recording of many blocks
    np.testing.assert_allclose(baselines._mfcc(path, 44_100, 13), expected, atol=1e-3)
    frames = [sound[at : at + 512] for at in range(0, len(sound), 512)]
    rates = [0.5 * np.mean(np.abs(np.diff(np.sign(frame)))) for frame in frames]
    vector = baselines.mfcc_statistics(path)
    assert vector.shape == (26,) and vector.dtype == np.float32
    np.testing.assert_allclose(vector[:12], expected[1:].mean(axis=1), atol=1e-3)
    np.testing.assert_allclose(vector[13:25], expected[1:].std(axis=1), atol=1e-3)
    np.testing.assert_allclose(vector[[12, 25]], [np.mean(rates), np.std(rates)], atol=1e-6)


def test_mfcc_of_librosa(sounds):
    librosa = pytest.importorskip("librosa")
    path, sound = sounds[44_100]
    ours = baselines._mfcc(path, 44_100, 13)
    np.testing.assert_allclose(ours, librosa.feature.mfcc(y=sound, sr=44_100, n_mfcc=13), atol=0.02)
    path, sound = sounds[12_000]
    cepstra = librosa.feature.mfcc(y=sound, sr=12_000, n_mfcc=20)
    each = [cepstra, librosa.feature.delta(cepstra), librosa.feature.delta(cepstra, order=2)]
    expected = np.concatenate([f(x, axis=1) for x in each for f in (np.mean, np.std)])
    np.testing.assert_allclose(baselines.mfcc_delta_statistics(path), expected, atol=0.02)


def test_log_mel_statistics_are_the_studys(sounds, tmp_path):
    short = write(tmp_path / "short.wav", tone(0.4))
    for path in (sounds[44_100][0], short):
        (expected,) = features.log_mel_statistics([Clip(path, "a")])
        np.testing.assert_allclose(baselines.log_mel_statistics(path), expected, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("name", sorted(baselines.BASELINES))
def test_every_clip_has_its_row_and_failures_their_reason(name, tmp_path, sounds):
    clips = [Clip(write(tmp_path / f"{i}.wav", tone(0.3 + i, hz=300 + 200 * i)), "a", id=f"{i}.wav") for i in range(3)]
    (tmp_path / "broken.wav").write_bytes(b"RIFF no sound")
    clips.insert(1, Clip(tmp_path / "broken.wav", "a", id="broken.wav"))
    clips.append(replace(clips[0], id="part", start_s=0.1, end_s=0.25))
    clips.append(Clip(write(tmp_path / "tiny.wav", tone(0.02)), "a", id="tiny"))
    data = DataSet("made", tmp_path, tuple(clips))
    one, two = (baselines.features(name, data, jobs=jobs) for jobs in (1, 2))
    np.testing.assert_array_equal(one.pooled(), two.pooled())
    x = one.pooled()
    heard = baselines.BASELINES[name].of is not None
    assert list(one.ok) == [True, not heard, True, True, True, True]
    assert np.isfinite(x[one.ok]).all() and len(np.unique(x[one.ok], axis=0)) == one.ok.sum()
    assert set(one.failed) == ({1} if heard else set())
    if heard:
        cut = write(tmp_path / "cut.wav", tone(0.3, hz=300)[3200:8000])
        np.testing.assert_allclose(x[4], baselines.BASELINES[name].of(cut), rtol=1e-3, atol=2e-2)
