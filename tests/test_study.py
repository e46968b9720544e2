"""The study's configuration, and the whole of it, tiny, from training to report."""

import csv
import json
import runpy
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from conftest import tone, write

pytest.importorskip("keras")
pytest.importorskip("kapre")
pytest.importorskip("sklearn")
pytest.importorskip("matplotlib")

import keras

from l3embed import cli, weights
from l3embed.avc import evaluate
from probes import mlp, study

ROOT = Path(__file__).resolve().parents[1]
BASE = """
[study]
seed = 3
amounts = [16]
hop = 0.5
moments = 2
most = 4
[variants.narrow]
width = 4
[domains.tones]
recordings = ["tones"]
held_out = 0.5
[domains.scenes]
scenes = 1.0
[sets]
pitch = "set"
[train.model]
family = "l3-small"
image_width = 4
[train.data]
clip_s = 1.5
n_active = 4
pairs_per_clip = 4
[train.fit]
batch = 8
steps = 2
validation_steps = 1
epochs = 2
learning_rate = 1e-3
"""


@pytest.fixture
def config(tmp_path):
    for i in range(12):
        write(tmp_path / "tones" / f"{i}.wav", tone(1.5, hz=200 + 100 * i, seed=i))
    rows = [("path", "label", "group")]
    for i in range(18):
        write(tmp_path / "set" / f"{i}.wav", tone(0.7, hz=(300, 900, 2700)[i % 3], seed=i))
        rows.append((f"{i}.wav", f"p{i % 3}", f"g{i // 3}"))
    with open(tmp_path / "set" / "index.csv", "w", newline="") as file:
        csv.writer(file).writerows(rows)
    path = tmp_path / "study.toml"
    path.write_text(BASE)
    return path


def _command(*arguments):
    """scripts/study.py, in this process: TensorFlow is loaded already."""
    return runpy.run_path(str(ROOT / "scripts" / "study.py"))["main"](list(map(str, arguments)))


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="Keras runs on another backend here")
def test_the_whole_study(config, tmp_path, capsys, monkeypatch):
    out = tmp_path / "out"
    assert _command(config, "-o", out, "-q") == 0
    assert capsys.readouterr().out.strip() == str(out / "report.md")
    found = json.loads((out / "report.json").read_text())
    assert {(r["run"], r["domain"]) for r in found["correspondence"]} == {
        (f"narrow-{a}-0", b) for a in ("tones", "scenes") for b in ("tones", "scenes")
    }
    systems = [(p["variant"], p["domain"], p["pairs"], p["best"]) for p in found["probes"]]
    assert systems[:2] == [("", "", 0, False), ("narrow", "", 0, False)]  # log-mel statistics, random weights
    for domain in ("tones", "scenes"):
        assert [s[2:] for s in systems if s[1] == domain and not s[3]] == [(16, False), (32, False)]
        assert [s[2] for s in systems if s[1] == domain and s[3]] in ([16], [32])
    assert [(r["a"], r["b"]) for r in found["tests"]["domain"]] == [("tones", "scenes")]
    for run in (out / "runs").iterdir():  # the best epoch is one of the checkpoints: the same graph
        pairs = weights.card(run / "best").table["training"]["pairs"]
        same = run / ("model" if pairs == 32 else "at-16") / f"{run.name}.bin"
        assert (run / "best" / f"{run.name}.bin").read_bytes() == same.read_bytes()
    predicted = json.loads((out / "probes" / "narrow-tones-0-32-pitch.json").read_text())
    assert len(predicted["predicted"]) == 18 and set(predicted["predicted"]) <= {"p0", "p1", "p2"}

    _ask_its_runs(out / "runs" / "narrow-tones-0", capsys)
    before = {p: p.read_bytes() for p in out.rglob("*") if p.is_file()}
    monkeypatch.setattr(study.train, "train", None)  # what is done is not done again
    monkeypatch.setattr(study.linear, "nested", None)
    monkeypatch.setattr(study.evaluate, "evaluate", None)
    assert _command(config, "-o", out, "-q") == 0
    assert {p: p.read_bytes() for p in out.rglob("*") if p.is_file()} == before
    _probe_by_mlp(config, out, monkeypatch)


