"""The study of Cramer et al. 2019 for one configuration: runs by representation and domain, trained, asked, probed.

    OUT/configs/RUN.toml       what each run is trained with: `l3embed train` takes it, too
    OUT/runs/RUN/              the run (avc/train.py)
    OUT/correspondence.json    accuracy of every run on every domain
    OUT/probes/                predictions of every probe, by clip
    OUT/cache/                 vectors, and networks with random weights

What is done is not done again. A run is called VARIANT-DOMAIN-TRIAL; docs/study.md describes the configuration.
"""

from __future__ import annotations

import difflib
import json
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

import l3embed
from l3embed import weights
from l3embed.avc import checkpoints, config, evaluate, sources, train
from l3embed.errors import UsageError
from l3embed.spec import digest

from . import datasets, features, linear, scores
from .twins import random_twin

LOG_MEL = "log-mel statistics"
PATHS = ("videos", "recordings", "index", "prepared")  # keys of a domain that name files


@dataclass(frozen=True)
class Settings:
    """The table [study]."""

    seed: int = 0  # of the first trial; the next ones count on
    trials: int = 1  # runs of each kind
    amounts: tuple[int, ...] = ()  # pairs seen, after which the networks are probed; the end of a run always is
    probe: str = "linear"  # or "mlp", the paper's
    pooling: str = "mean+max"  # for the linear probe
    hop: float = 0.1  # s, between the windows that are probed
    precision: str = "f32"
    moments: int = evaluate.MOMENTS  # of each held-out video
    most: int = evaluate.MOST  # held-out videos of a domain
    jobs: int = 2


@dataclass(frozen=True)
class Study:
    folder: Path  # OUT
    settings: Settings
    variants: dict[str, dict]  # name -> what it changes of the table [model], and of others in tables of their names
    domains: dict[str, dict]  # name -> its table [data]
    sets: dict[str, Path]  # name of a reader, or any name -> folder (or table) of labelled clips
    base: dict = field(default_factory=dict)  # what all runs share, as in a training configuration

    def runs(self) -> Iterator[Run]:
        for variant in self.variants:
            for domain in self.domains:
                for trial in range(self.settings.trials):
                    yield Run(self, variant, domain, trial)


@dataclass(frozen=True)
class Run:
    study: Study
    variant: str
    domain: str
    trial: int

    @property
    def name(self) -> str:
        return f"{self.variant}-{self.domain}-{self.trial}"

    @property
    def seed(self) -> int:
        return self.study.settings.seed + self.trial

    @property
    def folder(self) -> Path:
        return self.study.folder / "runs" / self.name

    def config(self) -> config.TrainConfig:
        """Written down and read back, so that every key is checked as of any training run."""
        table = {key: dict(value) if isinstance(value, dict) else value for key, value in self.study.base.items()}
        variant = self.study.variants[self.variant]
        changes = {"model": {key: value for key, value in variant.items() if not isinstance(value, dict)}}
        changes |= {key: value for key, value in variant.items() if isinstance(value, dict)}
        table["data"] = {**table.get("data", {}), **self.study.domains[self.domain]}
        for key, change in changes.items():
            table[key] = {**table.get(key, {}), **change}
        table["model"] |= {"name": self.name}
        table["fit"] = {**table.get("fit", {}), "keep_at": list(self.study.settings.amounts)}
        table |= {"run": str(self.folder.resolve()), "seed": self.seed}
        path = self.study.folder / "configs" / f"{self.name}.toml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(weights.toml(table), encoding="utf-8")
        return config.read(path)

    def checkpoints(self) -> dict[int, Path]:
        """Pairs seen -> model folder, ascending."""
        last = self.folder / "model"
        return {**checkpoints.kept(self.folder), int(weights.card(last).table["training"]["pairs"]): last}


