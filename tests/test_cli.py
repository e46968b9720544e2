"""The command as its users meet it: exit codes, messages, bad input, killed runs."""

import contextlib
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT, tone, tree, write

import l3embed
from l3embed import cli, store

ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}  # of processes of their own


def _run(*arguments, **how) -> subprocess.CompletedProcess:
    """In a process of its own."""
    command = [sys.executable, "-m", "l3embed", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, env=ENVIRONMENT, check=False, **how)


@pytest.fixture
def recordings(tmp_path):
    folder = tmp_path / "in"
    for i in range(6):
        write(folder / f"site{i % 2}" / f"{i}.wav", tone(0.5 + 0.4 * i, 16_000, 200 + 100 * i, seed=i), 16_000)
    return folder


def test_folder_to_vectors(recordings, tmp_path, capsys):
    before = {p: (p.stat().st_mtime_ns, p.stat().st_size) for p in recordings.rglob("*")}
    assert cli.main(["extract", str(recordings), "-o", str(tmp_path / "out")]) == 0
    captured = capsys.readouterr()
    assert captured.out.startswith("6 embedded (") and "s of sound per second" in captured.out and captured.err == ""
    assert sorted(tree(tmp_path / "out")) == [f"site{i}/{j}.npz" for i in (0, 1) for j in range(i, 6, 2)]
    with np.load(tmp_path / "out" / "site1" / "3.npz") as file:
        assert file["embedding"].shape == (13, 384) and file["timestamps"][-1] == pytest.approx(1.2)
    assert {p: (p.stat().st_mtime_ns, p.stat().st_size) for p in recordings.rglob("*")} == before
    assert cli.main(["extract", str(recordings), "-o", str(tmp_path / "out")]) == 0
    assert "0 embedded" in (text := capsys.readouterr().out) and "6 done before" in text


def test_json_summary(recordings, tmp_path, capsys):
    (recordings / "bad.wav").write_text("no sound")
    write(recordings / "silent.wav", np.zeros(16_000), 16_000)
    assert cli.main(["extract", str(recordings), str(tmp_path / "gone"), "-o", str(tmp_path / "out"), "--json"]) == 1
    captured = capsys.readouterr()
    total = json.loads(captured.out)
    assert (
        total["done"] == 7
        and total["skipped"] == 0
        and total["windows"] == sum(r["n_windows"] for r in total["results"])
    )
    assert {Path(f["source"]).name for f in total["failed"]} == {"bad.wav", "gone"}
    assert total["warnings"][0]["notes"] == ["all samples are zero"]
    assert len(captured.err.strip().splitlines()) == 3


BAD = {
    "empty.wav": lambda p: p.write_bytes(b""),
    "text.wav": lambda p: p.write_text("these are words, not sound"),
    "noise.flac": lambda p: p.write_bytes(np.random.default_rng(0).bytes(5000)),
    "zero_length.wav": lambda p: write(p, np.zeros(0)),
    "three_samples.wav": lambda p: write(p, np.ones(3)),
    "nan.wav": lambda p: write(p, np.full(32_000, np.nan), subtype="FLOAT"),
    "inf.wav": lambda p: write(p, np.r_[tone(1), np.inf], subtype="FLOAT"),
    "truncated.flac": lambda p: (write(p, tone(3)), p.write_bytes(p.read_bytes()[:20_000])),
    "header_only.ogg": lambda p: (write(p, tone(1)), p.write_bytes(p.read_bytes()[:60])),
    "web_page.mp3": lambda p: p.write_text("<html><body>404</body></html>"),
    "link_to_nowhere.wav": lambda p: p.symlink_to(p.parent / "nowhere.wav"),
    "folder_in_disguise.m4a": lambda p: os.mkfifo(p),
}


