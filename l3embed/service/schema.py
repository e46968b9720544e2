"""What is told of the routes in OpenAPI, and the settings that they take, each checked here first."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from . import problems as reasons
from .answers import ARROW, JSON, NDJSON, NPY, NPZ

DESCRIPTION = (
    "Embeddings of sound. Send a recording, get a vector for every window of it: the same numbers that "
    "`l3embed extract` writes. Every answer carries the fingerprint of its model (header `X-L3embed-Fingerprint`) and "
    "the hash of everything that decided its numbers (`X-L3embed-Recipe`, the key of an l3embed store): vectors of "
    "equal hashes can be used together. Errors are `application/problem+json` with a `reason` for programs."
)


class Options(BaseModel):
    """Settings of an embedding, in the query or as fields of the form; the form's count."""

    model_config = ConfigDict(extra="forbid")

    model: Annotated[str | None, Field(max_length=200, description="one of /v1/models; left out: the first")] = None
    hop: Annotated[
        float | None, Field(gt=0, le=86_400, description="seconds between windows; left out: the model's own")
    ] = None
    center: Annotated[
        bool | None, Field(description="whether windows are centred on their times; left out: as the model does it")
    ] = None
    pool: Annotated[
        Literal["mean", "max", "mean+max", "mean+std"] | None,
        Field(description="one vector for the recording in place of one a window"),
    ] = None
    windows: Annotated[
        Literal["exact", "shared"], Field(description="shared: faster, where it only comes near to the exact vectors")
    ] = "exact"
    timestamps: Annotated[
        Literal["exact", "openl3"], Field(description="openl3: multiples of the hop, even where windows lie elsewhere")
    ] = "exact"
    sample_rate: Annotated[
        float | None, Field(gt=0, le=1e9, description="Hz, of samples sent as application/x-npy")
    ] = None

    def with_fields(self, fields: dict[str, str]):
        """With the fields of a form, which count where both are given. Raises ValidationError."""
        return type(self).model_validate({**self.model_dump(exclude_unset=True), **fields})


class SimilarityOptions(Options):
    """`pool` is how windows become the vectors that are compared: left out, their mean."""

    matrix: Annotated[bool, Field(description="also the cosine of every window of a with every one of b")] = False


class ProblemAnswer(BaseModel):
    """RFC 9457."""

    type: str
    title: str
    status: int
    detail: Annotated[str, Field(description="one sentence: what is wrong, and what to do")]
    reason: Annotated[str, Field(description=f"for programs: {', '.join(reasons.REASONS)}")]
    request_id: str


class Health(BaseModel):
    status: str


class LimitsAnswer(BaseModel):
    """What is allowed here."""

    max_seconds: float
    max_bytes: int
    max_channels: int
    max_windows: int
    max_files: int


class ModelCard(BaseModel):
    """A model that is served."""

    name: str
    dim: Annotated[int, Field(description="numbers in a vector")]
    fingerprint: str
    weights_sha256: str
    front_end: str
    rate_hz: int
    window_s: float
    hop_s: Annotated[float | None, Field(description="its own; null: a recording is one window")]
    center: bool
    precision: str
    engine: str
    classes: Annotated[list[str] | None, Field(description="what the numbers are scores of, where they are")]
    description: str
    licence: str
    data: str


class Models(BaseModel):
    models: list[ModelCard]
    default: str
    limits: LimitsAnswer


class Recipe(BaseModel):
    """What decided the numbers, as in the metadata of `l3embed extract`; and what is known of the recording."""

    model_config = ConfigDict(extra="allow")

    model: str
    fingerprint: str
    recipe_hash: str
    dim: int
    rate_hz: int
    window_s: float
    hop_s: float
    center: bool
    precision: str
    pool: str | None


class Embedding(Recipe):
    n_windows: int
    seconds: float
    notes: list[str]
    timestamps: Annotated[list[float], Field(description="(T,) seconds")]
    embedding: Annotated[list[list[float | None]], Field(description="(T, dim); each number names one float32")]


class Item(BaseModel):
    """One recording of a batch: as an embedding, or with an error."""

    model_config = ConfigDict(extra="allow")

    index: int
    name: str
    error: ProblemAnswer | None = None
    timestamps: list[float] | None = None
    embedding: list[list[float | None]] | None = None


