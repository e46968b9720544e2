"""What both formats promise: whole or absent, resumed, failures named, bounded memory, several processes."""

import os
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT, tone, write

from l3embed import extract, store
from l3embed.errors import StoreError, UsageError
from l3embed.plan import plan
from l3embed.store import layout

pytest.importorskip("pyarrow")
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
pytestmark = pytest.mark.parametrize("format", store.FORMATS)


def _extract(model, inputs, folder, format, **how):
    items = plan([str(i) for i in inputs]).items
    return list(extract.extract(model, items, Path(folder), format=format, **how))


def _contents(folder, format) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Source's name -> vectors and times, of everything that a reader finds."""
    if format == "npz":
        found = [store.read(path) for path in Path(folder).rglob("*.npz")]
        return {metadata["source"]: (vectors, times) for vectors, times, metadata in found}
    corpus = store.open(folder)
    return {layout.name_of(clip): (np.array(corpus.clip(clip)), corpus.times(clip)) for clip in corpus.clips}


def _assert_equal(a, b):
    assert a.keys() == b.keys()
    for name in a:
        np.testing.assert_array_equal(a[name][0], b[name][0], err_msg=name)
        np.testing.assert_array_equal(a[name][1], b[name][1], err_msg=name)


@pytest.fixture
def recordings(tmp_path):
    for i in range(7):
        write(tmp_path / "in" / f"{i % 3}" / f"{i}.wav", tone(0.4 + 0.5 * i, 16_000, 200 + 100 * i, seed=i), 16_000)
    return tmp_path / "in"


@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize("hop", [0.1, 1 / 3])
def test_what_is_read_is_what_the_model_gave(placeholder, recordings, tmp_path, format, jobs, hop):
    results = _extract(placeholder, [recordings], tmp_path / "out", format, jobs=jobs, hop=hop, center=False)
    found = _contents(tmp_path / "out", format)
    paths = sorted(recordings.rglob("*.wav"))
    assert sorted(found) == sorted(str(p.relative_to(recordings)) for p in paths) and len(results) == 7
    for path in paths:
        expected = placeholder.embed(path, hop=hop, center=False)
        for a, b in zip(found[str(path.relative_to(recordings))], expected, strict=True):
            np.testing.assert_array_equal(a, b)
            assert a.dtype == b.dtype


def test_done_is_skipped_changed_and_new_are_not(placeholder, recordings, tmp_path, format):
    out = tmp_path / "out"
    assert not any(r.skipped for r in _extract(placeholder, [recordings], out, format))
    assert all(r.skipped for r in _extract(placeholder, [recordings], out, format, jobs=2))
    changed = write(recordings / "0" / "3.wav", tone(1.0, 16_000, 900), 16_000)
    write(recordings / "new.wav", tone(0.7, 16_000, 901), 16_000)
    results = _extract(placeholder, [recordings], out, format)
    assert {Path(r.source).name for r in results if not r.skipped} == {"3.wav", "new.wav"}
    (note,) = {n for r in results for n in r.notes}
    assert note == "replaces the vectors of an earlier recording of this name"
    np.testing.assert_array_equal(_contents(out, format)["0/3.wav"][0], placeholder.embed(changed)[0])
    assert not any(r.skipped for r in _extract(placeholder, [recordings], out, format, overwrite=True))
    assert len(_contents(out, format)) == 8


def test_a_touched_recording_is_recognised_or_made_again(placeholder, recordings, tmp_path, format):
    before = _extract(placeholder, [recordings], tmp_path / "out", format) and _contents(tmp_path / "out", format)
    os.utime(recordings / "0" / "0.wav", (2e9, 2e9))
    results = _extract(placeholder, [recordings], tmp_path / "out", format)
    assert sum(r.skipped for r in results) == (6 if format == "npz" else 7), "a store knows it by its content"
    _assert_equal(_contents(tmp_path / "out", format), before)


def test_a_failure_is_tried_again(placeholder, recordings, tmp_path, format):
    (recordings / "1" / "late.wav").write_text("still being copied")
    for _ in range(2):
        results = _extract(placeholder, [recordings], tmp_path / "out", format)
        (failed,) = (r for r in results if r.error)
        assert "is not audio" in failed.error and "1/late.wav" not in _contents(tmp_path / "out", format)
    write(recordings / "1" / "late.wav", tone(0.5, 16_000), 16_000)
    (result,) = (r for r in _extract(placeholder, [recordings], tmp_path / "out", format) if not r.skipped)
    assert result.error is None and len(_contents(tmp_path / "out", format)) == 8


def test_a_recording_that_fails_half_way_leaves_nothing(placeholder, recordings, tmp_path, format):
    _extract(placeholder, [recordings], tmp_path / "good", format)
    late = tone(40, 16_000)
    late[-5] = np.inf  # found after many windows have been written
    write(recordings / "2" / "late.wav", late, 16_000, subtype="FLOAT")
    for jobs in (1, 2):
        results = _extract(placeholder, [recordings], tmp_path / f"out{jobs}", format, jobs=jobs)
        assert sum(r.error is not None for r in results) == 1
        _assert_equal(_contents(tmp_path / f"out{jobs}", format), _contents(tmp_path / "good", format))


@pytest.mark.parametrize("jobs", [1, 2])
def test_an_interrupted_run_keeps_what_is_whole_and_goes_on(placeholder, recordings, tmp_path, format, jobs):
    def interrupted(source, *_):
        if "2.wav" in source:
            raise KeyboardInterrupt

    items = sorted(recordings.rglob("*.wav"), key=lambda path: path.stem)
    with pytest.raises(KeyboardInterrupt):
        _extract(placeholder, items, tmp_path / "out", format, tick=interrupted, jobs=jobs)
    _extract(placeholder, items, tmp_path / "out", format)
    _extract(placeholder, items, tmp_path / "whole", format)
    _assert_equal(_contents(tmp_path / "out", format), _contents(tmp_path / "whole", format))
    assert not list((tmp_path / "out").rglob(".l3embed.*"))


