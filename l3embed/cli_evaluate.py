"""`l3embed evaluate`: arguments -> one call -> exit code. A part of `cli`."""

from __future__ import annotations

import json


def add(commands) -> None:
    """The command `l3embed evaluate`."""
    parser = commands.add_parser(
        "evaluate", help="correspondence accuracy of trained runs on held-out videos", description="Correspondence "
        "accuracy of trained runs on held-out videos, within and across domains: a row for each run, a column for each "
        "domain. Every run is asked about the same seconds and pictures (needs the train extra).",
    )  # fmt: skip
    add = parser.add_argument
    add("runs", nargs="+", metavar="RUN", help="folder of a run, or one of its model folders (best, model, at-...)")
    add("--data", nargs="+", metavar="[NAME=]PATH", help="domains: folders of videos, of sound, or of prepared "
        "clips, or indices made by 'l3embed data' (default: what the runs were trained on)")  # fmt: skip
    add("--split", choices=["train", "held_out", "test"], help="part of the data (default: test where there is an "
        "index, held_out elsewhere)")  # fmt: skip
    add("--seed", type=int, default=0, help="of the seconds, pictures and mismatches that are asked about")
    add("--moments", type=int, default=10, metavar="N", help="seconds of each video (default: 10)")
    add("--most", type=int, default=1000, metavar="N", help="videos of a domain (default: 1000)")
    add("--jobs", type=int, default=2, metavar="N", help="videos decoded at a time")
    add("--json", action="store_true", help="print one machine-readable summary")
    parser.set_defaults(run=_evaluate)


def _evaluate(arguments) -> int:
    from .avc import evaluate

    domains = [evaluate.domain(text) for text in arguments.data or ()]
    runs = evaluate.restored(arguments.runs)
    rows = evaluate.evaluate(
        runs, domains or evaluate.own_domains(runs), split=arguments.split, seed=arguments.seed,
        moments=arguments.moments, most=arguments.most, jobs=arguments.jobs,
    )  # fmt: skip
    print(json.dumps({"rows": rows}) if arguments.json else evaluate.table(rows))
    return 1 if any(row["left_out"] for row in rows) else 0
