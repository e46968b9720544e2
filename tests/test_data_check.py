"""`l3embed data check` and `show` of labelled sets: each fault is planted, found and named."""

import contextlib
import io
import json
import os
import shutil

import numpy as np
import pytest
from conftest import tone, tree, write

from l3embed import cli
from probes import data_check, datasets
from probes.data_facts import facts, hashes
from probes.data_show import summary
from probes.datasets import DataError
from probes.datasets.sound import read_sound

RATE = 16_000


def varied(seed: int, seconds: float = 2.5) -> np.ndarray:
    """A sound unlike that of another seed: noise of some colour and a gliding tone, which swell, at some level."""
    rng = np.random.default_rng(seed)
    t = np.arange(round(seconds * RATE)) / RATE
    colour = (np.fft.rfftfreq(len(t), 1 / RATE) + 20) ** -rng.uniform(-0.5, 2)
    noise = np.fft.irfft(np.fft.rfft(rng.standard_normal(len(t))) * colour, len(t))
    swell = np.clip(np.sin(2 * np.pi * rng.uniform(0.3, 12) * t + rng.uniform(0, 6)), rng.uniform(-1, 0.9), 1)
    hz, glide = rng.uniform(80, 2500), rng.uniform(-0.2, 0.2)
    tones = sum(rng.uniform(0, 1) * np.sin(2 * np.pi * hz * k * t * (1 + glide * t)) for k in (1, 2))
    share = rng.uniform(0, 1)
    sound = share * swell * noise / np.abs(noise).max() + 0.3 * (1 - share) * tones * np.roll(swell, 3000)
    return 0.5 * 10 ** -rng.uniform(0, 2) * sound / np.abs(sound).max()


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """20 clips of 2 labels in 5 folds, each a group of its own; nothing is wrong with them."""
    root = tmp_path_factory.mktemp("original") / "set"
    lines = ["path,label,group,fold"]
    for i in range(20):
        write(root / "ab"[i % 2] / f"{i}.wav", varied(i), RATE)
        lines.append(f"{'ab'[i % 2]}/{i}.wav,{'ab'[i % 2]},g{i},{i // 2 % 5 + 1}")
    (root / "index.csv").write_text("\n".join(lines) + "\n")
    return root


@pytest.fixture
def root(original, tmp_path):
    return shutil.copytree(original, tmp_path / "set")


def add(root, *rows: str) -> None:
    with open(root / "index.csv", "a") as file:
        file.write("".join(f"{row}\n" for row in rows))


def findings(root, *options: str, near: bool = False, rc: int | None = None) -> list[dict]:
    """Of the command itself, as JSON."""
    with contextlib.redirect_stdout(io.StringIO()) as out:
        code = cli.main(["data", "check", str(root), "--json", *options, *(() if near else ("--no-near",))])
    said = json.loads(out.getvalue())
    assert code == (1 if said["problems"] else 0) and (rc is None or rc == code)
    return said["findings"]


def texts(found: list[dict], kind: str, problem: bool = True) -> list[str]:
    return [f["text"] for f in found if f["kind"] == kind and f["problem"] == problem]


def test_a_set_without_faults(root, capsys):
    assert findings(root, near=True, rc=0) == []
    assert cli.main(["data", "check", str(root), "--no-near"]) == 0
    assert capsys.readouterr().out == "set: 20 clips, 0 problems, 0 things to know\n"


# --- duplicates


def test_a_planted_duplicate_across_folds_is_found_and_refused(root):
    shutil.copy(root / "a" / "0.wav", root / "a" / "copy, of.wav")  # of fold 1
    add(root, '"a/copy, of.wav",a,other,3')
    assert texts(findings(root, rc=1), "duplicate") == [
        "a/0.wav, 'a/copy, of.wav' are the same recording, in the folds 1, 3"
    ]
    data = datasets.read(root)
    with pytest.raises(
        DataError, match=r"set: a/0\.wav, 'a/copy, of\.wav' are the same .* \(one of 1 such\): remove all"
    ):
        data_check.refuse_duplicates(data)
    with pytest.raises(DataError):
        data_check.refuse_duplicates(data, hashes(data))


