"""How many pairs a second the loader makes: from video files and from prepared clips, with one process and with two.

    python scripts/bench_loader.py FOLDER... [--family l3|l3-small] [--batches 12] [--workers 1 2] [--runs 2]

FOLDERs hold videos. Everything is measured in one run: the clips are prepared first (JPEG, and as plain RGB), then each
way to read them makes the same number of batches, with the paper's sampling (20 open clips, 20 pairs of each on
average). Two rates: `made`, pairs a second of the processes while they work (Loader.pairs_per_s), and `handed over`, to
a consumer that does nothing else; the first batches, while processes start and open their clips, are left out. Beside
them the processor time of a pair, ffmpeg's included, which other programs on the machine do not change much.
"""

import argparse
import contextlib
import itertools
import os
import resource
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from l3embed.avc import loader, pairs, prepare
from l3embed.avc.config import DataConfig, FitConfig, ModelConfig, TrainConfig


def measure(config: TrainConfig, skip: int) -> tuple[float, float]:
    """(made, handed over), pairs a second."""
    with contextlib.closing(loader.Loader(config, config.image_size, True, 0)) as load:
        for number, _ in enumerate(itertools.islice(load, config.fit.steps), 1):
            if number == skip:
                started, before, made_before = time.monotonic(), load.n_pairs, load.made_s
        n_pairs = load.n_pairs - before
        made = n_pairs * config.fit.workers / (load.made_s - made_before)
        return made, n_pairs / (time.monotonic() - started)


def processor_ms(config: TrainConfig, skip: int) -> float:
    """Of one pair, made in this process and in those that it starts."""
    seed = [config.seed, 0, 0]
    draws = pairs.stream(config, pairs.Sources(config, "train"), config.image_size, seed)
    batches = pairs.batches(draws, config, seed)
    for _ in itertools.islice(batches, skip):
        pass
    before = _processor_s()
    for _ in itertools.islice(batches, config.fit.steps - skip):
        pass
    return 1000 * (_processor_s() - before) / (config.fit.steps - skip) / config.fit.batch


def _processor_s() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", nargs="+")
    parser.add_argument("--family", choices=["l3", "l3-small"], default="l3")
    parser.add_argument("--batches", type=int, default=12, help="of 64 pairs, measured")
    parser.add_argument("--skip", type=int, default=6, help="batches before that")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--runs", type=int, default=2, help="of each, in turn; the median counts")
    arguments = parser.parse_args()
    data = DataConfig(videos=tuple(os.path.abspath(folder) for folder in arguments.folder))
    fit = FitConfig(steps=arguments.batches + arguments.skip, epochs=1)
    config = TrainConfig(model=ModelConfig(family=arguments.family), data=data, fit=fit)
    with tempfile.TemporaryDirectory() as folder:
        ways = {"videos": config}
        for frames in ("jpeg", "array"):
            ways[f"prepared, {frames}"] = made = replace(
                config, data=replace(data, prepared=str(Path(folder) / frames), frames=frames)
            )
            started = time.monotonic()
            n_files, failed = prepare.prepare(made, os.cpu_count() or 1)
            size = sum(path.stat().st_size for path in Path(made.data.prepared).iterdir()) / 1e6
            seconds = time.monotonic() - started
            print(f"prepared {n_files} files ({len(failed)} not) as {frames}: {seconds:.1f} s, {size:.0f} MB")
        processor = {name: processor_ms(way, arguments.skip) for name, way in ways.items()}
        found: dict[tuple, list] = {}
        for _ in range(arguments.runs):
            for workers in arguments.workers:
                for name, way in ways.items():
                    way = replace(way, fit=replace(fit, workers=workers))
                    found.setdefault((name, workers), []).append(measure(way, arguments.skip))
    base = {}
    for name, cost in processor.items():
        print(f"{name:16} {cost:6.2f} ms of processor time a pair: {processor['videos'] / cost:.1f}x as many as videos")
    print(f"{'read from':16} processes   made/s  handed over/s   against videos")
    for (name, workers), rates in found.items():
        made, handed = (statistics.median(rate) for rate in zip(*rates, strict=True))
        base.setdefault(workers, handed)
        print(f"{name:16} {workers:9} {made:8.0f} {handed:14.0f} {handed / base[workers]:15.1f}x")


if __name__ == "__main__":
    main()
