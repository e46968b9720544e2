"""`l3embed probe` and `l3embed fewshot`: arguments -> one call -> exit code. A part of `cli`."""

from __future__ import annotations

import argparse
import json
import sys
import time

SHOTS = (1, 2, 5, 10, 20)  # of `fewshot`
_LISTS = ("data", "models", "probes", "protocols", "pooling")  # names, separated by commas or spaces
_GIVEN = (*_LISTS, "shots", "draws", "seed", "failed", "hop", "precision", "device", "output", "store", "jobs",
          "memory", "scheduler")  # fmt: skip


def add(commands) -> None:
    """The commands `l3embed probe` and `l3embed fewshot`."""
    probe = commands.add_parser(
        "probe", help="compare models on labelled recordings", description="Embed labelled data sets with several "
        "models, put probes on the embeddings, and write the results and a report into a folder. What is done is not "
        "done again: a run that was killed goes on (needs the probe extra; docs/probing.md).",
    )  # fmt: skip
    _add_arguments(probe)
    probe.add_argument("--demo", action="store_true", help="run the whole path on small data made on the spot")
    probe.set_defaults(run=_probe, few=False)
    few = commands.add_parser(
        "fewshot", help="compare models that learn from a few clips a class", description="As 'l3embed probe' with "
        f"--shots (default: {', '.join(map(str, SHOTS))} clips a class), and without learning from all clips.",
    )  # fmt: skip
    _add_arguments(few)
    few.set_defaults(run=_probe, few=True, demo=False)


def _add_arguments(parser) -> None:
    add = parser.add_argument
    add("config", nargs="?", metavar="RUN.toml", help="settings of the run; options on the command line replace them")
    add("--data", nargs="+", metavar="[NAME=]PATH", help="data sets: folders or tables (docs/data-sets.md)")
    add("--models", nargs="+", metavar="NAME", help="shipped or published models, cards, NAME=WEIGHTS, "
        "random:NAME:SEED, mfcc, log-mel; separated by commas or spaces")  # fmt: skip
    add("--probes", nargs="+", metavar="NAME", help="linear, svm, knn, mlp, prototype ... (default: linear)")
    add("--protocol", dest="protocols", nargs="+", metavar="NAME", help="default: nested; docs/protocols.md has all")
    add("--pooling", nargs="+", metavar="NAME", help="mean, max, mean+max, mean+std (default: mean+max)")
    add("--shots", metavar="N,N", type=_numbers, help="learn from so many clips a class, too")
    add("--draws", type=int, metavar="N", help="of these clips, for each number of them (default: 10)")
    add("--seed", type=int, metavar="N", help="of everything that is drawn (default: 0)")
    add("--failed", choices=["wrong", "exclude"], help="what becomes of a clip that a model fails on: counted as wrong "
        "for that model (default), or excluded for all models")  # fmt: skip
    add("--hop", type=float, metavar="S", help="seconds between windows (default: each model's own)")
    add("--precision", choices=["auto", "f32", "bf16", "int8"], help="of the models (default: auto)")
    add("--device", choices=["cpu", "gpu"], help="of the models; gpu: an NVIDIA device, through Keras (default: cpu)")
    add("-o", "--output", metavar="RUN", help="folder of the run (default: ./probe-run)")
    add("--store", metavar="DIR", help="embeddings, to be shared by runs (default: RUN/embeddings)")
    add("--jobs", type=int, metavar="N", help="processes (default: one a processor)")
    add("--memory", metavar="SIZE", help="of vectors held at a time; more are read from the disk (default: 2GB)")
    add("--scheduler", metavar="ADDRESS", help="of a Dask cluster that does the jobs (needs the dask extra)")
    add("--extend", action="store_true", help="add data, models, probes, protocols or shots to the run that is there")
    add("--no-report", action="store_true", help="results only")
    add("--json", action="store_true", help="print one machine-readable summary")
    add("-q", "--quiet", action="store_true", help="no progress")


def _numbers(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",") if part]
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be whole numbers, separated by commas. Received: {text}") from None


