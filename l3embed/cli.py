"""The command line: arguments -> one call -> exit code (0 all done, 1 some inputs failed, 2 usage, 130 interrupted).

No logic lives here. Results go to standard output; progress, warnings and failures to standard error.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import sys
import time
from pathlib import Path

from . import __version__, cli_store
from .errors import L3EmbedError, UsageError, reason

OK, SOME_FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130


def command() -> None:
    """The command as a process: `main`, then the end of everything."""
    code = main()
    if code == INTERRUPTED:  # other threads are still inside OpenVINO: an orderly end would abort there
        os._exit(code)
    sys.exit(code)


def main(argv: list[str] | None = None) -> int:
    """Run a command; returns its exit code."""
    # Before NumPy is loaded: its own threads wait actively and take the cores from recordings and network (the same
    # folder took 10.0 s with them, 6.8 s without; scripts/bench_extract.py).
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    _open_streams()
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # file names that are not UTF-8 can be printed too
            stream.reconfigure(errors="backslashreplace")
    arguments = _parser().parse_args(argv)
    try:
        code = arguments.run(arguments)
        print(end="", flush=True)  # now, while it can still be told that nobody reads it or the disk is full
        return code
    except BrokenPipeError:  # as in `| head -1`: nobody wants to read more
        _drop_output()
        return SOME_FAILED
    except (L3EmbedError, OSError) as error:
        code = USAGE if isinstance(error, UsageError) else SOME_FAILED
        return _complain(error, code, as_json=getattr(arguments, "json", False))
    except KeyboardInterrupt:
        print("l3embed: interrupted; run the same command again to go on", file=sys.stderr)
        return INTERRUPTED


def _open_streams() -> None:
    """Streams that were closed before the start (`<&-`, some schedulers) lead nowhere, as with /dev/null."""
    sys.stdin = sys.stdin or open(os.devnull)
    sys.stdout = sys.stdout or open(os.devnull, "w")
    sys.stderr = sys.stderr or open(os.devnull, "w")


def _drop_output() -> None:
    """Where standard output takes no more, the interpreter's end would complain about it again."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _complain(error: Exception, code: int, as_json: bool) -> int:
    name = getattr(error, "filename", None)
    text = f"{f'{name}: ' if name else ''}{reason(error)}"
    print(f"l3embed: {text}", file=sys.stderr)
    _drop_output()
    if as_json:
        print(json.dumps({"error": text}))
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("l3embed", description="Embeddings of sound with L3-Net.")
    parser.add_argument("--version", action="version", version=f"l3embed {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    _add_extract(commands)
    _add_models(commands)
    _add_train(commands)
    cli_store.add(commands)
    return parser


# --- extract


def _add_extract(commands) -> None:
    parser = commands.add_parser(
        "extract", help="embed recordings", description="Embed recordings: one .npz for each, with the keys embedding "
        "(T, D), timestamps (T,) in seconds, and metadata. What is done with the same settings is skipped.",
    )  # fmt: skip
    add = parser.add_argument
    add("input", nargs="+", metavar="INPUT", help="folder (recursive), file, glob, text file of paths, or - for stdin")
    add("-o", "--output", metavar="DIR", default="embeddings", help="folder of the results (default: ./embeddings)")
    add("--model", metavar="NAME", help="shipped or published model, or path of a card (default: the shipped model)")
    add("--weights", metavar="FILE", help="weights for the model, in place of its own")
    add("--front-end", metavar="NAME", help="OpenL3 models: training, openl3-0.4-kapre or openl3-0.4-librosa")
    add("--hop", type=float, default=0.1, metavar="S", help="seconds between windows (default: 0.1)")
    add("--center", action=argparse.BooleanOptionalAction, default=True, help="centre windows on their time stamps")
    add("--precision", choices=["auto", "f32", "bf16"], default="auto", help="auto: bf16 where the processor has it")
    add(
        "--format",
        choices=["npz", "store"],
        default="npz",
        help="npz: a file for each recording; store: shards and a manifest, for corpora (needs the store extra)",
    )
    add("--dtype", choices=["float32", "float16"], default="float32", help="of the vectors in a store")
    add("--batch", type=int, default=16, metavar="N", help="windows computed at a time (default: 16)")
    add("--jobs", type=int, default=os.cpu_count() or 1, metavar="N",
        help="recordings worked on at a time (default: one a processor)")  # fmt: skip
    add("--overwrite", action="store_true", help="compute again what is done")
    add("--json", action="store_true", help="print one machine-readable summary to standard output")
    add("-q", "--quiet", action="store_true", help="no progress")
    parser.set_defaults(run=_extract)


def _extract(arguments) -> int:
    from . import embed, extract, plan

    started = time.monotonic()
    model = embed.load(
        arguments.model, weights_file=arguments.weights, front_end=arguments.front_end,
        precision=arguments.precision, batch=arguments.batch,
    )  # fmt: skip
    model.recipe(arguments.hop, arguments.center)  # a wrong setting ends here, before anything is made
    found = plan.plan(arguments.input, sys.stdin.buffer)
    folder = Path(arguments.output)
    summary = extract.Summary(keep_results=arguments.json)
    with _Progress(found.items, quiet=arguments.quiet or arguments.json) as progress:
        refused = (extract.Result(name, None, error=why) for name, why in found.failures)
        results = extract.extract(
            model, found.items, folder, hop=arguments.hop, center=arguments.center, jobs=arguments.jobs,
            overwrite=arguments.overwrite, tick=progress.tick, format=arguments.format, dtype=arguments.dtype,
        )  # fmt: skip
        for result in itertools.chain(refused, results):
            summary.add(result)
            progress.done(result)
            _report(result, progress)
    total = summary.as_dict(time.monotonic() - started)
    if arguments.json:
        print(json.dumps(total))
    else:
        _print_summary(total, folder, found.n_ignored)
    return SOME_FAILED if total["failed"] else OK


def _report(result, progress) -> None:
    for note in result.notes:
        progress.say(f"{result.source}: warning: {note}")
    if result.error:
        progress.say(f"{result.source}: failed: {result.error}")


def _print_summary(total: dict, folder: Path, n_ignored: int) -> None:
    parts = [f"{total['done']} embedded ({total['windows']} windows, {total['sound_s']:.1f} s of sound)"]
    if total["skipped"]:
        parts.append(f"{total['skipped']} done before")
    if total["failed"]:
        parts.append(f"{len(total['failed'])} failed")
    if n_ignored:
        parts.append(f"{n_ignored} other files ignored")
    speed = f", {total['sound_s_per_s']:.0f} s of sound per second" if total["done"] else ""
    print(f"{', '.join(parts)} in {total['wall_s']:.1f} s{speed}: {folder}")
    if total["failed"]:
        print("failed:")
        for failure in total["failed"]:
            print(f"  {failure['source']}: {failure['error']}")


class _Progress:
    """A bar on a terminal: bytes of recordings done, time left, speed against real time.

    Sound counts as bytes by what its recording's header promises, until the recording is done.
    """

    def __init__(self, items, quiet: bool):
        self.sizes = {item.source: _size(item.source) for item in items} if sys.stderr.isatty() and not quiet else {}
        self.seconds, self.started, self.bar = 0.0, time.monotonic(), None
        self.shown: dict[str, int] = {}  # bytes of the recordings under way

    def __enter__(self):
        if self.sizes:
            from tqdm import tqdm

            total = sum(self.sizes.values())  # miniters 0: speed and time left are shown anew without a byte done
            self.bar = tqdm(total=total, unit="B", unit_scale=True, file=sys.stderr, leave=False, miniters=0)
        return self

    def __exit__(self, *exc):
        if self.bar is not None:
            self.bar.close()

    def say(self, line: str) -> None:
        if self.bar is not None:
            self.bar.write(line, file=sys.stderr)
        else:
            print(line, file=sys.stderr)

    def tick(self, source: str, seconds: float, expected_s: float | None) -> None:
        self.seconds += seconds
        if self.bar is not None:
            elapsed = max(time.monotonic() - self.started, 1e-9)
            self.bar.set_postfix_str(f"{self.seconds / elapsed:.0f}x real time", refresh=False)
            size, before = self.sizes.get(source, 0), self.shown.get(source, 0)
            self.shown[source] = min(size, before + int(size * seconds / expected_s)) if expected_s else before
            self.bar.update(self.shown[source] - before)

    def done(self, result) -> None:
        if self.bar is not None:
            self.bar.update(self.sizes.get(result.source, 0) - self.shown.pop(result.source, 0))


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except OSError:
        return 0


# --- models


def _add_models(commands) -> None:
    parser = commands.add_parser("models", help="list and show models, convert weights")
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    actions.add_parser("list", help="names of the models that ship").set_defaults(run=_models_list)
    show = actions.add_parser("show", help="print a model's card")
    show.add_argument("name", nargs="?", help="name, or path of a card (default: the shipped model)")
    show.set_defaults(run=_models_show)
    convert = actions.add_parser("convert", help="make the graph of a card from its weights (needs the train extra)")
    convert.add_argument("card", help="path of a card or of the folder that holds it")
    convert.set_defaults(run=_models_convert)


def _models_list(arguments) -> int:
    from . import weights

    for name in weights.available():
        default = "  (default)" if name == weights.DEFAULT else ""
        print(f"{name}{default}  {weights.card(name).table.get('description', '')}".rstrip())
    return OK


def _models_show(arguments) -> int:
    from . import weights

    print(weights.card(arguments.name).path.read_text(encoding="utf-8"), end="")
    return OK


def _models_convert(arguments) -> int:
    from . import weights

    print(weights.add_graph(weights.card(arguments.card)).path)
    return OK


# --- train


def _add_train(commands) -> None:
    parser = commands.add_parser(
        "train", help="train a model on correspondence", description="Train a model on audio-visual correspondence. "
        "A run that was stopped goes on from its last checkpoint when the same command is given again.",
    )  # fmt: skip
    parser.add_argument("config", metavar="CONFIG.toml")
    parser.add_argument("-q", "--quiet", action="store_true", help="no progress")
    parser.set_defaults(run=_train)


def _train(arguments) -> int:
    from .avc import config, train

    folder = train.train(config.read(arguments.config), progress=not arguments.quiet)
    print(folder)
    return OK
