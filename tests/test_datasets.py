"""Every data set in its real layout, built small: labels, folds, lists and groups; nothing is written into it."""

import json
from collections import Counter
from pathlib import Path

import pytest
from layouts import lay, of, read, write

from l3embed.errors import UsageError
from probes import datasets, splits
from probes.datasets import DataError

# --- ESC


def test_esc50_now(tmp_path):
    names = ["1-100032-A-0.wav", "2-100038-A-14.wav", "5-9032-A-0.wav"]
    lay(tmp_path, *(f"audio/{name}" for name in names))
    write(tmp_path, "meta/esc50.csv", "filename,fold,target,category,esc10,src_file,take",
          f"{names[0]},1,0,dog,True,100032,A", f"{names[1]},2,14,chirping_birds,False,100038,A",
          f"{names[2]},5,0,dog,True,9032,A")  # fmt: skip
    data = read(tmp_path, "esc50")
    assert of(data, "label", "fold", "group") == {
        ("audio/1-100032-A-0.wav", "dog", "1", "100032"), ("audio/2-100038-A-14.wav", "chirping_birds", "2", "100038"),
        ("audio/5-9032-A-0.wav", "dog", "5", "9032")}  # fmt: skip
    assert data.rule == "folds" and data.folds == ["1", "2", "5"] and data.metric == "accuracy"
    ten = datasets.read(f"esc10={tmp_path}?strict=no")
    assert ten.classes == ["dog"] and ten.published["clips"] == 400 and len(ten) == 2
    with pytest.raises(DataError, match="holds 3 clips of esc50, expected 2000: is the copy complete"):
        datasets.read(tmp_path)


def test_esc50_of_2015_has_the_labels_of_now(tmp_path):
    lay(tmp_path, "101 - Dog/1-100032-A.ogg", "205 - Chirping birds/2-100038-A.ogg", "510 - Hand saw/5-1-B.ogg",
        "101 - Dog/readme.ogg")  # fmt: skip
    assert of(read(tmp_path, "esc50"), "label", "fold", "group") == {
        ("101 - Dog/1-100032-A.ogg", "dog", "1", "100032"),
        ("205 - Chirping birds/2-100038-A.ogg", "chirping_birds", "2", "100038"),
        ("510 - Hand saw/5-1-B.ogg", "hand_saw", "5", "1")}  # fmt: skip


def test_what_is_published_adds_up(tmp_path):
    for data in (sets := [*_published(tmp_path)]):
        n = data.published["clips"]
        for key in ("classes", "folds", "splits"):
            assert sum(data.published.get(key, {"": n}).values()) == n, (data.name, key)
        for split, classes in data.published.get("split_classes", {}).items():
            assert sum(classes.values()) == data.published["splits"][split]
    assert [data.published["clips"] for data in sets] == [2000, 400, 8732, 3000, 1762]
    assert len(sets[0].published["classes"]) == 50


def _published(tmp_path):
    lay(tmp_path / "50", "101 - Dog/1-1-A.ogg")
    lay(tmp_path / "10", "001 - Dog bark/1-1-A.ogg")
    lay(tmp_path / "fsdd", "recordings/0_a_0.wav")
    lay(tmp_path / "ut", "audio/train/AU/AU-1__1.wav", "audio/test/AU/AU-2__1.wav")
    write(tmp_path / "us", "metadata/UrbanSound8K.csv", US8K, "1-3-0-0.wav,1,0.0,4.0,1,5,3,dog_bark")
    for name in ("50", "10", "us", "fsdd", "ut"):
        yield datasets.read(f"{tmp_path / name}?strict=no")


# --- UrbanSound8K

US8K = "slice_file_name,fsID,start,end,salience,fold,classID,class"


