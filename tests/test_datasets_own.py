"""Folders and tables of one's own as data sets, and what every data set's reader refuses."""

import os
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from layouts import lay, of, write

from l3embed.errors import UsageError
from probes import datasets, splits
from probes.datasets import READERS, DataError

# --- any folder, any table


def test_a_folder_of_labels_with_slashes_unicode_spaces_and_equal_names(tmp_path):
    decomposed = unicodedata.normalize("NFD", "Grünspecht ruft")
    lay(tmp_path, "Ara ararauna/a 1.wav", "Ara ararauna/later/a 1.wav", f"{decomposed}/a 1.wav", "鳥/a 1.flac",
        "loose.wav", "Ara ararauna/._a 1.wav", "__MACOSX/x/y.wav", "鳥/notes.txt")  # fmt: skip
    data = datasets.read(f"birds={tmp_path}")
    assert data.name == "birds" and data.rule == "none"
    assert of(data, "label") == {
        ("Ara ararauna/a 1.wav", "Ara ararauna"), ("Ara ararauna/later/a 1.wav", "Ara ararauna"),
        (f"{decomposed}/a 1.wav", "Grünspecht ruft"), ("鳥/a 1.flac", "鳥")}  # fmt: skip
    assert data.left_out == {"loose.wav": "it lies in no label's folder"}
    assert len(set(data.units)) == 4  # equal names are not equal clips


def test_groups_of_a_folder_come_from_a_pattern(tmp_path):
    lay(tmp_path, "a/rec1_x.wav", "a/rec1_y.wav", "b/rec2_x.wav")
    data = datasets.read(f"{tmp_path}?group=/(rec\\d+)_")
    assert {clip.group for clip in data} == {"rec1", "rec2"}
    assert datasets.read_folder(tmp_path, r"rec\d+").clips == data.clips
    lay(tmp_path, "b/odd.wav")
    with pytest.raises(DataError, match=r"odd\.wav: the pattern of groups, 'rec\\\\d\+', finds none in 'b/odd\.wav'"):
        datasets.read_folder(tmp_path, r"rec\d+")
    with pytest.raises(UsageError, match="group must be a regular expression"):
        datasets.read(f"{tmp_path}?group=(")


def test_a_folder_of_lists(tmp_path):
    lay(tmp_path, "train/a/1.wav", "devel/a/1.wav", "test/b/1.wav")
    data = datasets.read(tmp_path)
    assert of(data, "label", "split") == {
        ("train/a/1.wav", "a", "train"), ("devel/a/1.wav", "a", "valid"), ("test/b/1.wav", "b", "test")}  # fmt: skip
    with pytest.raises(DataError, match="label 'b'"):
        splits.usual(data)


def test_a_table_with_lists_segments_and_several_labels(tmp_path):
    write(tmp_path, "birds.csv", "path,label,labels,group,split,start,end", "day 1.wav,,owl;dove/turtle,d1,train,0,2.5",
          "day 1.wav,,owl,d1,train,2.5,5", "day 2.wav,dove/turtle,,d2,test,,", "day 3.wav,?,,d3,test,,")  # fmt: skip
    data = datasets.read(tmp_path / "birds.csv")
    assert of(data, "label", "labels", "split", "start_s", "end_s") == {
        ("day 1.wav#0-2.5", "owl", ("owl", "dove/turtle"), "train", 0.0, 2.5),
        ("day 1.wav#2.5-5", "owl", ("owl",), "train", 2.5, 5.0),
        ("day 2.wav", "dove/turtle", (), "test", None, None),
    }
    assert data.rule == "lists" and data.classes == ["dove/turtle", "owl"] and data.name == "birds"
    assert data.left_out == {"day 3.wav": "it has no label"}


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_a_table_of_excel(tmp_path, separator):
    text = f'path{separator}label\r\nä.wav{separator}Grün\r\nb.wav{separator}"a{separator}b"\r\n'
    (tmp_path / "t.csv").write_bytes(text.encode("utf-8-sig"))
    read = datasets.read(tmp_path / "t.csv")
    assert [(clip.id, clip.label) for clip in read] == [("b.wav", f"a{separator}b".strip()), ("ä.wav", "Grün")]


