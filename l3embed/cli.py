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

from . import __version__, cli_data, cli_evaluate, cli_probe, cli_report, cli_serve, cli_store
from .errors import L3EmbedError, UsageError, reason

OK, SOME_FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130
_GRID_HOP_S = 0.1  # of aligned pictures without sound


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
    parser = argparse.ArgumentParser("l3embed", description="Embeddings of sound and pictures with L3-Net.")
    parser.add_argument("--version", action="version", version=f"l3embed {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    _add_extract(commands)
    _add_models(commands)
    _add_train(commands)
    cli_data.add(commands)
    cli_evaluate.add(commands)
    cli_store.add(commands)
    cli_serve.add(commands)
    cli_probe.add(commands)
    cli_report.add(commands)
    return parser


# --- extract


def _add_extract(commands) -> None:
    parser = commands.add_parser(
        "extract", help="embed recordings, videos and pictures", description="Embed recordings, videos and pictures: "
        "one .npz for each, with the keys embedding (T, D), timestamps (T,) in seconds, and metadata. What is done "
        "with the same settings is skipped.",
    )  # fmt: skip
    add = parser.add_argument
    add("input", nargs="+", metavar="INPUT", help="folder (recursive), file, glob, text file of paths, or - for stdin")
    add("-o", "--output", metavar="DIR", default="embeddings", help="folder of the results (default: ./embeddings)")
    add("--model", metavar="NAME", help="shipped or published model, or path of a card (default: the shipped model)")
    add("--weights", metavar="FILE", action="append", help="weights for the model, in place of its own; again for each "
        "further file that belongs to them")  # fmt: skip
    add("--front-end", metavar="NAME", help="OpenL3's: training, kapre-0.1.4, openl3-0.4-kapre, openl3-0.4-librosa; of "
        "pictures: training, openl3-0.4")  # fmt: skip
    add("--image-model", metavar="NAME", help="a second model, for the pictures of videos (and for pictures): results "
        "are called NAME_audio.npz and NAME_image.npz (docs/video.md)")  # fmt: skip
    add("--image-weights", metavar="FILE", help="weights for the image model")
    add("--image-front-end", metavar="NAME", help="training or openl3-0.4")
    add("--align", action="store_true", help="of a video, embed what it shows at the centre of each window of sound "
        "(image model alone: every --hop seconds) instead of every picture")  # fmt: skip
    add("--hop", type=float, metavar="S", help="seconds between windows (default: the model's own, 0.1 for L3-Net)")
    add("--center", action=argparse.BooleanOptionalAction, help="centre windows on their time stamps (default: as the "
        "model's own program; L3-Net's does)")  # fmt: skip
    add("--timestamps", choices=["exact", "openl3"], default="exact",
        help="exact: where the windows are; openl3: multiples of the hop, which may be elsewhere")  # fmt: skip
    add("--windows", choices=["exact", "shared"], default="exact",
        help="shared: compute overlapping windows together, several times faster; OpenL3's vectors then only come near "
        "the exact ones, and the hop is rounded to the network's (docs/speed.md)")  # fmt: skip
    add("--precision", choices=["auto", "f32", "bf16", "int8"], default="auto",
        help="auto: bf16 where the device has it; int8: of models that were quantised")  # fmt: skip
    add("--device", choices=["cpu", "gpu"], default="cpu", help="gpu: an NVIDIA device, through Keras")
    add("--format", choices=["npz", "store"], default="npz", help="npz: a file for each recording; store: shards and a "
        "manifest, for corpora (needs the store extra)")  # fmt: skip
    add("--dtype", choices=["float32", "float16"], default="float32", help="of the vectors in a store")
    add("--batch", type=int, metavar="N", help="windows computed at a time (default: what suits the device)")
    add("--jobs", type=int, default=os.cpu_count() or 1, metavar="N",
        help="recordings worked on at a time (default: one a processor)")  # fmt: skip
    add("--overwrite", action="store_true", help="compute again what is done")
    add("--json", action="store_true", help="print one machine-readable summary to standard output")
    add("-q", "--quiet", action="store_true", help="no progress")
    parser.set_defaults(run=_extract)


def _extract(arguments) -> int:
    from . import extract, plan

    started = time.monotonic()
    models = _models_and_settings(arguments)  # a wrong setting ends here, before anything is made
    found = plan.plan(arguments.input, sys.stdin.buffer, tuple(model.spec.modality for model, _ in models))
    folder = Path(arguments.output)
    summary = extract.Summary(keep_results=arguments.json)
    with _Progress(found.items, quiet=arguments.quiet or arguments.json) as progress:
        refused = (extract.Result(name, None, error=why) for name, why in found.failures)
        results = (
            extract.extract(
                model, [item for item in found.items if item.modality == model.spec.modality], folder, **how,
                jobs=arguments.jobs, overwrite=arguments.overwrite, tick=progress.tick, format=arguments.format,
                dtype=arguments.dtype,
            ) for model, how in models
        )  # fmt: skip
        for result in itertools.chain(refused, *results):
            summary.add(result)
            progress.done(result)
            _report(result, progress)
    total = summary.as_dict(time.monotonic() - started)
    if arguments.json:
        print(json.dumps(total))
    else:
        _print_summary(total, folder, found.n_ignored)
    return SOME_FAILED if total["failed"] else OK


def _models_and_settings(arguments) -> list[tuple]:
    """[(model, the settings of `extract.extract` for it)]: one of sound, one of pictures, or both in this order."""
    from . import embed, images

    how = {"precision": arguments.precision, "batch": arguments.batch, "device": arguments.device}
    if arguments.image_model is None and (arguments.image_weights or arguments.image_front_end):
        raise UsageError("--image-weights and --image-front-end need --image-model")
    model = embed.load(arguments.model, weights_file=_files(arguments.weights), front_end=arguments.front_end, **how)
    if model.spec.modality == "image":
        if arguments.image_model is not None:
            raise UsageError(f"--model {model.name} is a model of pictures already: name one of sound, or only one")
        return [
            (
                model,
                {
                    "grid": images.Grid.plain(_GRID_HOP_S if arguments.hop is None else arguments.hop)
                    if arguments.align
                    else None
                },
            )
        ]
    if arguments.align and arguments.image_model is None:
        raise UsageError("--align aligns pictures: name a model of pictures too (--image-model)")
    settings = {name: getattr(arguments, name) for name in ("hop", "center", "windows", "timestamps")}
    framing, rate_hz = model.framing(**settings), model.spec.front_end.rate_hz
    if arguments.hop is not None:
        _say_hop(framing.hop / rate_hz, arguments.hop)
    if arguments.image_model is None:
        return [(model, settings)]
    pictures = embed.load(
        arguments.image_model, weights_file=arguments.image_weights, front_end=arguments.image_front_end, **how
    )
    if pictures.spec.modality != "image":
        raise UsageError(f"--image-model {pictures.name} is a model of sound: name one of pictures")
    grid = images.Grid.of_sound(framing, rate_hz) if arguments.align else None
    return [(model, settings), (pictures, {"grid": grid})]


def _files(weights: list[str] | None):
    return weights[0] if weights and len(weights) == 1 else weights


def _say_hop(hop_s: float, wanted: float) -> None:
    if abs(hop_s - wanted) > 1e-4 * wanted:
        print(f"l3embed: hop is {hop_s:.4f} s: {wanted} s, rounded to the grid of shared windows", file=sys.stderr)


def _report(result, progress) -> None:
    for note in result.notes:
        progress.say(f"{result.source}: warning: {note}")
    if result.error:
        progress.say(f"{result.source}: failed: {result.error}")


def _print_summary(total: dict, folder: Path, n_ignored: int) -> None:
    amounts = [f"{total['windows']} windows, {total['sound_s']:.1f} s of sound"]
    if total["pictures"]:
        amounts = (amounts if total["windows"] else []) + [f"{total['pictures']} pictures"]
    parts = [f"{total['done']} embedded ({', '.join(amounts)})"]
    if total["skipped"]:
        parts.append(f"{total['skipped']} done before")
    if total["failed"]:
        parts.append(f"{len(total['failed'])} failed")
    if n_ignored:
        parts.append(f"{n_ignored} other files ignored")
    speed = f", {total['sound_s_per_s']:.0f} s of sound per second" if total["windows"] else ""
    if total["pictures"]:
        speed = f", {total['pictures'] / max(total['wall_s'], 1e-3):.0f} pictures per second"
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
        self.total = sum(self.sizes[item.source] for item in items) if self.sizes else 0  # videos count for each model
        self.seconds, self.started, self.bar = 0.0, time.monotonic(), None
        self.shown: dict[str, int] = {}  # bytes of the recordings under way

    def __enter__(self):
        if self.sizes:
            from tqdm import tqdm

            # miniters 0: speed and time left are shown anew without a byte done
            self.bar = tqdm(total=self.total, unit="B", unit_scale=True, file=sys.stderr, leave=False, miniters=0)
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
    listed = actions.add_parser("list", help="models that ship or are published: name, numbers in a vector, where the "
        "weights are ('by hand': not fetched, models show says where they belong), what it is")  # fmt: skip
    listed.add_argument("word", nargs="*", help="only models whose line holds all of these, such as: panns frames")
    listed.set_defaults(run=_models_list)
    show = actions.add_parser("show", help="print a model's card")
    show.add_argument("name", nargs="?", help="name, or path of a card (default: the shipped model)")
    show.set_defaults(run=_models_show)
    fetch = actions.add_parser("fetch", help="download the weights of a published model (needs the train extra)")
    fetch.add_argument("name", help="see 'l3embed models list'")
    fetch.set_defaults(run=_models_fetch)
    quantize = actions.add_parser("quantize", help="make the int8 graph of a model of sound (needs the int8 extra)")
    quantize.add_argument("name", nargs="?", help="shipped or published model, or path of a card")
    quantize.add_argument("--sounds", nargs="+", metavar="INPUT", required=True, help="recordings to calibrate on")
    quantize.add_argument("--weights", metavar="FILE", help="weights for the model, in place of its own")
    quantize.add_argument("--front-end", metavar="NAME", help="as of 'l3embed extract'")
    quantize.set_defaults(run=_models_quantize)
    convert = actions.add_parser("convert", help="make the graph of a card from its weights (needs the train extra)")
    convert.add_argument("card", help="path of a card or of the folder that holds it")
    convert.set_defaults(run=_models_convert)


def _models_list(arguments) -> int:
    from . import weights

    found = weights.lines(arguments.word)
    if not found:
        raise UsageError(f"no model's line holds {' and '.join(arguments.word)}: see 'l3embed models list'")
    print("\n".join(found))
    return OK


def _models_show(arguments) -> int:
    from . import weights

    print(weights.show(arguments.name), end="")
    return OK


def _models_fetch(arguments) -> int:
    from . import weights

    for path in weights.fetch_files(arguments.name):
        print(path)
    return OK


def _models_quantize(arguments) -> int:
    from . import plan, quantize, weights

    card = weights.find(arguments.name, arguments.weights, arguments.front_end)
    found = plan.plan(arguments.sounds)
    for name, why in found.failures:
        print(f"{name}: failed: {why}", file=sys.stderr)
    about = quantize.quantize(card, [item.source for item in found.items]).table["int8"]
    print(f"{card.path}: int8 graph calibrated on {about['calibration_windows']} windows; against f32, on others, "
          f"cosine {about['cosine_median']} in the median, {about['cosine_min']} at worst")  # fmt: skip
    return SOME_FAILED if found.failures else OK


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
    parser.add_argument("--init", metavar="WEIGHTS", help="fine-tune: begin with the weights of a run, of one of its "
        "model folders or checkpoints, of a shipped or published model, or of a weight file")  # fmt: skip
    parser.add_argument("--init-image", metavar="WEIGHTS", help="the same for the image network alone; none: random, "
        "whatever --init brings")  # fmt: skip
    parser.add_argument("--prepare", action="store_true", help="do not train: decode the videos and recordings of the "
        "configuration into its folder data.prepared, from which training then reads")  # fmt: skip
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, metavar="N", help="of --prepare: shards made "
        "at a time (default: one a processor)")  # fmt: skip
    parser.add_argument("-q", "--quiet", action="store_true", help="no progress")
    parser.set_defaults(run=_train)


def _train(arguments) -> int:
    if arguments.prepare:
        return cli_data.prepare(arguments)
    from .avc import config, train

    chosen = config.begin_with(config.read(arguments.config), arguments.init, arguments.init_image)
    folder = train.train(chosen, progress=not arguments.quiet)
    print(folder)
    return OK