def test_planted_bad_files_change_nothing_for_the_others(recordings, tmp_path, capsys):
    assert cli.main(["extract", str(recordings), "-o", str(tmp_path / "clean")]) == 0
    for name, make in BAD.items():
        make(recordings / "site0" / name)
    capsys.readouterr()
    assert cli.main(["extract", str(recordings), "-o", str(tmp_path / "out")]) == 1
    captured = capsys.readouterr()
    assert tree(tmp_path / "out") == tree(tmp_path / "clean")
    for text in (captured.out, captured.err):
        named = [line for line in text.splitlines() if any(f"site0/{name}: " in line for name in BAD)]
        assert len(named) == len(BAD), text
    assert "Traceback" not in captured.err and f"{len(BAD)} failed" in captured.out


def test_a_recording_that_grows_while_it_is_read(recordings, tmp_path, capsys, monkeypatch):
    """A recorder still writes to it: whatever was read is not the recording."""
    from l3embed import embed

    path, original = recordings / "site0" / "0.wav", embed.spectrograms

    def growing(*arguments):
        with open(path, "ab") as file:
            file.write(b"\0" * 100)
        return original(*arguments)

    monkeypatch.setattr(embed, "spectrograms", growing)
    monkeypatch.setattr(embed, "chunks", partial(embed.chunks, at_most=1))
    write(path, tone(5, 16_000), 16_000)
    assert cli.main(["extract", str(path), "-o", str(tmp_path / "out")]) == 1
    assert "0.wav: failed: changed while it was being read" in capsys.readouterr().err
    assert tree(tmp_path / "out") == {}


@pytest.mark.parametrize(("arguments", "code", "message"), [
    (["--hop", "0"], 2, "hop must be > 0"), (["--hop", "-0.1"], 2, "hop must be > 0"),
    (["--hop", "nan"], 2, "hop must be a number"), (["--batch", "0"], 2, "batch must be at least 1"),
    (["--jobs", "0"], 2, "jobs must be at least 1"), (["--model", "nonsense"], 2, "unknown model 'nonsense'"),
    (["--front-end", "training"], 2, "has one front end"), (["--weights", "gone.h5"], 1, "gone.h5: cannot be read"),
])  # fmt: skip
def test_wrong_settings_cost_one_sentence(recordings, tmp_path, capsys, arguments, code, message):
    assert cli.main(["extract", str(recordings), "-o", str(tmp_path / "out"), *arguments]) == code
    error = capsys.readouterr().err
    assert message in error and len(error.strip().splitlines()) == 1


def test_json_says_why_nothing_was_done(recordings, tmp_path, capsys):
    assert cli.main(["extract", str(recordings), "-o", str(tmp_path / "out"), "--hop", "0", "--json"]) == 2
    assert "hop must be > 0" in json.loads(capsys.readouterr().out)["error"]
    assert not (tmp_path / "out").exists()


def test_unknown_options_and_commands(capsys):
    for arguments in (["extract"], ["extract", "a", "--precision", "f8"], ["fly"], []):
        with pytest.raises(SystemExit) as stop:
            cli.main(arguments)
        assert stop.value.code == 2
    capsys.readouterr()


def test_missing_input_does_not_stop_the_rest(recordings, tmp_path, capsys):
    inputs = [str(recordings / "site0"), str(tmp_path / "gone.wav"), str(recordings / "site1" / "1.wav")]
    assert cli.main(["extract", *inputs, "-o", str(tmp_path / "out")]) == 1
    assert "gone.wav: failed: no such file or folder" in capsys.readouterr().err
    assert len(tree(tmp_path / "out")) == 4


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams(recordings, tmp_path, closed):
    """As some schedulers start programs."""
    command = f'"$0" -m l3embed extract "$1" -o "$2" {closed}'
    command = ["sh", "-c", command, sys.executable, str(recordings), str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, env=ENVIRONMENT, check=False)
    assert (done.returncode, done.stderr) == (0, b"") and len(tree(tmp_path / "out")) == 6


