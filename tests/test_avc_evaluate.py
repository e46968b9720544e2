"""Correspondence accuracy: oracles and fools whose scores are known beforehand, in place of trained networks."""

import json
from dataclasses import replace

import numpy as np
import pytest
from conftest import tone, write

pytest.importorskip("joblib")

from l3embed.avc import evaluate, picture
from l3embed.avc.config import DataConfig, FitConfig, ModelConfig, TrainConfig
from l3embed.errors import TrainingError, UsageError

SIZE = 64


class _Network:
    """Answers by a rule (sound (window,), image) -> probability of correspondence; keeps what it was asked."""

    def __init__(self, rule, objective="binary"):
        self.rule, self.objective, self.asked = rule, objective, []

    def predict_on_batch(self, inputs):
        sound, image = inputs["audio"][..., 0], inputs["image"]
        assert sound.shape[1:] == (32_000,) and image.shape[1:] == (SIZE, SIZE, 3) and image.dtype == np.uint8
        self.asked.append((sound, image))
        p = np.array([self.rule(s, i) for s, i in zip(sound, image, strict=True)])
        if self.objective == "binary":
            return np.stack([1 - p, p], axis=1)
        return np.diag(p) + 9 * (1 - np.eye(len(p)))  # what is not on the diagonal must not count


def _run(rule, name="run", objective="binary", **model):
    config = TrainConfig(model=ModelConfig(family="l3-small", **model), fit=FitConfig(objective=objective))
    return evaluate.Run(name, config, _Network(rule, objective), True, SIZE)


def _oracle(sound, image):
    """Draws the sound's own picture, as domains without videos do, and compares."""
    large = int(SIZE * 8 / 7)
    mine = picture.draw(sound, large) if picture.RATE_HZ == 32_000 else None
    edge = (large - SIZE) // 2
    return float(np.array_equal(mine[edge : edge + SIZE, edge : edge + SIZE], image))


@pytest.fixture
def sounds(tmp_path):
    for i in range(40):
        write(tmp_path / "sounds" / f"{i}.wav", tone(2.5, hz=200 + 150 * i, seed=i))
    return evaluate.Domain("tones", DataConfig(recordings=(str(tmp_path / "sounds"),), held_out=1.0, clip_s=2.0))


def test_an_oracle_is_always_right_and_who_says_yes_is_right_by_half(sounds):
    runs = [_run(_oracle, "oracle"), _run(lambda s, i: 1.0, "yes"), _run(lambda s, i: 1 - _oracle(s, i), "liar")]
    oracle, yes, liar = evaluate.evaluate(runs, [sounds], moments=2)
    assert (oracle["accuracy"], oracle["two_way"], oracle["interval"]) == (1, 1, [1, 1])
    assert (oracle["videos"], oracle["questions"]) == (40, 160)
    assert (yes["accuracy"], yes["two_way"]) == (0.5, 0.5)  # ties count half
    assert (liar["accuracy"], liar["two_way"]) == (0, 0)


def test_contrastive_networks_are_asked_two_way_only(sounds):
    (row,) = evaluate.evaluate([_run(lambda s, i: 3 * _oracle(s, i) - 7, objective="contrastive")], [sounds], moments=3)
    assert row["accuracy"] is None and row["two_way"] == 1
    text = evaluate.table([row])
    assert "two-way" in text and "accuracy in %" not in text and "100.00 (100.0 to 100.0)" in text


def test_chance_and_its_interval(sounds):
    rng = np.random.default_rng(0)
    (row,) = evaluate.evaluate([_run(lambda s, i: rng.random())], [sounds], moments=10)
    assert abs(row["accuracy"] - 0.5) < 0.06  # 800 answers: 3.4 standard errors
    half = np.diff(row["interval"])[0] / 2  # over 40 videos of 20 answers each: 1.96 sqrt(.25 / 800) = .035
    assert 0.02 < half < 0.05


def test_every_run_is_asked_the_same_and_the_seed_decides(sounds):
    a, b, c = (_run(_oracle, name) for name in "abc")
    evaluate.evaluate([a, b], [sounds], moments=2, jobs=1)
    evaluate.evaluate([c], [sounds], moments=2, jobs=3)
    for one, two in ((a, b), (a, c)):
        for (s1, i1), (s2, i2) in zip(one.networks.asked, two.networks.asked, strict=True):
            np.testing.assert_array_equal(s1, s2)
            np.testing.assert_array_equal(i1, i2)
    d = _run(_oracle)
    evaluate.evaluate([d], [sounds], moments=2, seed=1)
    assert not np.array_equal(d.networks.asked[0][0], a.networks.asked[0][0])


def test_each_run_sees_the_kind_of_picture_it_was_trained_on(sounds):
    kinds = ("full", "spectrogram", "curves")
    runs = [_run(_oracle, kind) for kind in kinds]
    runs = [replace(r, config=replace(r.config, data=DataConfig(picture=r.name))) for r in runs]
    evaluate.evaluate(runs, [sounds], moments=1)
    (sound, full), (same, spectrogram), (_, curves) = (r.networks.asked[0] for r in runs)
    np.testing.assert_array_equal(sound, same)
    np.testing.assert_array_equal(spectrogram + curves, full)
    assert spectrogram.any() and curves.any()