class Batch(Recipe):
    n_failed: int
    items: list[Item]


class Side(BaseModel):
    seconds: float
    notes: list[str]
    timestamps: list[float]


class Similarity(Recipe):
    similarity: Annotated[float, Field(ge=-1, le=1, description="cosine; 0 where a vector is all zeros")]
    a: Side
    b: Side
    matrix: Annotated[list[list[float]] | None, Field(description="(windows of a, windows of b)")] = None


# --- requests


_BINARY = {"schema": {"type": "string", "format": "binary"}}
_FIELDS = {
    name: {k: v for k, v in value.items() if k != "title"}
    for name, value in Options.model_json_schema()["properties"].items() if name != "sample_rate"
}  # fmt: skip


def _form(files: dict, more: dict | None = None) -> dict:
    required = [name for name in files]
    fields = {**_FIELDS, **(more or {})}
    return {"schema": {"type": "object", "required": required, "properties": {**files, **fields}}}


_FILE = {"type": "string", "format": "binary"}
_SAMPLES = {
    "schema": {
        "type": "object", "required": ["samples", "sample_rate"],
        "properties": {
            "samples": {
                "description": "in [-1, 1]: (n,), or (n, channels)", "type": "array", "minItems": 1,
                "items": {"anyOf": [{"type": "number"}, {"type": "array", "minItems": 1, "items": {"type": "number"}}]},
            },
            "sample_rate": {"description": "Hz", "type": "number", "exclusiveMinimum": 0},
        },
    },
    "example": {"samples": [0.0, 0.1, 0.2, 0.1, 0.0, -0.1, -0.2, -0.1] * 4, "sample_rate": 8000},
}  # fmt: skip


def _body(content: dict) -> dict:
    return {"requestBody": {"required": True, "content": content}}


# --- answers


def _ref(model: type[BaseModel]) -> dict:
    return {"schema": {"$ref": f"#/components/schemas/{model.__name__}"}}


_HEADERS = {
    "X-Request-ID": "the request's own, if it is sane, or one made here",
    "X-L3embed-Fingerprint": "of the model: equal ones give equal vectors of equal windows, up to precision",
    "X-L3embed-Recipe": "hash of everything that decided the numbers: the key of an l3embed store",
}
_ABOUT = {
    "model": "l3-small-taught-1", "fingerprint": "a5c2ed76ab9e0253", "recipe_hash": "d982587336eca444", "dim": 384,
    "rate_hz": 32000, "window_s": 1.0, "hop_s": 0.1, "center": True, "precision": "bf16", "pool": "mean",
}  # fmt: skip
_ENDING = {"n_windows": 1, "seconds": 0.004, "notes": []}
_VECTORS = {"timestamps": [0.0], "embedding": [[0.566406, -0.988281, 0.691406]]}


def _headers() -> dict:
    return {name: {"description": text, "schema": {"type": "string"}} for name, text in _HEADERS.items()}


def problems(*statuses: int) -> dict:
    """What may go wrong, for `responses`; 400, 401, 405 and 500 may everywhere (see `describer`)."""
    said = {400: "a broken request", 401: "no key", 404: "no such model", 406: "no such type of answer",
            408: "a body that comes too slowly", 413: "too much: bytes, seconds, windows, files",
            415: "a body that is no recording", 422: "settings or sound that are not right",
            429: "too many recordings are waiting; Retry-After says when to try again",
            500: "a defect of the service", 502: "the decoder died; others go on",
            503: "the service is stopping, or the recording took too long", 507: "no room for the vectors"}  # fmt: skip
    answer = {"content": {reasons.MEDIA_TYPE: _ref(ProblemAnswer)}}
    retry = {"Retry-After": {"description": "seconds", "schema": {"type": "integer"}}}
    return {
        status: {"description": said[status], **answer, **({"headers": retry} if status in (429, 503) else {})}
        for status in statuses
    }


_ASKED = problems(400, 401, 404, 406, 408, 413, 415, 422, 429, 500, 502, 503, 507)


def _answers(text: str, content: dict) -> dict:
    return {200: {"description": text, "headers": _headers(), "content": content}, **_ASKED}