def read(path: str | Path, out: str | Path) -> Study:
    """A TOML file, whose paths are relative to its folder. Raises UsageError with the key that is wrong."""
    path = Path(path)
    table = weights.read_toml(path, UsageError)
    known = ("study", "variants", "domains", "sets", "train")
    for key in table:
        if key not in known:
            near = difflib.get_close_matches(key, known, 1)
            raise UsageError(f"{path}: unknown table {key!r}: {f'did you mean {near[0]!r}?' if near else known}")
    for key in ("variants", "domains"):
        if not table.get(key) or not all(isinstance(value, dict) for value in table[key].values()):
            raise UsageError(f"{path}: [{key}.NAME] is missing: a study has one of them at least")
    domains = {name: _beside(path.parent, domain) for name, domain in table["domains"].items()}
    sets = {name: path.parent / folder for name, folder in table.get("sets", {}).items()}
    settings = config.parse(Settings, table.get("study", {}), f"{path}: study")
    if settings.probe not in ("linear", "mlp"):
        raise UsageError(f"{path}: study.probe must be 'linear' or 'mlp'. Received: {settings.probe!r}")
    return Study(Path(out), settings, table["variants"], domains, sets, _whole(table.get("train", {})))


def _beside(folder: Path, data: dict) -> dict:
    def whole(value):
        return [whole(v) for v in value] if isinstance(value, list) else str((folder / value).resolve())

    return {key: whole(value) if key in PATHS else value for key, value in data.items()}


def _whole(base: dict) -> dict:
    for key in ("run", "seed"):
        if key in base:
            raise UsageError(f"train.{key} is the study's to set: remove it")
    return base


# --- the stages


def check(study: Study) -> dict[str, list[datasets.Clip]]:
    """The labelled sets. What is wrong with any part of the study ends it here, before days of training."""
    for run in study.runs():
        settings = run.config()
        for split in sources.SPLITS:
            sources.Sources(settings, split)
    return {name: _clips(name, folder) for name, folder in study.sets.items()}


def _clips(name: str, folder: Path) -> list[datasets.Clip]:
    data = datasets.read(f"{name}={folder}")
    return datasets.folded(data)


def train_all(study: Study, progress: bool = True) -> None:
    for run in study.runs():
        settings = run.config()
        if not _finished(run, settings.fit):
            train.train(settings, progress)
            sys.modules["keras"].utils.clear_session()  # else every run's networks stay in memory


def _finished(run: Run, fit: config.FitConfig) -> bool:
    """Whether every checkpoint is there, and converted: a run may be killed while it is."""
    if not all((run.folder / name).is_dir() for name in ("model", "best")):
        return False
    found = run.checkpoints()
    cards = [weights.card(folder) for folder in (*found.values(), run.folder / "best")]
    converted = all("graph" in card.table["files"] for card in cards)
    return converted and max(found) >= fit.epochs * fit.steps * fit.batch and len(found) >= len(set(fit.keep_at))


def correspondence(study: Study) -> list[dict]:
    """The rows of `evaluate.evaluate`: every run, at its best epoch, on every domain."""
    runs, settings = list(study.runs()), study.settings
    domains = [evaluate.Domain(run.domain, run.config().data) for run in runs[:: settings.trials]][: len(study.domains)]
    how = {"seed": settings.seed, "moments": settings.moments, "most": settings.most, "jobs": settings.jobs}
    cards = [weights.card(run.folder / "best").model.weights_sha256 for run in runs]
    key = digest({**how, "cards": cards, "domains": study.domains})
    path = study.folder / "correspondence.json"
    if (kept := _read(path)) and kept["key"] == key:
        return kept["rows"]
    rows = evaluate.evaluate(evaluate.restored([run.folder for run in runs]), domains, **how)
    _write(path, {"key": key, "rows": rows})
    return rows


