"""Files of vectors: whole or absent, equal bytes for equal input, recognised when done."""

import errno
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from l3embed import store
from l3embed.errors import StoreError

RECIPE = {"model": "m", "hop_samples": 3200, "precision": "f32"}


def _write(path: Path, rows, recipe=RECIPE, source=b"1234567"):
    writer = store.NpzWriter(path)
    for part in rows:
        writer.append(part)
    n = sum(len(p) for p in rows)
    writer.commit(np.arange(n) * 0.1, {**recipe, **store.identity(source)})


def _rows(*lengths, dim=5):
    rng = np.random.default_rng(0)
    return [rng.standard_normal((n, dim)).astype(np.float32) for n in lengths]


@given(lengths=st.lists(st.integers(0, 9), min_size=1, max_size=5))
def test_what_is_written_is_read_by_numpy_alone(tmp_path_factory, lengths):
    path, rows = tmp_path_factory.mktemp("s") / "a.npz", _rows(*lengths)
    _write(path, rows)
    with np.load(path, allow_pickle=False) as file:
        np.testing.assert_array_equal(file["embedding"], np.concatenate(rows))
        assert file["embedding"].dtype == np.float32 and file["timestamps"].dtype == np.float64
        assert json.loads(str(file["metadata"]))["model"] == "m"
    embedding, timestamps, metadata = store.read(path)
    assert len(embedding) == len(timestamps) == sum(lengths) and metadata["hop_samples"] == 3200


def test_equal_rows_equal_bytes_whatever_the_time_and_the_pieces(tmp_path, monkeypatch):
    a, b = _rows(4, 3)
    _write(tmp_path / "1.npz", [a, b])
    monkeypatch.setattr(time, "time", lambda: 1e9)
    monkeypatch.setattr(store.rows, "IN_MEMORY", 10)  # by way of the disk
    _write(tmp_path / "2.npz", [np.concatenate([a, b])])
    assert (tmp_path / "1.npz").read_bytes() == (tmp_path / "2.npz").read_bytes()


def test_nothing_lies_about_before_commit_or_after_discard(tmp_path):
    writer = store.NpzWriter(tmp_path / "sub" / "a.npz")
    writer.append(_rows(3)[0])
    assert list((tmp_path / "sub").iterdir()) == []
    writer.discard()
    assert list((tmp_path / "sub").iterdir()) == []


def test_is_done_needs_the_same_recipe_sound_and_an_older_source(tmp_path):
    source, path = tmp_path / "a.wav", tmp_path / "a.npz"
    source.write_bytes(b"1234567")
    assert not store.is_done(path, RECIPE, source)
    _write(path, _rows(2))
    assert store.is_done(path, RECIPE, source)
    assert not store.is_done(path, {**RECIPE, "hop_samples": 1600}, source)
    assert not store.is_done(path, {**RECIPE, "new key": 1}, source)
    later = path.stat().st_mtime + 5
    os.utime(source, (later, later))
    assert not store.is_done(path, RECIPE, source), "the source was changed after it was embedded"
    for change, what in ((b"12345678", "another size"), (b"7654321", "other bytes, as many, an old date")):
        source.write_bytes(change)
        os.utime(source, (1, 1))
        assert not store.is_done(path, RECIPE, source), what
        assert not store.is_done(path, RECIPE, change), what
    source.unlink()
    assert not store.is_done(path, RECIPE, source), "no longer there"


@pytest.mark.parametrize("n", [0, 9, store.SAMPLE_BYTES, 3 * store.SAMPLE_BYTES, 9 * store.SAMPLE_BYTES])
def test_identity_sees_beginning_middle_and_end(n):
    sound = bytes(n)
    for at in {0, n // 2, n - 1} if n else set():
        assert store.identity(sound[:at] + b"x" + sound[at + 1 :]) != store.identity(sound)
    assert store.identity(sound)["source_bytes"] == n


@pytest.mark.parametrize(
    "damage",
    [lambda b: b[: len(b) // 2], lambda b: b"", lambda b: b[:-1], lambda b: bytes(len(b)), lambda b: b"\x93NUMPY" + b],
)
def test_a_damaged_output_is_not_done_and_cannot_be_read(tmp_path, damage):
    path = tmp_path / "a.npz"
    _write(path, _rows(2))
    path.write_bytes(damage(path.read_bytes()))
    assert not store.is_done(path, RECIPE, b"1234567")
    with pytest.raises(StoreError, match=r"a\.npz: is not an embedding file"):
        store.read(path)


def test_an_npz_of_openl3_is_not_taken_for_ours(tmp_path):
    np.savez(tmp_path / "a.npz", embedding=np.zeros((2, 3)), timestamps=np.zeros(2))
    assert not store.is_done(tmp_path / "a.npz", RECIPE, b"1234567")


def test_full_disk_while_moving_names_the_output_and_leaves_the_old_one(tmp_path, monkeypatch):
    path = tmp_path / "a.npz"
    _write(path, _rows(2))
    before = path.read_bytes()

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(StoreError, match=r"cannot write .*a\.npz: no space left on device"):
        _write(path, _rows(3))
    assert path.read_bytes() == before and [p.name for p in tmp_path.iterdir()] == ["a.npz"]


@pytest.mark.parametrize("n", [200, 6000], ids=["at the end", "while collecting"])
def test_a_real_limit_of_the_file_system(tmp_path, n):
    """A child process that may write 64 KiB a file: the error is the kernel's own."""
    code = (
        "import resource, sys, numpy as np; from pathlib import Path; from l3embed import store, errors\n"
        f"store.rows.IN_MEMORY = 2**20; resource.setrlimit(resource.RLIMIT_FSIZE, (65536, 65536))\n"
        "w = None\n"
        "try:\n"
        "    w = store.NpzWriter(Path(sys.argv[1]) / 'a.npz')\n"
        f"    w.append(np.zeros(({n}, 128), np.float32)); w.commit(np.zeros({n}), {{}})\n"
        "except errors.StoreError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    assert "a.npz: file too large" in done.stdout
    assert list(tmp_path.iterdir()) == []
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 65536


def test_parts_of_dead_processes_are_removed_and_those_of_living_ones_kept(tmp_path):
    import socket

    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    host = socket.gethostname()
    names = {f".l3embed.0123.{host}-{dead.pid}.part": False, f".l3embed.0123.{host}-{os.getppid()}.part": True,
             ".l3embed.0123.another.host-1.part": True, f".b.npz.{host}-{dead.pid}.part": True}  # fmt: skip
    for name in names:
        (tmp_path / name).write_bytes(b"half")
    _write(tmp_path / "a.npz", _rows(2))
    assert {name: (tmp_path / name).exists() for name in names} == names


def test_the_longest_names_can_be_written_and_longer_ones_are_named(tmp_path):
    longest = tmp_path / ("x" * 251 + ".npz")
    _write(longest, _rows(2))
    assert store.is_done(longest, RECIPE, b"1234567")
    with pytest.raises(StoreError, match=r"cannot write .*file name too long"):
        _write(tmp_path / ("x" * 252 + ".npz"), _rows(2))
