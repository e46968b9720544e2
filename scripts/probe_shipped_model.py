"""Linear probe of a model beside its network with random weights, log-mel statistics, and other models.

    python scripts/probe_shipped_model.py --data FOLDER [--model CARD] [--beside NAME[=FILE] ...] [--write]

FOLDER holds esc10/, language/, accent/, primate/, digits/, or some of them (--esc10 FOLDER and so on name one
elsewhere). Scaler and C are chosen inside the training folds; groups (source, speaker, video, recorder) stay whole. One
row a system: mean accuracy of the folds, 95 % interval (bootstrap over groups), unweighted average recall, each fold.
Then the model against its random twins, by permutation of groups (probes/statistics.py): against the twin that is best
on that set, chosen with hindsight in the twin's favour, and against the mean of all twins. p of the first is adjusted
over the data sets by Holm; digits, which may select and train what ships, stays out of that family. Building random
twins needs the train extra.
"""

import argparse
import json
import re
import sys
import tempfile
import warnings
from pathlib import Path

import numpy as np

import l3embed
from l3embed import weights
from l3embed.embed import EmbeddingModel, load_of_sound
from l3embed.pooling import POOLINGS
from probes import datasets, features, linear, scores, statistics
from probes.twins import random_twin

LOG_MEL = "log-mel statistics"
SETS = ("esc10", "language", "accent", "primate", "digits")
NOT_TESTED = ("digits",)  # may train and select what ships


def main() -> None:
    arguments = _arguments()
    warnings.simplefilter("ignore", l3embed.errors.L3EmbedWarning)
    try:
        with tempfile.TemporaryDirectory() as folder:
            _run(arguments, arguments.cache or Path(folder))
    except l3embed.errors.L3EmbedError as error:
        sys.exit(f"probe_shipped_model: {error}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder that holds the data sets under their names")
    for name in SETS:
        parser.add_argument(f"--{name}", type=Path, metavar="FOLDER")
    parser.add_argument("--model", help="name or card of a model (default: the shipped one)")
    parser.add_argument(
        "--beside", nargs="*", default=[], metavar="NAME[=FILE]", help="other models, with their weights"
    )
    parser.add_argument("--pooling", default="mean+max", choices=POOLINGS)
    parser.add_argument("--hop", type=float, help="seconds between windows (default: each model's own)")
    parser.add_argument("--random-seeds", type=int, nargs="*", default=[0, 1, 2])
    parser.add_argument("--precision", default="f32")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument(
        "--cache", type=Path, help="folder that keeps vectors, predictions and random twins for the next run"
    )
    parser.add_argument("--write", action="store_true", help="write the table into the model's card")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the table as JSON, too")
    arguments = parser.parse_args()
    arguments.sets = {}
    for name in SETS:
        folder = getattr(arguments, name) or (arguments.data and arguments.data / name)
        if getattr(arguments, name) or (folder and folder.is_dir()):
            arguments.sets[name] = folder
    if not arguments.sets:
        parser.error("name a data set: --data FOLDER, or --esc10 FOLDER and so on")
    return arguments


def _run(arguments, cache: Path) -> None:
    sets = {name: datasets.folded(datasets.read(f"{name}={folder}")) for name, folder in arguments.sets.items()}
    model = _load(arguments.model, arguments.precision)
    systems = {model.name: model}
    for item in arguments.beside:
        beside = _load(item, arguments.precision)
        systems[beside.name if beside.name not in systems else f"{beside.name} ({item})"] = beside
    for seed in arguments.random_seeds:
        systems[_twin_name(seed)] = random_twin(model.spec, seed, cache / "twins", arguments.precision)
    systems[LOG_MEL] = None
    results, rights = {}, {}
    for name, clips in sets.items():
        results[name], rights[name] = _probe_all(name, clips, systems, arguments, cache)
    if arguments.random_seeds:
        _compare(model.name, sets, results, rights, arguments.random_seeds)
    _keep(model, results, arguments)


def _load(item: str | None, precision: str) -> EmbeddingModel:
    """NAME, a card, or NAME=FILE."""
    name, _, file = (item, "", "") if item is None or Path(item).exists() else item.partition("=")
    return load_of_sound(name, weights_file=file or None, precision=precision)


def _twin_name(seed: int) -> str:
    return f"random weights, seed {seed}"


