"""The page at /: the files of the folder `page`, and nothing else."""

from __future__ import annotations

from importlib import resources

from fastapi import FastAPI, Request, Response

KINDS = {".html": "text/html; charset=utf-8",
         ".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8",
         ".svg": "image/svg+xml", ".json": "application/json", ".png": "image/png"}  # fmt: skip
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "media-src blob:; connect-src 'self'; "
    "worker-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "Permissions-Policy": "microphone=(self)",
    "Cache-Control": "no-cache",
}  # fmt: skip


def add(app: FastAPI) -> None:
    """`GET /` and `GET /page/NAME` of the files that are there now: names are looked up, never opened."""
    import hashlib

    folder = resources.files(__package__) / "page"
    files = {f.name: f.read_bytes() for f in folder.iterdir() if f.is_file()} if folder.is_dir() else {}

    def answer(request: Request, name: str) -> Response:
        kind = KINDS.get(name[name.rfind(".") :])
        if name not in files or kind is None:
            return Response(status_code=404)
        tag = f'"{hashlib.sha256(files[name]).hexdigest()[:16]}"'
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers={**HEADERS, "ETag": tag})
        return Response(files[name], media_type=kind, headers={**HEADERS, "ETag": tag})

    @app.get("/", include_in_schema=False)
    def index(request: Request) -> Response:
        return answer(request, "index.html")

    app.get("/page/{name}", include_in_schema=False)(answer)