def test_names_that_are_hard_to_write(placeholder, tmp_path, format):
    names = ["a b.wav", "ünï.wav", "new\nline.wav", "back\\slash.wav", "back\\xe9.wav", "quote'\".wav", "%41.wav"]
    names += [
        os.fsdecode(b"caf\xe9.wav"),
        "\\\\.wav",
        os.fsdecode(b"\\\xff\\.wav"),
        "-.wav",
        "#.wav",
        "x" * 240 + ".wav",
    ]
    sound = write(tmp_path / "sound.wav", tone(0.5, 16_000), 16_000)
    (tmp_path / "in").mkdir()
    for i, name in enumerate(names):
        (tmp_path / "in" / name).write_bytes(sound.read_bytes() + bytes(i))
    results = _extract(placeholder, [tmp_path / "in"], tmp_path / "out", format)
    assert not [r.error for r in results if r.error]
    assert sorted(_contents(tmp_path / "out", format)) == sorted(names)
    assert all(r.skipped for r in _extract(placeholder, [tmp_path / "in"], tmp_path / "out", format))


def test_memory_does_not_grow_with_the_length_of_a_recording(placeholder, tmp_path, format, monkeypatch):
    monkeypatch.setattr(store.rows, "IN_MEMORY", 10_000)
    _extract(placeholder, [write(tmp_path / "first.wav", tone(3, 16_000), 16_000)], tmp_path / "out", format)
    peaks = []
    for minutes in (0.5, 5):
        path = write(tmp_path / f"{minutes}.wav", np.tile(tone(30, 16_000), int(minutes * 2)), 16_000)
        tracemalloc.start()
        (result,) = _extract(placeholder, [path], tmp_path / "out", format)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert result.n_windows == minutes * 600 - 4
    assert peaks[1] < 1.3 * peaks[0]


_RUN = """
import resource, sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
import conftest
from l3embed import extract, plan, store
store.writer.SHARD_SECONDS = 0.0
format, inputs, out, limit = sys.argv[2:]
if int(limit):
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), int(limit)))
items = plan.plan([inputs]).items
for result in extract.extract(conftest.make_placeholder(), items, Path(out), hop=0.02, format=format, jobs=2):
    print(result.error, flush=True)
"""


def _start(format, inputs, out, limit=0):
    command = [sys.executable, "-c", _RUN, str(ROOT / "tests"), format, str(inputs), str(out), str(limit)]
    return subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_several_processes_at_once(placeholder, recordings, tmp_path, format):
    processes = [_start(format, recordings, tmp_path / "out") for _ in range(3)]
    for process in processes:
        out, error = process.communicate(timeout=120)
        assert (process.returncode, out) == (0, "None\n" * 7), error
    _extract(placeholder, [recordings], tmp_path / "alone", format, hop=0.02)
    _assert_equal(_contents(tmp_path / "out", format), _contents(tmp_path / "alone", format))
    assert not list((tmp_path / "out").rglob(".l3embed.*"))


def test_killed_processes_leave_whole_recordings_and_go_on(placeholder, tmp_path, format):
    for i in range(24):
        write(tmp_path / "in" / f"{i:02}.wav", tone(1.5, 16_000, 100 + 50 * i, seed=i), 16_000)
    _extract(placeholder, [tmp_path / "in"], tmp_path / "whole", format, hop=0.02)
    whole, counts = _contents(tmp_path / "whole", format), []
    for _ in range(2):
        process = _start(format, tmp_path / "in", tmp_path / "out")
        while not process.stdout.readline() and process.poll() is None:
            pass
        process.kill()
        process.communicate()
        found = _contents(tmp_path / "out", format)
        counts.append(len(found))
        _assert_equal(found, {name: whole[name] for name in found})
    assert 0 < counts[0] <= counts[1] < 24, "killed in the middle"
    process = _start(format, tmp_path / "in", tmp_path / "out")
    assert process.communicate()[0] == "None\n" * 24
    _assert_equal(_contents(tmp_path / "out", format), whole)
    assert not list((tmp_path / "out").rglob(".l3embed.*"))


def test_a_disk_that_takes_no_more(placeholder, recordings, tmp_path, format):
    """The kernel's own error, for files beyond 3 kB: long recordings do not fit."""
    process = _start(format, recordings, tmp_path / "out", limit=3000)
    out, error = process.communicate()
    written = _contents(tmp_path / "out", format) if format == "npz" else {}
    assert "file too large" in out + error and len(written) < 7
    if format == "npz":
        assert process.returncode == 0 and out.count("cannot write") == 7 - len(written)
    _extract(placeholder, [recordings], tmp_path / "out", format, hop=0.02)
    _extract(placeholder, [recordings], tmp_path / "alone", format, hop=0.02)
    _assert_equal(_contents(tmp_path / "out", format), _contents(tmp_path / "alone", format))


def test_settings_that_do_not_go(placeholder, recordings, tmp_path, format):
    with pytest.raises(UsageError, match=r"dtype must be|npz holds float32 only"):
        _extract(placeholder, [recordings], tmp_path / "out", format, dtype="int8")
    with pytest.raises(UsageError, match="format must be one of npz, store"):
        _extract(placeholder, [recordings], tmp_path / "out", format + "y")
    assert not (tmp_path / "out").exists()
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreError, match=r"cannot write .*file: (file exists|not a directory)"):
        _extract(placeholder, [recordings], tmp_path / "file", format)
