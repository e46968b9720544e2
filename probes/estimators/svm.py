"""Support vector machines: standardise, then LIBSVM (Chang & Lin 2011), one machine for each pair of labels.

A grid is cheap: the kernel matrix is computed once (for each gamma) and serves every C. LIBLINEAR, which needs none,
took far longer for the linear machine on fewer clips than dimensions.
"""

from __future__ import annotations

import numpy as np

from l3embed.errors import UsageError

from .common import Pooled, moments, standardised

GRID = tuple({"C": 10.0**exponent} for exponent in range(-4, 3))
FEW_SHOT = {"C": 1.0}  # scikit-learn's own
RBF_GRID = tuple({"C": c, "gamma": gamma} for gamma in (0.1, 1.0, 10.0) for c in (0.1, 1.0, 10.0, 100.0))
RBF_FEW_SHOT = {"C": 1.0, "gamma": 1.0}
KERNEL_BYTES = 2**29  # larger kernel matrices are not kept: LIBSVM computes their rows when it needs them


class SVMProbe(Pooled):
    """C: weight of the losses; kernel "linear", or "rbf": exp(-gamma d^2 / D) of D dimensions (gamma 1 is what
    scikit-learn calls "scale")."""

    def __init__(self, C: float = 1.0, kernel: str = "linear", gamma: float = 1.0):
        self.C, self.kernel, self.gamma = C, kernel, gamma

    def _fit(self, x, codes, n):
        from sklearn.svm import SVC

        self._check()
        self.mean_, self.deviation_ = moments(x)
        gamma = self.gamma / x.shape[1]
        self.machine_ = SVC(C=self.C, kernel=self.kernel, gamma=gamma).fit(self._scaled(x), codes)

    def _scores(self, x):
        return _of_pairs(self.machine_.decision_function(self._scaled(x)))

    def _scaled(self, x):
        return standardised(x, self.mean_, self.deviation_)

    def _check(self):
        if self.kernel not in ("linear", "rbf"):
            raise UsageError(f"kernel must be 'linear' or 'rbf'. Received: {self.kernel!r}")
        if self.gamma <= 0:
            raise UsageError(f"gamma must be > 0. Received: {self.gamma}")

    def path(self, grid, x, codes, tests) -> list[list[np.ndarray]]:
        """For each point of the grid, the scores of each array in `tests`; labels in the order of np.unique(codes)."""
        from sklearn.svm import SVC

        points = [SVMProbe(**{**self.get_params(), **point}) for point in grid]
        x, tests = np.asarray(x, np.float64), [np.asarray(test, np.float64) for test in tests]
        if 8 * len(x) * (len(x) + sum(map(len, tests))) > KERNEL_BYTES:
            return [[point.fit(x, codes)._scores(test) for test in tests] for point in points]
        about = moments(x)
        x, tests = standardised(x, *about), [standardised(test, *about) for test in tests]
        products = [some @ x.T for some in (x, *tests)]
        norms = [(some**2).sum(axis=1) for some in (x, *tests)]
        out, made = [], {}
        for point in points:
            point._check()
            key = point.gamma if point.kernel == "rbf" else None
            if key not in made:
                made = {key: [_kernel(point, x.shape[1], p, n, norms[0]) for p, n in zip(products, norms, strict=True)]}
            train, *kernels = made[key]
            machine = SVC(C=point.C, kernel="precomputed").fit(train, codes)
            out.append([_of_pairs(machine.decision_function(kernel)) for kernel in kernels])
        return out


def _kernel(point: SVMProbe, dims: int, products, norms, norms_of_training):
    if point.kernel == "linear":
        return products
    distances = np.maximum(norms[:, None] - 2 * products + norms_of_training, 0)
    return np.exp(-point.gamma / dims * distances)


def _of_pairs(scores: np.ndarray) -> np.ndarray:
    """scikit-learn's votes of pairs, (clips, labels); of two labels, (clips,), both signs."""
    return np.stack([-scores, scores], axis=1) / 2 if scores.ndim == 1 else scores
