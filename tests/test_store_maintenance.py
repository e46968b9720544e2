"""Verify, compact, gc and export; a store that is killed, compacted, read and written at any moment."""

import json
import os
import shutil
import socket
import subprocess
import sys

import numpy as np
import pytest
from conftest import ROOT, tree
from hypothesis import given, settings
from hypothesis import strategies as st
from stores import DIM, RECIPE, contents, expected, fill, put, vectors

from l3embed import cli, store
from l3embed.errors import StoreError, UsageError
from l3embed.store import export, leases, maintenance

pytest.importorskip("pyarrow")
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests"), *sys.path])}
SOUNDS = {f"{i}.wav": bytes([i + 1]) * (i + 1) for i in range(6)}


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch):
    """Nothing here cuts the power."""
    monkeypatch.setattr(os, "fsync", lambda handle: None)


def _fill_in_pieces(folder, sounds=SOUNDS):
    """A shard and a part for each recording, and one that was superseded."""
    for name, sound in sounds.items():
        fill(folder, {name: b"first version"} if name == "0.wav" else {})
        done = fill(folder, {name: sound})
    return done


# --- any order of writing, copying, overwriting, reopening, compacting, cleaning

_NAMES = st.sampled_from(["a", "b/c", "ü"])
_STEPS = st.one_of(
    st.tuples(st.just("put"), _NAMES, st.binary(min_size=1, max_size=4)),
    st.tuples(st.just("overwrite"), _NAMES, st.binary(min_size=1, max_size=4)),
    st.tuples(st.sampled_from(["reopen", "compact", "gc", "settle"])),
)


@settings(deadline=None, max_examples=60)
@given(steps=st.lists(_STEPS, max_size=12), dtype=st.sampled_from(store.layout.DTYPES))
def test_a_store_holds_the_last_of_what_was_put(tmp_path_factory, steps, dtype):
    folder, model, known = tmp_path_factory.mktemp("s"), {}, set()
    out = store.CorpusWriter(folder, RECIPE, dtype)
    for step, *args in steps:
        if step in ("put", "overwrite"):
            computed = put(out, *args, overwrite=step == "overwrite")
            assert computed == (step == "overwrite" or args[1] not in known)
            model[args[0]] = args[1]
            known.add(args[1])
        else:
            out.close()
            if step in ("compact", "gc"):
                getattr(maintenance, step)(out.folder)
                known = set(model.values()) if step == "compact" else known
            out = store.CorpusWriter(folder, RECIPE, dtype)
    out.close()
    wanted = {name: vectors(sound).astype(dtype).tobytes() for name, sound in model.items()}
    assert contents(folder) == wanted and maintenance.verify(out.folder) == []
    if model:
        maintenance.compact(out.folder)
        assert contents(folder) == wanted and maintenance.verify(out.folder) == []
        (shard,) = (out.folder / "shards").iterdir()
        assert len(np.load(shard)) == sum(map(len, set(model.values()))), "nothing but what is wanted, once"


# --- killed at any moment

_KILLED = """
import os, sys
from pathlib import Path
import pyarrow.parquet, pyarrow.compute, stores
from l3embed import store
from l3embed.store import maintenance

what, base = sys.argv[1], Path(sys.argv[2])
os.fsync = lambda handle: None
store.writer.SHARD_SECONDS = 0.0  # every recording a shard

def act(folder):
    if what == "write":
        with store.CorpusWriter(folder, stores.RECIPE) as out:
            stores.put(out, "a.wav", b"12", overwrite=True)
            stores.put(out, "b.wav", b"34")
            out.fail(stores.Item("c.wav", b"x"), "is not audio")
            stores.put(out, "d.wav", b"34")
    else:
        (folder,) = (path.parent for path in folder.glob("*/config.json"))
        getattr(maintenance, what)(folder)

def die_at(n, folder):
    left = n
    def hook(event, arguments):  # everything that Python does to the file system is told before it is done
        nonlocal left
        if event.startswith(("open", "os.", "shutil.")) and str(folder) in str(arguments):
            left -= 1
            if left == 0:
                os._exit(9)
    sys.addaudithook(hook)

for i, folder in enumerate(sorted(base.iterdir())):
    if not os.fork():
        die_at(i + 1, folder)
        act(folder)
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.wait()[1]), flush=True)
"""


