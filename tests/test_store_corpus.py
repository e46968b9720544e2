"""A store as its readers meet it: layout, identity, views, bad folders."""

import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT, tone, write
from stores import DIM, RECIPE, Item, contents, expected, fill, put, vectors

from l3embed import cli, store
from l3embed.errors import MissingExtraError, StoreError, UsageError
from l3embed.store import layout, manifest

pa = pytest.importorskip("pyarrow")
SOUNDS = {"a.wav": b"1234", "b/a.wav": b"56789", "c.wav": b"0"}


def test_the_layout_is_as_documented(tmp_path):
    """Golden: whoever reads stores without l3embed depends on every name here."""
    folder = fill(tmp_path / "s", SOUNDS)
    assert folder.name == "c35adf76cf69bca4" and store.layout.key_of({**RECIPE, "dtype": "float32"}) == folder.name
    names = sorted(str(p.relative_to(tmp_path / "s")) for p in (tmp_path / "s").rglob("*") if p.is_file())
    patterns = [r"config\.json", r"manifest/part-[0-9a-f]{16}\.parquet", r"shards/[0-9a-f]{16}\.npy"]
    for name, pattern in zip(names, [f"{folder.name}/{p}" for p in patterns] + [r"store\.toml"], strict=True):
        assert re.fullmatch(pattern, name)
    assert "schema = 1\n" in (tmp_path / "s" / "store.toml").read_text()
    config = json.loads((folder / "config.json").read_text())
    assert config["recipe"] == {**RECIPE, "dtype": "float32"} and config["versions"]["numpy"] == np.__version__
    (shard,) = (folder / "shards").iterdir()
    np.testing.assert_array_equal(np.load(shard), np.concatenate([vectors(s) for s in SOUNDS.values()]))
    import pyarrow.parquet as pq

    rows = pq.read_table(folder / "manifest").to_pylist()
    first = {**rows[0], "mean_norm": round(rows[0]["mean_norm"], 6)}
    assert first == {
        "clip": "a.wav", "status": "ok", "error": None, "generation": 1, "shard": shard.name, "first_row": 0,
        "n_rows": 4, "dim": DIM, "first_s": 0.0, "hop_s": 3200 / 48_000, "times_s": None, "n_nan": 0,
        "audio_sha256": "03ac674216f3e15c761ee1a5e255f067953623c8b388b4459e13f978d7c846f4",
        "rows_sha256": hashlib.sha256(vectors(b"1234").tobytes()).hexdigest(),
        "mean_norm": round(float(np.linalg.norm(vectors(b"1234"), axis=1).mean()), 6), "seconds": 1.5, "notes": [],
        "source_path": None, "source_bytes": 4, "source_mtime_ns": None, "source_sample": first["source_sample"],
        "l3embed": "0", "more": None,
    }  # fmt: skip
    assert [(r["clip"], r["first_row"], r["n_rows"]) for r in rows[1:]] == [("b/a.wav", 4, 5), ("c.wav", 9, 1)]


