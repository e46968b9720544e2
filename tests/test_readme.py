"""The README's blocks run and print what it says."""

import contextlib
import io
import re
import shlex
import subprocess
import sys

import pytest
from conftest import ROOT, tone, write

TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
PYTHON = re.findall(r"```python\n(.*?)```\n```text\n(.*?)```", TEXT, re.S)
SHELL = re.findall(r"```sh\n(.*?)```", TEXT, re.S)


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    """A folder with recordings, as the README's reader has one."""
    write(tmp_path / "audio_dir" / "dog.wav", tone(5.01, 44_100, 300), 44_100)
    write(tmp_path / "audio_dir" / "rain.wav", tone(5.01, 44_100, 3000, seed=1), 44_100)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_shell_commands(workplace):
    install, test, _ = (block.strip() for block in SHELL)
    assert install.startswith("pip install . && ")
    command = shlex.split(install.removeprefix("pip install . && "))
    assert command[0] == "l3embed"
    done = subprocess.run([sys.executable, "-m", *command], capture_output=True, text=True, check=True)
    assert "2 embedded" in done.stdout
    assert sorted(p.name for p in (workplace / "embeddings").iterdir()) == ["dog.npz", "rain.npz"]
    *_, last = (ROOT / ".ci" / "run").read_text().splitlines()
    assert last == test, "CI runs exactly the README's test command, after what makes the machine ready"


def test_probing(workplace):
    from probes import demo

    demo.make(workplace / "birds")
    for command in SHELL[2].strip().split(" && "):
        done = subprocess.run(
            [sys.executable, "-m", *shlex.split(command)], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
    assert "12 jobs done, 0 failed" in done.stdout and (workplace / "run" / "report" / "index.html").exists()


@pytest.mark.parametrize(("code", "printed"), PYTHON)
def test_python_blocks(workplace, code, printed):
    if "sklearn" in code:
        pytest.importorskip("sklearn")
    subprocess.run([sys.executable, "-m", "l3embed", "extract", "audio_dir/"], capture_output=True, check=True)
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(compile(code, "README.md", "exec"), {})
    assert out.getvalue() == printed


def test_every_block_is_run_and_the_map_is_right():
    assert TEXT.count("```python") == len(PYTHON) == 3 and len(SHELL) == 3
    for room in re.findall(r"^\| `(\w+)/`", TEXT, re.M):
        assert (ROOT / room).is_dir()
    for page in re.findall(r"docs/[\w-]+\.\w+", TEXT):
        assert (ROOT / page).exists(), page
