"""Runs: every job done once, resumed, failed or refused; the same numbers however it was run."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
from conftest import environment
from labelled import HZ, make, table

from l3embed import cli, decode
from l3embed.errors import AudioError, DataError, UsageError
from probes import config, datasets, jobs, protocols, results, run

pytest.importorskip("pyarrow")
MODELS = ({"name": "half", "model": "l3-small-1", "hop": 0.5, "precision": "f32"}, "log-mel")
PREDICTED = ("clip", "fold", "label", "predicted")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make(tmp_path_factory.mktemp("set"))


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return tmp_path_factory.mktemp("store")


@pytest.fixture(scope="module")
def settings(folder, store):
    return config.parse(
        {"data": [f"tones={folder}"], "models": list(MODELS), "probes": ["linear", "knn"], "shots": [1, 2],
         "draws": 2, "jobs": 1, "store": str(store)}, "test",
    )  # fmt: skip


@pytest.fixture(scope="module")
def whole(settings, tmp_path_factory):
    """A run that nothing interrupted."""
    return run.run(replace(settings, output=str(tmp_path_factory.mktemp("runs") / "whole")))


def _numbers(folder) -> dict:
    """All that a run found out, by job."""
    found = {}
    for job in results.read_jobs(folder):
        predictions = results.read_predictions(folder, job) if job["status"] == "ok" else None
        rows = predictions and (*(getattr(predictions, name) for name in PREDICTED), predictions.draw.tobytes(),
                                predictions.scores.tobytes())  # fmt: skip
        found[job["id"]] = ({key: value for key, value in job.items() if key != "seconds"}, rows)
    return found


def test_every_job_predicts_every_clip_once_a_draw(whole, folder):
    assert len(whole.jobs) == 2 * 2 * 3 and not whole.failed and not whole.failed_clips
    clips = results.read_clips(whole.folder, "tones").to_pylist()
    assert {row["label"] for row in clips} == set(HZ) and all(row["sha256"] and row["seconds"] == 1.0 for row in clips)
    for job in whole.jobs:
        found = results.read_predictions(whole.folder, job)
        for draw in range(2 if job["shots"] else 1):
            here = found.draw == draw
            assert sorted(np.array(found.clip)[here]) == sorted(row["clip"] for row in clips)
        labels = {row["clip"]: row["label"] for row in clips}
        assert found.label == [labels[clip] for clip in found.clip] and set(found.predicted) <= set(HZ)
        assert job["classes"] == sorted(HZ) and np.isfinite(found.scores).all()


def test_the_description_says_what_was_run(whole, store):
    said = results.read_run(whole.folder)
    assert said["models"]["half"]["hop_s"] == 0.5 and said["models"]["half"]["precision"] == "f32"
    assert said["models"]["half"]["kind"] == "model" and said["models"]["log-mel"]["kind"] == "baseline"
    assert 0.6e6 < said["models"]["half"]["parameters"] < 0.7e6  # README: 0.66 M
    assert said["failed_rule"] == "wrong" and said["finished"] and said["data"]["tones"]["n_groups"] == 6
    assert {cost["model"] for cost in results.read_costs(whole.folder)} == {"half", "log-mel"}


def test_two_processes_give_the_same_numbers(whole, settings, tmp_path):
    run.run(replace(settings, output=str(tmp_path / "run"), jobs=2))
    assert _numbers(tmp_path / "run") == _numbers(whole.folder)


def test_a_store_of_its_own_gives_the_same_numbers(whole, settings, tmp_path):
    run.run(replace(settings, output=str(tmp_path / "run"), store="", probes=("knn",), shots=()))
    here = _numbers(tmp_path / "run")
    assert len(here) == 2 and here.items() <= _numbers(whole.folder).items()


def test_a_killed_run_goes_on_and_ends_as_if_nothing_had_been(whole, settings, tmp_path):
    out = tmp_path / "run"
    toml = tmp_path / "run.toml"
    toml.write_text(
        f'data = ["{settings.data[0]}"]\nmodels = [{{name = "half", model = "l3-small-1", hop = 0.5, precision = '
        f'"f32"}}, "log-mel"]\nprobes = ["linear", "knn"]\nshots = [1, 2]\ndraws = 2\njobs = 1\n'
        f'output = "{out}"\nstore = "{settings.store}"\n'
    )
    call = [sys.executable, "-m", "l3embed", "probe", str(toml), "--no-report", "-q"]
    process = subprocess.Popen(call, env=environment(), stderr=subprocess.PIPE, stdout=subprocess.PIPE)
    while process.poll() is None and len(list(out.glob("jobs/*.json"))) < 3:
        time.sleep(0.005)
    if process.poll() is None:
        os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    n = len(list(out.glob("jobs/*.json")))
    assert 3 <= n < 12, "killed too late: the jobs are too fast for this test"
    assert results.read_run(out)["finished"] is None
    summary = run.run(replace(config.read(toml)))
    assert summary.n_done_before == n and _numbers(out) == _numbers(whole.folder)
    again = run.run(config.read(toml))
    assert again.n_done_before == 12 and results.read_run(out)["finished"]


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"draws": 3}, "draws was 2, is 3"),
        ({"seed": 7}, "seed was 0, is 7"),
        ({"probes": ("linear",)}, "probes was linear, knn, is linear"),
        ({"models": ("log-mel",)}, "models 'half' is missing"),
        ({"models": ({**MODELS[0], "hop": 1.0}, "log-mel")}, "'half' has changed .*hop_s was 0.5, is 1.0"),
        ({"failed": "exclude"}, "failed was wrong, is exclude"),
    ],
)
def test_a_folder_of_another_run_is_refused_and_what_differs_named(whole, settings, change, text):
    with pytest.raises(UsageError, match=text):
        run.run(replace(settings, output=str(whole.folder), **change))


def test_a_run_can_be_extended_by_what_is_new_only(whole, settings, tmp_path):
    small = replace(settings, output=str(tmp_path / "run"), models=MODELS[1:], probes=("knn",), shots=(2,), full=False)
    run.run(small)
    with pytest.raises(UsageError, match="--extend to add to it"):
        run.run(replace(settings, output=str(tmp_path / "run")))
    summary = run.run(replace(settings, output=str(tmp_path / "run"), extend=True))
    assert summary.n_done_before == 1 and _numbers(tmp_path / "run") == _numbers(whole.folder)
    with pytest.raises(UsageError, match="probes was linear, knn, is knn"):
        run.run(replace(small, extend=True))


def test_changed_data_are_another_run(whole, settings, folder, tmp_path):
    rows = [[f"../{folder.name}/{c.id}", c.label, c.group, c.fold] for c in datasets.read(folder)]
    (tmp_path / "other").mkdir()
    rows[0][1] = "low" if rows[0][1] != "low" else "high/er"
    table(tmp_path / "other", [[str(folder / row[0].split("/", 2)[2]), *row[1:]] for row in rows])
    with pytest.raises(UsageError, match="data 'tones' has changed"):
        run.run(replace(settings, output=str(whole.folder), data=(f"tones={tmp_path / 'other'}",)))


def test_a_folder_with_something_else_is_left_alone(settings, tmp_path):
    (tmp_path / "thesis.txt").write_text("finished at last")
    with pytest.raises(UsageError, match="holds something else"):
        run.run(replace(settings, output=str(tmp_path)))
    assert os.listdir(tmp_path) == ["thesis.txt"]


@pytest.fixture
def deaf(monkeypatch, folder):
    """The model's decoder (32 kHz) fails on two clips that everybody else can read."""
    bad = {str(folder / "g1" / "0.wav"), str(folder / "g4" / "2.wav")}
    real = decode.open_recording

    def open_recording(source, rate_hz):
        if rate_hz == 32_000 and str(source) in bad:
            raise AudioError("gives this model a headache")
        return real(source, rate_hz)

    monkeypatch.setattr(decode, "open_recording", open_recording)
    return {"g1/0.wav", "g4/2.wav"}


