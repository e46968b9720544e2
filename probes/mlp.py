"""The MLP probe of Cramer et al. 2019 on arrays with folds: what the study asks of each network.

One departure: validation takes 10 % of the *clips* of each label, not of the windows (the paper's code: 15 %), since
windows of one clip on both sides make the best validation accuracy that of the most overfitted network. `by_window`
brings the paper's way back.
"""

from __future__ import annotations

import numpy as np

from .estimators.mlp import MLPProbe, split
from .estimators.windows import Windows


def nested(
    windows: list[np.ndarray], labels, folds, units=None, by_window: bool = False, probe: MLPProbe | None = None,
    seed: int = 0,
) -> tuple[np.ndarray, dict[str, tuple[float, float]]]:  # fmt: skip
    """Predict every fold by a probe that was trained and chosen on the other folds only; all folds train together.

    Parameters
    ----------
    windows : of each clip, (T, D); labels, folds : (clips,)
    units : (clips,) what must not be on both sides of the validation split (default: each clip by itself)
    by_window : split validation by windows instead, as the paper's code does

    Returns
    -------
    predicted labels (clips,), and (learning rate, L2) chosen for each test fold
    """
    probe, folds = probe or MLPProbe(), np.asarray(folds)
    classes, codes = np.unique(np.asarray(labels), return_inverse=True)
    clip = np.repeat(np.arange(len(windows)), [len(w) for w in windows])
    source = Windows.of_clips(np.concatenate(windows).astype(np.float32, copy=False), clip)
    own = np.arange(len(windows)) if units is None else np.unique(np.asarray(units), return_inverse=True)[1]
    unit_of = np.arange(len(clip)) if by_window else own[clip]
    names = np.unique(folds)
    parts = [split(np.flatnonzero(folds[clip] != f), codes[clip], unit_of, probe.validation, seed + i)
             for i, f in enumerate(names)]  # fmt: skip
    tests = [np.flatnonzero(folds == f) for f in names]
    predicted, chosen = np.empty(len(codes), int), {}
    found = probe.together(source, np.eye(len(classes))[codes], parts, tests)
    for name, test, (scores, choice) in zip(names, tests, found, strict=True):
        predicted[test] = scores.argmax(axis=1)
        chosen[str(name)] = (
            choice.get("rate", probe.rates[0]),
            choice.get("decay", probe.decays[0]),
        )
    return classes[predicted], chosen