def test_a_cell_too_many_is_no_cell_lost(tmp_path):
    write(tmp_path, "t.csv", "path,label", "a.wav,owl, barn")
    with pytest.raises(DataError, match=r"t\.csv: line 2 has more cells than the first line names columns"):
        datasets.read(tmp_path / "t.csv")


def test_rare_labels_are_left_out_and_said_so(tmp_path):
    rows = [f"{i}.wav,owl,o{i}" for i in range(6)] + ["x.wav,rail,r1", "y.wav,rail,r1", "z.wav,crake,c"]
    write(tmp_path, "t.csv", "path,label,group", *rows)
    data = datasets.read(f"{tmp_path / 't.csv'}?least=2")
    assert data.classes == ["owl"] and list(data.left_out) == ["x.wav", "y.wav", "z.wav"]
    assert data.notes == ("2 labels of fewer than 2 groups are left out (3 clips): crake, rail",)
    assert datasets.read(tmp_path / "t.csv", least=1).classes == ["crake", "owl", "rail"]
    write(tmp_path, "m.csv", "path,labels", "a.wav,owl;rail", "b.wav,owl", "c.wav,crake")
    data = datasets.read(tmp_path / "m.csv", least=2)
    assert [(clip.id, clip.labels) for clip in data] == [("a.wav", ("owl",)), ("b.wav", ("owl",))]
    with pytest.raises(DataError, match="no label has 9 groups"):
        datasets.read(tmp_path / "t.csv", least=9)
    with pytest.raises(UsageError, match=r"least must be a whole number\. Received: 'some'"):
        datasets.read(f"{tmp_path / 't.csv'}?least=some")


# --- read


@pytest.mark.parametrize(("spec", "error", "said"), [
    ("nowhere", DataError, "nowhere: is not there: give a data set as FOLDER, NAME=FOLDER or TABLE.csv"),
    ("birds=nowhere", DataError, "nowhere: is not there"),
    ("file.txt", DataError, "is neither a folder nor a table"),
    ("empty", DataError, "holds no clips of a data set"),
    ("a=empty?strict=no&speaker=x", UsageError, "no option 'speaker'. It has: strict, least, group"),
    ("esc50=empty", DataError, "holds no clips of ESC-50: give the folder that the data set unpacks to"),
    *((f"{name}=empty", DataError, "empty") for name in READERS),
])  # fmt: skip
def test_what_cannot_be_read_says_why(tmp_path, monkeypatch, spec, error, said):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file.txt").write_text("x")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error) as caught:
        datasets.read(spec)
    assert said in str(caught.value)


def test_names_with_signs_of_the_notation(tmp_path):
    root = lay(tmp_path / "a=b?c=d", "x/1.wav", "y/1.wav")
    assert datasets.read(root).root == root and datasets.read(f"n={root}").name == "n"


@pytest.mark.skipif(os.name != "posix", reason="needs permissions as on POSIX")
def test_folders_that_are_read_only(tmp_path):
    root = lay(tmp_path / "set", "x/1.wav", "y/1.wav")
    write(root, "index.csv", "path,label", "x/1.wav,x", "y/1.wav,y")
    for place in (root / "x", root / "y", root):
        place.chmod(0o555)
    try:
        assert len(datasets.read(root)) == 2
    finally:
        for place in (root, root / "x", root / "y"):
            place.chmod(0o755)


def test_the_order_of_clips_is_that_of_their_ids(tmp_path):
    rows = [f"{i}.wav,x,{i}" for i in np.random.default_rng(0).permutation(30)]
    write(tmp_path, "t.csv", "path,label,group", *rows)
    ids = [clip.id for clip in datasets.read(tmp_path / "t.csv")]
    assert ids == sorted(ids)


def test_the_table_of_layouts_names_every_reader():
    text = (Path(__file__).parents[1] / "docs" / "data-sets.md").read_text(encoding="utf-8")
    assert all(f"\n| `{name}` |" in text for name in READERS)