@pytest.mark.parametrize("rule", ["wrong", "exclude"])
def test_a_model_that_fails_on_some_clips(settings, deaf, tmp_path, rule):
    """Its failures are told; under one rule they are its errors, under the other nobody is asked about these clips."""
    deaf_models = ({"name": "half", "model": "l3-small-1", "hop": 0.5, "precision": "f32"}, "mfcc")
    one = replace(settings, output=str(tmp_path / "run"), store=str(tmp_path / "store"), failed=rule, shots=())
    summary = run.run(replace(one, models=deaf_models))
    assert set(summary.failed_clips["half", "tones"]) == deaf and not summary.failed
    assert ("mfcc", "tones") not in summary.failed_clips
    excluded = {r["clip"]: r["excluded"] for r in results.read_clips(summary.folder, "tones").to_pylist()}
    assert {clip for clip, why in excluded.items() if why} == (deaf if rule == "exclude" else set())
    for job in summary.jobs:
        found = results.read_predictions(summary.folder, job)
        failed = {clip for clip, p in zip(found.clip, found.predicted, strict=True) if not p}
        assert failed == (deaf if rule == "wrong" and job["model"] == "half" else set())
        assert len(found.clip) == (18 if rule == "wrong" else 16) and (deaf <= set(found.clip)) == (rule == "wrong")
        assert not found.right[[clip in failed for clip in found.clip]].any()
    (cost,) = (c for c in results.read_costs(summary.folder) if c["model"] == "half")
    assert set(cost["failed"]) == deaf


