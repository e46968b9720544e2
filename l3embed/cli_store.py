"""`l3embed store ...`: arguments -> one call for each key -> exit code. A part of `cli`."""

from __future__ import annotations

import json


def add(commands) -> None:
    """The commands `l3embed store ...`."""
    parser = commands.add_parser("store", help="show, check, compact, clean and export a store of embeddings")
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    for name, run, text in (
        ("show", _show, "what a store holds, and what failed"),
        ("verify", _verify, "check every byte; names what is wrong"),
        ("compact", _compact, "merge small files, drop what has been superseded"),
        ("gc", _gc, "remove files that nothing refers to"),
        ("export", _export, "write the vectors as .npz, Parquet or NumPy files"),
    ):
        action = actions.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        action.add_argument("store", metavar="DIR")
        action.add_argument("--key", metavar="KEY", help="only this key, or its beginning, where there are several")
        action.add_argument("--json", action="store_true", help="print one machine-readable summary")
        action.set_defaults(run=run)
    action.add_argument("--to", choices=["npz", "parquet", "numpy"], required=True)
    action.add_argument("-o", "--output", metavar="DIR", required=True)
    action.add_argument("--pool", metavar="POOLING", help="one vector a recording: mean, max, mean+max or mean+std")


def _show(arguments) -> int:
    from .store import layout, maintenance

    found = {f.name: maintenance.show(f.parent, f.name) for f in maintenance.folders(arguments.store, arguments.key)}
    for key, table in found.items() if not arguments.json else ():
        print(f"{key}: {layout.describe(table['recipe'])}")
        print(f"  {table['recordings']} recordings, {table['sound_s']:.1f} s of sound, {table['vectors']} vectors of "
              f"{table['dim']} numbers, {table['bytes'] / 1e6:.1f} MB in {table['shards']} shards and "
              f"{table['parts']} manifest parts, {len(table['failed'])} failed")  # fmt: skip
        for clip, error in table["failed"].items():
            print(f"  failed: {clip}: {error}")
    if arguments.json:
        print(json.dumps(found))
    return 0


def _verify(arguments) -> int:
    from .store import maintenance

    wrong = [s for f in maintenance.folders(arguments.store, arguments.key) for s in maintenance.verify(f)]
    print(json.dumps({"wrong": wrong}) if arguments.json else "\n".join(wrong) or "nothing is wrong")
    return 1 if wrong else 0


def _compact(arguments) -> int:
    from .store import maintenance

    done = {f.name: maintenance.compact(f) for f in maintenance.folders(arguments.store, arguments.key)}
    for key, table in done.items() if not arguments.json else ():
        before, after = table["before"], table["after"]
        print(f"{key}: " + ", ".join(f"{before[name]} -> {after[name]} {name}" for name in before))
    if arguments.json:
        print(json.dumps(done))
    return 0


def _gc(arguments) -> int:
    from .store import maintenance

    done = {f.name: maintenance.gc(f) for f in maintenance.folders(arguments.store, arguments.key)}
    for key, (n, size) in done.items() if not arguments.json else ():
        print(f"{key}: {n} files removed, {size} bytes")
    if arguments.json:
        print(json.dumps({key: {"files": n, "bytes": size} for key, (n, size) in done.items()}))
    return 0


def _export(arguments) -> int:
    from . import store
    from .store import export

    corpus = store.open(arguments.store, arguments.key)
    written = export.export(corpus, arguments.to, arguments.output, arguments.pool)
    if arguments.json:
        print(json.dumps({"recordings": len(corpus), "files": [str(path) for path in written]}))
    else:
        print(f"{len(corpus)} recordings in {len(written)} files: {arguments.output}")
    return 0
