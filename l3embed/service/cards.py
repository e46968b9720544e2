"""What is told of the models."""

from __future__ import annotations

from ..embed import EmbeddingModel
from .desk import Desk
from .schema import LimitsAnswer, ModelCard, Models

TOLD = ("description", "licence", "data")  # of a card; what else is in it may name paths


def card_of(model: EmbeddingModel) -> ModelCard:
    spec = model.spec
    cutting = spec.cutting
    return ModelCard(
        name=model.name, dim=model.dim, fingerprint=spec.fingerprint(), weights_sha256=spec.weights_sha256,
        front_end=spec.front_end.name, rate_hz=spec.front_end.rate_hz, window_s=spec.front_end.window_s,
        hop_s=cutting.hop_s, center=cutting.center and cutting.hop_s is not None, precision=model.precision,
        engine=model.engine.name, classes=model.classes,
        **{name: model.card.table.get(name, "") for name in TOLD},
    )  # fmt: skip


def all_of(desk: Desk) -> Models:
    limits = desk.settings.limits
    return Models(
        models=[card_of(model) for model in desk.models.values()], default=desk.model(None).name,
        limits=LimitsAnswer(
            max_seconds=limits.max_seconds, max_bytes=limits.max_bytes, max_channels=limits.max_channels,
            max_windows=limits.max_windows, max_files=min(limits.max_files, limits.max_queue),
        ),
    )  # fmt: skip
