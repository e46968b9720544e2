"""`l3embed report ...`: arguments -> one call -> exit code. A part of `cli`."""

from __future__ import annotations

import json


def add(commands) -> None:
    """The command `l3embed report`."""
    parser = commands.add_parser(
        "report", help="write the report of probing runs, or compare two", description="Write one page with what "
        "probing runs found, and its tables and plots beside it (needs the probe extra; docs/reports.md). Several runs "
        "are joined. With --diff, say which clips two runs decide differently.",
    )  # fmt: skip
    add = parser.add_argument
    add("runs", nargs="+", metavar="RUN", help="folder of a run of 'l3embed probe' or 'l3embed fewshot'")
    add("-o", "--output", metavar="DIR", help="folder of the report (default: RUN/report, of the first run; of --diff: "
        "none is written)")  # fmt: skip
    add("--diff", action="store_true", help="which clips flipped from the first run to the second, both ways")
    add("--store", metavar="DIR", help="embeddings of the runs, for maps (default: RUN/embeddings)")
    add("--maps", metavar="NAME", nargs="*", help="models whose embeddings are mapped (default: the best of each data "
        "set; without a name: none)")  # fmt: skip
    add("--no-sounds", action="store_true", help="do not put the hardest clips into the page")
    add("--json", action="store_true", help="print one machine-readable summary to standard output")
    parser.set_defaults(run=_report)


def _report(arguments) -> int:
    from .errors import UsageError

    runs = arguments.runs
    if arguments.diff:
        if len(runs) != 2:
            raise UsageError(f"--diff compares two runs. Received: {len(runs)}")
        return _diff(*runs, arguments)
    from probes import report

    page = report.write(runs, arguments.output, store=arguments.store, maps=arguments.maps,
                        sounds=not arguments.no_sounds)  # fmt: skip
    print(json.dumps({"report": str(page), "runs": runs}) if arguments.json else page)
    return 0


def _diff(a: str, b: str, arguments) -> int:
    from probes import report

    found = report.diff(a, b)
    page = report.write_diff(found, arguments.output) if arguments.output else None
    if arguments.json:
        print(json.dumps({**found.as_dict(), "report": page and str(page)}))
    else:
        print("\n".join([*found.lines(), *([str(page)] if page else [])]))
    return 0
