"""Start-up, throughput and memory of `l3embed extract`, each as whole processes.

    python scripts/bench_extract.py FOLDER [--runs 3] [--lengths 10 600 10800] [options of extract]

Prints: the time from process start to the first result on disk; seconds of sound per second for the folder by
precision, jobs and batch, beside the bare network on the same number of windows in the same run; peak memory and time
for recordings of 10 s, 10 min and 3 h. With options of extract (--model, --hop ...) only the last, under those.
"""

import argparse
import os
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
    """Seconds for as many windows of noise through the network alone, in rows of as many as share computation."""
    model = l3embed.load(precision=precision)
    fe = model.spec.front_end
    columns = fe.n_frames + (windows.GROUP - 1) * model.spec.step_samples // fe.hop_samples
    row = np.random.default_rng(0).normal(-10, 8, (1, fe.n_bins, columns, 1)).astype(np.float32)
    list(engine.run(model.engine, [(0, row)] * 8))
    started = time.perf_counter()
    list(engine.run(model.engine, ((0, row) for _ in range(-(-n_windows // windows.GROUP)))))
    return time.perf_counter() - started


def peak_memory(seconds: int, folder: Path, *options: str) -> tuple[float, float]:
    """(MB, wall seconds) of a process that embeds one recording of this length."""
    path = folder / f"{seconds}.flac"
    noise = np.random.default_rng(0).normal(0, 0.1, 10 * 16_000)
    with soundfile.SoundFile(path, "w", 16_000, 1) as file:
        for _ in range(seconds // 10):
            file.write(noise)
    code = (
        "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL); "
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    command = [sys.executable, "-c", code, *COMMAND, path, "-o", folder / f"out{seconds}", *options]
    started = time.perf_counter()
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return int(text) / 1024, time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--lengths", type=int, nargs="*", default=[10, 600, 10_800], help="seconds, for peak memory")
    arguments, options = parser.parse_known_args()
    print(f"{os.cpu_count()} processors, OpenVINO precision auto = {l3embed.load().precision}")
    with tempfile.TemporaryDirectory() as temporary:
        base = Path(temporary)
        if not options:
            speed(arguments.folder, base, arguments.runs)
        for seconds in arguments.lengths:
            memory, wall = peak_memory(seconds, base, *options)
            print(f"recording of {seconds} s: peak memory {memory:.0f} MB, {wall:.1f} s", flush=True)


def speed(folder: Path, base: Path, runs: int) -> None:
    starts = [first_result(folder, base / f"first{i}") for i in range(runs + 1)][1:]
    print(f"process start to first result: median {statistics.median(starts):.2f} s, worst {max(starts):.2f} s")
    cores = str(os.cpu_count())
    for i, options in enumerate((("f32", "1"), ("f32", cores), ("auto", "1"), ("auto", cores), ("auto", cores, "64"))):
        precision, jobs, *batch = options
        more = ["--batch", *batch] if batch else []
        seconds, n = whole_folder(folder, base / f"{i}", "--jobs", jobs, "--precision", precision, *more)
        bare = bare_network(n, precision)
        print(
            f"{precision}, {jobs} jobs, batch {''.join(batch) or 'as usual'}: {n} windows in {seconds:.1f} s "
            f"({n / seconds:.0f}/s, {0.1 * n / seconds:.0f} s of sound per second at hop 0.1); bare network "
            f"{n / bare:.0f}/s, share {bare / seconds:.2f}", flush=True,
        )  # fmt: skip


if __name__ == "__main__":
    main()
