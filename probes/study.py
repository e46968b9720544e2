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
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

import l3embed
from l3embed import weights
from l3embed.avc import checkpoints, config, evaluate, train
from l3embed.errors import UsageError
from l3embed.spec import digest

from . import datasets, features, linear, scores
from .twins import random_twin

LOG_MEL = "log-mel statistics"
PATHS = ("videos", "recordings")  # keys of a domain that name files


@dataclass(frozen=True)
class Settings:
    """The table [study]."""

    seed: int = 0  # of the first trial; the next ones count on
    trials: int = 1  # runs of each kind
    amounts: tuple[int, ...] = ()  # pairs seen, after which the networks are probed; the end of a run always is
    pooling: str = "mean+max"
    hop: float = 0.1  # s, between the windows that are probed
    precision: str = "f32"
    moments: int = evaluate.MOMENTS  # of each held-out video
    most: int = evaluate.MOST  # held-out videos of a domain
    jobs: int = 2


@dataclass(frozen=True)
class Study:
    folder: Path  # OUT
    settings: Settings
    variants: dict[str, dict]  # name -> what it changes of the table [model]
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
        table["model"] = {**table.get("model", {}), **self.study.variants[self.variant], "name": self.name}
        table["data"] = {**table.get("data", {}), **self.study.domains[self.domain]}
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
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise UsageError(f"{path}: is not valid TOML: {error}") from error
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
    return Study(Path(out), settings, table["variants"], domains, sets, _whole(table.get("train", {})))


def _beside(folder: Path, data: dict) -> dict:
    absolute = {key: [str((folder / p).resolve()) for p in data[key]] for key in PATHS if key in data}
    return {**data, **absolute}


def _whole(base: dict) -> dict:
    for key in ("run", "seed"):
        if key in base:
            raise UsageError(f"train.{key} is the study's to set: remove it")
    return base


# --- the stages


def train_all(study: Study, progress: bool = True) -> None:
    configs = {run: run.config() for run in study.runs()}  # a wrong key ends the study here
    for run, settings in configs.items():
        wanted = settings.fit.epochs * settings.fit.steps * settings.fit.batch
        if not (run.folder / "model").exists() or max(run.checkpoints()) < wanted:
            train.train(settings, progress)


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


def probe_all(study: Study) -> tuple[dict[str, list], list[Probed]]:
    """(set -> clips, everything that was probed)."""
    sets = {name: _clips(name, folder) for name, folder in study.sets.items()}
    found = []
    for name, clips in sets.items():
        baseline = study.folder / "probes" / f"log-mel-{name}.json"
        vectors = lambda clips=clips: features.log_mel_statistics(clips, study.settings.jobs)  # noqa: E731
        found.append(_probed(study, clips, baseline, {"of": LOG_MEL}, vectors, (name, "", "", 0, 0, False)))
    for run in study.runs():
        first = run.domain == next(iter(study.domains))  # random weights know no domain
        folders = {pairs: (folder, False) for pairs, folder in run.checkpoints().items()}
        best = weights.card(run.folder / "best")
        systems = [(pairs, *entry) for pairs, entry in folders.items()]
        systems.append((int(best.table["training"]["pairs"]), run.folder / "best", True))
        if first:
            systems.insert(0, (0, None, False))
        for pairs, folder, is_best in systems:
            model = _model(study, run, folder)
            for name, clips in sets.items():
                label = f"{run.name}-{'best' if is_best else pairs}" if folder else f"{run.variant}-random-{run.trial}"
                path = study.folder / "probes" / f"{label}-{name}.json"
                who = (name, run.variant, run.domain if folder else "", run.trial, pairs, is_best)
                found.append(_probe_model(study, model, clips, path, who))
    return sets, found


def _clips(name: str, folder: Path) -> list[datasets.Clip]:
    if folder.suffix == ".csv":
        return datasets.from_csv(folder)
    return datasets.READERS.get(name, datasets.indexed)(folder)


def _model(study: Study, run: Run, folder: Path | None):
    if folder is not None:
        return l3embed.load(folder, precision=study.settings.precision)
    trained = weights.card(run.folder / "model").model
    return random_twin(trained, run.seed, study.folder / "cache" / "twins", study.settings.precision)


def _probe_model(study: Study, model, clips: list, path: Path, who: tuple) -> Probed:
    settings = study.settings
    how = {"recipe": model.recipe(model.framing(settings.hop)), "pooling": settings.pooling}
    make = lambda: features.embeddings(model, clips, settings.pooling, settings.hop, settings.jobs)  # noqa: E731
    return _probed(study, clips, path, how, make, who)


def _probed(study: Study, clips: list, path: Path, how: dict, make, who: tuple) -> Probed:
    labels, folds = [clip.label for clip in clips], [clip.fold for clip in clips]
    key = digest({**how, "clips": [[c.path.name, c.label, c.fold] for c in clips], "grid": list(linear.C_GRID)})
    kept = _read(path)
    if not kept or kept["key"] != key:
        x = features.cached(study.folder / "cache" / "vectors", how, clips, make)
        predicted, chosen = linear.nested(x, labels, folds, jobs=study.settings.jobs)
        kept = {"key": key, "clips": [str(c.path.name) for c in clips], "predicted": list(map(str, predicted))}
        _write(path, {**kept, "chosen": chosen})
    return Probed(*who, scores.table_row(kept["predicted"], clips), scores.right(kept["predicted"], clips))


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