def _kill_everywhere(what, base, prepare, n) -> list[int]:
    """Exit codes of `what` on n stores, killed at its first, second, third ... touch of the file system."""
    prepare(base / "000")
    for i in range(1, n):
        shutil.copytree(base / "000", base / f"{i:03}")
    command = [sys.executable, "-W", "ignore", "-c", _KILLED, what, str(base)]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=True, timeout=300)
    codes = [int(line) for line in done.stdout.split()]
    assert set(codes) == {0, 9} and codes == sorted(codes, reverse=True), done.stderr
    return codes


def test_a_writer_killed_at_any_moment(tmp_path):
    first = {"a.wav": b"12", "old.wav": b"5"}
    codes = _kill_everywhere("write", tmp_path, lambda folder: fill(folder, first), 48)
    assert codes.count(9) > 30
    for folder in sorted(tmp_path.iterdir()):
        found = contents(folder)
        assert expected(first).items() <= found.items()
        assert found.items() <= expected({**first, "b.wav": b"34", "d.wav": b"34"}).items()
        key = next(folder.glob("*/config.json")).parent
        assert maintenance.verify(key) == []
        fill(folder, {**first, "b.wav": b"34", "d.wav": b"34"})
        assert contents(folder) == expected({**first, "b.wav": b"34", "d.wav": b"34"})
        assert not list(key.rglob(".l3embed*")) and not list((key / "at-work").iterdir())


@pytest.mark.parametrize("what", ["compact", "gc"])
def test_care_killed_at_any_moment_loses_nothing(tmp_path, what):
    sounds = {name: SOUNDS[name] for name in ("0.wav", "1.wav", "2.wav")}

    def prepare(folder):
        key = _fill_in_pieces(folder, sounds)
        (key / "shards" / "0123456789abcdef.npy").write_bytes(b"garbage")
        (key / "shards" / f".l3embed.0.{socket.gethostname()}-999999999.part").write_bytes(b"garbage")

    codes = _kill_everywhere(what, tmp_path, prepare, 60 if what == "compact" else 16)
    assert codes.count(9) > (30 if what == "compact" else 5)
    for folder in sorted(tmp_path.iterdir()):
        key = next(folder.glob("*/config.json")).parent
        assert contents(folder) == expected(sounds) and maintenance.verify(key) == []
        maintenance.compact(key)
        assert contents(folder) == expected(sounds) and maintenance.verify(key) == []
        assert len(list((key / "shards").iterdir())) == len(list((key / "manifest").iterdir())) == 1


# --- compact


def test_compact_leaves_one_shard_and_one_part_and_is_then_idle(tmp_path):
    key = _fill_in_pieces(tmp_path)
    counts = maintenance.compact(key)
    assert counts["before"]["parts"] == 7 and counts["after"]["parts"] == counts["after"]["shards"] == 1
    assert counts["after"]["bytes"] < counts["before"]["bytes"]
    before = tree(tmp_path)
    maintenance.compact(key)
    assert tree(tmp_path) == before


def test_large_and_living_shards_are_left_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(maintenance, "MERGE_BELOW", 200)
    monkeypatch.setattr(maintenance, "MERGE_UP_TO", 300)
    key = _fill_in_pieces(tmp_path)  # data of 20 to 120 bytes behind a header of 128
    large = {p: p.stat().st_ino for p in (key / "shards").iterdir() if p.stat().st_size >= 200 and len(np.load(p)) < 7}
    maintenance.compact(key)
    assert len(large) == 3 and all(p.stat().st_ino == inode for p, inode in large.items())
    assert contents(tmp_path) == expected(SOUNDS) and len(list((key / "shards").iterdir())) == 4


