"""`l3embed data ...`: arguments -> one call -> exit code. A part of `cli`."""

from __future__ import annotations

import argparse
import json
import os
import sys

SHOWN = 20  # of what can be a million: the index names all


def add(commands) -> None:
    """The commands `l3embed data ...`."""
    parser = commands.add_parser("data", help="make, show and check the index of a folder of videos")
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    _add_init(actions)
    for name, run, text in (
        ("show", _show, "what an index holds: parts, hours, labels, and what cannot be used"),
        ("check", _check, "compare an index with the files: names each one that is gone, changed or unusable"),
    ):
        action = actions.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        action.add_argument("index", metavar="INDEX")
        action.add_argument("--json", action="store_true", help="print one machine-readable summary")
        action.set_defaults(run=run)


def _add_init(actions) -> None:
    action = actions.add_parser(
        "init", help="look at a folder of videos, split it by video, and write its index",
        description="Decode every video of a folder once, split the usable ones by video into train, held_out and "
        "test, and write an index. Exit code 1: some are missing or cannot be used; the index names each with its "
        "reason.",
    )  # fmt: skip
    add = action.add_argument
    add("folder", metavar="FOLDER", help="searched recursively")
    add("-o", "--output", metavar="INDEX", default="index.csv", help="the index to write (default: index.csv)")
    add("--segments", metavar="CSV", nargs="+", default=[], help="AudioSet's segment files: only their videos count")
    add("--ontology", metavar="JSON", help="AudioSet's ontology.json: names and kinship of labels")
    add("--subset", metavar="WHICH", nargs="+", default=[], help="with --segments: music, environmental, labels (with "
        "all below them), or a filter table (.csv)")  # fmt: skip
    add("--labels", metavar="CSV", help="labels of the videos: columns path and label, and group where several videos "
        "belong together")  # fmt: skip
    add("--seed", type=int, help="of the split (default: that of the published training jobs)")
    add("--held-out", type=_share, metavar="SHARE", help="share of the videos to validate on (default: 0.1)")
    add("--test", type=_share, metavar="SHARE", help="share of the videos to test on (default: 0.1)")
    add("--jobs", type=int, default=os.cpu_count() or 1, metavar="N", help="videos looked at at a time (default: one a "
        "processor)")  # fmt: skip
    add("--overwrite", action="store_true", help="replace an index, split and all")
    add("--json", action="store_true", help="print one machine-readable summary")
    add("-q", "--quiet", action="store_true", help="no progress")
    action.set_defaults(run=_init)


def _share(text: str) -> float:
    if not 0 <= (value := float(text)) < 0.5:
        raise argparse.ArgumentTypeError(f"must be from 0 to below 0.5. Received: {text}")
    return value


def _init(arguments) -> int:
    from .avc import index, survey
    from .errors import UsageError

    if os.path.lexists(arguments.output) and not arguments.overwrite:
        raise UsageError(f"{arguments.output}: is there already, and its split with it: name another file with -o, or "
                         "give --overwrite")  # fmt: skip
    settings = {name: getattr(arguments, name) for name in ("seed", "held_out", "test", "ontology", "labels")}
    wanted = survey.Wanted(
        tuple(arguments.segments), subset=tuple(arguments.subset),
        **{name: value for name, value in settings.items() if value is not None},
    )  # fmt: skip
    with _Progress(quiet=arguments.quiet or arguments.json) as progress:
        found = survey.init(arguments.folder, arguments.output, wanted, arguments.jobs, progress.tick)
    return _report(index.summary(found), arguments)


def prepare(arguments) -> int:
    """`l3embed train CONFIG --prepare`."""
    from .avc import config, prepare

    chosen = config.read(arguments.config)
    with _Progress(quiet=arguments.quiet) as progress:
        n_files, failed = prepare.prepare(chosen, arguments.jobs, progress.tick)
    for name, why in failed.items():
        print(f"{name}: left out: {why}", file=sys.stderr)
    print(f"{n_files} files prepared, {len(failed)} cannot be used: {chosen.data.prepared}")
    return 1 if failed else 0


def _show(arguments) -> int:
    from .avc import index

    _report(index.summary(index.read(arguments.index)), arguments)
    return 0


def _check(arguments) -> int:
    from .avc import index

    found = index.read(arguments.index)
    wrong = index.check(found)
    if arguments.json:
        print(json.dumps({"files": len(found.rows) - len(wrong), "wrong": wrong}))
    else:
        for name, why in wrong.items():
            print(_line(f"{name}: {why}"))
        print(f"{len(found.rows) - len(wrong)} files are there and usable, {len(wrong)} are not: {arguments.index}")
    return 1 if wrong else 0


def _report(table: dict, arguments) -> int:
    if arguments.json:
        print(json.dumps(table))
        return 1 if table["problems"] else 0
    parts = ", ".join(f"{name} {part['videos']}" for name, part in table["parts"].items())
    print(f"{table['videos']} videos in {table['files']} files, {table['hours']:.2f} h, below {table['root']}")
    print(f"parts (videos): {parts}; seed {table['about'].get('seed')}")
    for key in ("segments", "subset", "unknown_labels"):
        if table["about"].get(key):
            print(f"{key.replace('_', ' ')}: {', '.join(table['about'][key])}")
    if table["labels"]:
        _print_some("labels", [f"{label}: {n}" for label, n in table["labels"].items()])
    for title, key in (("to know", "notes"), ("missing or of no use", "problems")):
        if table[key]:
            _print_some(f"{len(table[key])} {title}", [f"{name}: {why}" for name, why in table[key].items()])
    return 1 if table["problems"] else 0


def _print_some(title: str, lines: list[str]) -> None:
    print(f"{title}:")
    for line in lines[:SHOWN]:
        print(f"  {_line(line)}")
    if len(lines) > SHOWN:
        print(f"  and {len(lines) - SHOWN} more: the index has them all")


def _line(text: str) -> str:
    """A file's name may hold anything."""
    return text.replace("\n", "\\n")


class _Progress:
    """A count on a terminal."""

    def __init__(self, quiet: bool):
        self.bar, self.quiet = None, quiet

    def __enter__(self):
        if sys.stderr.isatty() and not self.quiet:
            from tqdm import tqdm

            self.bar = tqdm(unit="video", file=sys.stderr, leave=False)
        return self

    def __exit__(self, *exc):
        if self.bar is not None:
            self.bar.close()

    def tick(self, _) -> None:
        if self.bar is not None:
            self.bar.update()
