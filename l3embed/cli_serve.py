"""`l3embed serve`: arguments -> `service.server.serve`. A part of `cli`."""

from __future__ import annotations

import os

from .errors import MissingExtraError, UsageError


def add(commands) -> None:
    """The command `l3embed serve`."""
    parser = commands.add_parser(
        "serve", help="serve models over HTTP", description="Serve models of sound over HTTP, with a page at / that "
        "shows what they hear (needs the serve extra; docs/service.md). SIGTERM or Ctrl-C ends it when all accepted "
        "requests are answered; the second one at once.",
    )  # fmt: skip
    add = parser.add_argument
    add("--model", metavar="NAME", action="append", help="shipped or published model, or path of a card; again for "
        "each further model (default: the shipped model)")  # fmt: skip
    add("--weights", metavar="FILE", action="append", help="weights in place of a model's own: as many as models, in "
        "their order; '' for a model's own")  # fmt: skip
    add("--front-end", metavar="NAME", help="OpenL3's, as of 'l3embed extract'; of all models that have a choice")
    add("--precision", choices=["auto", "f32", "bf16", "int8"], default="auto", help="as of 'l3embed extract'")
    add("--host", default="127.0.0.1", help="address to listen on (default: 127.0.0.1, this machine alone)")
    add("--port", type=int, default=8000, metavar="N", help="(default: 8000; 0: any that is free)")
    add("--jobs", type=int, default=os.cpu_count() or 1, metavar="N",
        help="recordings decoded at a time (default: one a processor)")  # fmt: skip
    add("--max-seconds", type=float, metavar="S", help="of sound in a recording (default: 3600)")
    add("--max-bytes", type=int, metavar="N", help="of a request (default: 268435456, which is 256 MiB)")
    add("--max-queue", type=int, metavar="N", help="recordings that wait; beyond that, 429 (default: 128)")
    add("--max-windows", type=int, metavar="N", help="vectors of a recording (default: 200000)")
    add("--timeout", type=float, metavar="S", help="without a byte from a sender, or one taken by a reader, after "
        "which either is given up (default: 20)")  # fmt: skip
    add("--api-key-file", metavar="FILE", help="API keys, one a line: who brings none of them gets 401")
    add("--no-batching", action="store_true", help="a batch of the engine for each request: slower, for comparison")
    parser.set_defaults(run=_serve)


def _serve(arguments) -> int:
    try:
        from .service import keys, server, settings
    except ImportError as error:
        raise MissingExtraError("l3embed serve", "serve") from error

    names = ("max_seconds", "max_bytes", "max_queue", "max_windows")
    given = {name: getattr(arguments, name) for name in names} | {"silent_s": arguments.timeout}
    given = {name: value for name, value in given.items() if value is not None}
    chosen = settings.Settings(
        settings.Limits(**given), arguments.jobs, not arguments.no_batching,
        None if arguments.api_key_file is None else keys.read(arguments.api_key_file),
    )  # fmt: skip
    return server.serve(_models(arguments), chosen, arguments.host, arguments.port)


def _models(arguments) -> list:
    from .embed import load_of_sound

    names = arguments.model or [None]
    files = arguments.weights or [""] * len(names)
    if len(files) != len(names):
        raise UsageError(f"there are {len(names)} models and {len(files)} --weights: give one for each, or none")
    models = [
        load_of_sound(name, weights_file=file or None, front_end=arguments.front_end, precision=arguments.precision)
        for name, file in zip(names, files, strict=True)
    ]
    if len({model.name for model in models}) < len(models):
        raise UsageError("two of the models have the same name: requests could not tell them apart")
    return models