def test_failures_survive_compaction_until_they_are_mended(tmp_path):
    from stores import Item

    for _ in range(3):
        with store.CorpusWriter(tmp_path, RECIPE) as out:
            out.fail(Item("bad.wav", b"x"), "is not audio")
    assert len(list((out.folder / "manifest").iterdir())) == 1, "told once"
    fill(tmp_path, SOUNDS)
    maintenance.compact(out.folder)
    assert store.open(tmp_path).failed() == {"bad.wav": "is not audio"}
    fill(tmp_path, {"bad.wav": b"good"})
    assert store.open(tmp_path).failed() == {}


def test_compaction_of_a_damaged_store_stops_before_anything_is_removed(tmp_path):
    key = _fill_in_pieces(tmp_path)
    shard = key / "shards" / store.open(tmp_path).table().column("shard")[2].as_py()  # not the superseded one
    data = bytearray(shard.read_bytes())
    data[-1] ^= 1
    shard.write_bytes(data)
    before = tree(tmp_path)
    with pytest.raises(StoreError, match=f"{shard.name}: is damaged: l3embed store verify"):
        maintenance.compact(key)
    assert tree(tmp_path) == before
    shard.unlink()
    with pytest.raises(StoreError, match=f"{shard.name}: is missing"):
        maintenance.compact(key)
    part = next((key / "manifest").iterdir())
    part.write_bytes(b"")
    for care in (maintenance.compact, maintenance.gc):
        with pytest.raises(StoreError, match=f"{part.name}: is damaged"):
            care(key)


def test_a_reader_keeps_reading_while_the_store_is_compacted(tmp_path):
    key = _fill_in_pieces(tmp_path)
    corpus = store.open(tmp_path)
    held = corpus.clip("1.wav")
    maintenance.compact(key)
    assert held.tobytes() == vectors(SOUNDS["1.wav"]).tobytes()
    assert {clip: corpus.clip(clip).tobytes() for clip in corpus.clips} == expected(SOUNDS)


# --- who is at work


def test_writers_keep_care_out_and_care_keeps_writers_out(tmp_path):
    with store.CorpusWriter(tmp_path, RECIPE) as out, store.CorpusWriter(tmp_path, RECIPE) as other:
        put(out, "a", b"1")
        put(other, "b", b"2")
        for care in (maintenance.compact, maintenance.gc):
            with pytest.raises(StoreError, match=f"is being written by process {os.getpid()} on .*remove"):
                care(out.folder)
    with leases.Lease(out.folder, "alone"):
        with pytest.raises(StoreError, match="is being compacted or cleaned by process"):
            store.CorpusWriter(tmp_path, RECIPE)
        with pytest.raises(StoreError, match="is being compacted or cleaned"):
            maintenance.gc(out.folder)
    maintenance.compact(out.folder)
    assert contents(tmp_path) == expected({"a": b"1", "b": b"2"}) and not list((out.folder / "at-work").iterdir())


def test_the_dead_do_not_stand_in_the_way(tmp_path):
    key = fill(tmp_path, SOUNDS)
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    here = key / "at-work" / f"writing.0.{socket.gethostname()}-{dead.pid}"
    elsewhere = key / "at-work" / "writing.0.another.host-1"
    here.touch(), elsewhere.touch()
    with pytest.raises(StoreError, match=r"by process 1 on another\.host"):
        maintenance.gc(key)
    assert not here.exists() and elsewhere.exists()
    os.utime(elsewhere, (1, 1))
    maintenance.gc(key)
    assert not elsewhere.exists()


def test_gc_removes_what_nothing_refers_to_and_nothing_else(tmp_path):
    key = fill(tmp_path, SOUNDS)
    kept = tree(tmp_path)
    (key / "shards" / "0123456789abcdef.npy").write_bytes(b"1234")
    (key / "manifest" / ".l3embed.0.far-1.part").write_bytes(b"12")
    (key / "shards" / "notes.txt").write_text("somebody's")
    assert maintenance.gc(key) == (2, 6)
    assert tree(tmp_path) == {**kept, f"{key.name}/shards/notes.txt": b"somebody's"}


