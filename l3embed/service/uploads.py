"""The body of a request -> recordings in open files without names."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field

from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request

from ..store.npz import identity
from .problems import Problem

FORM, JSON, NPY = "multipart/form-data", "application/json", "application/x-npy"
RAW = ("audio/*", "video/*", "application/octet-stream", "application/ogg")
LONGEST_NAME = 255
LONGEST_FIELD = 1 << 10  # bytes
MOST_FIELDS = 16


@dataclass
class Upload:
    """A recording that has come in. `kind` as of `worker.Task`; `name` is what the client calls it, good for labels.

    `identity`: what tells it from others, as `extract` writes it.
    """

    kind: str
    file: object
    name: str = ""
    sample_rate: float | None = None  # Hz, of .npy
    identity: dict = field(default_factory=dict)

    def __post_init__(self):
        self.file.flush()
        self.identity = identity(self.file)
        self.file.seek(0)

    def __enter__(self) -> Upload:
        return self

    def __exit__(self, *exc) -> None:
        self.file.close()


def media_type(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


async def recording(request: Request) -> tuple[Upload, dict[str, str]]:
    """The one recording of a request, and the fields beside it. Raises Problem."""
    kind = media_type(request)
    if kind == FORM:
        (upload,), fields = await of_form(request, ("file",))
        return upload, fields
    is_raw = not kind or kind in RAW or kind.startswith(("audio/", "video/"))
    if kind not in (JSON, NPY) and not is_raw:
        known = ", ".join((FORM, *RAW, JSON, NPY))
        raise Problem(415, "unknown_type", f"the body is {kind[:100]!r}: recordings come as {known}")
    file = tempfile.TemporaryFile()
    try:
        async for chunk in request.stream():
            file.write(chunk)
        if not file.tell():
            raise Problem(422, "empty", "the body is empty: send a recording")
        return Upload({JSON: "json", NPY: "npy"}.get(kind, "recording"), file), {}
    except BaseException:
        file.close()
        raise


async def of_form(request: Request, names: tuple[str, ...]) -> tuple[list[Upload], dict[str, str]]:
    """The files of a form that have these names, one each, and its fields. Raises Problem."""
    form = await _form(request, len(names))
    files = [form.get(name) for name in names]
    if missing := [name for name, file in zip(names, files, strict=True) if not isinstance(file, UploadFile)]:
        await form.close()
        raise Problem(422, "no_file", f"the form has no file {missing[0]!r}: send a recording under this name")
    return [_upload(file) for file in files], _fields(form)


async def many_of_form(request: Request, most: int) -> tuple[list[Upload], dict[str, str]]:
    """All files of a form, whatever their names, in order. Raises Problem."""
    form = await _form(request, most + 1)
    files = [value for _, value in form.multi_items() if isinstance(value, UploadFile)]
    if not 0 < len(files) <= most:
        await form.close()
        if files:
            raise Problem(413, "too_many_files", f"the form has more than the {most} files that are allowed")
        raise Problem(422, "no_file", "the form has no files: send recordings as files")
    return [_upload(file) for file in files], _fields(form)


async def _form(request: Request, most: int) -> FormData:
    if media_type(request) != FORM:
        raise Problem(415, "unknown_type", f"the body must be {FORM}")
    try:
        return await request.form(max_files=most, max_fields=MOST_FIELDS, max_part_size=LONGEST_FIELD)
    except HTTPException as error:
        detail = str(error.detail).rstrip(".")
        raise Problem(400, "bad_request", f"the form cannot be read: {detail}") from None


def _fields(form: FormData) -> dict[str, str]:
    return {name: value for name, value in form.multi_items() if isinstance(value, str)}


def _upload(file: UploadFile) -> Upload:
    name = (file.filename or "").replace("\\", "/").rpartition("/")[2]
    return Upload("recording", file.file, name[-LONGEST_NAME:])