@pytest.mark.parametrize(("to", "message"), [("| true", b""), (">/dev/full", b"l3embed: no space left on device\n")])
def test_output_that_nobody_takes(to, message):
    environment = {key: value for key, value in ENVIRONMENT.items() if key != "PYTHONUNBUFFERED"}
    slow = "import time; from l3embed import cli; time.sleep(0.5); sys.exit(cli.main(['models', 'show']))"
    command = ["bash", "-c", f'"$0" -c "import sys; {slow}" {to}; exit ${{PIPESTATUS[0]}}', sys.executable]
    done = subprocess.run(command, capture_output=True, env=environment, check=False)
    assert (done.returncode, done.stderr) == (1, message)


@pytest.mark.parametrize("jobs", [1, 2])
def test_ctrl_c(tmp_path, jobs):
    """One line, exit code 130, and an end at once, whatever the threads are doing."""
    for i in range(16):
        write(tmp_path / "in" / f"{i}.flac", tone(6, 48_000, seed=i), 48_000)
    out = tmp_path / "out"
    command = [sys.executable, "-m", "l3embed", "extract", str(tmp_path / "in"), "-o", str(out), "--jobs", str(jobs)]
    process = subprocess.Popen([*command, "--hop", "0.02"], env=ENVIRONMENT, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not list(out.glob("*.npz")) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert (process.returncode, error.count("\n")) == (130, 1) and "interrupted; run the same command again" in error
    assert all(store.read(path) for path in out.glob("*.npz"))


def test_the_bar_moves_within_a_long_recording(tmp_path):
    """On a terminal: share done, time left and speed, and failures on lines of their own."""
    import fcntl
    import pty
    import struct
    import termios

    write(tmp_path / "in" / "long.wav", np.tile(tone(60, 16_000), 20), 16_000)  # seconds of work; the bar moves in 0.1
    (tmp_path / "in" / "bad.wav").write_text("no sound")
    terminal, end = pty.openpty()
    fcntl.ioctl(end, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 100, 0, 0))
    command = [sys.executable, "-m", "l3embed", "extract", str(tmp_path / "in"), "-o", str(tmp_path / "out")]
    with subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=end) as process:
        os.close(end)
        shown = b""
        with contextlib.suppress(OSError):  # how a terminal ends
            while data := os.read(terminal, 1 << 16):
                shown += data
    os.close(terminal)
    frames = shown.decode().split("\r")
    within = [f for f in frames if re.match(r" *([1-9]|[1-9]\d)%.*<\d\d:\d\d, .*x real time", f)]
    assert process.returncode == 1 and len(within) >= 2, frames
    assert any(re.fullmatch(r"\S*bad\.wav: failed: [^%]*", f.strip()) for f in frames), frames


def test_standard_input_as_recording_and_as_list(recordings, tmp_path):
    wav = recordings / "site1" / "5.wav"
    done = _run("extract", "-", "-o", tmp_path / "a", input=wav.read_bytes())
    assert done.returncode == 0, done.stderr
    (tmp_path / "list.txt").write_text(f"{wav}\n{recordings / 'site0'}\n")
    done = _run("extract", "-", "-o", tmp_path / "b", input=(tmp_path / "list.txt").read_bytes())
    assert done.returncode == 0, done.stderr
    assert sorted(tree(tmp_path / "b")) == ["site0/0.npz", "site0/2.npz", "site0/4.npz", "site1/5.npz"]
    a, b = (np.load(p)["embedding"] for p in (tmp_path / "a" / "stdin.npz", tmp_path / "b" / "site1" / "5.npz"))
    np.testing.assert_array_equal(a, b)