# --- verify


def test_verify_names_every_kind_of_damage(tmp_path):
    key = _fill_in_pieces(tmp_path)
    assert maintenance.verify(key) == []
    rows = {clip: store.open(tmp_path).row(clip) for clip in SOUNDS}
    shard = {clip: key / "shards" / row["shard"] for clip, row in rows.items()}
    data = bytearray(shard["1.wav"].read_bytes())
    data[-3] ^= 4
    shard["1.wav"].write_bytes(data)
    shard["2.wav"].unlink()
    os.truncate(shard["3.wav"], 150)
    with open(shard["4.wav"], "ab") as file:
        file.write(b"more")
    wrong = maintenance.verify(key)
    for text in (
        "1.wav: its vectors in",
        "no such file or directory: 1 recordings",
        "is damaged",
        "as its header promises",
    ):
        assert sum(text in line for line in wrong) == 1, (text, wrong)
    assert len(wrong) == 4


def test_verify_reports_numbers_that_are_none(tmp_path):
    from stores import Item

    with store.CorpusWriter(tmp_path, RECIPE) as out:
        writer = out.writer(Item("a.wav", b"1"))
        rows = vectors(b"12")
        rows[0, :2] = np.nan
        writer.append(rows)
        writer.commit(np.arange(2) * 3200 / 48_000, {"notes": [], **out.identity(Item("a.wav", b"1"))})
    assert maintenance.verify(out.folder) == ["a.wav: 2 of its numbers are NaN or infinite"]
    assert store.open(tmp_path).row("a.wav")["n_nan"] == 2


# --- export


def test_npz_export_is_what_extract_writes(placeholder, tmp_path):
    from conftest import tone, write

    from l3embed import extract
    from l3embed.plan import plan

    for name in ("a.wav", "b/a.wav", "b/a.flac", os.fsdecode(b"caf\xe9.wav")):
        write(tmp_path / "in" / "x.wav", tone(1.0, 16_000, 100 + len(name)), 16_000)
        (tmp_path / "in" / "b").mkdir(exist_ok=True)
        os.rename(tmp_path / "in" / "x.wav", tmp_path / "in" / name)
    write(tmp_path / "in" / "silent.wav", np.zeros(16_000), 16_000)
    for format in store.FORMATS:
        list(extract.extract(placeholder, plan([str(tmp_path / "in")]).items, tmp_path / format, format=format))
    export.export(store.open(tmp_path / "store"), "npz", tmp_path / "exported")
    assert tree(tmp_path / "exported") == tree(tmp_path / "npz") and len(tree(tmp_path / "npz")) == 5


def test_rounded_npz_are_not_taken_for_extracted_ones(tmp_path):
    fill(tmp_path / "s", {"a.wav": b"12"}, "float16")
    (path,) = export.export(store.open(tmp_path / "s"), "npz", tmp_path / "out")
    embedding, _, metadata = store.read(path)
    np.testing.assert_array_equal(embedding, vectors(b"12").astype(np.float16).astype(np.float32))
    assert metadata["dtype"] == "float16" and not store.is_done(path, RECIPE, b"12")