@dataclass(frozen=True)
class Probed:
    """What a linear probe makes of one system on one set."""

    set: str
    variant: str  # "" of what is not a network
    domain: str  # "" of what was not trained
    trial: int
    pairs: int  # seen; 0: random weights
    best: bool  # whether it is the best epoch of its run
    row: dict  # scores.table_row
    right: np.ndarray  # (clips,) bool


def probe_all(study: Study, sets: dict[str, list[datasets.Clip]]) -> list[Probed]:
    """Every checkpoint, every network with random weights, and log-mel statistics, on every set."""
    done: dict[str, dict] = {}  # one network may be asked for twice: the best epoch is the last, variants share a twin
    found = [
        _probe(study, None, (name, "", "", 0, 0, False), f"log-mel-{name}", clips, done) for name, clips in sets.items()
    ]
    for run in study.runs():
        for pairs, folder, best in _systems(run):
            model = _model(study, run, folder)
            label = f"{run.name}-{'best' if best else pairs}" if folder else f"{run.variant}-random-{run.trial}"
            for name, clips in sets.items():
                who = (name, run.variant, run.domain if folder else "", run.trial, pairs, best)
                found.append(_probe(study, model, who, f"{label}-{name}", clips, done))
    return found


def _systems(run: Run) -> Iterator[tuple[int, Path | None, bool]]:
    """(pairs seen, model folder, whether it is the best epoch); random weights, which know no domain, once."""
    if run.domain == next(iter(run.study.domains)):
        yield 0, None, False
    for pairs, folder in run.checkpoints().items():
        yield pairs, folder, False
    yield int(weights.card(run.folder / "best").table["training"]["pairs"]), run.folder / "best", True


def _model(study: Study, run: Run, folder: Path | None):
    if folder is not None:
        return l3embed.load(folder, precision=study.settings.precision)
    trained = weights.card(run.folder / "model").model
    return random_twin(trained, run.seed, study.folder / "cache" / "twins", study.settings.precision)


def _probe(study: Study, model, who: tuple, label: str, clips: list[datasets.Clip], done: dict[str, dict]) -> Probed:
    """Predictions are kept by clip, under a hash of all that they depend on; `done` holds what was made before."""
    settings, path = study.settings, study.folder / "probes" / f"{label}.json"
    how = {"of": LOG_MEL} if model is None else {"recipe": model.recipe(model.framing(settings.hop))}
    how |= {"probe": settings.probe, "pooling": settings.pooling, "grid": list(linear.C_GRID)}
    key = digest({**how, "clips": [[c.path.name, c.label, c.fold, c.group] for c in clips]})
    kept = _read(path)
    if not kept or kept["key"] != key:
        if key not in done:
            predicted, chosen = _predict(study, model, how, clips)
            names = [str(c.path.name) for c in clips]
            done[key] = {"key": key, "clips": names, "predicted": list(map(str, predicted)), "chosen": chosen}
        kept = done[key]
        _write(path, kept)
    done[key] = kept
    return Probed(*who, scores.table_row(kept["predicted"], clips), scores.right(kept["predicted"], clips))


def _predict(study: Study, model, how: dict, clips: list[datasets.Clip]):
    settings, labels, folds = study.settings, [c.label for c in clips], [c.fold for c in clips]
    cache = partial(features.cached, study.folder / "cache" / "vectors", how, clips)
    if model is None:
        x = cache(lambda: features.log_mel_statistics(clips, settings.jobs))
        windows = list(x[:, None])
    elif settings.probe == "mlp":
        windows = features.windows(model, clips, settings.hop, settings.jobs)
    else:
        x = cache(lambda: features.embeddings(model, clips, settings.pooling, settings.hop, settings.jobs))
    if settings.probe == "mlp":
        from . import mlp

        return mlp.nested(windows, labels, folds, [c.unit for c in clips])
    return linear.nested(x, labels, folds, jobs=settings.jobs)


def _read(path: Path) -> dict | None:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _write(path: Path, table: dict) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(f".{os.getpid()}.part")
    part.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")
    os.replace(part, path)