def test_another_recording_of_the_same_name_and_size_is_not_done(tmp_path, capsys, monkeypatch):
    """Recorders that follow a timetable: folders embedded one after the other, recordings piped in one by one."""
    a, b = (write(tmp_path / f"site{i}" / "20240101_060000.wav", tone(1, 16_000, 300 + i), 16_000) for i in (0, 1))
    for path in (a, b):
        os.utime(path, (1, 1))
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(path.read_bytes())))
        for source in (str(path.parent), "-"):
            assert cli.main(["extract", source, "-o", str(tmp_path / "out")]) == 0
            assert capsys.readouterr().out.startswith("1 embedded"), source
    expected = l3embed.load().embed(b)[0]
    for name in ("20240101_060000.npz", "stdin.npz"):
        np.testing.assert_array_equal(np.load(tmp_path / "out" / name)["embedding"], expected)


def test_the_longest_name_does_not_stop_the_others(recordings, tmp_path, capsys):
    os.rename(recordings / "site0" / "0.wav", recordings / "site0" / ("x" * 251 + ".wav"))
    assert cli.main(["extract", str(recordings), "-o", str(tmp_path / "out")]) == 0
    assert "6 embedded" in capsys.readouterr().out


def test_names_that_are_not_utf8(tmp_path):
    source = write(tmp_path / "x.wav", tone(0.5, 16_000), 16_000)
    os.rename(source, os.fsencode(tmp_path) + b"/caf\xe9.wav")
    (tmp_path / os.fsdecode(b"bad\xff.wav")).write_text("?")
    done = _run("extract", tmp_path, "-o", tmp_path / "out", "--json")
    assert done.returncode == 1
    assert rb"bad\udcff.wav: failed: is not audio" in done.stderr
    total = json.loads(done.stdout)
    assert total["done"] == 1 and len(total["failed"]) == 1
    assert os.path.exists(os.fsencode(tmp_path) + b"/out/caf\xe9.npz")


_AS_NOBODY = """
import os, sys
from l3embed import cli, embed
cli.main(["extract", sys.argv[1], "-o", sys.argv[2] + "/warm"])  # loads all modules while they can be read,
model = embed.load()  # and the model
embed.load = lambda *_, **__: model
if os.getuid() == 0:
    os.setuid(65534)
sys.exit(cli.main(["extract", sys.argv[1], sys.argv[3], "-o", sys.argv[2] + "/" + sys.argv[4]]))
"""


@pytest.mark.parametrize(("output", "message"), [
    ("open/out", b"secret.wav: failed: cannot be read: permission denied"),
    ("closed/out", b"closed/out: permission denied"),
])  # fmt: skip
def test_permissions(tmp_path_factory, output, message):
    """As root in a child that becomes nobody: root may read and write everything."""
    base = tmp_path_factory.mktemp("permissions")
    for folder in (base, base.parent, base.parent.parent):
        if os.getuid() == 0:
            folder.chmod(0o755)
    write(base / "in" / "a.wav", tone(0.5, 16_000), 16_000)
    secret = write(base / "in2" / "secret.wav", tone(0.5, 16_000), 16_000)
    (base / "open").mkdir()
    (base / "open").chmod(0o777)
    (base / "closed").mkdir()
    (base / "closed").chmod(0o555)
    secret.chmod(0)
    command = [sys.executable, "-c", _AS_NOBODY, str(base / "in"), str(base), str(base / "in2"), output]
    done = subprocess.run(command, capture_output=True, env=ENVIRONMENT, check=False)
    assert done.returncode == 1 and message in done.stderr and b"Traceback" not in done.stderr


def test_damaged_weights(recordings, tmp_path, capsys):
    import shutil

    from l3embed import weights

    copy = tmp_path / "model"
    shutil.copytree(weights.shipped_folder(), copy, ignore=shutil.ignore_patterns("__*"))
    for file in copy.glob("*.toml"):
        if file.stem != weights.DEFAULT:
            file.unlink()
    with open(copy / f"{weights.DEFAULT}.bin", "r+b") as file:
        file.seek(1000)
        file.write(b"damage")
    assert cli.main(["extract", str(recordings), "-o", str(tmp_path / "out"), "--model", str(copy)]) == 1
    error = capsys.readouterr().err
    assert ".bin: is damaged or of another version" in error and len(error.strip().splitlines()) == 1