def _probe_all(name: str, clips: list, systems: dict, arguments, cache: Path) -> tuple[dict, dict]:
    """(plain results by system, which clips each system gets right) of one data set."""
    labels, folds = [c.label for c in clips], [c.fold for c in clips]
    n_groups = len({c.unit for c in clips})
    most = 100 * max(map(labels.count, set(labels))) / len(clips)
    print(f"\n{name}: {len(clips)} clips, {len(set(labels))} labels (the commonest {most:.1f} %), {n_groups} groups, "
          f"{len(set(folds))} folds, linear probe of {arguments.pooling}")  # fmt: skip
    print(f"{'system':28} {'dims':>5} {'accuracy':>8}  {'95 %':12} {'recall':>6}  folds")
    results = {"clips": len(clips), "folds": len(set(folds)), "groups": n_groups, "pooling": arguments.pooling}
    rights = {}
    for system, model in systems.items():
        x, key = _vectors(model, clips, arguments, cache)
        key = {**key, "probe": "linear", "grid": list(linear.C_GRID), "labels": labels, "folds": folds}
        probe = lambda x=x: np.asarray(linear.nested(x, labels, folds, jobs=arguments.jobs)[0], str)  # noqa: E731
        predicted = features.cached(cache / "predictions", key, clips, probe)
        row = scores.table_row(predicted, clips)
        rights[system] = scores.right(predicted, clips)
        low, high = row["interval"]
        print(f"{system:28} {x.shape[1]:5} {row['accuracy']:8.2f}  {low:5.1f}-{high:5.1f}  {row['uar']:6.2f}  "
              f"{' '.join(f'{a:.1f}' for a in row['folds'])}", flush=True)  # fmt: skip
        results[_key(system)] = row
    return results, rights


def _vectors(model: EmbeddingModel | None, clips: list, arguments, cache: Path) -> tuple[np.ndarray, dict]:
    """Vectors of the clips, and what made them."""
    jobs = arguments.jobs
    if model is None:
        key, make = {"of": LOG_MEL}, lambda: features.log_mel_statistics(clips, jobs)
    else:
        framing = model.framing() if arguments.hop is None else model.framing(arguments.hop)
        key = {"recipe": model.recipe(framing), "pooling": arguments.pooling}
        make = lambda: features.embeddings(model, clips, arguments.pooling, arguments.hop, jobs)  # noqa: E731
    return features.cached(cache / "vectors", key, clips, make), key


def _compare(name: str, sets: dict, results: dict, rights: dict, seeds: list[int]) -> None:
    """The model against its random twins on every data set; printed, and entered in `results`."""
    twins = [_twin_name(seed) for seed in seeds]
    tests = {}
    for key, clips in sets.items():
        right = rights[key]
        best = max(twins, key=lambda twin: results[key][_key(twin)]["accuracy"])
        mean = np.mean([right[twin] for twin in twins], axis=0)
        tests[key] = [
            _against(right[name], right[best], clips, best),
            _against(right[name], mean, clips, "mean of twins"),
        ]
        tests[key][0]["p_mcnemar"] = statistics.mcnemar(right[name], right[best]).p
    family = [key for key in tests if key not in NOT_TESTED]
    for key, p in zip(family, statistics.holm([tests[key][0]["p"] for key in family]), strict=True):
        tests[key][0] |= {"p_holm": float(p), "family": family}
    print(f"\n{name} against its network with random weights (gap over all clips, in points)")
    print(f"{'':10} {'':24} {'gap':>6}  {'95 %':14} {'p':>7} {'Holm':>7} {'McNemar':>8}")
    for key, rows in tests.items():
        for row in rows:
            low, high = row["interval"]
            print(f"{key:10} {row['twin']:24} {row['gap']:6.2f}  {low:6.2f} {high:6.2f}  {_p(row['p'])} "
                  f"{_p(row.get('p_holm'))}  {_p(row.get('p_mcnemar'))}")  # fmt: skip
        results[key] |= {"against_best_twin": rows[0], "against_mean_of_twins": rows[1]}


def _against(right: np.ndarray, other: np.ndarray, clips: list, twin: str) -> dict:
    units, folds = [c.unit for c in clips], [c.fold for c in clips]
    interval = statistics.gap_interval(right, other, units, folds)
    return {
        "twin": twin, "gap": round(100 * float(np.mean(right - other.astype(float))), 2),
        "interval": [round(100 * x, 2) for x in interval], "p": statistics.by_group(right, other, units).p,
    }  # fmt: skip


def _p(value: float | None) -> str:
    return f"{'':7}" if value is None else f"{value:7.4f}"


def _key(system: str) -> str:
    return re.sub(r"[^A-Za-z0-9]+", "_", system)


def _keep(model: EmbeddingModel, results: dict, arguments) -> None:
    if arguments.json:
        arguments.json.write_text(json.dumps({"model": model.name, "results": results}, indent=1) + "\n")
    if arguments.write:
        new = {f"{name}_linear_probe": result for name, result in results.items()}
        weights.enter(model.card, {}, results={**model.card.table.get("results", {}), **new})


if __name__ == "__main__":
    main()
