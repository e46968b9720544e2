"""What is named on the command line: which recordings, which outputs, and nothing lost."""

import io
import os
from pathlib import Path

import pytest

from l3embed.plan import plan


def _touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")


def _outputs(found):
    return [item.output for item in found.items]


def test_folder_is_searched_recursively_and_mirrored(tmp_path):
    _touch(tmp_path, "a.wav", "x/a.WAV", "x/y/b.flac", "notes.txt", ".hidden.wav", ".git/c.wav", "x/._a.wav")
    found = plan([str(tmp_path)])
    assert _outputs(found) == ["a.npz", "x/a.npz", "x/y/b.npz"]
    assert (found.failures, found.n_ignored) == ([], 1)


def test_equal_stems_of_one_folder_keep_their_suffix(tmp_path):
    _touch(tmp_path, "a.wav", "a.flac", "b.wav")
    assert _outputs(plan([str(tmp_path)])) == ["a.flac.npz", "a.wav.npz", "b.npz"]


def test_no_two_recordings_share_an_output(tmp_path):
    _touch(tmp_path, "a.wav", "a.flac", "a.wav.mp3", "b.wav", "b.wav.ogg", "stdin.wav")
    outputs = _outputs(plan([str(tmp_path), "-"], io.BytesIO(b"RIFF")))
    assert outputs[:3] == ["a.flac.npz", "a.wav.npz", "a.wav.mp3.npz"] and outputs[-2:] == [
        "stdin.wav.npz",
        "stdin.npz",
    ]
    assert len(set(outputs)) == 7


def test_equal_names_of_several_roots_stay_apart(tmp_path):
    _touch(tmp_path, "one/rec/a.wav", "two/rec/a.wav")
    found = plan([str(tmp_path / "one" / "rec"), str(tmp_path / "two" / "rec")])
    assert _outputs(found) == ["one/rec/a.npz", "two/rec/a.npz"]


def test_a_file_named_twice_is_taken_once(tmp_path):
    _touch(tmp_path, "a.wav")
    assert len(plan([str(tmp_path), str(tmp_path / "a.wav"), str(tmp_path / "*.wav")]).items) == 1


def test_a_folder_whose_recordings_were_named_before_is_not_empty(tmp_path):
    _touch(tmp_path, "sub/a.wav")
    found = plan([str(tmp_path), str(tmp_path / "sub"), str(tmp_path / "sub" / "..")])
    assert (_outputs(found), found.failures) == (["sub/a.npz"], [])


def test_a_named_file_is_taken_whatever_its_suffix(tmp_path):
    _touch(tmp_path, "recording.dat")
    assert _outputs(plan([str(tmp_path / "recording.dat")])) == ["recording.npz"]


def test_glob_and_missing_path(tmp_path):
    _touch(tmp_path, "a/1.wav", "b/2.wav", "b/3.txt")
    found = plan([str(tmp_path / "**" / "*.wav"), str(tmp_path / "absent.wav")])
    assert _outputs(found) == ["a/1.npz", "b/2.npz"]
    assert found.failures == [(str(tmp_path / "absent.wav"), "no such file or folder")]


def test_a_file_whose_name_looks_like_a_glob(tmp_path):
    _touch(tmp_path, "a[1].wav")
    assert _outputs(plan([str(tmp_path / "a[1].wav")])) == ["a[1].npz"]


@pytest.mark.parametrize("separator", ["\n", "\r\n", "\0"])
def test_list_of_paths_in_a_file_and_on_standard_input(tmp_path, separator):
    _touch(tmp_path, "a.wav", "sub/b.wav")
    names = [str(tmp_path / "a.wav"), str(tmp_path / "sub"), str(tmp_path / "gone.wav")]
    text = separator.join(names) + separator
    (tmp_path / "list.txt").write_bytes(text.encode())
    for found in (plan([str(tmp_path / "list.txt")]), plan(["-"], io.BytesIO(text.encode()))):
        assert _outputs(found) == ["a.npz", "sub/b.npz"]
        assert found.failures == [(names[2], "no such file or folder")]


def test_a_recording_on_standard_input():
    for data in (
        b"RIFX....WAVE",
        b"FLV\x01\x05",
        b"\x0bw\x10\x20",
        b"RIFF....WAVE",
        b"fLaC",
        b"OggS",
        b"\0\0\0\x20ftypM4A ",
        b"\xff\xfb\x90\x00",
    ):
        (item,) = plan(["-"], io.BytesIO(data)).items
        assert (item.source, item.output, item.data) == ("-", "stdin.npz", data)


def test_empty_standard_input_empty_list_and_empty_folder_are_failures(tmp_path):
    (tmp_path / "list.txt").write_text("\n\n")
    (tmp_path / "empty").mkdir()
    assert "is empty" in plan(["-"], io.BytesIO(b"")).failures[0][1]
    assert plan([str(tmp_path / "list.txt")]).failures[0][1] == "is an empty list of paths"
    assert plan([str(tmp_path / "empty")]).failures[0][1] == "holds no audio or video files"


def test_every_empty_folder_is_named(tmp_path):
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    assert len(plan([str(tmp_path / name) for name in ("gone", "one", "two")]).failures) == 3


def test_comments_in_a_list_and_files_that_look_like_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    _touch(tmp_path, "#1.wav", "a.wav")
    found = plan(["-"], io.BytesIO(b"\xef\xbb\xbfa.wav\n# the rest\n#1.wav\n"))
    assert (_outputs(found), found.failures) == (["a.npz", "#1.npz"], [])


def test_links_that_lead_in_circles_end(tmp_path):
    _touch(tmp_path, "a/1.wav")
    (tmp_path / "a" / "loop").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "broken.wav").symlink_to(tmp_path / "nowhere.wav")
    assert sorted(_outputs(plan([str(tmp_path)]))) == ["a/1.npz", "broken.npz"]


def test_names_that_are_not_utf8(tmp_path):
    name = os.fsencode(tmp_path) + b"/caf\xe9.wav"
    Path(os.fsdecode(name)).write_bytes(b"x")
    (item,) = plan([str(tmp_path)]).items
    assert os.fsencode(item.source) == name