def test_one_failed_job_is_a_row_and_the_others_go_on(settings, monkeypatch, tmp_path):
    real = protocols.evaluate

    def evaluate(protocol, probe, *arguments, **how):
        if probe == "knn" and how["shots"] == 2:
            raise DataError("label 'low' has one clip only")
        if probe == "linear" and how["shots"] == 1:
            raise ZeroDivisionError("nobody foresaw this")
        return real(protocol, probe, *arguments, **how)

    monkeypatch.setattr(protocols, "evaluate", evaluate)
    summary = run.run(replace(settings, output=str(tmp_path / "run"), models=("log-mel",)))
    assert {job["error"] for job in summary.failed} == {
        "label 'low' has one clip only", "ZeroDivisionError: nobody foresaw this",
    }  # fmt: skip
    assert len(summary.jobs) == 6 and len(summary.failed) == 2
    monkeypatch.setattr(protocols, "evaluate", real)  # mended
    again = run.run(replace(settings, output=str(tmp_path / "run"), models=("log-mel",)))
    assert again.n_done_before == 4 and not again.failed


def test_a_process_that_dies_fails_its_own_job(settings, whole, monkeypatch, tmp_path):
    """As the system ends a process that takes too much memory; the jobs beside it are done."""
    calls = [(tmp_path, jobs.Job(f"job{i}", "d", "m", "p", "x", "mean", None, 1, 0), i == 1) for i in range(4)]
    results.create(tmp_path)
    monkeypatch.setattr(jobs, "work", dying)
    found = {job.id: why for why, job in jobs.in_parallel(calls, 2)}
    assert found.pop("job1").startswith("its process died") and found == {"job0": None, "job2": None, "job3": None}
    assert results.read_job(tmp_path, "job1")["status"] == "failed"


def dying(folder, job, dies):
    """Stands for `jobs.work`."""
    if dies:
        time.sleep(0.5)
        os.kill(os.getpid(), signal.SIGKILL)
    results.write_job(folder, {"id": job.id, "status": "ok"})
    return None, job


@pytest.fixture(scope="module")
def cluster():
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as found:
        yield found.scheduler_address


def test_a_cluster_of_two_workers_gives_the_same_numbers(whole, settings, cluster, tmp_path):
    run.run(replace(settings, output=str(tmp_path / "run"), scheduler=cluster))
    assert _numbers(tmp_path / "run") == _numbers(whole.folder)


def test_what_a_cluster_cannot_do_is_a_row(cluster, monkeypatch, tmp_path):
    """An error of the cluster's own, not of a job's: here a function that the workers do not have."""
    calls = [(tmp_path, jobs.Job(f"job{i}", "d", "m", "p", "x", "mean", None, 1, 0)) for i in range(2)]
    results.create(tmp_path)
    monkeypatch.setattr(jobs, "work", broken)
    assert all(why.startswith("the cluster: ") for why, _ in jobs.in_parallel(calls, 2, cluster))
    assert {job["status"] for job in map(lambda call: results.read_job(tmp_path, call[1].id), calls)} == {"failed"}


def broken(folder, job):
    """Stands for `jobs.work`."""
    raise RuntimeError("out of reach")