def test_output_that_is_a_file(recordings, tmp_path, capsys):
    (tmp_path / "out").write_text("in the way")
    assert cli.main(["extract", str(recordings), "-o", str(tmp_path / "out")]) == 1
    assert "out: file exists" in capsys.readouterr().err


def test_full_disk_names_every_output(recordings, tmp_path):
    code = (
        "import resource, sys; from l3embed import cli\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (12000, 12000)); sys.exit(cli.main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", code, "extract", str(recordings), "-o", str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, check=False)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert done.stderr.count("failed: cannot write") + len(tree(tmp_path / "out")) == 6
    assert 0 < len(tree(tmp_path / "out")) < 6, "short recordings fit, long ones do not"


def test_killed_runs_go_on_and_end_with_the_same_bytes(tmp_path):
    for i in range(40):
        write(tmp_path / "in" / f"{i:02}.wav", tone(4 + i % 3, 16_000, 100 + 50 * i, seed=i), 16_000)
    arguments = ("extract", tmp_path / "in", "--hop", "0.05", "--precision", "f32")
    assert _run(*arguments, "-o", tmp_path / "whole").returncode == 0
    out = tmp_path / "killed"
    for wanted in (3, 12):
        command = [sys.executable, "-m", "l3embed", *map(str, arguments), "-o", str(out)]
        process = subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 60
        while len(list(out.glob("*.npz"))) < wanted and time.monotonic() < deadline and process.poll() is None:
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        process.wait()
    finished = {p: p.stat().st_mtime_ns for p in out.glob("*.npz")}
    assert 12 <= len(finished) < 40, "killed in the middle"
    assert _run(*arguments, "-o", out).returncode == 0
    assert {p: p.stat().st_mtime_ns for p in finished} == finished, "what was finished was not done again"
    assert tree(out) == tree(tmp_path / "whole")


def test_extraction_needs_no_training_packages(recordings, tmp_path):
    code = (
        "import sys\n"
        "class Absent:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name.partition('.')[0] in ('tensorflow', 'keras', 'kapre', 'h5py', 'sklearn', 'scipy'):\n"
        "            raise ModuleNotFoundError(name)\n"
        "sys.meta_path.insert(0, Absent())\n"
        "from l3embed import cli; sys.exit(cli.main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", code]
    extract = [*command, "extract", str(recordings), "-o", str(tmp_path / "out")]
    done = subprocess.run(extract, capture_output=True, text=True, env=ENVIRONMENT, check=False)
    assert done.returncode == 0, done.stderr
    assert "6 embedded" in done.stdout
    (tmp_path / "t.toml").write_text("[data]\nscenes = 1.0")
    train = [*command, "train", str(tmp_path / "t.toml")]
    done = subprocess.run(train, capture_output=True, text=True, env=ENVIRONMENT, check=False)
    assert done.returncode == 1 and "pip install 'l3embed[train]'" in done.stderr and "Traceback" not in done.stderr


def test_models_list_and_show(capsys):
    assert cli.main(["models", "list"]) == 0
    rows = [line.split()[:3] for line in capsys.readouterr().out.splitlines()]
    assert [row for row in rows if row[2:] == ["default"]] == [["l3-small-taught-1", "384", "default"]]
    assert cli.main(["models", "show"]) == 0
    assert 'name = "l3-small-taught-1"' in capsys.readouterr().out
    assert cli.main(["models", "show", "nonsense"]) == 2


def test_version_and_help():
    assert _run("--version").stdout.startswith(b"l3embed ")
    text = _run("extract", "--help").stdout.decode()
    for option in ("--model", "--weights", "--front-end", "--hop", "--center", "--precision", "--format", "--jobs",
                   "--overwrite", "--json", "--batch"):  # fmt: skip
        assert option in text
