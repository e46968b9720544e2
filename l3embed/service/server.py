"""The process: models, application, uvicorn."""

from __future__ import annotations


def serve(models: list, host: str, port: int) -> int:
    """Serve until a signal ends it."""
    import uvicorn

    from ..embed import load_of_sound
    from .app import make_app

    app = make_app([load_of_sound(name) for name in models])
    uvicorn.Server(uvicorn.Config(app, host=host, port=port, log_level="info")).run()
    return 0
