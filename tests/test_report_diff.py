"""`l3embed report`: the door, comparing two runs, listening copies, maps."""

import base64
import io
import json
import shutil

import numpy as np
import pytest

pytest.importorskip("sklearn")
pytest.importorskip("jinja2")
pytest.importorskip("matplotlib")
pytest.importorskip("pyarrow")
import soundfile
from conftest import tone, write
from made_runs import made_run

from l3embed import cli
from l3embed.errors import UsageError
from probes import report, results
from probes.report import maps
from probes.report.sound import Sounds, copy

HOW = {"sets": ("accents",), "probes": ("linear",), "protocols": ("nested",), "failures": False}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    a = made_run(folder / "a", models=("sea-net", "old-net"), shots=(2,), sounds=True, **HOW)
    b = made_run(folder / "b", models=("sea-net", "old-net"), shots=(2,), seed=1, better=1.5, **HOW)
    return a, b


def _right(run, model):
    job = next(j for j in results.read_jobs(run) if j["model"] == model and j["shots"] is None)
    said = results.read_predictions(run, job)
    return dict(zip(said.clip, said.right.tolist(), strict=True))


def test_flipped_clips_are_those_that_one_run_alone_has_right(runs):
    found = report.diff(*runs)
    a, b = (_right(run, "old-net") for run in runs)
    for change, here in (("lost", (True, False)), ("gained", (False, True))):
        wanted = {clip for clip in a if (a[clip], b[clip]) == here}
        rows = [r for r in found.clips.rows if r["model"] == "old-net" and r["change"] == change]
        assert {r["clip"] for r in rows} == wanted and len(rows) == len(wanted)
        assert all((r["a"] == r["label"]) == here[0] and (r["b"] == r["label"]) == here[1] for r in rows)
    (job,) = (j for j in found.jobs if j.about["model"] == "old-net" and j.about["shots"] is None)
    assert job.gained > job.lost and job.n == 90 and job.test.p < 0.05
    back = report.diff(*reversed(runs))
    assert [(j.lost, j.gained) for j in back.jobs] == [(j.gained, j.lost) for j in found.jobs]
    same = report.diff(runs[0], runs[0])
    assert not same.clips.rows and all(j.lost == j.gained == 0 and j.test.p == 1 for j in same.jobs)


def test_two_models_are_compared_where_each_run_has_one(tmp_path):
    a = made_run(tmp_path / "a", models=("sea-net",), shots=(), **HOW)
    b = made_run(tmp_path / "b", models=("random-twin",), shots=(), **HOW)
    found = report.diff(a, b)
    (job,) = found.jobs
    assert job.about["model"] == "sea-net → random-twin" and job.lost > job.gained
    c = made_run(tmp_path / "c", models=("mfcc", "old-net"), shots=(), **HOW)
    with pytest.raises(UsageError, match="no job in common: the first has accents sea-net linear"):
        report.diff(a, c)