def test_urbansound8k(tmp_path):
    root = tmp_path / "UrbanSound8K"
    lay(root, "audio/fold5/100032-3-0-0.wav", "audio/fold10/7-9-1-2.wav")
    write(root, "metadata/UrbanSound8K.csv", US8K, "100032-3-0-0.wav,100032,0.0,0.317551,1,5,3,dog_bark",
          "7-9-1-2.wav,7,1.0,5.0,2,10,9,street_music")  # fmt: skip
    data = read(root, "urbansound8k")
    assert of(data, "label", "fold", "group") == {
        ("audio/fold5/100032-3-0-0.wav", "dog_bark", "5", "100032"),
        ("audio/fold10/7-9-1-2.wav", "street_music", "10", "7")}  # fmt: skip
    assert data.folds == ["5", "10"]
    assert datasets.read(f"{tmp_path}?strict=no").root == root  # the folder that the archive was unpacked in


# --- DCASE 2013


def test_dcase2013_public_trains_private_tests(tmp_path):
    lay(tmp_path, "scenes_stereo/bus01.wav", "scenes_stereo/tubestation10.wav", "scenes_stereo_testset/bus01.wav")
    data = read(tmp_path, "dcase2013")
    assert of(data, "label", "split") == {
        ("scenes_stereo/bus01.wav", "bus", "train"), ("scenes_stereo/tubestation10.wav", "tubestation", "train"),
        ("scenes_stereo_testset/bus01.wav", "bus", "test")}  # fmt: skip
    assert data.rule == "lists" and data.published["splits"] == {"train": 100, "test": 100}
    alone = datasets.read(f"{tmp_path / 'scenes_stereo'}?strict=no")
    assert alone.name == "dcase2013" and alone.rule == "none" and alone.published["clips"] == 100


@pytest.mark.parametrize("rows", [["1.wav,busystreet07.wav", "2.wav,park01.wav"],
                                  ["name,scene", "audio/1.wav,busystreet", "audio/2.wav,park"],
                                  ["scenes\\park01.wav,x\\2.wav", "busystreet07.wav,1.wav"]])  # fmt: skip
def test_dcase2013_file_name_key(tmp_path, rows):
    lay(tmp_path, "scenes_stereo/bus01.wav", *(f"scenes_stereo_testset/{n}.wav" for n in (1, 2, 3)))
    write(tmp_path, "dcase2013_task1_filenamekey.csv", *rows)
    data = read(tmp_path, "dcase2013")
    assert of(data, "label", "split") == {
        ("scenes_stereo/bus01.wav", "bus", "train"), ("scenes_stereo_testset/1.wav", "busystreet", "test"),
        ("scenes_stereo_testset/2.wav", "park", "test")}  # fmt: skip
    assert list(data.left_out) == ["scenes_stereo_testset/3.wav"]


def test_dcase2013_as_dcase_util_and_l3embedding_lay_it(tmp_path):
    lay(tmp_path / "util", "DCASE2013-acoustic-scenes-development/scenes_stereo/bus01.wav",
        "DCASE2013-acoustic-scenes-evaluation/audio/test_bus01.wav")  # fmt: skip
    lay(tmp_path / "l3", "fold1/bus01.wav", "fold2/bus01.wav")
    for name in ("util", "l3"):
        assert Counter(clip.split for clip in read(tmp_path / name, "dcase2013")) == {"train": 1, "test": 1}


# --- TUT Acoustic Scenes 2017


@pytest.fixture
def tut(tmp_path):
    dev, ev = (f"TUT-acoustic-scenes-2017-{part}" for part in ("development", "evaluation"))
    clips = [("b020_90_100", "beach", "b020"), ("a001_0_10", "cafe/restaurant", "a001"), ("b021_0_10", "beach", "b021"),
             ("a002_0_10", "cafe/restaurant", "a002")]  # fmt: skip
    lay(tmp_path, *(f"{dev}/audio/{name}.wav" for name, *_ in clips))
    lines = [f"audio/{name}.wav\t{label}\t{group}" for name, label, group in clips]
    write(tmp_path, f"{dev}/meta.txt", *lines)
    write(tmp_path, f"{dev}/error.txt", "audio/a002_0_10.wav\t1.0\t2.0\terror")
    for i in range(4):
        write(tmp_path, f"{dev}/evaluation_setup/fold{i + 1}_evaluate.txt", lines[i].rpartition("\t")[0])
        write(tmp_path, f"{dev}/evaluation_setup/fold{i + 1}_test.txt", lines[i].partition("\t")[0])
        rest = [line.rpartition("\t")[0] for k, line in enumerate(lines) if k != i]
        write(tmp_path, f"{dev}/evaluation_setup/fold{i + 1}_train.txt", *rest)
    lay(tmp_path, f"{ev}/audio/1245.wav", f"{ev}/audio/7.wav")
    write(tmp_path, f"{ev}/meta.txt", "audio/1245.wav\tbeach", "audio/7.wav\tcafe/restaurant")
    write(tmp_path, f"{ev}/evaluation_setup/evaluate.txt", "audio/1245.wav\tbeach", "audio/7.wav\tcafe/restaurant")
    return tmp_path