@pytest.mark.parametrize("dtype", store.layout.DTYPES)
@pytest.mark.parametrize("group", [1, 2**26])
def test_parquet_and_numpy_exports(tmp_path, dtype, group, monkeypatch):
    import pyarrow.parquet as pq

    monkeypatch.setattr(export, "GROUP_BYTES", group)
    monkeypatch.setattr(maintenance, "BLOCK_BYTES", 2 * DIM * 4)
    fill(tmp_path / "s", SOUNDS, dtype)
    corpus = store.open(tmp_path / "s")
    frames, owners = corpus.frames()
    times = np.concatenate([corpus.times(clip) for clip in corpus.clips])
    export.export(corpus, "parquet", tmp_path / "p")
    table = pq.read_table(tmp_path / "p" / "vectors.parquet")
    np.testing.assert_array_equal(np.stack(table["embedding"].to_numpy()), frames.astype(np.float32))
    assert table["clip"].to_pylist() == [corpus.clips[i] for i in owners]
    np.testing.assert_array_equal(table["time_s"].to_numpy(), times)
    export.export(corpus, "numpy", tmp_path / "n")
    saved = {path.stem: np.load(path) for path in (tmp_path / "n").iterdir()}
    np.testing.assert_array_equal(saved["vectors"], frames)
    np.testing.assert_array_equal(saved["times"], times)
    np.testing.assert_array_equal(np.repeat(np.arange(6), np.diff(saved["offsets"])), owners)
    assert saved["clips"].tolist() == corpus.clips and saved["vectors"].dtype == dtype
    for to, folder in (("parquet", "pp"), ("numpy", "np")):
        export.export(corpus, to, tmp_path / folder, "mean+max")
    pooled = corpus.pooled(pooling="mean+max")
    np.testing.assert_array_equal(np.load(tmp_path / "np" / "vectors.npy"), pooled)
    table = pq.read_table(tmp_path / "pp" / "vectors.parquet")
    assert table.column_names == ["clip", "embedding"] and table["clip"].to_pylist() == corpus.clips
    np.testing.assert_array_equal(np.stack(table["embedding"].to_numpy()), pooled)


def test_exports_that_do_not_go(tmp_path):
    fill(tmp_path / "s", SOUNDS)
    corpus = store.open(tmp_path / "s")
    for arguments, message in (
        (("csv",), "format must be"),
        (("npz", "mean"), "pooled"),
        (("numpy", "x"), "pooling must"),
    ):
        with pytest.raises(UsageError, match=message):
            export.export(corpus, arguments[0], tmp_path / "out", *arguments[1:])
    assert not (tmp_path / "out").exists()
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreError, match=r"cannot write .*file"):
        export.export(corpus, "numpy", tmp_path / "file")
    with store.CorpusWriter(tmp_path / "e", RECIPE):
        pass
    with pytest.raises(StoreError, match="holds no vectors to export"):
        export.export(store.open(tmp_path / "e"), "numpy", tmp_path / "out")


# --- the command


def test_the_command(tmp_path, capsys):
    key = _fill_in_pieces(tmp_path / "s")
    path = str(tmp_path / "s")

    def run(*arguments):
        code = cli.main(["store", *arguments])
        return code, capsys.readouterr()

    code, said = run("show", path)
    assert code == 0 and "6 recordings, 9.0 s of sound, 21 vectors of 5 numbers" in said.out and key.name in said.out
    code, said = run("show", path, "--json")
    assert code == 0 and json.loads(said.out)[key.name]["recordings"] == 6
    assert run("verify", path)[0] == 0
    code, said = run("compact", path, "--key", key.name[:4])
    assert code == 0 and "7 -> 1 parts" in said.out
    assert "0 files removed" in run("gc", path)[1].out
    code, said = run("export", path, "--to", "numpy", "-o", str(tmp_path / "out"), "--pool", "mean+std", "--json")
    assert code == 0 and json.loads(said.out)["recordings"] == 6
    assert np.load(tmp_path / "out" / "vectors.npy").shape == (6, 2 * DIM)
    next((key / "shards").iterdir()).unlink()
    code, said = run("verify", path)
    assert code == 1 and "6 recordings have no vectors" in said.out
    assert len(json.loads(run("verify", path, "--json")[1].out)["wrong"]) == 1
    for arguments, code in ((("show", str(tmp_path / "gone")), 1), (("verify", path, "--key", "x"), 2)):
        found, said = run(*arguments)
        assert found == code and len(said.err.splitlines()) == 1
