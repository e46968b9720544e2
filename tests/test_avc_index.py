"""The index of a folder of videos: what is in them, what is missing, and which part each belongs to."""

import csv
import json
import shutil
import struct
from collections import Counter

import numpy as np
import pytest
import soundfile
from made_videos import RATE, batches, ffmpeg, make_config, make_video

from l3embed import cli
from l3embed.avc import index, sources, survey
from l3embed.errors import DataError, TrainingError


@pytest.fixture(scope="module")
def odd(tmp_path_factory):
    """A folder with one video of every kind of trouble."""
    folder = tmp_path_factory.mktemp("odd")
    good = make_video(folder / "good.mkv", [1, 2, 3], hz=5)
    make_video(folder / "mute.mkv", [1, 2], sound=False)
    soundfile.write(folder / "x.wav", np.full(RATE * 3, 1e-5), RATE, "FLOAT")
    ffmpeg("-i", good, "-i", folder / "x.wav", "-map", "0:v", "-map", "1:a", "-c", "copy", folder / "silent.mkv")
    (folder / "deep").mkdir()
    ffmpeg("-i", folder / "x.wav", folder / "deep" / "sound.mp4")
    ffmpeg("-i", good, "-t", 0.6, "-c:v", "ffv1", "-c:a", "pcm_s16le", folder / "short.mkv")
    shutil.copy(good, folder / "zopy.mkv")
    (folder / "text.mp4").write_text("no video " * 100)
    (folder / "empty.mp4").touch()
    data = bytearray(make_video(folder / "corrupt.mkv", [1, 2, 3, 4, 5, 0]).read_bytes())
    data[len(data) // 2 :][:4000] = b""
    data[len(data) // 2 : len(data) // 2 + 4000] = np.random.default_rng(0).bytes(4000)
    (folder / "corrupt.mkv").write_bytes(data)
    data = bytearray(make_video(folder / "promises.mkv", [0, 1, 2]).read_bytes())
    at = data.index(b"\x44\x89\x88") + 3
    data[at : at + 8] = struct.pack(">d", 600_000.0)
    (folder / "promises.mkv").write_bytes(data)
    for name, size in [("a", "64x48"), ("b", "48x96")]:
        ffmpeg(
            "-f",
            "lavfi",
            "-i",
            f"testsrc=s={size}:r=15:d=2",
            "-f",
            "lavfi",
            "-i",
            "sine=800:d=2",
            folder / f"{name}.x.ts",
        )
    (folder / "changes.ts").write_bytes((folder / "a.x.ts").read_bytes() + (folder / "b.x.ts").read_bytes())
    for name in ("a.x.ts", "b.x.ts"):
        (folder / name).unlink()
    return folder


@pytest.fixture(scope="module")
def rows(odd, tmp_path_factory):
    found = survey.init(str(odd), str(tmp_path_factory.mktemp("i") / "index.csv"), survey.Wanted())
    return {row.path: row for row in found.rows}


def test_what_cannot_be_used_has_its_reason(rows):
    assert {name: row.problem for name, row in rows.items() if row.problem} == {
        "mute.mkv": "has no sound track",
        "silent.mkv": "is silent",
        "deep/sound.mp4": "has no picture (a cover does not count)",
        "short.mkv": rows["short.mkv"].problem,
        "zopy.mkv": "holds the same bytes as good.mkv",
        "text.mp4": rows["text.mp4"].problem,
        "empty.mp4": rows["empty.mp4"].problem,
    }
    assert "at least 1 s is needed for a pair" in rows["short.mkv"].problem
    assert rows["text.mp4"].problem and "empty" in rows["empty.mp4"].problem
    assert all(bool(row.part) != bool(row.problem) for row in rows.values())


def test_training_leaves_out_what_the_index_would(odd, rows, capsys):
    """From the folder itself, without an index; copies are usable there."""
    useless = {name for name, row in rows.items() if row.problem} - {"zopy.mkv"}
    config = make_config(videos=(str(odd),), pairs_per_clip=1, n_active=4)
    (inputs, _), *_ = batches(config, 1)
    assert np.abs(inputs["audio"]).max(axis=(1, 2)).min() > 1e-3
    lines = capsys.readouterr().err.splitlines()
    named = {line.split(": left out of training: ")[0].removeprefix(f"{odd}/") for line in lines}
    assert named <= useless and len(named) > 2


def test_what_videos_hold_is_measured_not_believed(rows):
    good, promises = rows["good.mkv"], rows["promises.mkv"]
    assert (good.sound_s, good.picture_s) == (pytest.approx(3, abs=0.01), pytest.approx(3, abs=0.01))
    assert good.peak == pytest.approx(0.5, abs=0.01) and not good.note
    assert promises.duration_s == 600 and promises.sound_s == pytest.approx(3, abs=0.01)
    assert "the header promises 600.00 s" in promises.note
    assert "damaged" in rows["corrupt.mkv"].note
    assert rows["changes.ts"].picture_s == pytest.approx(4, abs=0.5)


def test_an_index_is_read_as_it_was_written_and_equal_folders_give_equal_bytes(odd, rows, tmp_path):
    found = survey.init(str(odd), str(tmp_path / "index.csv"), survey.Wanted(), jobs=3)
    again = {row.path: row for row in index.read(tmp_path / "index.csv").rows}
    assert again.keys() == rows.keys() and found.root.resolve() == odd.resolve()
    index.write(
        tmp_path / "copy.csv", odd, {k: v for k, v in found.about.items() if k not in ("root", "format")}, found.rows
    )
    assert (tmp_path / "copy.csv").read_bytes() == (tmp_path / "index.csv").read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["copy.csv", "index.csv"]


@pytest.mark.parametrize(("n", "expected"), [(100, (80, 10, 10)), (33, (27, 3, 3)), (3, (1, 1, 1)), (2, (2, 0, 0))])
def test_parts_are_80_10_10_by_video(n, expected):
    videos = [f"v{i}" for i in range(n)]
    parts = index.split(videos, 1)
    assert tuple(Counter(parts.values())[part] for part in index.PARTS) == expected
    assert parts == index.split(reversed(videos), 1)
    assert n < 33 or parts != index.split(videos, 2)


def test_a_folder_that_grows_keeps_most_of_its_split():
    before, after = (index.split([f"v{i}" for i in range(n)], 5) for n in (1000, 1100))
    assert sum(before[video] != after[video] for video in before) < 60


def _touch(folder, *names):
    """Videos that are all the same, under names of their own."""
    folder.mkdir(parents=True, exist_ok=True)
    for i, name in enumerate(names):
        make_video(folder / name, [i % 6], hz=2, size=(16, 16))


@pytest.fixture
def quick(monkeypatch):
    """Files are not looked at."""

    def look(path, row):
        return index.replace(row, sound_s=10.0, picture_s=10.0, peak=0.5, bytes=path.stat().st_size)

    monkeypatch.setattr(survey, "look", look)
    monkeypatch.setattr(survey, "_copies_left_out", lambda root, rows: rows)


def _audioset(tmp_path):
    nodes = {"/m/dog": ("Dog", ["/m/bark"]), "/m/bark": ("Bark", []), "/m/guitar": ("Guitar", []), "/m/x": ("X", [])}
    table = [{"id": i, "name": name, "child_ids": below, "restrictions": []} for i, (name, below) in nodes.items()]
    (tmp_path / "ontology.json").write_text(json.dumps(table))
    lines = [
        '--aaaaaaaa1, 0.000, 10.000, "/m/bark"', '-baaaaaaaa2, 30.000, 40.000, "/m/dog,/m/x"',
        'caaaaaaaaa3, 10.000, 20.000, "/m/guitar"', 'daaaaaaaaa4, 0.000, 10.000, "/m/bark"',
        'eaaaaaaaaa5, 0.000, 10.000, "/m/bark"', 'faaaaaaaaa6, 0.000, 10.000, "/m/bark"',
        'faaaaaaaaa6, 50.000, 60.000, "/m/bark"',
    ]  # fmt: skip
    (tmp_path / "s.csv").write_text(
        "# 1\n# 2\n# YTID, start_seconds, end_seconds, positive_labels\n" + "\n".join(lines)
    )
    folder = tmp_path / "media"
    folder.mkdir()
    for name in ("--aaaaaaaa1_0_10000.mp4", "sub/-baaaaaaaa2_30.000_40.000.mkv", "caaaaaaaaa3.mp4", "Ydaaaaaaaaa4.mp4",
                 "daaaaaaaaa4.webm", "faaaaaaaaa6_50000_60000.mp4", "faaaaaaaaa6_0_10000.mp4", "holiday.mp4",
                 "eaaaaaaaaa5_20000_30000.mp4"):  # fmt: skip
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).touch()
    return folder, tmp_path / "s.csv", tmp_path / "ontology.json"


def test_files_find_their_segments_and_what_is_missing_is_named(tmp_path, quick):
    folder, segments, ontology = _audioset(tmp_path)
    wanted = survey.Wanted((str(segments),), str(ontology), ("dog",))
    found = survey.init(str(folder), str(tmp_path / "index.csv"), wanted)
    usable = {row.path: (row.video, row.start_s, row.labels) for row in found.rows if row.part}
    assert usable == {
        "--aaaaaaaa1_0_10000.mp4": ("--aaaaaaaa1", 0, ("Bark",)),
        "sub/-baaaaaaaa2_30.000_40.000.mkv": ("-baaaaaaaa2", 30, ("Dog", "X")),
        "Ydaaaaaaaaa4.mp4": ("daaaaaaaaa4", 0, ("Bark",)),
        "faaaaaaaaa6_0_10000.mp4": ("faaaaaaaaa6", 0, ("Bark",)),
        "faaaaaaaaa6_50000_60000.mp4": ("faaaaaaaaa6", 50, ("Bark",)),
    }
    assert {row.name: row.problem for row in found.rows if row.problem} == {
        "daaaaaaaaa4.webm": "holds the same segment as Ydaaaaaaaaa4.mp4",
        "holiday.mp4": "is called after no segment of the tables",
        "eaaaaaaaaa5_20000_30000.mp4": "the segments of eaaaaaaaaa5 begin at 0 s: the name says 20000.0",
        "eaaaaaaaaa5": "missing: no file of this segment",
    }
    assert found.about["outside_subset"] == 1  # the guitar
    parts = {row.part for row in found.rows if row.video == "faaaaaaaaa6"}
    assert len(parts) == 1  # two segments of one video


def test_videos_named_as_segments_of_one_video_stay_together_without_any_table(tmp_path, quick):
    names = [f"{'abcdefghij'}{i}_{start}_{start + 10_000}.mp4" for i in range(8) for start in (0, 10_000)]
    for name in names:
        (tmp_path / name).touch()
    found = survey.init(str(tmp_path), str(tmp_path / "index.csv"), survey.Wanted())
    parts = Counter((row.video, row.part) for row in found.rows)
    assert set(parts.values()) == {2} and len(parts) == 8


def test_a_label_file_that_names_missing_videos(tmp_path, quick, capsys):
    for name in ("a.mp4", "deep/b.mp4", "c.mp4"):
        (tmp_path / "v" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "v" / name).touch()
    table = tmp_path / "labels.csv"
    table.write_text("path,label,group\na.mp4,dog,g1\nb,cat;purr,g1\nnowhere.mp4,dog,\na.mp4,bark,g1\n")
    command = ["data", "init", str(tmp_path / "v"), "-o", str(tmp_path / "i.csv"), "--labels", str(table)]
    assert cli.main(command) == 1
    said = capsys.readouterr().out
    assert "nowhere.mp4: missing: named in line 4 of labels.csv, but not in the folder" in said
    rows = {row.name: row for row in index.read(tmp_path / "i.csv").rows}
    assert rows["a.mp4"].labels == ("bark", "dog") and rows["deep/b.mp4"].labels == ("cat", "purr")
    assert rows["a.mp4"].video == rows["deep/b.mp4"].video == "g1" and rows["a.mp4"].part == rows["deep/b.mp4"].part
    assert rows["c.mp4"].labels == () and rows["c.mp4"].part and not rows["nowhere.mp4"].part


def test_the_command(tmp_path, quick, capsys):
    for i in range(10):
        (tmp_path / "v").mkdir(exist_ok=True)
        (tmp_path / "v" / f"{i}.mp4").write_bytes(bytes([i]))
    where = str(tmp_path / "i.csv")
    init = ["data", "init", str(tmp_path / "v"), "-o", where]
    assert cli.main(init) == 0
    assert "train 8, held_out 1, test 1" in capsys.readouterr().out
    assert cli.main(init) == 2 and "is there already, and its split with it" in capsys.readouterr().err
    assert cli.main(["data", "check", where]) == 0
    (tmp_path / "v" / "3.mp4").unlink()
    (tmp_path / "v" / "4.mp4").write_bytes(b"more")
    capsys.readouterr()
    assert cli.main(["data", "check", where, "--json"]) == 1
    wrong = json.loads(capsys.readouterr().out)["wrong"]
    assert wrong.keys() == {"3.mp4", "4.mp4"} and wrong["3.mp4"].startswith("gone: no such file")
    assert wrong["4.mp4"] == "changed: 4 bytes now, 1 when the index was made"
    assert cli.main(["data", "show", where, "--json"]) == 0
    table = json.loads(capsys.readouterr().out)
    assert table["hours"] == pytest.approx(100 / 3600, abs=1e-4) and table["parts"]["train"]["videos"] == 8
    assert cli.main([*init, "--overwrite", "--jobs", "0"]) == 2
    assert cli.main(["data", "init", str(tmp_path / "v"), "-o", str(tmp_path), "--overwrite"]) == 1
    assert "is a folder: name a file for the index" in capsys.readouterr().err
    (tmp_path / "v").rename(tmp_path / "w")
    assert cli.main(["data", "init", str(tmp_path / "v")]) == 1
    assert "is no folder" in capsys.readouterr().err


def _edited(path, **changes):
    """The index with cells of its first row replaced."""
    first, *lines = path.read_text().splitlines()
    table = list(csv.reader(lines))
    for key, value in changes.items():
        table[1][table[0].index(key)] = value
    text = "\n".join([first, *(",".join(row) for row in table)])
    (path.parent / "edited.csv").write_text(text)
    return path.parent / "edited.csv"


def test_an_index_that_was_spoilt(tmp_path, quick):
    for i in range(6):
        (tmp_path / f"{i}.mp4").touch()
    path = tmp_path / "i.csv"
    survey.init(str(tmp_path), str(path), survey.Wanted())
    with pytest.raises(DataError, match=r"0.mp4: its part must be one of train, held_out, test. Received: 'trian'"):
        index.read(_edited(path, part="trian"))
    with pytest.raises(DataError, match=r"is not an index .*could not convert"):
        index.read(_edited(path, sound_s="long"))
    rows = index.read(path).rows
    other = next(row for row in rows if row.part != rows[0].part)
    with pytest.raises(DataError, match="lies in two parts"):
        index.read(_edited(path, video=other.video))
    for text in ("", "path,part\n", "# {}\n", '# {"format": "x"}\n', "# [1]\n", path.read_text()[:-40]):
        (tmp_path / "bad.csv").write_text(text)
        with pytest.raises(DataError, match="is not an index"):
            index.read(tmp_path / "bad.csv")
    with pytest.raises(DataError, match=r"nowhere.csv: cannot be read \(No such file"):
        index.read(tmp_path / "nowhere.csv")


def test_training_takes_the_parts_of_the_index(constant, tmp_path, capsys):
    for path in constant.iterdir():
        shutil.copy(path, tmp_path)
    table = index.PARTS[0]
    (tmp_path / "labels.csv").write_text(
        "path,label\n" + "".join(f"{i}.mkv,{'even' if i % 2 == 0 else 'odd'}\n" for i in range(6))
    )
    wanted = survey.Wanted(labels=str(tmp_path / "labels.csv"), held_out=0.34, test=0.17)
    found = survey.init(str(tmp_path), str(tmp_path / "i.csv"), wanted)
    config = make_config(index=str(found.path), n_active=6)
    parts = {part: {file.path.name for file in sources.Sources(config, part).files} for part in ("train", "held_out")}
    assert parts == {part: {row.path for row in found.part(part)} for part in parts}
    assert [len(names) for names in parts.values()] == [3, 2]
    assert {x for file in sources.Sources(config, table).files for x in file.labels} <= {"even", "odd"}
    for split in parts:
        assert batches(config, 1, split=split)[0][1].shape == (16, 2)
    with pytest.raises(TrainingError, match="1 files left for the test part"):
        sources.Sources(config, "test")
    capsys.readouterr()
    (tmp_path / min(parts["train"])).unlink()
    assert len(sources.Sources(config, "train").files) == 2
    said = capsys.readouterr().err
    assert "1 of its 3 videos of the train part are not there" in said and min(parts["train"]) in said