def test_tut2017_development_has_four_folds(tut):
    data = read(tut / "TUT-acoustic-scenes-2017-development", "tut2017")
    assert of(data, "label", "fold", "group", "split") == {
        ("audio/b020_90_100.wav", "beach", "1", "b020", ""),
        ("audio/a001_0_10.wav", "cafe/restaurant", "2", "a001", ""),
        ("audio/b021_0_10.wav", "beach", "3", "b021", ""),
        ("audio/a002_0_10.wav", "cafe/restaurant", "4", "a002", ""),
    }
    assert data.rule == "folds" and len(splits.folds(data)) == 4 and data.published["clips"] == 4680
    assert any("error.txt names 1 clips" in note for note in data.notes)


def test_tut2017_both_parts_are_lists(tut):
    data = read(tut, "tut2017")
    assert Counter((clip.split, clip.label) for clip in data) == {
        ("train", "beach"): 2,
        ("train", "cafe/restaurant"): 2,
        ("test", "beach"): 1,
        ("test", "cafe/restaurant"): 1,
    }
    assert data.published["splits"] == {"train": 4680, "test": 1620} and data.rule == "lists"
    assert [len(s.test) for s in splits.usual(data)] == [2] and len(splits.folds(data)) == 4
    assert any("each of its clips counts as a group" in note for note in data.notes)
    ev = "TUT-acoustic-scenes-2017-evaluation"
    write(tut, f"{ev}/evaluation_setup/map.txt", "audio/1245.wav\taudio/b900_0_10.wav", "audio/c7_1_2.wav\taudio/7.wav")
    assert {clip.group for clip in datasets.read(f"{tut / ev}?strict=no")} == {"b900", "c7"}


def test_tut2017_whose_lists_lack_clips_says_so(tut):
    dev = tut / "TUT-acoustic-scenes-2017-development"
    write(dev, "evaluation_setup/fold2_train.txt", "audio/b020_90_100.wav\tbeach")
    assert any(note.startswith("fold 2's own training list") for note in read(dev, "tut2017").notes)
    (dev / "evaluation_setup" / "fold3_evaluate.txt").unlink()
    assert {clip.fold for clip in read(dev, "tut2017")} == set("1234")  # from fold3_test.txt
    (dev / "evaluation_setup" / "fold3_test.txt").unlink()
    with pytest.raises(DataError, match=r"lacks fold3_evaluate\.txt"):
        datasets.read(dev)


# --- VoxForge


def _voxforge(root: Path) -> Path:
    return lay(root, "EN/1337ad-20170321-ajg/wav/en-0028.wav", "EN/1337ad-20170322-xyz/wav/en-0028.wav",
               "EN/anonymous-20100101-aaa/wav/a1.wav", "EN/anonymous-20100102-bbb/wav/a1.wav",
               "DE/ralf-h-20110101-abc/wav/de1-1.wav", "DE/ralf-h-20110102-abd/flac/de1-2.flac",
               "ES/el_rapido-20120101-zzz/wav/x.wav", "ES/Javier/wav/y.wav", "ES/Javier/flac/y.flac")  # fmt: skip


