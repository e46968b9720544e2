"""`l3embed serve`: arguments -> `service.server.serve`. A part of `cli`."""

from __future__ import annotations


def add(commands) -> None:
    """The command `l3embed serve`."""
    parser = commands.add_parser(
        "serve", help="serve models over HTTP", description="Serve models over HTTP, with a page at / that shows what "
        "they hear (needs the serve extra; docs/service.md). SIGTERM ends it when all accepted requests are answered.",
    )  # fmt: skip
    add = parser.add_argument
    add("--model", metavar="NAME", action="append", help="shipped or published model, or path of a card; again for "
        "each further model (default: the shipped model)")  # fmt: skip
    add("--host", default="127.0.0.1", help="address to listen on (default: 127.0.0.1, this machine alone)")
    add("--port", type=int, default=8000, help="0: any that is free")
    parser.set_defaults(run=_serve)


def _serve(arguments) -> int:
    from .service import server

    return server.serve(arguments.model or [None], arguments.host, arguments.port)