def test_a_cluster_that_is_not_there(settings, monkeypatch, tmp_path):
    pytest.importorskip("distributed")
    monkeypatch.setattr(jobs, "CONNECT_S", 1)
    with pytest.raises(UsageError, match="cannot be reached"):
        run.run(replace(settings, output=str(tmp_path / "run"), scheduler="tcp://127.0.0.1:9"))


def test_a_duplicate_across_folds_is_refused_before_anything_is_embedded(folder, settings, tmp_path):
    rows = [[str(folder / c.id), c.label, c.group, c.fold] for c in datasets.read(folder)]
    there = tmp_path / "set"
    there.mkdir()
    (there / "copy.wav").write_bytes((folder / "g0" / "0.wav").read_bytes())  # g0 is in fold 1
    table(there, [*rows, ["copy.wav", rows[0][1], "another group", 2]])
    with pytest.raises(DataError, match=r"copy\.wav"):
        run.run(replace(settings, output=str(tmp_path / "run"), data=(f"tones={there}",)))
    assert not (tmp_path / "run" / "jobs").exists()


def test_a_label_with_one_clip_is_refused_before_anything_is_embedded(folder, settings, tmp_path):
    rows = [[str(folder / c.id), c.label, c.group, c.fold] for c in datasets.read(folder)]
    rows[0][1] = "rare"
    (tmp_path / "set").mkdir()
    table(tmp_path / "set", rows)
    with pytest.raises(DataError, match=r"label 'rare' \(clips in all: 1\) is tested and never learned"):
        run.run(replace(settings, output=str(tmp_path / "run"), data=(f"t={tmp_path / 'set'}",)))
    assert not (tmp_path / "run").exists()


def test_two_sets_of_one_name_are_refused_and_two_names_are_two_results(folder, settings, tmp_path):
    """The second set has the same names of files, and other sounds."""
    other = make(tmp_path / "other", seed=5)
    with pytest.raises(UsageError, match="two data sets are called 'tones'"):
        run.run(replace(settings, data=(f"tones={folder}", f"tones={other}"), output=str(tmp_path / "run")))
    both = replace(settings, data=(f"tones={folder}", f"others={other}"), output=str(tmp_path / "run"), shots=())
    summary = run.run(replace(both, probes=("knn",), models=MODELS[:1]))
    scores = [results.read_predictions(summary.folder, job).scores for job in summary.jobs]
    assert len(scores) == 2 and scores[0].shape == scores[1].shape and not np.array_equal(*scores)


# --- settings and the command


def test_toml_is_read_with_paths_relative_to_it(folder, tmp_path):
    (tmp_path / "net.onnx").touch()
    (tmp_path / "w.h5").touch()
    path = tmp_path / "run.toml"
    path.write_text(
        'data = "a=set"\nmodels = ["net.onnx", "yamnet=w.h5", "l3-small-1", {model = "l3-small-1", hop = 1}]\n'
        'protocol = "nested"\nmemory = "500MB"\noutput = "out"\n'
    )
    found = config.read(path)
    assert found.data == (f"a={tmp_path / 'set'}",) and found.folder == tmp_path / "out"
    assert found.models[:3] == (str(tmp_path / "net.onnx"), f"yamnet={tmp_path / 'w.h5'}", "l3-small-1")
    assert found.protocols == ("nested",) and found.memory_bytes == 500_000_000


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("modles = ['a']", "unknown key 'modles': did you mean 'models'"),
        ("zzz = 1", "unknown key 'zzz': expected one of data, models"),
        ("draws = 'two'", "draws must be a whole number"),
        ("draws = 0", "draws must be at least 1"),
        ("shots = [0]", "shots must be at least 1"),
        ("shots = ['one']", "shots must be a list of numbers"),
        ("failed = 'ignore'", "failed must be one of wrong, exclude"),
        ("pooling = 'median'", "pooling must be one of"),
        ("memory = 'lots'", "memory must be a size"),
        ("full = false", "nothing to do"),
        ("probes = ['knn', 'knn']", "probes names 'knn' twice"),
        ("seed = true", "seed must be a whole number"),
        ("= 3", "is not valid TOML"),
    ],
)
def test_settings_that_are_wrong_are_named(tmp_path, text, message):
    (tmp_path / "run.toml").write_text(text)
    with pytest.raises(UsageError, match=message):
        config.read(tmp_path / "run.toml")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--probes", "oracle"], "unknown probe 'oracle'"),
        (["--protocol", "hope"], "unknown protocol 'hope'"),
        (["--models", "l3-large-9"], "unknown model 'l3-large-9'"),
        (["--models", "log-mel,log-mel"], "model 'log-mel' is named twice"),
        (["--models", "openl3-image-mel256-music-8192"], "pictures"),
        (["--demo"], "--demo brings its own data"),
        (["--protocol", "esc2015", "--shots", "1", "--probes", "oracle"], "unknown probe 'oracle'"),
        (["nothere.toml"], "nothere.toml: cannot be read"),
    ],
)
def test_the_command_says_what_is_wrong(folder, tmp_path, capsys, arguments, message):
    given = arguments if arguments[0].startswith("--") else [*arguments]
    models = [] if "--models" in given else ["--models", "log-mel"]
    out = str(tmp_path / "run")
    code = cli.main(["probe", *given, "--data", f"t={folder}", *models, "-o", out, "--no-report"])
    said = capsys.readouterr().err
    assert code == cli.USAGE and message in said and "Traceback" not in said and not (tmp_path / "run").exists()


