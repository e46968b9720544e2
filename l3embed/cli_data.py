"""`l3embed data ...`: arguments -> one call -> exit code. A part of `cli`."""

from __future__ import annotations

import argparse
import json
import os
import sys

SHOWN = 20  # of what can be a million: the index names all


def add(commands) -> None:
    """The commands `l3embed data ...`."""
    parser = commands.add_parser(
        "data", help="show and check labelled data sets; make, show and check indexes of videos"
    )
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    _add_init(actions)
    for name, run, text in (
        ("show", _show, "what a data set (labels, folds, groups, lengths, rates) or an index of videos holds"),
        (
            "check",
            _check,
            "what is wrong with a data set (files, counts, duplicates, leaks, labels, sound) or an index",
        ),
    ):
        action = actions.add_parser(
            name, help=text, description=f"{text[0].upper()}{text[1:]}. Exit code 1: there is something to mend."
        )
        action.add_argument("data", metavar="DATA", help="FOLDER, NAME=FOLDER, TABLE.csv (docs/data-sets.md), or an "
                            "index that `l3embed data init` made")  # fmt: skip
        action.add_argument("--jobs", type=int, default=os.cpu_count() or 1, metavar="N", help="files read at a time "
                            "(default: one a processor)")  # fmt: skip
        action.add_argument("--json", action="store_true", help="print one machine-readable summary")
        action.add_argument("-q", "--quiet", action="store_true", help="no progress")
        action.set_defaults(run=run)
    action.add_argument("--no-near", action="store_true", help="do not search clips that sound alike (no model is run)")


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


def _is_index(path: str) -> bool:
    """Whether it is an index of videos: its first line is a comment, which no table of labelled clips has."""
    try:
        with open(path, "rb") as file:
            return file.read(1) == b"#"
    except OSError:
        return False


def _show(arguments) -> int:
    if not _is_index(arguments.data):
        return _show_set(arguments)
    from .avc import index

    _report(index.summary(index.read(arguments.data)), arguments)
    return 0


def _show_set(arguments) -> int:
    from probes import datasets
    from probes.data_facts import facts
    from probes.data_show import summary

    data = datasets.read(arguments.data, strict=False)
    with _Progress(arguments.quiet or arguments.json, "file", len({clip.path for clip in data})) as progress:
        table = summary(data, facts(data, arguments.jobs, progress.tick, depth="header"))
    if arguments.json:
        print(json.dumps(table))
        return 1 if table["problems"] else 0
    print(f"{table['name']}: {table['clips']} clips, {len(table['labels'])} labels, {table['groups']} groups, "
          f"{table['hours']:.2f} h, below {table['root']}")  # fmt: skip
    print(f"licence: {table['licence']}; from: {table['source']}; metric: {table['metric']}; rule: {table['rule']}")
    for name in ("seconds", "rates_hz", "channels", "folds", "lists"):
        if table[name]:
            print(f"{name}: {', '.join(f'{key} {value}' for key, value in table[name].items())}")
    _print_some("labels (clips, groups)", [f"{k}: {v['clips']}, {v['groups']}" for k, v in table["labels"].items()], 60)
    for note in table["notes"]:
        print(f"note: {note}")
    if table["left_out"]:
        print(f"{table['left_out']} files or rows are left out: l3embed data check names them")
    _print_problems(table["problems"])
    return 1 if table["problems"] else 0


def _print_problems(problems: dict[str, str]) -> None:
    if problems:
        _print_some(f"{len(problems)} cannot be read", [f"{name}: {why}" for name, why in problems.items()])


def _check_set(arguments) -> int:
    from dataclasses import asdict

    from probes import datasets
    from probes.data_check import check

    data = datasets.read(arguments.data, strict=False)
    with _Progress(arguments.quiet or arguments.json, "file", len({clip.path for clip in data})) as progress:
        found, known = check(data, not arguments.no_near, arguments.jobs, tick=progress.tick)
    problems = [finding for finding in found if finding.problem]
    if arguments.json:
        readable = sum(not fact.problem for fact in known.values())
        print(json.dumps({"name": data.name, "clips": len(data), "readable": readable, "problems": len(problems),
                          "findings": [asdict(finding) for finding in found], "notes": data.notes}))  # fmt: skip
        return 1 if problems else 0
    for title, findings in (("to know", [f for f in found if not f.problem]), ("to mend", problems)):
        for kind in dict.fromkeys(finding.kind for finding in findings):
            of_kind = [finding.text for finding in findings if finding.kind == kind]
            _print_some(f"{title}: {kind} ({len(of_kind)})", of_kind)
    print(f"{data.name}: {len(data)} clips, {len(problems)} problems, {len(found) - len(problems)} things to know")
    return 1 if problems else 0


def _check(arguments) -> int:
    if not _is_index(arguments.data):
        return _check_set(arguments)
    from .avc import index

    found = index.read(arguments.data)
    wrong = index.check(found)
    if arguments.json:
        print(json.dumps({"files": len(found.rows) - len(wrong), "wrong": wrong}))
    else:
        for name, why in wrong.items():
            print(_line(f"{name}: {why}"))
        print(f"{len(found.rows) - len(wrong)} files are there and usable, {len(wrong)} are not: {arguments.data}")
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


def _print_some(title: str, lines: list[str], shown: int = SHOWN) -> None:
    print(f"{title}:")
    for line in lines[:shown]:
        print(f"  {_line(line)}")
    if len(lines) > shown:
        print(f"  and {len(lines) - shown} more: --json has them all")


def _line(text: str) -> str:
    """A file's name may hold anything."""
    return text.replace("\n", "\\n")


class _Progress:
    """A count on a terminal."""

    def __init__(self, quiet: bool, unit: str = "video", total: int | None = None):
        self.bar, self.quiet, self.unit, self.total = None, quiet, unit, total

    def __enter__(self):
        if sys.stderr.isatty() and not self.quiet:
            from tqdm import tqdm

            self.bar = tqdm(unit=self.unit, total=self.total, file=sys.stderr, leave=False)
        return self

    def __exit__(self, *exc):
        if self.bar is not None:
            self.bar.close()

    def tick(self, _=None) -> None:
        if self.bar is not None:
            self.bar.update()
