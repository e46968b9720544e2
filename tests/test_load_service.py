"""The load test itself: that it tells right answers from wrong ones, and what a small run of it finds."""

import io
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT, environment, tone, write
from load_clips import Clip

LINUX = pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="looks at processes as on Linux")


def npy(array) -> bytes:
    out = io.BytesIO()
    np.save(out, array)
    return out.getvalue()


def test_answers_are_told_apart(tmp_path):
    vectors = np.random.default_rng(0).standard_normal((5, 8)).astype(np.float32)
    clip = Clip(write(tmp_path / "a.wav", tone(1)), 1.0, vectors)
    assert clip.verdict(npy(vectors)) == "equal"
    assert clip.verdict(npy(np.nextafter(vectors, np.float32(9)))) == "near"
    other = vectors.copy()
    other[3, 2] += 0.01
    for wrong in (npy(other), npy(vectors[:4]), npy(vectors[::-1]), npy(vectors)[:-9], b""):
        assert clip.verdict(wrong) == "wrong"


@LINUX
def test_a_small_run(tmp_path):
    pytest.importorskip("fastapi")
    small = "--clients 6 --seconds 3 --clips 6 --lengths 0.3 2 --sigterm".split()
    command = [sys.executable, ROOT / "scripts" / "load_service.py", *small]
    done = subprocess.run(command, capture_output=True, text=True, env=environment(), check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert int(re.search(r"'equal': (\d+)", done.stdout)[1]) > 0
    assert re.search(r"of those not answered: 0; exit code 0", done.stdout)