def _probe_by_mlp(config, out, monkeypatch):
    """The same runs, asked by the paper's probe: nothing is trained anew, every system and clip has an answer."""
    probe = mlp.MLPProbe(hidden=(8, 4), rates=(1e-2,), decays=(1e-5,), epochs=3)
    monkeypatch.setattr(mlp, "nested", partial(mlp.nested, probe=probe))
    config.write_text(BASE.replace("[study]", '[study]\nprobe = "mlp"'))
    linear_report = json.loads((out / "report.json").read_text())
    assert _command(config, "-o", out, "-q") == 0
    report = json.loads((out / "report.json").read_text())
    key = lambda p: (p["set"], p["variant"], p["domain"], p["pairs"], p["best"])  # noqa: E731
    assert list(map(key, report["probes"])) == list(map(key, linear_report["probes"]))
    assert "MLP" in (out / "report.md").read_text() and "MLP" not in json.dumps(linear_report)
    for path in (out / "probes").glob("*.json"):
        found = json.loads(path.read_text())
        assert len(found["predicted"]) == 18 and set(found["predicted"]) <= {"p0", "p1", "p2"}
        assert [tuple(pair) for pair in found["chosen"].values()] == [(1e-2, 1e-5)] * len(found["chosen"])


def _ask_its_runs(run, capsys):
    """`l3embed evaluate` of a run, at its best epoch, on its own data, and of a checkpoint that it kept."""
    how = ["--most", "4", "--moments", "2", "--json"]
    assert cli.main(["evaluate", str(run), str(run / "at-16"), *how]) == 0
    first, second = json.loads(capsys.readouterr().out)["rows"]
    assert (first["run"], first["domain"], second["run"], second["domain"]) == (run.name, run.name, "at-16", run.name)
    assert 0 <= first["accuracy"] <= 1 and first["questions"] == 4 * first["videos"]
    best, at = evaluate.restored([run, run / "at-16"])
    assert best.config.data == at.config.data  # though cards tell the names of files only
    questions = evaluate.Questions(evaluate.Domain("", best.config.data), None, 32_000, best.image_size, 0, 2, 4, 1)
    sound, image, _ = next(iter(questions))
    answers = best.networks.predict({"audio": sound[..., None], "image": image}, batch_size=len(sound), verbose=0)
    np.testing.assert_allclose(best.scores(sound, image), answers[:, 1], atol=1e-5)  # whatever fills the batch up
    assert cli.main(["evaluate", str(run / "nothing")]) == 1
    assert "is no run, model folder of a run" in capsys.readouterr().err


def test_a_run_is_configured_from_its_parts(config, tmp_path):
    text = BASE.replace("[variants.narrow]", "[variants.wide]\nwidth = 16\n[variants.narrow]").replace(
        "seed = 3", "seed = 3\ntrials = 2"
    )
    config.write_text(text)
    runs = list(study.read(config, tmp_path / "out").runs())
    assert len(runs) == 8 and runs[1].name == "wide-tones-1"
    one = runs[1].config()
    assert (one.model.width, one.model.family, one.seed, one.fit.keep_at) == (16, "l3-small", 4, (16,))
    assert one.data.recordings == (str(tmp_path / "tones"),) and one.data.clip_s == 1.5 and one.data.held_out == 0.5
    assert one.run == str(tmp_path / "out" / "runs" / "wide-tones-1")


def test_a_variant_changes_any_table(config, tmp_path):
    tables = "[variants.other.pairs]\nsame_second = 0.5\n[variants.other.data]\nclip_s = 3.0\n[variants.narrow]"
    config.write_text(BASE.replace("[variants.narrow]", tables))
    other, narrow = (run.config() for run in list(study.read(config, tmp_path / "out").runs())[::2])
    assert (other.pairs.same_second, other.data.clip_s, other.data.n_active) == (0.5, 3.0, 4)
    assert other.data.recordings == narrow.data.recordings and other.model.width != narrow.model.width
    assert (narrow.pairs.same_second, narrow.data.clip_s) == (1.0, 1.5)


@pytest.mark.parametrize(("change", "said"), [
    (("[variants.narrow]", "[variant.narrow]"), "unknown table 'variant': did you mean 'variants'"),
    (("amounts = [16]", "amount = [16]"), "unknown key 'amount': did you mean 'amounts'"),
    (("width = 4\n[domains", "widht = 4\n[domains"), "unknown key 'widht': did you mean 'width'"),
    (("amounts = [16]", "amounts = [999]"), "keep_at must lie between 1 and 32"),
    (("[domains.tones]\nrecordings = [\"tones\"]\nheld_out = 0.5\n[domains.scenes]\nscenes = 1.0", ""), "domains.NAME"),
    (("[train.model]", "[train]\nseed = 4\n[train.model]"), "train.seed is the study's to set"),
    (("[study]", "[study"), "is not valid TOML"),
    (('"tones"]', '"nowhere"]'), "nowhere: holds no sound file"),
])  # fmt: skip
def test_wrong_configurations_end_before_anything_is_trained(config, tmp_path, capsys, change, said):
    assert change[0] in BASE
    config.write_text(BASE.replace(*change))
    assert _command(config, "-o", tmp_path / "out", "-q") == 1
    assert said in capsys.readouterr().err
    assert not list(tmp_path.glob("out/runs/*/newest.npz"))