EMBED = {
    "summary": "The vectors of a recording",
    "tags": ["embedding"],
    "responses": _answers("Vectors and times; a stream of them as they are computed, in NDJSON and Arrow.", {
        JSON: {**_ref(Embedding), "example": {**_ABOUT, **_ENDING, **_VECTORS}},
        NDJSON: {"schema": {"type": "string"}, "example": "a line that says what will come, a line a window "
                 '{"time_s": 0.0, "embedding": [...]}, and a last one {"n_windows": 1, "seconds": 0.004, "notes": []} '
                 'or {"error": {...}}'},
        NPZ: {**_BINARY, "example": "the file that l3embed extract writes: embedding, timestamps, metadata"},
        NPY: {**_BINARY, "example": "embedding alone, (T, dim) float32"},
        ARROW: {**_BINARY, "example": "an IPC stream of time_s and embedding"},
    }),
    "openapi_extra": _body({
        "multipart/form-data": _form({"file": _FILE}),
        "audio/*": _BINARY, "video/*": _BINARY, "application/octet-stream": _BINARY, "application/ogg": _BINARY,
        "application/json": _SAMPLES, "application/x-npy": _BINARY,
    }),
}  # fmt: skip
BATCH = {
    "summary": "The vectors of many recordings",
    "description": "One recording that fails is an item with an error; the others are not touched.",
    "tags": ["embedding"],
    "responses": _answers("An item for each file, in order; in NDJSON a line for each as soon as it is done.", {
        JSON: {**_ref(Batch), "example": {**_ABOUT, "n_failed": 0, "items": [
            {"index": 0, "name": "dog.wav", **_ENDING, **_VECTORS}]}},
        NDJSON: {"schema": {"type": "string"}, "example": "a line that says what will come, a line an item, a last "
                 'one {"n_items": 2, "n_failed": 0}'},
    }),
    "openapi_extra": _body({
        "multipart/form-data": _form({"files": {"type": "array", "minItems": 1, "items": _FILE}}),
    }),
}  # fmt: skip
SIMILARITY = {
    "summary": "How alike two recordings are",
    "tags": ["embedding"],
    "responses": _answers("Cosine of their pooled vectors, and of their windows where it was asked for.", {
        JSON: {**_ref(Similarity), "example": {**_ABOUT, "similarity": 0.91, "a": {
            "seconds": 1.0, "notes": [], "timestamps": [0.0]}, "b": {
            "seconds": 1.0, "notes": [], "timestamps": [0.0]}, "matrix": [[0.91]]}},
    }),
    "openapi_extra": _body({
        "multipart/form-data": _form({"a": _FILE, "b": _FILE}, {"matrix": {"type": "boolean", "default": False}}),
    }),
}  # fmt: skip
MODELS = {"summary": "The models, and what is allowed", "tags": ["models"], "responses": problems(401, 500)}
MODEL = {"summary": "One of them", "tags": ["models"], "responses": problems(401, 404, 422, 500)}
METRICS = {200: {"description": "Prometheus' text format", "content": {"text/plain": {"schema": {"type": "string"}}}},
           **problems(401)}  # fmt: skip


def describer(app, settings):
    """What gives the description: FastAPI's own, with the records that only bodies written by hand refer to."""
    from fastapi.openapi.utils import get_openapi

    def describe() -> dict:
        if app.openapi_schema is None:
            table = get_openapi(
                title=app.title, version=app.version, description=app.description, routes=app.routes,
                tags=[{"name": "embedding"}, {"name": "models"}, {"name": "status"}],
            )  # fmt: skip
            schemas = table.setdefault("components", {}).setdefault("schemas", {})
            for model in (ProblemAnswer, Embedding, Batch, Similarity):
                made = model.model_json_schema(ref_template="#/components/schemas/{model}", mode="serialization")
                schemas.update(made.pop("$defs", {}))
                schemas[model.__name__] = made
            if settings.keys is not None:
                _ask_for_keys(table)
            app.openapi_schema = table
        return app.openapi_schema

    return describe


def _ask_for_keys(table: dict) -> None:
    table["components"]["securitySchemes"] = {
        "bearer": {"type": "http", "scheme": "bearer"},
        "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
    }
    for path, methods in table["paths"].items():
        if path.startswith("/v1/") or path == "/metrics":
            for operation in methods.values():
                operation["security"] = [{"bearer": []}, {"header": []}]