def test_the_command_writes_compares_and_says_what_is_wrong(runs, tmp_path, capsys):
    a, b = map(str, runs)
    assert cli.main(["report", a, "-o", str(tmp_path / "out"), "--no-sounds"]) == 0
    page = tmp_path / "out" / "index.html"
    assert capsys.readouterr().out.strip() == str(page) and "data:audio" not in page.read_text(encoding="utf-8")
    assert cli.main(["report", a, b, "-o", str(tmp_path / "out"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["report"] == str(page)
    assert cli.main(["report", a, b, "--diff"]) == 0
    out = capsys.readouterr().out
    assert "accents, old-net, linear (nested, mean+max): of 90 tests" in out and "gained  take" in out
    assert cli.main(["report", a, b, "--diff", "--json", "-o", str(tmp_path / "diff")]) == 0
    table = json.loads(capsys.readouterr().out)
    assert len(table["flipped"]) == len(report.diff(a, b).clips.rows) and len(table["jobs"]) == 4
    text = (tmp_path / "diff" / "index.html").read_text(encoding="utf-8")
    assert "data:audio/mpeg" in text and "take " in text and "<b>" not in text
    for wrong, says in (
        (["report", str(tmp_path)], "is not the folder of a probing run"),
        (["report", a, "--diff"], "--diff compares two runs. Received: 1"),
    ):
        assert cli.main(wrong) == 2
        assert says in capsys.readouterr().err
    (runs[0] / "jobs" / "broken.json").write_text("{")
    try:
        assert cli.main(["report", a]) == 1
        assert "broken.json: cannot be read" in capsys.readouterr().err
    finally:
        (runs[0] / "jobs" / "broken.json").unlink()


def test_listening_copies_sound_like_the_clip_and_stay_in_the_budget(tmp_path):
    path = write(tmp_path / "a sound.wav", tone(12.0, 32_000))
    made, cut = copy(path, 32_000.0)
    sound, rate = soundfile.read(io.BytesIO(made))
    assert cut and rate == 32_000 and abs(len(sound) / rate - 8) < 0.1 and len(made) < 100_000
    spectrum = np.abs(np.fft.rfft(sound))
    assert np.argmax(spectrum) * rate / len(sound) == pytest.approx(440, abs=1)
    assert copy(path, 32_000.0) == (made, cut)
    part, cut = copy(path, 32_000.0, 2.0, 3.5)
    assert not cut and abs(soundfile.info(io.BytesIO(part)).duration - 1.5) < 0.1
    clip = {"path": str(path), "rate_hz": 32_000.0}
    full, short = Sounds(tmp_path / "out"), Sounds(tmp_path / "out", budget=10)
    assert base64.b64decode(full.of(clip)["src"].split(",")[1]) == made and full.of(clip)["note"] == "first 8 s"
    assert short.of(clip) == {"src": None, "href": "../a%20sound.wav", "note": None}
    assert full.of({"path": str(tmp_path / "gone.wav")})["note"] == "not at hand"
    (tmp_path / "broken.wav").write_bytes(b"RIFF")
    assert full.of({"path": str(tmp_path / "broken.wav")})["note"] == "cannot be played"


def test_a_map_keeps_neighbours_and_is_the_same_again():
    rng = np.random.default_rng(0)
    kinds = np.repeat(np.arange(3), 20)
    table = rng.normal(0, 1, (60, 40)) + 6 * rng.normal(0, 1, (3, 40))[kinds]
    first = maps.place(table)
    np.testing.assert_array_equal(first, maps.place(table))
    distance = ((first[:, None] - first[None]) ** 2).sum(axis=2) + 1e9 * np.eye(60)
    assert (kinds[distance.argmin(axis=1)] == kinds).all()


def test_maps_come_from_the_store_of_the_run(runs, tmp_path):
    """A baseline's vectors, as a run stores them; without a store there is no map."""
    from probes.extraction import baseline_file
    from probes.report import reading

    run = shutil.copytree(runs[0], tmp_path / "run")
    table = results.read_run(run)
    table["models"]["sea-net"] |= {"kind": "baseline", "recipe": {"baseline": "mfcc", "version": 1}}
    results.write_run(run, {k: v for k, v in table.items() if k != "schema"})
    found = reading.read([run])
    data = found.sets["accents"]
    assert maps.vectors(found, "sea-net", data) is None and maps.vectors(found, "old-net", data) is None
    path = baseline_file(run / "embeddings", {"baseline": "mfcc", "version": 1}, [c["sha256"] for c in data.clips],
                         [[None, None]] * 90)  # fmt: skip
    path.parent.mkdir(parents=True)
    vectors = np.random.default_rng(0).normal(size=(90, 6))
    vectors[7] = np.nan  # failed
    np.savez(path, array=vectors)
    rows, got = maps.vectors(found, "sea-net", data)
    assert 7 not in rows and len(rows) == 89
    np.testing.assert_array_equal(got, vectors[rows])
    page = report.write(run, maps=["sea-net"])
    assert "t-SNE" in page.read_text(encoding="utf-8") and (page.parent / "plots/map--accents--sea-net.svg").is_file()
    assert len((page.parent / "tables/map-accents--sea-net.csv").read_text().splitlines()) == 90
