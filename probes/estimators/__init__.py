"""Probes by name: what is put on frozen embeddings to see what they know. docs/probes.md has the grids and sources."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from . import attention, dummy, episodes, forest, logistic, mlp, neighbours, prototypes, published, svm
from .common import scores_of, spread

__all__ = ["PROBES", "Probe", "scores_of", "spread"]


@dataclass(frozen=True)
class Probe:
    """A family of classifiers and the grid that a protocol chooses from."""

    name: str
    input: str  # "pooled": one vector a clip; "windows": each clip's windows, whose scores are averaged
    make: Callable  # (**parameters) -> scikit-learn estimator with scores
    grid: tuple[dict, ...]  # the simplest first: of equally good points the first is taken
    source: str
    few_shot: dict = field(default_factory=dict)  # parameters where there are too few clips to choose any
    several: bool = False  # whether it can learn clips with several labels
    only: str = ""  # the protocol that it is part of, where it goes with no other


PROBES: dict[str, Probe] = {
    probe.name: probe
    for probe in (
        Probe("linear", "pooled", logistic.LinearProbe, logistic.GRID,
              "multinomial logistic regression, L2",
              logistic.FEW_SHOT, several=True),
        Probe("svm", "pooled", svm.SVMProbe, svm.GRID, "LIBSVM, linear kernel, pairs of labels", svm.FEW_SHOT),
        Probe("svm-rbf", "pooled", partial(svm.SVMProbe, kernel="rbf"), svm.RBF_GRID,
              "LIBSVM, Gaussian kernel, pairs of labels", svm.RBF_FEW_SHOT),
        Probe("knn", "pooled", neighbours.NeighboursProbe, neighbours.GRID, "cosine of standardised vectors",
              neighbours.FEW_SHOT, several=True),
        Probe("forest", "pooled", forest.ForestProbe, forest.GRID, "Breiman 2001; 500 trees"),
        Probe("prototype", "pooled", prototypes.PrototypeProbe, prototypes.GRID, "class means; Snell et al. 2017"),
        Probe("prototype-learned", "windows", episodes.EpisodicProbe, episodes.GRID,
              "Snell et al. 2017; few-shot as Pons et al. 2018", episodes.FEW_SHOT),
        Probe("mlp", "pooled", mlp.MLPProbe, mlp.GRID, "Cramer et al. 2019, on one vector a clip", mlp.FEW_SHOT,
              several=True),
        Probe("mlp-windows", "windows", mlp.MLPProbe, mlp.GRID, "Cramer et al. 2019", mlp.FEW_SHOT, several=True),
        Probe("attention", "windows", attention.AttentionProbe, attention.GRID,
              "the head of Lu, Zhang & Nayak's CAB-CNN on frozen windows", attention.FEW_SHOT),
        Probe("hear-mlp", "pooled", published.HearProbe, published.HEAR_GRID, "hear-eval-kit", several=True,
              only="hear-mlp"),
        Probe("evar-linear", "pooled", published.EvarProbe, ({"rate": published.EVAR_RATE},), "EVAR", several=True,
              only="evar-linear"),
        Probe("maeb-lr", "pooled", published.MaebProbe, ({"max_iter": 100},), "MTEB", only="maeb-lr8"),
        Probe("majority", "pooled", dummy.MajorityProbe, dummy.GRID, "the commonest label of the training part"),
        Probe("chance", "pooled", dummy.ChanceProbe, dummy.GRID, "a label drawn at random"),
    )
}  # fmt: skip