@pytest.mark.parametrize(("row", "kind", "problem"), [
    ("a/copy.wav,a,other,1", "duplicate", False),  # same fold: never on two sides
    ("a/copy.wav,b,other,1", "label", True),
])  # fmt: skip
def test_duplicates_inside_a_fold(root, row, kind, problem):
    shutil.copy(root / "a" / "0.wav", root / "a" / "copy.wav")
    add(root, row)
    (text,) = texts(findings(root, rc=int(problem)), kind, problem)
    assert text.startswith("a/0.wav, a/copy.wav are the same recording") and ("a, b" in text) == problem
    assert len(data_check.refuse_duplicates(datasets.read(root))) == 21


def test_duplicates_where_folds_are_yet_to_be_made_and_in_lists(root):
    shutil.copy(root / "a" / "0.wav", root / "a" / "copy.wav")
    (root / "index.csv").write_text("path,label,group\n" + "".join(f"a/{i}.wav,a,\n" for i in (0, 2, 4, 6, 8)))
    add(root, "a/copy.wav,a,")
    assert texts(findings(root), "duplicate") == ["a/0.wav, a/copy.wav are the same recording, in several groups"]
    (root / "index.csv").write_text("path,label,group\na/0.wav,a,one\na/copy.wav,a,one\n")
    assert texts(findings(root), "duplicate", problem=False)
    (root / "index.csv").write_text("path,label,split\na/0.wav,a,train\na/copy.wav,a,test\n")
    assert texts(findings(root), "duplicate") == [
        "a/0.wav, a/copy.wav are the same recording, in the lists test, train"
    ]


def test_stretches_of_one_file_are_no_duplicates(root):
    add(root)
    (root / "index.csv").write_text("path,label,start,end\na/0.wav,a,0,0.5\na/0.wav,b,0.5,1\na/2.wav,a,0,9\n")
    found = findings(root, "--jobs", "2")
    assert not texts(found, "duplicate")
    assert texts(found, "unreadable") == ["a/2.wav#0-9: the clip ends at 9 s, its file at 2.50 s"]