def test_voxforge_groups_are_speakers(tmp_path):
    data = read(_voxforge(tmp_path), "voxforge")
    assert Counter((clip.label, clip.group) for clip in data) == {
        ("en", "1337ad"): 2, ("en", "anonymous-20100101-aaa"): 1, ("en", "anonymous-20100102-bbb"): 1,
        ("de", "ralf-h"): 2, ("es", "el_rapido"): 1, ("es", "Javier"): 1}  # fmt: skip
    assert [note.split(":")[0] for note in data.notes] == [
        "2 submissions are anonymous", "1 submissions are not called USER-YYYYMMDD-XXX"]  # fmt: skip


def test_voxforge_by_submission_and_a_draw_of_users(tmp_path):
    data = read(_voxforge(tmp_path), "voxforge", "group=submission")
    assert len({clip.group for clip in data}) == 8 and "one speaker may be" in data.notes[-1]
    drawn = [datasets.read(f"voxforge={tmp_path}?group=submission&users=1&seed={seed}") for seed in range(6)]
    assert all(Counter(clip.label for clip in d) == {"en": 1, "de": 1, "es": 1} for d in drawn)
    assert len({d.clips for d in drawn}) > 1
    with pytest.raises(UsageError, match="group must be 'speaker' or 'submission'"):
        datasets.read(f"{tmp_path}?group=user")


def test_the_language_reports_split_of_voxforge(tmp_path):
    """Half of each language's submissions test; 80/20 of the others' utterances at random, speakers on both sides."""
    names = [
        f"{lang}/u{u}-20100101-{u:03}/wav/{i}.wav" for lang in ("EN", "De", "es") for u in range(8) for i in range(5)
    ]
    data = datasets.read(lay(tmp_path, *names), group="submission")
    (split,) = splits.group_halves(data, seed=3, unit="clip")
    assert split.replica == splits.SHARED
    for rows, n in ((split.train, 16), (split.valid, 4), (split.test, 20)):
        assert Counter(data.clips[row].label for row in rows) == {"en": n, "de": n, "es": n}


def test_voxforge_as_downloaded(tmp_path):
    lay(tmp_path, "en/Trunk/Audio/Main/16kHz_16bit/u-20100101-abc/wav/1.wav", "de/Trunk/Audio/Main/16kHz_16bit/"
        "v-20100101-abc/wav/1.wav")  # fmt: skip
    assert {(clip.label, clip.group) for clip in read(tmp_path, "voxforge")} == {("en", "u"), ("de", "v")}


# --- UT-Podcast, primates, digits


def test_ut_podcast(tmp_path):
    lay(tmp_path / "UT-Podcast", "audio/train/AU/AU-301__40.wav", "audio/train/UK/UK-17_1__18.wav",
        "audio/test/US/US-123_1__50.wav", "text/train/AU/AU-301__40.wav")  # fmt: skip
    assert of(read(tmp_path / "UT-Podcast", "ut-podcast"), "label", "group", "split") == {
        ("audio/train/AU/AU-301__40.wav", "AU", "AU-301", "train"),
        ("audio/train/UK/UK-17_1__18.wav", "UK", "UK-17_1", "train"),
        ("audio/test/US/US-123_1__50.wav", "US", "US-123_1", "test")}  # fmt: skip
    lay(tmp_path / "UT-Podcast", "audio/test/AU/AU-301__41.wav")
    with pytest.raises(DataError, match="group 'AU-301' is in the lists test, train"):
        datasets.read(tmp_path)
    assert len(datasets.read(f"{tmp_path}?strict=no")) == 4


@pytest.mark.parametrize("dist", ["dist/", ""])
def test_primates(tmp_path, dist):
    rows = {"train": ["00001,geunon", "00002,Background"], "devel": ["00756,chimpanze", "00001,redcap"],
            "test": ["00001,?", "00002,?"]}  # fmt: skip
    for part, lines in rows.items():
        lines = [f"{part}_{line.replace(',', '.wav,')}" for line in lines]
        write(tmp_path, f"{dist}lab/{part}.csv", "filename,label", *lines)
        lay(tmp_path, *(f"{dist}wav/{line.split(',')[0]}" for line in lines))
    data = read(tmp_path, "primates")
    assert of(data, "label", "split") == {
        (f"{dist}wav/train_00001.wav", "guenon", "train"), (f"{dist}wav/train_00002.wav", "background", "train"),
        (f"{dist}wav/devel_00756.wav", "chimpanzee", "valid"),
        (f"{dist}wav/devel_00001.wav", "red-capped mangabey", "valid")}  # fmt: skip
    assert data.metric == "uar" and data.left_out == {
        f"{dist}wav/test_0000{i}.wav": "its label is withheld" for i in (1, 2)}  # fmt: skip


