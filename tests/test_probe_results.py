"""The run folder: what is written is read back, half-written files never count."""

import json

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from l3embed.errors import StoreError, UsageError
from probes import results

pytest.importorskip("pyarrow")

JOB = {"id": "j1", "data": "esc10", "model": "m", "probe": "linear", "protocol": "nested", "pooling": "mean",
       "shots": None, "draws": 1, "seed": 0, "status": "ok", "error": None, "classes": ["a/b", "ü"], "chosen": {},
       "n_train": {"1": 3}, "notes": [], "seconds": 0.1}  # fmt: skip


def _predictions(m=3):
    scores = np.linspace(-1, 1, 2 * m, dtype=np.float32).reshape(m, 2)
    scores[-1] = np.nan
    predicted = ["a/b"] * (m - 1) + [""]
    return results.Predictions([f"c{i}" for i in range(m)], ["1"] * m, np.arange(m), ["a/b"] * m, predicted, scores)


def test_a_job_is_read_back_as_it_was(tmp_path):
    run = results.create(tmp_path / "run")
    results.write_job(run, JOB, _predictions())
    (job,) = results.read_jobs(run)
    assert job == JOB
    read = results.read_predictions(run, job)
    wanted = _predictions()
    for name in ("clip", "fold", "label", "predicted"):
        assert getattr(read, name) == getattr(wanted, name)
    np.testing.assert_array_equal(read.scores, wanted.scores)
    np.testing.assert_array_equal(read.draw, wanted.draw)
    assert read.classes == JOB["classes"] and read.right.tolist() == [True, True, False]


def test_predictions_without_their_job_do_not_count_and_go(tmp_path):
    run = results.create(tmp_path / "run")
    results.write_job(run, JOB, _predictions())
    (run / "jobs" / "j1.json").unlink()  # as if killed between the two files
    assert results.read_jobs(run) == [] and results.read_job(run, "j1") is None
    results.prune(run, ["j2"])
    assert list((run / "jobs").iterdir()) == []


def test_the_clips_of_a_data_set(tmp_path):
    run = results.create(tmp_path / "run")
    row = {"clip": "ü/a b.wav", "path": "x/ü/a b.wav", "label": "a", "labels": ["a", "b"], "group": "", "fold": "1",
           "split": "", "seconds": 1.5, "rate_hz": 8000, "sha256": "0", "start_s": None, "end_s": None,
           "excluded": ""}  # fmt: skip
    results.write_clips(run, "my/set", [row])
    assert results.read_clips(run, "my/set").to_pylist() == [row]


def test_what_is_no_run_and_what_is_newer_says_so(tmp_path):
    with pytest.raises(UsageError, match=r"no run\.json"):
        results.read_run(tmp_path)
    results.write_run(tmp_path, {"seed": np.int64(3)})
    assert results.read_run(tmp_path)["seed"] == 3
    (tmp_path / "run.json").write_text(json.dumps({"schema": 99}))
    with pytest.raises(StoreError, match="schema 99"):
        results.read_run(tmp_path)
    (tmp_path / "run.json").write_text('{"schema": 1')
    with pytest.raises(StoreError, match="cannot be read"):
        results.read_run(tmp_path)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.text(min_size=1, max_size=30), unique=True, min_size=2, max_size=5))
def test_names_of_files_are_harmless_and_differ(names):
    files = [results.file_name(name) for name in names]
    assert len(set(files)) == len(names)
    assert all("/" not in f and "\\" not in f and "\0" not in f and not f.startswith(".") for f in files)