def test_the_five_lines_of_the_documentation_read_a_store(tmp_path, monkeypatch):
    """In a process that cannot import l3embed."""
    text = (ROOT / "docs" / "store.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(import numpy.*?)```", text, re.S)
    lines = [line for line in code.splitlines() if line and not line.startswith(("import", "from"))]
    assert len(lines) <= 5 and "l3embed" not in code
    sounds = {"dog.wav": b"123", "rain.wav": b"45"}
    fill(tmp_path / "embeddings", sounds)
    fill(tmp_path / "embeddings", {"dog.wav": b"999999"})  # another version of it: standard input has no place
    code += "\nprint(vectors.tolist()); print(times.tolist())"
    done = subprocess.run([sys.executable, "-I", "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    found, times = map(json.loads, done.stdout.splitlines())
    np.testing.assert_array_equal(np.float32(found), vectors(b"999999"))
    np.testing.assert_allclose(times, np.arange(6) * 3200 / 48_000)


def test_views(tmp_path):
    fill(tmp_path, SOUNDS)
    corpus = store.open(tmp_path)
    assert corpus.clips == ["a.wav", "b/a.wav", "c.wav"] and len(corpus) == 3 and corpus.dim == DIM
    assert "3 recordings" in repr(corpus) and corpus.failed() == {}
    view = corpus.clip("b/a.wav")
    np.testing.assert_array_equal(view, vectors(b"56789"))
    assert isinstance(view, np.memmap) and not view.flags.writeable
    np.testing.assert_array_equal(corpus.times("b/a.wav"), np.arange(5) * 3200 / 48_000)
    frames, owners = corpus.frames(["c.wav", "a.wav"])
    np.testing.assert_array_equal(frames, np.concatenate([vectors(b"0"), vectors(b"1234")]))
    assert owners.tolist() == [0, 1, 1, 1, 1] and len(corpus.frames()[0]) == 10
    a, c = vectors(b"1234").astype(np.float64), vectors(b"0").astype(np.float64)
    for name, of in {
        "mean": lambda x: x.mean(0), "mean+max": lambda x: np.r_[x.mean(0), x.max(0)],
        "mean+std": lambda x: np.r_[x.mean(0), x.std(0)],
    }.items():  # fmt: skip
        np.testing.assert_allclose(corpus.pooled(["c.wav", "a.wav"], name), np.stack([of(c), of(a)]), rtol=1e-6)
    assert corpus.pooled().shape == (3, DIM) and corpus.pooled([], "mean+max").shape == (0, 2 * DIM)
    assert corpus.table().column("clip").to_pylist() == corpus.clips
    with pytest.raises(UsageError, match=r"holds no recording 'd\.wav'"):
        corpus.clip("d.wav")
    with pytest.raises(UsageError, match="not one id"):
        corpus.pooled("a.wav")
    with pytest.raises(UsageError, match="pooling must be one of"):
        corpus.pooled(pooling="median")


def test_half_precision(tmp_path):
    fill(tmp_path, SOUNDS, "float16")
    corpus = store.open(tmp_path)
    assert corpus.clip("a.wav").dtype == np.float16
    np.testing.assert_array_equal(corpus.clip("a.wav"), vectors(b"1234").astype(np.float16))
    with store.CorpusWriter(tmp_path, RECIPE, "float16") as out:
        writer = out.writer(Item("loud.wav", b"x"))
        with pytest.raises(StoreError, match="vectors reach 1e\\+06, float16 only 65504: use --dtype float32"):
            writer.append(np.full((2, DIM), 1e6, np.float32))
        writer.discard()
    assert contents(tmp_path).keys() == SOUNDS.keys()


def test_several_keys_in_one_store(tmp_path):
    a, b = fill(tmp_path, SOUNDS), fill(tmp_path, {"a.wav": b"1"}, recipe={**RECIPE, "model": "other"})
    with pytest.raises(UsageError, match=r"several keys, say which.*model m.*model other|model other.*model m"):
        store.open(tmp_path)
    assert len(store.open(tmp_path, a.name)) == 3 and len(store.open(tmp_path, b.name[:6])) == 1
    with pytest.raises(UsageError, match="key must be the beginning of one of"):
        store.open(tmp_path, "xyz")


def test_times_that_are_not_evenly_spaced_and_facts_of_other_kinds(tmp_path):
    times = np.array([0.0, 0.04, 0.11])
    with store.CorpusWriter(tmp_path, RECIPE) as out:
        writer = out.writer(Item("v.mp4", b"v"))
        writer.append(vectors(b"v", 3))
        with pytest.raises(StoreError, match="2 time stamps for 3 vectors"):
            writer.commit(times[:2], {})
        writer.commit(times, {"source_bytes": 1, "frames": [1, 2, 5]})
    corpus = store.open(tmp_path)
    np.testing.assert_array_equal(corpus.times("v.mp4"), times)
    assert json.loads(corpus.row("v.mp4")["more"]) == {"frames": [1, 2, 5]} and corpus.row("v.mp4")["hop_s"] is None


# --- identity


def test_renamed_copied_and_moved_recordings_are_not_computed_again(placeholder, tmp_path, monkeypatch):
    from l3embed import extract
    from l3embed.plan import plan

    for i in range(3):
        write(tmp_path / "in" / f"{i}.wav", tone(1.0, 16_000, 300 + i), 16_000)
    (tmp_path / "in" / "copy.wav").write_bytes((tmp_path / "in" / "0.wav").read_bytes())

    def run(inputs, **how):
        items = plan([str(inputs)]).items
        results = list(extract.extract(placeholder, items, tmp_path / "s", format="store", **how))
        assert not [r.error for r in results if r.error]
        return sorted(Path(r.source).name for r in results if not r.skipped)

    assert run(tmp_path / "in") in (["0.wav", "1.wav", "2.wav"], ["1.wav", "2.wav", "copy.wav"])
    os.rename(tmp_path / "in" / "1.wav", tmp_path / "in" / "renamed.wav")
    assert run(tmp_path / "in") == []
    os.rename(tmp_path / "in", tmp_path / "moved")
    assert run(tmp_path / "moved", jobs=2) == []
    corpus = store.open(tmp_path / "s")
    assert corpus.clips == ["0.wav", "1.wav", "2.wav", "copy.wav", "renamed.wav"]
    places = {clip: (corpus.row(clip)["shard"], corpus.row(clip)["first_row"]) for clip in corpus.clips}
    assert places["0.wav"] == places["copy.wav"] and places["1.wav"] == places["renamed.wav"]
    read = []
    monkeypatch.setattr(store.writer, "_sha256", lambda recording: read.append(recording))
    assert run(tmp_path / "moved") == [] and read == [], "what lies where it lay is recognised without reading it all"


def test_another_recording_of_the_same_name_is_refused(placeholder, tmp_path, capsys):
    from l3embed import extract
    from l3embed.plan import plan

    a, b = (write(tmp_path / f"site{i}" / "0600.wav", tone(1, 16_000, 300 + i), 16_000) for i in (0, 1))

    def run(path, **how):
        items = plan([str(path)]).items
        (result,) = extract.extract(placeholder, items, tmp_path / "s", format="store", **how)
        return result

    assert run(a).error is None
    error = run(b).error
    assert "another recording of this name, from" in error and "site0/0600.wav" in error and "--overwrite" in error
    np.testing.assert_array_equal(store.open(tmp_path / "s").clip("0600.wav"), placeholder.embed(a)[0])
    assert run(b, overwrite=True).notes == ("replaces the vectors of an earlier recording of this name",)
    np.testing.assert_array_equal(store.open(tmp_path / "s").clip("0600.wav"), placeholder.embed(b)[0])


def test_the_same_sound_under_other_names_within_one_process(tmp_path):
    with store.CorpusWriter(tmp_path, RECIPE) as out:
        assert put(out, "a.wav", b"1234") and not put(out, "b.wav", b"1234") and not put(out, "a.wav", b"1234")
        assert put(out, "a.wav", b"999"), "changed"
        assert not put(out, "b.wav", b"999") and put(out, "a.wav", b"999", overwrite=True)
    assert contents(tmp_path) == expected({"a.wav": b"999", "b.wav": b"999"})


def test_which_row_counts_does_not_depend_on_the_order_of_the_parts(tmp_path):
    row = {"clip": "a", "dim": 1, "n_rows": 0, "first_row": 0}
    ok, failed = {**row, "status": "ok"}, {**row, "status": "failed"}
    parts = {
        "part-a.parquet": [{**ok, "generation": 2, "l3embed": "wanted"}, {**failed, "generation": 3}],
        "part-b.parquet": [{**ok, "generation": 1}, {**failed, "generation": 9}],
    }
    for names in (sorted(parts), sorted(parts, reverse=True)):
        index = manifest.Index(tmp_path)
        for name in names:
            index.add(name, manifest.table_of(parts[name]))
        assert index.get("a")["l3embed"] == "wanted" and index.generation("a") == 10 and len(index) == 1


# --- bad folders


def test_what_is_no_store(tmp_path, capsys):
    for path in (tmp_path, tmp_path / "gone"):
        with pytest.raises(StoreError, match=r"is not a store of l3embed: it holds no store\.toml"):
            store.open(path)
    assert cli.main(["store", "show", str(tmp_path)]) == 1
    assert capsys.readouterr().err.strip().endswith("it holds no store.toml")
    (tmp_path / "store.toml").write_text("schema = 1\n")
    with pytest.raises(StoreError, match="holds no embeddings yet"):
        store.open(tmp_path)


def test_a_newer_schema_is_refused_by_readers_and_writers(tmp_path):
    fill(tmp_path, SOUNDS)
    (tmp_path / "store.toml").write_text("schema = 2\n")
    for use in (store.open, lambda path: store.CorpusWriter(path, RECIPE)):
        with pytest.raises(StoreError, match="has schema 2, this l3embed knows up to 1: use a newer one"):
            use(tmp_path)
    for text in ("schema = ", "", 'schema = "x"'):
        (tmp_path / "store.toml").write_text(text)
        with pytest.raises(StoreError, match=r"store\.toml"):
            store.open(tmp_path)


@pytest.mark.parametrize("damage", [b"", b"PAR1", None])
def test_a_damaged_part(tmp_path, damage):
    folder = fill(tmp_path, SOUNDS)
    (part,) = (folder / "manifest").iterdir()
    data = part.read_bytes()
    part.write_bytes(data[: len(data) // 2] if damage is None else damage)
    for use in (store.open, lambda path: store.CorpusWriter(path, RECIPE)):
        with pytest.raises(StoreError, match=rf"{part.name}: is damaged .*remove it, and the next extraction"):
            use(tmp_path)
    part.unlink()
    fill(tmp_path, SOUNDS)
    assert contents(tmp_path) == expected(SOUNDS)


def test_a_part_of_something_else(tmp_path):
    import pyarrow.parquet as pq

    folder = fill(tmp_path, SOUNDS)
    pq.write_table(pa.table({"x": [1]}), folder / "manifest" / "part-x.parquet")
    with pytest.raises(StoreError, match=r"part-x\.parquet: is damaged"):
        store.open(tmp_path)


@pytest.mark.parametrize(("damage", "message"), [
    (lambda p: p.unlink(), "is missing: extract again"), (lambda p: p.write_bytes(b""), "is damaged"),
    (lambda p: p.write_bytes(p.read_bytes()[:-20]), "is damaged"),
    (lambda p: np.save(p, np.zeros((2, DIM), np.float32)), "does not hold all vectors"),
    (lambda p: np.save(p, np.zeros((10, DIM), np.float64)), "expected .rows, dim. of float32"),
    (lambda p: p.write_bytes(b"\x93NUMPY" + bytes(500)), "is damaged"),
])  # fmt: skip
def test_a_damaged_shard_is_named_and_made_again(tmp_path, damage, message):
    folder = fill(tmp_path, SOUNDS)
    (shard,) = (folder / "shards").iterdir()
    damage(shard)
    with pytest.raises(StoreError, match=rf"{shard.name}.*{message}"):
        store.open(tmp_path).clip("c.wav")
    assert any(shard.name in line for line in store.maintenance.verify(folder))
    shard.unlink(missing_ok=True)
    fill(tmp_path, SOUNDS)
    assert contents(tmp_path) == expected(SOUNDS) and store.maintenance.verify(folder) == []


def test_a_truncated_shard_is_noticed_by_the_next_extraction(tmp_path):
    folder = fill(tmp_path, SOUNDS)
    (shard,) = (folder / "shards").iterdir()
    os.truncate(shard, shard.stat().st_size - 4)
    with store.CorpusWriter(tmp_path, RECIPE) as out:
        assert [put(out, name, sound) for name, sound in SOUNDS.items()] == [False, False, True]
    assert store.open(tmp_path).clip("c.wav").tobytes() == vectors(b"0").tobytes()


def test_mixed_dimensions_and_a_changed_recipe(tmp_path):
    folder = fill(tmp_path, SOUNDS)
    with store.CorpusWriter(tmp_path, RECIPE) as out:
        put(out, "d.wav", b"44")
        writer = out.writer(Item("e.wav", b"x"))
        with pytest.raises(StoreError, match=f"holds vectors of {DIM} numbers. Received: 3"):
            writer.append(np.zeros((1, 3), np.float32))
        writer.discard()
    config = json.loads((folder / "config.json").read_text())
    config["recipe"]["model"] = "forged"
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(StoreError, match="is not the recipe that this folder's name was made from"):
        fill(tmp_path, SOUNDS)
    assert "is not the recipe" in store.maintenance.verify(folder)[0]
    (folder / "config.json").write_text("{")
    with pytest.raises(StoreError, match=r"config\.json: cannot be read"):
        store.open(tmp_path)


def test_without_pyarrow_one_line_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'l3embed\[store\]'"):
        store.CorpusWriter(tmp_path / "s", RECIPE)
    fill_done = tmp_path / "s"
    assert not fill_done.exists()
    (tmp_path / "store.toml").write_text("schema = 1\n")
    with pytest.raises(MissingExtraError, match=r"pip install 'l3embed\[store\]'"):
        store.open(tmp_path)


def test_a_folder_that_cannot_be_written(tmp_path_factory):
    base = tmp_path_factory.mktemp("closed")
    for folder in (base, base.parent, base.parent.parent):
        if os.getuid() == 0:
            folder.chmod(0o755)
    fill(base / "s", SOUNDS)
    for folder in [base / "s", *(p for p in (base / "s").rglob("*") if p.is_dir())]:
        folder.chmod(0o555)
    code = (
        "import os, sys; sys.path.insert(0, sys.argv[1]); import stores, pyarrow.parquet\n"
        "from pathlib import Path; from l3embed import errors, store\n"
        "stores.contents(Path(sys.argv[2]))\n"  # loads all modules while they can be read
        "if os.getuid() == 0: os.setuid(65534)\n"
        "print(len(stores.contents(Path(sys.argv[2]))))\n"
        "for path in (sys.argv[2], sys.argv[2] + '/new'):\n"
        "    try: stores.fill(Path(path), {'a.wav': b'1'})\n"
        "    except errors.StoreError as error: print(error)\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
    command = [sys.executable, "-c", code, str(ROOT / "tests"), str(base / "s")]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    lines = done.stdout.splitlines()
    assert done.returncode == 0, done.stderr
    assert lines[0] == "3" and all("permission denied" in line for line in lines[1:]) and len(lines) == 3, done.stderr


def test_ids_are_text_and_stand_for_one_name_each():
    names = ["a/b.wav", "ü", "\\", "\\\\", "\\xe9", os.fsdecode(b"\xe9"), os.fsdecode(b"\\\xe9\\"), "a\\x", "\n", " "]
    ids = [layout.clip_id(name) for name in names]
    assert len(set(ids)) == len(names) and [layout.name_of(clip) for clip in ids] == names
    assert all(clip.encode() for clip in ids) and ids[:2] == names[:2]
