"""What trains l3-small-taught-2, and what looks for test recordings among its sounds (scripts/)."""

import json
import runpy
from pathlib import Path

import numpy as np
import pytest
import soundfile

SCRIPTS = Path(__file__).resolve().parents[1] / "scripts"


def _script(name):
    return runpy.run_path(str(SCRIPTS / name))


@pytest.fixture(scope="module")
def teaching():
    pytest.importorskip("keras")
    return _script("teach_l3_small.py")


def test_telling_clips_apart_is_softmax_over_the_other_windows(teaching):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(6, 5)).astype(np.float32)
    found = np.asarray(teaching["same_clip_loss"](None, x))
    for i in range(6):
        cosines = {j: x[i] @ x[j] / np.linalg.norm(x[i]) / np.linalg.norm(x[j]) for j in range(6) if j != i}
        odds = {j: np.exp(c / 0.1) for j, c in cosines.items()}
        partner = i + 1 if i % 2 == 0 else i - 1
        assert found[i] == pytest.approx(-np.log(odds[partner] / sum(odds.values())), rel=1e-4, abs=1e-6)
    twins = np.repeat(np.eye(3, dtype=np.float32), 2, axis=0)  # the best there is: e^10 against 4 times e^0
    assert np.asarray(teaching["same_clip_loss"](None, twins)) == pytest.approx(np.log(1 + 4 * np.exp(-10)), rel=1e-2)


@pytest.fixture
def shards(teaching, tmp_path):
    """Two shards of five clips, each cell and target the clip's number; the third clip of each is of file 1."""
    rng, n = np.random.default_rng(0), 5
    for k in range(2):
        number = np.arange(n * k + 1, n * (k + 1) + 1, dtype=np.float16)
        used = np.where(np.arange(n) == 2, 1, 0)[:, None] * np.ones((1, 16), np.int32)
        spectrogram = np.broadcast_to(number[:, None, None], (n, 64, 318))
        target = np.broadcast_to((number**2)[:, None, None], (n, 7, 3)) + rng.random((n, 7, 3)) * 0
        np.savez(tmp_path / f"{k:05d}.npz", spectrogram=spectrogram, a=target.astype(np.float16), used=used)
    (tmp_path / "durations.json").write_text(json.dumps({"folder": {"x/good.ogg": 1.0, "x/bad.ogg": 1.0}}))
    return {"shards": str(tmp_path), "left_out": ["bad.ogg"], "teachers": {"a": {}}, "seed": 1, "batch": 8}


def test_batches_leave_out_files_and_hold_clips_in_twos(teaching, shards):
    batches = teaching["Batches"](shards | {"same_clip": 0.1, "centred": True}, [0, 1])
    assert len(batches) == 8  # two of ten hold the file that is left out
    x, y = batches.train(0)
    level = x.mean(axis=(1, 2, 3)) - np.round(y["a"][:, 0] + 5.5)  # numbers 1, 2, 4, 5, 6, 7, 9, 10: their mean is 5.5
    assert x.shape == (8, 64, 78, 1) and (x == x[:, :1, :1]).all() and np.abs(level).max() < 4.1
    clips = y["a"][:, 0].round(3).reshape(4, 2)
    assert (clips[:, 0] == clips[:, 1]).all() and len(set(clips[:, 0])) == 4
    again, other = batches.train(0), batches.train(1)
    assert (again[0] == x).all() and not (other[0] == x).all()
    np.testing.assert_allclose(batches.every([0, 6])[1]["a"].mean(axis=0), 0, atol=1e-2)


def test_a_cut_coded_noisy_copy_is_found_and_a_likeness_is_not(tmp_path, monkeypatch, capsys):
    pytest.importorskip("tqdm")
    rate, rng = 16_000, np.random.default_rng(0)

    def crackling(seed):
        """Twelve seconds of noise that comes and goes."""
        draw, t = np.random.default_rng(seed), np.arange(12 * rate) / rate
        return draw.normal(size=len(t)) * np.exp(2 * np.sin(2 * np.pi * 3 * t + draw.uniform(0, 6))) / 20

    for folder in ("test", "other", "training"):
        (tmp_path / folder).mkdir()
    original = crackling(1)
    soundfile.write(tmp_path / "test" / "a.wav", 0.3 * original, rate)
    soundfile.write(tmp_path / "test" / "b.wav", 0.3 * crackling(2), rate)
    soundfile.write(tmp_path / "other" / "c.wav", 0.3 * crackling(3), rate)
    cut = original[3 * rate + 77 : 9 * rate]
    soundfile.write(tmp_path / "training" / "copy.ogg", 0.3 * (cut + 0.002 * rng.normal(size=len(cut))), rate)
    soundfile.write(tmp_path / "training" / "alike.wav", 0.3 * crackling(4), rate)
    (tmp_path / "training" / "text.wav").write_text("no sound")
    arguments = ["x", "--test", tmp_path / "test", tmp_path / "other", "--training", tmp_path / "training"]
    monkeypatch.setattr("sys.argv", list(map(str, arguments)))
    _script("check_training_sounds.py")["main"]()
    found, *summary = capsys.readouterr().out.splitlines()
    assert "copy.ogg | " in found and found.endswith("a.wav") and int(found.split()[0]) > 100
    assert float(found.split("correlation ")[1].split()[0]) > 0.6
    assert [line.split(": ")[1].split(";")[0] for line in summary] == ["2 training files read"] * 2
    assert all(int(line.split("at most ")[1].split()[0]) < 20 for line in summary)