def test_only_held_out_files_are_asked_about(sounds, tmp_path):
    part = evaluate.Domain("part", replace(sounds.data, held_out=0.5))
    held_out, train = (
        evaluate.evaluate([_run(_oracle)], [part], split=split, moments=1)[0]["videos"]
        for split in ("held_out", "train")
    )
    assert held_out + train == 40 and 8 < held_out < 32


def test_what_cannot_be_used_is_named_and_what_is_left_must_do(sounds, tmp_path, capsys):
    broken = tmp_path / "sounds" / "7.wav"
    broken.write_bytes(b"RIFFnonsense")
    (row,) = evaluate.evaluate([_run(_oracle)], [sounds], moments=1)
    assert row["videos"] == 39 and list(row["left_out"]) == [str(broken)] and row["accuracy"] == 1
    assert f"{broken}: left out of evaluation" in capsys.readouterr().err
    for file in (tmp_path / "sounds").iterdir():
        if file.name != "3.wav":
            file.write_bytes(b"")
    with pytest.raises(TrainingError, match="tones: 1 of 40 held-out videos can be used, and a mismatch needs two"):
        evaluate.evaluate([_run(_oracle)], [sounds], moments=1)


def test_blocks_of_broken_files_leave_nobody_alone(sounds, tmp_path, monkeypatch):
    """One usable video in a block of its own waits for the next block."""
    monkeypatch.setattr(evaluate, "BLOCK", 2)
    for file in (tmp_path / "sounds").iterdir():
        if int(file.stem) % 2:
            file.write_bytes(b"")
    (row,) = evaluate.evaluate([_run(_oracle)], [sounds], moments=1)
    assert row["videos"] >= 19 and row["accuracy"] == 1 and len(row["left_out"]) == 20


def test_a_run_that_was_trained_on_what_it_is_asked_is_named(sounds):
    learned = replace(sounds.data, held_out=0.0)  # another share is held out here than was in training
    run = _run(_oracle, "cheat")
    run = replace(run, config=replace(run.config, data=learned))
    (row,) = evaluate.evaluate([run], [sounds], moments=1)
    assert row["trained_on"] == 40 and "cheat was trained on 40 of the videos of tones" in evaluate.table([row])
    gone = replace(run, config=replace(run.config, data=replace(sounds.data, recordings=("nowhere",))))
    (row,) = evaluate.evaluate([gone], [sounds], moments=1)
    assert row["trained_on"] is None


@pytest.mark.parametrize(("how", "said"), [
    ({"moments": 0}, "moments must be at least 1"), ({"most": 1}, "most must be at least 2"),
    ({"jobs": 0}, "jobs must be at least 1"), ({"seed": -1}, "seed must be at least 0"),
])  # fmt: skip
def test_settings_out_of_range(sounds, how, said):
    with pytest.raises(UsageError, match=said):
        evaluate.evaluate([_run(_oracle)], [sounds], **how)


def test_names_tell_runs_and_domains_apart(sounds):
    with pytest.raises(UsageError, match="two of the domains are called 'tones'"):
        evaluate.evaluate([_run(_oracle)], [sounds, sounds])
    with pytest.raises(UsageError, match="two of the runs are called 'run'"):
        evaluate.evaluate([_run(_oracle), _run(_oracle)], [sounds])


def test_scenes_are_a_domain_too():
    scenes = evaluate.Domain("scenes", DataConfig(scenes=1.0, clip_s=1.5))
    (row,) = evaluate.evaluate([_run(_oracle)], [scenes], moments=2, most=8)
    assert row["videos"] == 8 and row["accuracy"] == 1


def test_domains_by_folder(tmp_path):
    write(tmp_path / "sound" / "a" / "b.wav", tone(1))
    assert evaluate.domain(str(tmp_path / "sound")) == evaluate.Domain(
        "sound", DataConfig(recordings=(str(tmp_path / "sound"),))
    )
    (tmp_path / "x=y").mkdir()
    (tmp_path / "x=y" / "c.mp4").write_bytes(b"")
    assert evaluate.domain(str(tmp_path / "x=y")).data.videos == (str(tmp_path / "x=y"),)  # a folder's own name wins
    assert evaluate.domain(f"music={tmp_path / 'x=y'}").name == "music"
    (tmp_path / "empty").mkdir()
    with pytest.raises(TrainingError, match="holds neither videos nor sound"):
        evaluate.domain(str(tmp_path / "empty"))
    with pytest.raises(TrainingError, match="is not there"):
        evaluate.domain(str(tmp_path / "nowhere"))


def test_the_table_and_what_it_is_made_of(sounds):
    other = evaluate.Domain("others", sounds.data)
    rows = evaluate.evaluate([_run(_oracle, "a"), _run(lambda s, i: 1.0, "b")], [sounds, other], moments=1)
    assert [(r["run"], r["domain"]) for r in rows] == [("a", "tones"), ("a", "others"), ("b", "tones"), ("b", "others")]
    json.dumps(rows)
    lines = evaluate.table(rows).splitlines()
    assert lines[1].split() == ["trained", "on", "tones", "others"]
    assert lines[2].split()[:2] == ["a", "100.00"] and lines[3].split()[:2] == ["b", "50.00"]
    assert "tones: 40 videos (held_out), 80 questions" in lines[-1]
