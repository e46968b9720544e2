"""Start-up, throughput and memory of `l3embed extract`, each as whole processes.

    python scripts/bench_extract.py FOLDER [--runs 3]

Prints: the time from process start to the first result on disk; seconds of sound per second for the folder with one
and two jobs, beside the bare network on the same number of windows in the same run; peak memory for a recording of 10
seconds and of 1 hour.
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile

import l3embed
from l3embed import engine, windows

COMMAND = [sys.executable, "-m", "l3embed", "extract"]


def first_result(folder: Path, out: Path) -> float:
    """Seconds from process start until the first file is there; the process is then stopped."""
    started = time.perf_counter()
    process = subprocess.Popen([*COMMAND, folder, "-o", out], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not any(out.rglob("*.npz")):
        time.sleep(0.002)
    seconds = time.perf_counter() - started
    process.kill()
    process.wait()
    return seconds


def whole_folder(folder: Path, out: Path, *options: str) -> tuple[float, int]:
    """Wall seconds, and windows written."""
    started = time.perf_counter()
    subprocess.run([*COMMAND, folder, "-o", out, *options], check=False, capture_output=True)
    seconds = time.perf_counter() - started
    return seconds, sum(len(np.load(p)["timestamps"]) for p in out.rglob("*.npz"))


def bare_network(n_windows: int, precision: str) -> float:
    """Seconds for as many windows of noise through the network alone, same batches."""
    model = l3embed.load(precision=precision)
    framing = model.framing(windows.hop_samples(0.1, model.spec.front_end.rate_hz), True)
    bare = model.engine(framing)
    batch = np.random.default_rng(0).normal(-10, 8, bare.shape).astype(np.float32)
    rows = ((0, batch) for _ in range(-(-n_windows // (len(batch) * framing.strip))))
    for _ in engine.run(bare, [(0, batch)] * 4):
        pass
    started = time.perf_counter()
    for _ in engine.run(bare, rows):
        pass
    return time.perf_counter() - started


def peak_memory(seconds: int, folder: Path) -> float:
    """MB of a process that embeds one recording of this length."""
    path = folder / f"{seconds}.flac"
    noise = np.random.default_rng(0).normal(0, 0.1, 10 * 16_000)
    with soundfile.SoundFile(path, "w", 16_000, 1) as file:
        for _ in range(seconds // 10):
            file.write(noise)
    code = (
        "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL); "
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    command = [sys.executable, "-c", code, *COMMAND, path, "-o", folder / "out"]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--runs", type=int, default=3)
    arguments = parser.parse_args()
    print(f"{os.cpu_count()} processors, OpenVINO precision auto = {l3embed.load().precision}")
    with tempfile.TemporaryDirectory() as temporary:
        base = Path(temporary)
        starts = [first_result(arguments.folder, base / f"first{i}") for i in range(arguments.runs + 1)][1:]
        print(f"process start to first result: median {statistics.median(starts):.2f} s, worst {max(starts):.2f} s")
        for precision in ("f32", "auto"):
            for jobs in ("1", str(os.cpu_count())):
                out = base / f"{precision}{jobs}"
                seconds, n = whole_folder(arguments.folder, out, "--jobs", jobs, "--precision", precision)
                bare = bare_network(n, precision)
                print(
                    f"{precision}, {jobs} jobs: {n} windows in {seconds:.1f} s ({n / seconds:.0f}/s, "
                    f"{0.1 * n / seconds:.0f} s of sound per second at hop 0.1); bare network {n / bare:.0f}/s, "
                    f"share {bare / seconds:.2f}"
                )
        for seconds in (10, 3600):
            print(f"peak memory, recording of {seconds} s: {peak_memory(seconds, base):.0f} MB")
    print(f"this script itself: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB")


if __name__ == "__main__":
    main()