def test_copies_coded_cut_and_made_quieter_are_told(root):
    sound = varied(0)
    write(root / "a" / "coded.mp3", sound, RATE)
    write(root / "b" / "cut.wav", varied(7)[RATE // 10 :] * 0.8, RATE)
    write(root / "a" / "same fold.mp3", varied(2), RATE)
    add(root, "a/coded.mp3,a,x,4", "b/cut.wav,b,y,5", "a/same fold.mp3,a,z,2")
    found = [f["clips"] for f in findings(root, near=True, rc=0) if f["kind"] == "near-duplicate"]
    assert sorted(found) == [["a/0.wav", "a/coded.mp3"], ["b/7.wav", "b/cut.wav"]]


def test_near_duplicates_are_the_pairs_above_the_threshold_that_can_be_parted():
    """Against the definition, pair by pair, over several blocks."""
    rng = np.random.default_rng(0)
    n = 1500
    rows = np.repeat(rng.standard_normal((n // 2, 8)), 2, axis=0) + 0.2 * rng.standard_normal((n, 8))
    clips = [datasets.Clip(f"/{i}", "x", str(i % 3), f"g{i // 4}", id=f"{i:04}") for i in range(n)]
    data = datasets.DataSet("made", "/", tuple(clips), "folds")
    told = data_check.near_duplicates(data, clips, rows.astype(np.float32), 0.97)
    z = (rows - rows.mean(0)) / rows.std(0)
    cosines = (z @ z.T) / np.outer(*[np.linalg.norm(z, axis=1)] * 2)
    expected = {(f"{i:04}", f"{k:04}") for i, k in zip(*np.nonzero(np.triu(cosines >= 0.97, 1)), strict=True)
                if clips[i].fold != clips[k].fold}  # fmt: skip
    assert len(expected) > 50 and {f.clips for f in told} == expected
    assert [f.text for f in told] == sorted((f.text for f in told), key=lambda t: -float(t.split("cosine ")[1][:5]))


def test_more_pairs_than_are_told(monkeypatch):
    monkeypatch.setattr(data_check, "TOLD", 10)
    clips = [datasets.Clip(f"/{i}", "x", id=str(i)) for i in range(12)]
    data = datasets.DataSet("made", "/", tuple(clips))
    told = data_check.near_duplicates(data, clips, np.repeat(np.eye(2, 8, dtype=np.float32), 6, axis=0))
    assert len(told) == 11 and told[-1].text == "30 pairs of clips sound alike: the 10 most alike are named"
    monkeypatch.setattr(data_check, "MOST", 11)
    (told,) = data_check.near_duplicates(
        data, *data_check.vectors(data, {c.id: data_check.Fact(seconds=1.0) for c in clips})
    )
    assert told.text.endswith("and these are 12: not searched")


# --- files, counts, leaks, labels


def test_missing_extra_and_unlabelled_files(root):
    (root / "a" / "0.wav").unlink()
    write(root / "c" / "new.wav", tone(0.1), RATE)
    add(root, "a/held back.wav,?,,")
    found = findings(root, rc=1)
    assert texts(found, "missing") == ["a/0.wav: is not there"]
    assert texts(found, "extra", False) == ["c/new.wav: is no clip of the set"]
    assert texts(found, "left out", False) == ["a/held back.wav: it has no label"]


def test_counts_against_the_published_ones(tmp_path):
    write(tmp_path / "101 - Dog" / "1-1-A.ogg", tone(0.1), RATE)
    found = texts(findings(tmp_path), "count")
    assert found[0] == "1 clips, published are 2000" and "label 'dog' has 1 clips, published are 40" in found
    assert (
        "label 'hand_saw' has 0 clips, published are 40" in found and "fold '1' has 1 clips, published are 400" in found
    )
    assert len(found) == 1 + 50 + 5


def test_every_leak_is_named(root):
    add(root, *(f"b/{i}.wav,b,g{i - 1},{k}" for i, k in ((21, 5), (23, 2))))
    for i in (21, 23):
        write(root / "b" / f"{i}.wav", varied(i), RATE)
    with open(root / "index.csv", "a") as file:
        file.write("a/24.wav,a,g0,2\na/26.wav,a,g2,3\n")
    for i in (24, 26):
        write(root / "a" / f"{i}.wav", varied(i), RATE)
    assert texts(findings(root), "leak") == [
        "group 'g0' is in the folds 1, 2: it may be in one only",
        "group 'g2' is in the folds 2, 3: it may be in one only",
    ]
    with pytest.raises(DataError, match="group 'g0' is in the folds 1, 2"):
        datasets.read(root)


@pytest.mark.parametrize(("table", "problems", "others"), [
    (["path,label", *(f"a/{i}.wav,a" for i in (0, 2, 4, 6, 8)), "b/1.wav,b/ß x"],
     ["label 'b/ß x' has one clip: it can be learned or tested, not both"], []),
    (["path,label,group", *(f"a/{i}.wav,a,{i}" for i in (0, 2, 4, 6)), "b/1.wav,b,g", "b/3.wav,b,g"],
     ["label 'b' is of one group only: it cannot be both learned and tested"], []),
    (["path,label,group", "a/0.wav,a,x", "a/2.wav,a,y"], ["2 groups are too few for 5 folds"], []),
    (["path,label,fold", "a/0.wav,a,1", "a/2.wav,a,2", "b/1.wav,b,1", "b/3.wav,b,1"],
     ["label 'b' is in one fold only: it cannot be both learned and tested"], ["fold '2' tests no clip of b"]),
    (["path,label,split", "a/0.wav,a,train", "a/2.wav,a,test", "b/1.wav,b,test", "b/3.wav,b,test"],
     ["label 'b' is tested and never learned: it is in no training list"], []),
])  # fmt: skip
def test_labels_that_cannot_be_tested(root, table, problems, others):
    (root / "index.csv").write_text("\n".join(table) + "\n")
    found = findings(root)
    assert texts(found, "label") == problems and texts(found, "label", False) == others


# --- sound


def test_sound_that_cannot_be_read_or_tells_the_label(root):
    (root / "a" / "0.wav").write_bytes(b"not a sound")
    (root / "a" / "2.wav").write_bytes(b"")
    write(root / "a" / "4.wav", np.zeros(RATE), RATE)
    for i in range(1, 20, 2):
        write(root / "b" / f"{i}.wav", np.stack([varied(i)] * 2, 1), 22_050)
    found = findings(root, rc=1)
    assert [text.split(":")[0] for text in texts(found, "unreadable")] == ["a/0.wav", "a/2.wav"]
    assert texts(found, "silent", False) == ["a/4.wav: is silent"]
    assert texts(found, "format", False) == [
        "clips differ: 10 of 22050 Hz, 8 of 16000 Hz", "label 'a' can be told by its Hz alone (16000)",
        "label 'b' can be told by its Hz alone (22050)", "clips differ: 10 of 2 channels, 8 of 1 channels",
        "label 'a' can be told by its channels alone (1)", "label 'b' can be told by its channels alone (2)",
    ]  # fmt: skip


def test_facts_are_those_of_other_readers(root):
    import hashlib

    import soundfile

    data = datasets.read(root)
    known = facts(data, jobs=2)
    assert list(known) == [clip.id for clip in data]
    for clip in data:
        info, fact = soundfile.info(clip.path), known[clip.id]
        assert (fact.seconds, fact.rate_hz, fact.channels) == (info.duration, info.samplerate, info.channels)
        assert fact.sha256 == hashlib.sha256(clip.path.read_bytes()).hexdigest()
        assert fact.peak == pytest.approx(np.abs(soundfile.read(clip.path)[0]).max(), abs=1e-6)
    headers = facts(data, depth="header")
    assert all(headers[name].seconds == fact.seconds and not headers[name].sha256 for name, fact in known.items())


def test_the_sound_of_a_stretch(root):
    path = root / "a" / "0.wav"
    whole = read_sound(datasets.Clip(path, "a"), RATE)
    part = read_sound(datasets.Clip(path, "a", start_s=0.25, end_s=1.25), RATE)
    np.testing.assert_array_equal(part, whole[RATE // 4 : RATE * 5 // 4])
    np.testing.assert_array_equal(read_sound(datasets.Clip(path, "a", start_s=1.2), RATE), whole[round(1.2 * RATE) :])
    with pytest.raises(Exception, match=r"ends at 2\.500 s, before the clip begins at 3 s"):
        read_sound(datasets.Clip(path, "a", start_s=3.0, end_s=4.0), RATE)


# --- show, doors


def test_show(root, capsys):
    add(root, "a/held back.wav,?,,")
    (root / "a" / "0.wav").unlink()
    assert cli.main(["data", "show", str(root), "--json"]) == 1
    table = json.loads(capsys.readouterr().out)
    assert table["labels"] == {"a": {"clips": 10, "groups": 10}, "b": {"clips": 10, "groups": 10}}
    assert table["folds"] == dict.fromkeys("12345", 4) and table["rates_hz"] == {"16000": 19} and table["left_out"] == 1
    assert table["hours"] == pytest.approx(19 * 2.5 / 3600, abs=1e-4) and list(table["problems"]) == ["a/0.wav"]
    assert cli.main(["data", "show", f"birds={root}"]) == 1
    said = capsys.readouterr().out
    assert said.startswith("birds: 20 clips, 2 labels, 20 groups, 0.01 h") and "folds: 1 4, 2 4, 3 4" in said
    assert "1 cannot be read:\n  a/0.wav: " in said


def test_show_of_a_healthy_set(root):
    data = datasets.read(root)
    table = summary(data, facts(data, depth="header"))
    assert table["seconds"] == {"shortest": 2.5, "median": 2.5, "longest": 2.5} and not table["problems"]


@pytest.mark.parametrize(("arguments", "code", "said"), [
    (["nowhere"], 1, "nowhere: is not there: give a data set as FOLDER, NAME=FOLDER or TABLE.csv"),
    (["."], 1, "holds no clips of a data set"),
    ([".?speaker=x"], 2, "has no option 'speaker'"),
])  # fmt: skip
@pytest.mark.parametrize("action", ["check", "show"])
def test_exit_codes(tmp_path, monkeypatch, capsys, action, arguments, code, said):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["data", action, *arguments]) == code
    assert said in capsys.readouterr().err


@pytest.mark.skipif(os.name != "posix", reason="needs permissions as on POSIX")
def test_read_only_folders(root):
    folders = [root, root / "a", root / "b"]
    before = tree(root)
    for folder in folders:
        folder.chmod(0o555)
    try:
        assert findings(root, near=True, rc=0) == []
    finally:
        for folder in folders:
            folder.chmod(0o755)
    assert tree(root) == before


def test_esc10_has_no_faults(shared_data):
    assert findings(shared_data / "esc10", rc=0) == []
