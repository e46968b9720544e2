"""Where a vector lies in time: a click at a known place changes the vectors whose time stamps say that they see it."""

from dataclasses import replace

import numpy as np
import pytest

from l3embed import weights, zoo
from l3embed.embed import EmbeddingModel
from l3embed.engine import KerasEngine, PlaceholderEngine
from l3embed.spec import openl3_model

SECONDS = 12.0


def _model(name: str):
    return zoo.find(name).model if zoo.find(name) else openl3_model(name)


def _changes(model: EmbeddingModel, at_s: float, seconds: float = SECONDS, **how) -> tuple[np.ndarray, np.ndarray]:
    """(by how much each vector changes with a click of 5 ms at that time, time stamps)."""
    rate_hz = model.spec.front_end.rate_hz
    quiet = np.random.default_rng(0).normal(0, 1e-3, round(seconds * rate_hz)).astype(np.float32)
    loud, at = quiet.copy(), round(at_s * rate_hz)
    loud[at : at + rate_hz // 200] += 0.5 * np.random.default_rng(1).standard_normal(rate_hz // 200)
    (a, times), (b, _) = (model.embed(sound, rate_hz, **how) for sound in (quiet, loud))
    return np.linalg.norm(a.astype(float) - b, axis=1), times


@pytest.mark.parametrize(("name", "how"), [
    ("yamnet", {}), ("vggish", {}), ("vggish", {"hop": 0.3, "center": True}), ("edgel3-sea-64", {}),
    ("edgel3-ft-95.45", {"hop": 0.25, "center": False}), ("imagenet-resnet50", {}), ("panns-cnn14-8k", {"hop": 0.5}),
    ("soundnet-conv7-mean", {"hop": 0.5, "center": True}), ("openl3-mel256-env-512", {}),
])  # fmt: skip
@pytest.mark.parametrize("at_s", [0.02, 5.55, 11.97])
def test_a_click_changes_the_windows_that_hold_it_and_no_other(name, how, at_s):
    spec = _model(name)
    card = weights.card()
    model = EmbeddingModel(replace(card, model=replace(spec, dim=3)), PlaceholderEngine, "f32")
    change, times = _changes(model, at_s, **how)
    window_s, center = spec.front_end.window_s, how.get("center", spec.cutting.center)
    starts = times - window_s / 2 if center else times
    holds = (starts <= at_s) & (at_s + 0.005 <= starts + window_s)
    assert (change[holds] > 0).all() and not change[(at_s + 0.005 < starts) | (starts + window_s < at_s)].any()
    assert holds.any() or (spec.cutting.end == "drop" and at_s > 11)  # which then has no window to the very end


# What a vector stands for is longer than the step to the next one; where its middle lies, docs/models.md says.
MIDDLES_S = {
    "panns-cnn6-frames": 0.075, "panns-cnn14-frames": 0.155, "panns-mobilenetv1-frames": 0.155,
    "panns-resnet22-frames": 0.155, "soundnet-conv5": -0.036, "soundnet-pool5": 0.104, "soundnet-conv7": -0.45,
}  # fmt: skip


def _flat(model) -> list[np.ndarray]:
    """Weights that let everything through and weigh it alike, so that a change shows where it is, not what it is."""
    from l3embed.weights.release import build

    found = []
    for w in build(model).weights:
        if w.name in ("gamma", "moving_variance"):
            found.append(np.ones(w.shape))
        elif w.ndim < 2:
            found.append(np.full(w.shape, 100.0 if w.path.startswith("bn0/beta") else 0.0))  # decibels below 0, too
        else:
            depthwise = "depthwise" in w.path
            found.append(np.full(w.shape, 1 / np.prod(w.shape[:2] if depthwise else w.shape[:-1])))
    return [a.astype(np.float32) for a in found]


@pytest.mark.parametrize("name", MIDDLES_S)
def test_the_change_that_a_click_makes_lies_around_it(tmp_path, name):
    """The centre of the change, of clicks all over a step, at the middle that the documentation tells."""
    pytest.importorskip("keras")
    found = _model(name)
    spec = replace(found, network=replace(found.network, width=2), dim=2 * found.dim // found.network.width)
    model = EmbeddingModel(weights.save(spec, _flat(spec), tmp_path, {}, "float32"), KerasEngine, "f32")
    step_s = found.cutting.frame_samples / found.front_end.rate_hz
    middles = []
    for part in (0.1, 0.3, 0.5, 0.7, 0.9):
        at_s = step_s * (round(6 / step_s) + part)
        change, times = _changes(model, at_s)
        np.testing.assert_allclose(np.diff(times), step_s)
        middles.append(at_s + 0.0025 - np.sum(change * times) / np.sum(change))
    assert abs(np.mean(middles) - MIDDLES_S[name]) < 0.1 * step_s
