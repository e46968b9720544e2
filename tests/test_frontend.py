"""The front ends against a float64 referee written from their definitions, and against kapre and librosa."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from l3embed.frontend import mel_filterbank, spectrograms
from l3embed.spec import L3_FRONT_ENDS, L3_REPRESENTATIONS, l3_front_end, small_front_end

ALL = [l3_front_end(r, n) for r in L3_REPRESENTATIONS for n in L3_FRONT_ENDS] + [small_front_end()]
IDS = [f"{fe.name}-{fe.n_mels or 'linear'}" for fe in ALL]


def _sound(fe, seed=0):
    """A second with a bit of everything: noise, a tone, a click, a fade."""
    rng = np.random.default_rng(seed)
    t = np.arange(fe.window_samples) / fe.rate_hz
    sound = 0.1 * rng.standard_normal(len(t)) * np.linspace(1, 0.05, len(t)) + 0.3 * np.sin(2 * np.pi * 997 * t)
    sound[len(t) // 3] += 0.5
    return sound


def _referee(sound, fe):
    """One window, cell by cell from the table of the three front ends: a plain DFT and triangles built in a loop."""
    padded = np.concatenate([np.zeros(fe.pad_samples[0]), sound, np.zeros(fe.pad_samples[1])])
    n = fe.n_fft
    hann = np.array([0.5 * (1 - np.cos(2 * np.pi * i / n)) for i in range(n)])
    kernel = np.exp(-2j * np.pi * np.outer(np.arange(n // 2 + 1), np.arange(n)) / n)
    n_frames = 1 + (len(padded) - n) // fe.hop_samples
    frames = np.stack([padded[i * fe.hop_samples : i * fe.hop_samples + n] * hann for i in range(n_frames)])
    s = np.abs(kernel @ frames.T)  # (bins, frames)
    if fe.n_mels:
        s = np.sqrt(_triangles(fe) @ s**2) if fe.name in ("training", "kapre-0.1.4") else _triangles(fe) @ s
    db = 10 * np.log10(np.maximum(s, 1e-3 if fe.name == "log-mel" else 1e-10))
    return db if fe.name == "log-mel" else np.maximum(db - db.max(), -80)


def _triangles(fe):
    def mel(f):
        if fe.name in ("training", "kapre-0.1.4", "log-mel"):  # HTK
            return 2595 * np.log10(1 + f / 700)
        return f / (200 / 3) if f < 1000 else 15 + 27 * np.log(f / 1000) / np.log(6.4)  # Slaney

    grid = np.linspace(0, mel(fe.rate_hz / 2), fe.n_mels + 2)
    fine = np.linspace(0, fe.rate_hz / 2, 200_001)
    edges = np.interp(grid, [mel(f) for f in fine], fine)  # the scale inverted by table, not by formula
    bank = np.zeros((fe.n_mels, fe.n_fft // 2 + 1))
    for i, ((low, centre), (_, high)) in enumerate(pairwise(pairwise(edges))):
        for j in range(bank.shape[1]):
            f = j * fe.rate_hz / fe.n_fft
            if low < f < high:
                bank[i, j] = (f - low) / (centre - low) if f <= centre else (high - f) / (high - centre)
        if fe.name == "training":
            bank[i] /= bank[i].sum() or 1
        elif fe.name != "log-mel":
            bank[i] *= 2 / (high - low)
    return bank


@pytest.mark.parametrize("fe", ALL, ids=IDS)
def test_agrees_with_the_referee(fe):
    sound = _sound(fe)
    found = spectrograms(sound, np.array([0]), fe)
    assert found.shape == (1, *fe.shape) and found.dtype == np.float32
    expected = _referee(sound, fe)
    assert expected.shape == fe.shape[:2]
    assert np.abs(found[0, :, :, 0] - expected).mean() <= 1e-3


@pytest.mark.parametrize(("representation", "shape"), [("linear", (257, 197, 1)), ("mel128", (128, 199, 1)),
                                                       ("mel256", (256, 199, 1))])  # fmt: skip
@pytest.mark.parametrize("name", L3_FRONT_ENDS)
def test_sizes_are_those_of_openl3(representation, shape, name):
    assert l3_front_end(representation, name).shape == shape


@pytest.mark.parametrize("fe", ALL, ids=IDS)
def test_kapre_layers_agree(fe):
    pytest.importorskip("kapre")
    from l3embed.networks.front_end import front_end_layers

    sound = _sound(fe)
    with np.testing.suppress_warnings() as quiet:
        quiet.filter(UserWarning, "Empty filters detected")  # librosa, of the HTK bank
        layers = front_end_layers(fe)
    found = np.asarray(layers(sound[None, :, None].astype(np.float32)))[0, :, :, 0]
    expected = spectrograms(sound, np.array([0]), fe)[0, :, :, 0]
    # kapre computes in float32, which does not resolve the lowest of the 160 dB that 80 units span: the linear
    # spectrum, whose single bins reach down there, differs by more than the mel bands, which sum over bins.
    assert np.abs(found - expected).mean() <= (1e-3 if fe.n_mels else 5e-3)


@pytest.mark.parametrize("fe", [fe for fe in ALL if fe.n_mels], ids=[i for i in IDS if "linear" not in i])
def test_mel_filterbank_is_librosas(fe):
    librosa = pytest.importorskip("librosa")
    with np.testing.suppress_warnings() as quiet:
        quiet.filter(UserWarning, "Empty filters detected")
        norm = {"slaney": "slaney", "sum": 1, "none": None}[fe.mel_norm]
        bank = librosa.filters.mel(
            sr=fe.rate_hz, n_fft=fe.n_fft, n_mels=fe.n_mels, htk=fe.mel_scale == "htk", norm=norm
        )
    np.testing.assert_allclose(mel_filterbank(fe), bank, atol=1e-6 * bank.max())


@pytest.mark.parametrize("name", ["training", "kapre-0.1.4"])
def test_htk_mel256_has_two_empty_filters(name):  # a published trait of the bank the weights were trained with
    assert np.flatnonzero(mel_filterbank(l3_front_end("mel256", name)).sum(axis=1) == 0).tolist() == [0, 7]


@pytest.mark.parametrize("fe", ALL, ids=IDS)
def test_windows_of_a_signal_equal_windows_alone(fe):
    """Sharing columns between overlapping windows changes nothing."""
    signal = np.concatenate([_sound(fe, 1), _sound(fe, 2)])
    starts = np.arange(0, len(signal) - fe.window_samples + 1, fe.rate_hz // 10)
    together = spectrograms(signal, starts, fe)
    alone = np.concatenate([spectrograms(signal[s : s + fe.window_samples], np.array([0]), fe) for s in starts])
    np.testing.assert_allclose(together, alone, atol=2e-5)


def test_silence_is_zero_decibels_where_relative_and_the_floor_where_absolute():
    for fe, level in ((l3_front_end("mel256"), 0.0), (small_front_end(), -30.0)):
        assert np.all(spectrograms(np.zeros(fe.window_samples), np.array([0]), fe) == level)


def test_level_matters_only_where_it_is_absolute():
    small, l3 = small_front_end(), replace(l3_front_end("mel128"), amin=1e-30)
    for fe, shift in ((small, 10 * np.log10(0.5)), (l3, 0.0)):
        sound = _sound(fe)
        louder, softer = (spectrograms(x, np.array([0]), fe) for x in (sound, sound / 2))
        clear = louder > (louder.min() + 10)  # away from the floor
        np.testing.assert_allclose((softer - louder)[clear], shift, atol=1e-3)


@pytest.mark.parametrize("clip", ["dog", "rain"])
def test_kapre_0_1_4_is_what_kapre_0_1_4_computes(fixtures, clip):
    """EdgeL3 0.2.1 computes the same front end at its own sizes, with kapre 0.1.4 and librosa 0.7.2."""
    import soundfile

    sizes = {"rate_hz": 8000, "window_samples": 8000, "n_fft": 1024, "hop_samples": 160, "n_mels": 64}
    fe = replace(l3_front_end("mel128", "kapre-0.1.4"), pad_samples=(432, 432), **sizes)
    sound, _ = soundfile.read(fixtures / "edgel3" / "audio" / f"{clip}_8k.wav")
    with np.load(fixtures / "edgel3" / "expected.npz") as file:
        expected = file[f"{clip}/sea64/first_second/melspectrogram_db"].reshape(64, 50)
    assert np.abs(spectrograms(sound, np.array([0]), fe)[0, :, :, 0] - expected).mean() <= 1e-4