def test_digits(tmp_path):
    lay(tmp_path, "recordings/7_george_0.wav", "recordings/0_lucas_33.wav")
    write(tmp_path, "metadata.json", json.dumps({"george": {}, "lucas": {}}))
    assert of(read(tmp_path, "digits"), "label", "fold", "group") == {
        ("recordings/7_george_0.wav", "7", "george", "george"),
        ("recordings/0_lucas_33.wav", "0", "lucas", "lucas")}  # fmt: skip
    write(tmp_path, "metadata.json", "{")
    with pytest.raises(DataError, match=r"metadata\.json: cannot be read"):
        datasets.read(tmp_path)


# --- AudioSet

HEAD = [
    "# Segments csv created Sun Mar  5 10:54:31 2017",
    "# num_ytids=2",
    "# YTID, start_seconds, end_seconds, positive_labels",
]


@pytest.fixture
def audioset(tmp_path):
    write(tmp_path, "balanced_train_segments.csv", *HEAD, '--PJHxphWEs, 30.000, 40.000, "/m/09x0r,/t/dd00088"',
          'abcdefghijk, 0.000, 10.000, "/m/04rlf"', 'gone_______, 0.000, 10.000, "/m/04rlf"')  # fmt: skip
    write(tmp_path, "eval_segments.csv", *HEAD, 'Yzzzzzzzzzz, 70.000, 80.000, "/m/04rlf,/m/09x0r"')
    write(
        tmp_path, "class_labels_indices.csv", "index,mid,display_name", '0,/m/09x0r,"Speech"', '1,/m/04rlf,"Music, all"'
    )
    return tmp_path


def test_audioset_named_as_l3embedding_and_panns_do(audioset):
    lay(audioset, "audio/--PJHxphWEs_30000_40000.flac", "audio/Yabcdefghijk.wav", "audio/Yzzzzzzzzzz_70.000_80.000.wav",
        "audio/other_000000_0_10000.flac")  # fmt: skip
    data = read(audioset, "audioset")
    assert of(data, "labels", "split", "group", "start_s") == {
        ("audio/--PJHxphWEs_30000_40000.flac", ("Speech", "/t/dd00088"), "train", "--PJHxphWEs", None),
        ("audio/Yabcdefghijk.wav", ("Music, all",), "train", "abcdefghijk", None),
        ("audio/Yzzzzzzzzzz_70.000_80.000.wav", ("Music, all", "Speech"), "test", "Yzzzzzzzzzz", None)}  # fmt: skip
    assert data.metric == "map" and data.rule == "lists" and data.multilabel
    assert data.classes == ["/t/dd00088", "Music, all", "Speech"]
    assert data.notes[0].startswith("1 of 4 segments have no file") and list(data.left_out) == [
        "audio/other_000000_0_10000.flac"]  # fmt: skip
    (split,) = splits.usual(data)
    assert (len(split.train), len(split.test)) == (2, 1)


def test_audioset_of_whole_videos_cuts_segments(audioset):
    lay(audioset, "audio/--PJHxphWEs.wav", "audio/A title [abcdefghijk].mp4", "audio/Yzzzzzzzzzz_70000_80000.flac")
    data = read(audioset, "audioset", "whole=yes")
    assert of(data, "start_s", "end_s") == {
        ("audio/--PJHxphWEs.wav#30-40", 30.0, 40.0), ("audio/A title [abcdefghijk].mp4#0-10", 0.0, 10.0),
        ("audio/Yzzzzzzzzzz_70000_80000.flac", None, None)}  # fmt: skip
    with pytest.raises(UsageError, match="whole must be 'yes' or 'no'"):
        datasets.read(f"{audioset}?whole=maybe")