def _probe(arguments) -> int:
    from .errors import MissingExtraError

    try:
        from probes import run
    except ModuleNotFoundError as error:  # scikit-learn, SciPy or PyArrow
        raise MissingExtraError("probing", "probe") from error
    started = time.monotonic()
    settings = _settings(arguments)
    with _Progress(quiet=arguments.quiet or arguments.json) as progress:
        summary = run.run(settings, progress)
        report = None if arguments.no_report else _report(summary.folder, settings.store_folder, progress)
    _print(summary, report, time.monotonic() - started, arguments.json)
    return 1 if summary.failed or summary.failed_clips else 0


def _settings(arguments):
    """Of the TOML file, with what the command line says in its place."""
    from dataclasses import replace

    from probes import config, demo

    from .errors import UsageError

    given = {name: getattr(arguments, name) for name in _GIVEN if getattr(arguments, name) is not None}
    for name in _LISTS:
        if name in given:
            given[name] = [part for text in given[name] for part in (text.split(",") if name != "data" else [text])
                           if part]  # fmt: skip
    if arguments.demo:
        if arguments.config or {"data", "models"} & given.keys():
            raise UsageError("--demo brings its own data and models: leave RUN.toml, --data and --models out")
        there = demo.settings(given.pop("output", "probe-demo"), given.get("seed", 0))
        new = config.parse(given, "l3embed probe", whole=False)
        return config.checked(replace(there, **{name: getattr(new, name) for name in given}), "l3embed probe --demo")
    given |= {"extend": True} if arguments.extend else {}
    there = config.read(arguments.config) if arguments.config else config.Settings()
    if arguments.few:
        given |= {"full": False, **({} if there.shots or "shots" in given else {"shots": list(SHOTS)})}
    new = config.parse(given, "l3embed probe", whole=False)
    merged = replace(there, **{name: getattr(new, name) for name in given})
    return config.checked(merged, arguments.config or "l3embed probe")


def _report(folder, store, progress):
    """The report's path; None where there can be none, and why is said."""
    from .errors import L3EmbedError

    try:
        from probes import report

        return report.write(folder, store=store)
    except (L3EmbedError, ModuleNotFoundError) as error:
        progress.say(f"no report: {error}; later: l3embed report {folder}")
        return None


def _print(summary, report, wall_s: float, as_json: bool) -> None:
    from probes import overview

    n_failed = len(summary.failed)
    if as_json:
        failed = [
            {"model": model, "data": data, "clips": clips} for (model, data), clips in summary.failed_clips.items()
        ]
        table = {"run": str(summary.folder), "report": report and str(report), "jobs": len(summary.jobs),
                 "done_before": summary.n_done_before, "wall_s": round(wall_s, 3), "skipped": summary.skipped,
                 "failed": [{k: job[k] for k in ("data", "model", "probe", "protocol", "pooling", "shots", "error")}
                            for job in summary.failed], "failed_clips": failed}  # fmt: skip
        print(json.dumps(table))
        return
    for line in overview.lines(summary.folder, summary.jobs):
        print(line)
    for line in summary.skipped:
        print(line)
    before = f", {summary.n_done_before} of them before" if summary.n_done_before else ""
    print(f"{len(summary.jobs) - n_failed} jobs done{before}, {n_failed} failed, in {wall_s:.1f} s: {summary.folder}")
    for job in summary.failed:
        print(f"  failed: {job['data']}, {job['model']}, {job['probe']}, {job['protocol']}: {job['error']}")
    for (model, data), clips in summary.failed_clips.items():
        print(f"  {model} failed on {len(clips)} of the clips of {data}: costs/ and the report name them")
    print(f"report: {report}" if report else f"no report yet: l3embed report {summary.folder}")


class _Progress:
    """A bar for each stage on a terminal, with the time that is left; lines elsewhere."""

    def __init__(self, quiet: bool):
        self.bar, self.quiet = None, quiet
        self.draws = sys.stderr.isatty() and not quiet

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        if self.bar is not None:
            self.bar.close()

    def start(self, what: str, n: int):
        self.__exit__()
        if not self.draws:
            if not self.quiet and n:
                print(f"{what}: {n}", file=sys.stderr)
            return lambda: None
        from tqdm import tqdm

        self.bar = tqdm(total=n, desc=what, file=sys.stderr, leave=False)
        return self.bar.update

    def say(self, line: str) -> None:
        if self.bar is not None:
            self.bar.write(line, file=sys.stderr)
        else:
            print(line, file=sys.stderr)
