"""Peak memory of probes on a store that is larger than the memory allowed.

    python scripts/bench_probe_memory.py [--limit 100MB] [--times 10] [--probes linear knn mlp mlp-windows] [--dim 512]

Makes a store of random vectors (a class is a shift of a few numbers), `times` as large as the limit, and runs each
probe in a process of its own, by the same calls that `l3embed probe` makes. Prints what the process had taken at most
beyond what it takes with a data set of a few clips: `own` is memory of its own (anonymous), `all` counts pages of the
store's files that happen to be mapped, which the system takes back when it needs them. Linux only.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

from l3embed import store, windows
from l3embed.store import layout
from probes import datasets, estimators, features, protocols

WINDOWS, HOP, RATE_HZ, CLASSES, FOLDS = 47, 3200, 32_000, 4, 3  # 5 s at a hop of 0.1 s, as a clip of ESC-10
SHIFTED, SHIFT = 8, 0.3  # numbers that tell a class, by how much


def main() -> None:
    arguments = _arguments()
    if arguments.child:
        print(json.dumps(_measure(arguments)))
        return
    limit = features.memory_bytes(arguments.limit)
    n = int(arguments.times * limit / (WINDOWS * arguments.dim * 4))
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        for name, size in (("few", 30), ("many", n)):
            _make(Path(folder) / name, size, arguments.dim)
        mb = n * WINDOWS * arguments.dim * 4 / 1e6
        pooled = f"{n * 2 * arguments.dim * 4 / 1e6:.0f} MB pooled (mean+max)"
        print(f"{n} clips of {WINDOWS} x {arguments.dim}: {mb:.0f} MB, {pooled}, limit {limit / 1e6:.0f} MB; all in MB")
        print(_line("probe", "input", "accuracy", "seconds", "few: own", "own", "beyond", "all"))
        for probe in arguments.probes:
            few, many = (_child(arguments, Path(folder) / name, probe) for name in ("few", "many"))
            figures = (
                many["accuracy"],
                many["seconds"],
                few["own"],
                many["own"],
                many["own"] - few["own"],
                many["all"],
            )
            print(_line(probe, estimators.PROBES[probe].input, *(f"{x:.0f}" for x in figures)), flush=True)


def _line(probe: str, input: str, *figures: str) -> str:
    return f"{probe:18} {input:8} " + " ".join(f"{text:>8}" for text in figures)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--limit", default="100MB")
    parser.add_argument("--times", type=float, default=10, help="size of the store in limits")
    parser.add_argument("--probes", nargs="+", default=["linear", "knn", "mlp", "mlp-windows"])
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--folder", help="where the store is made, for the time being")
    parser.add_argument("--child", nargs=2, metavar=("FOLDER", "PROBE"), help=argparse.SUPPRESS)
    return parser.parse_args()


def _label(i: int) -> int:
    return i % CLASSES


def _make(folder: Path, n: int, dim: int) -> None:
    recipe = {"model": "random", "hop_samples": HOP, "rate_hz": RATE_HZ, "hop_s": HOP / RATE_HZ, "precision": "f32"}
    times_s = windows.times(WINDOWS, HOP, RATE_HZ)
    with store.CorpusWriter(folder, recipe) as out:
        for i in range(n):
            rng = np.random.default_rng(i)
            vectors = rng.standard_normal((WINDOWS, dim), np.float32)
            at = SHIFTED * _label(i)
            vectors[:, at : at + SHIFTED] += SHIFT
            item = _Item(f"{i:07}")
            writer = out.writer(item)
            writer.append(vectors)
            writer.commit(times_s, {**recipe, **out.identity(item), "seconds": 5.0, "notes": []})
            out.settle()


class _Item:
    """A recording as the store asks for it; its bytes are its number."""

    output = ""

    def __init__(self, name: str):
        self.name, self.recording = name, name.encode()


def _child(arguments, folder: Path, probe: str) -> dict:
    call = [sys.executable, __file__, "--limit", arguments.limit, "--dim", str(arguments.dim), "--child", str(folder)]
    done = subprocess.run([*call, probe], stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def _measure(arguments) -> dict:
    folder, probe = Path(arguments.child[0]), arguments.child[1]
    corpus = store.open(folder)
    ids, key = corpus.clips, layout.keys(folder)[0]
    del corpus
    clips = [datasets.Clip(Path(id), str(_label(int(id))), str(int(id) % FOLDS), id=id) for id in ids]
    data = datasets.DataSet("random", folder, tuple(clips), "folds", "accuracy", "", "")
    found = features.Features(
        "random",
        folder,
        key,
        ids,
        arguments.dim,
        np.full(len(ids), WINDOWS),
        {},
        features.memory_bytes(arguments.limit),
    )
    peak, started = _Peak(), time.monotonic()
    with peak:
        outcome = protocols.evaluate("nested", probe, found, data, seed=0, jobs=1)
    right = [outcome.classes[p] == clips[r].label for p, r in zip(outcome.predicted, outcome.row, strict=True)]
    accuracy = 100 * float(np.mean(right))
    return {"own": peak.own / 1e3, "all": peak.all / 1e3, "accuracy": accuracy, "seconds": time.monotonic() - started}


class _Peak:
    """kB: the largest RssAnon seen, every 5 ms, and VmHWM, which the system counts itself."""

    def __enter__(self):
        self.own, self.all, self._going = 0, 0, True
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def _watch(self) -> None:
        while self._going:
            self.own = max(self.own, _status("RssAnon"))
            time.sleep(0.005)

    def __exit__(self, *exc):
        self._going = False
        self._thread.join()
        self.all = _status("VmHWM")


def _status(name: str) -> int:
    with open("/proc/self/status", encoding="ascii") as file:
        return next(int(line.split()[1]) for line in file if line.startswith(f"{name}:"))


if __name__ == "__main__":
    main()