def test_a_protocol_brings_its_own_probe_along(settings):
    asked = replace(settings, protocols=("nested", "esc2015"), probes=("linear", "knn"), shots=(2,))
    found, refused = config.combinations(asked)
    assert found == [("nested", "linear", None), ("nested", "linear", 2), ("nested", "knn", None),
                     ("nested", "knn", 2), ("esc2015", "knn", None)]  # fmt: skip
    assert len(refused) == 2 and "not with linear" in refused[0] and "few-shot" in refused[1]
    found, refused = config.combinations(replace(asked, probes=("linear",), shots=()))
    assert found == [("nested", "linear", None), *(("esc2015", name, None) for name in ("knn", "svm", "forest"))]
    with pytest.raises(UsageError, match="few-shot draws"):
        config.combinations(replace(asked, protocols=("esc2015",), full=False))


def test_the_command_prints_a_table_and_counts(whole, settings, folder, tmp_path, capsys):
    arguments = ["--data", f"tones={folder}", "--models", "log-mel", "--probes", "linear,knn", "--store",
                 settings.store, "-o", str(tmp_path / "run"), "--no-report", "--draws", "2"]  # fmt: skip
    assert cli.main(["fewshot", *arguments, "--shots", "1,2", "--jobs", "1", "-q"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["data", "metric", "protocol", "shots", "model", "pooling", "linear", "knn"]
    shown = {(line.split()[3], name): value for line in lines[1:3]
             for name, value in zip(["linear", "knn"], line.split()[-2:], strict=True)}  # fmt: skip
    for job in (job for job in whole.jobs if job["model"] == "log-mel" and job["shots"]):
        right = results.read_predictions(whole.folder, job).right.mean()
        assert shown[str(job["shots"]), job["probe"]] == f"{100 * right:.1f}"
    assert "4 jobs done, 0 failed" in lines[3]
    assert cli.main(["fewshot", *arguments, "--shots", "1,2", "--jobs", "1", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["jobs"] == said["done_before"] == 4 and said["failed"] == said["failed_clips"] == []


def test_a_failed_clip_is_named_and_the_exit_code_says_so(tmp_path, capsys):
    folder = make(tmp_path / "set")
    (folder / "g2" / "1.wav").write_bytes(b"no sound at all")
    arguments = ["--data", f"t={folder}", "--models", "log-mel", "-o", str(tmp_path / "run"), "--no-report"]
    assert cli.main(["probe", *arguments, "--jobs", "1"]) == cli.SOME_FAILED
    out, err = capsys.readouterr()
    assert "log-mel: t: g2/1.wav: failed: " in err and "log-mel failed on 1 of the clips of t" in out
    assert cli.main(["probe", *arguments, "--jobs", "1", "--json"]) == cli.SOME_FAILED
    (row,) = json.loads(capsys.readouterr().out)["failed_clips"]
    assert row["model"] == "log-mel" and list(row["clips"]) == ["g2/1.wav"]
