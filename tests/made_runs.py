"""Run folders made up: three data sets, five models, three probes, two protocols, few-shot jobs, failures."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from probes import results

SKILL = {"sea-net": 1.6, "twin-of-sea": 1.58, "old-net": 1.0, "random-twin": 0.2, "mfcc": 0.6}
KINDS = {"random-twin": "random", "mfcc": "baseline"}
SETS = {"frogs & <b>toads</b>": (4, 120, 30, 5, "accuracy"), "accents": (3, 90, 18, 3, "uar"),
        "scènes": (5, 100, 100, 5, "accuracy")}  # fmt: skip
PROBES = ("linear", "knn", "prototype")
SHOTS, DRAWS = (1, 2, 5), 6


def made_run(
    folder: Path, seed: int = 0, sets=tuple(SETS), models=tuple(SKILL), probes=PROBES, shots=SHOTS,
    protocols=("nested", "esc2015"), sounds: bool = False, failures: bool = True, better: float = 0.0,
) -> Path:  # fmt: skip
    """A run in which models have the skill that SKILL says; equal arguments, equal bytes."""
    run, about_sets = results.create(folder), {}
    for k, name in enumerate(sets):
        classes, rows = _clips(folder, name, np.random.default_rng([k, 7]), sounds)
        results.write_clips(run, name, rows)
        about_sets[name] = _about(name, classes, rows)
        for model in models:
            _cost(run, model, name, k)
            for protocol in protocols:
                for probe in probes:
                    rng = np.random.default_rng([seed, k, *map(ord, f"{model} {probe} {protocol}")])
                    for n in (None, *(shots if protocol == "nested" else ())):
                        job = {"id": f"{seed:02}{k}-{model}-{probe}-{protocol}-{n}", "data": name, "model": model,
                               "probe": probe, "protocol": protocol, "pooling": "mean+max", "shots": n,
                               "draws": DRAWS if n else 1, "seed": seed, "chosen": {"1": {"C": 0.1}},
                               "n_train": {"1": 3}, "notes": [], "seconds": 1.5}  # fmt: skip
                        if failures and model == "mfcc" and probe == "prototype" and k == 1:
                            failed = {"status": "failed", "error": "the probe <gave up>", "classes": []}
                            results.write_job(run, {**job, **failed})
                            continue
                        skill = SKILL[model] + better * (model == "old-net")
                        said = _said(rng, model, skill, classes, rows, n, failures and k == 0)
                        results.write_job(run, {**job, "status": "ok", "error": None, "classes": classes}, said)
    _write_run(run, about_sets, models, probes, protocols, seed)
    return run


def _clips(folder: Path, name: str, rng, sounds: bool) -> tuple[list[str], list[dict]]:
    n_classes, n, n_groups, n_folds, _ = SETS[name]
    classes = [f"class {chr(97 + c)}_{c}%" for c in range(n_classes)]
    rows = []
    for i in range(n):
        group = i % n_groups
        path = folder.parent / "sounds" / f"{name[:5]}-{i}.wav"
        label = classes[(i // n_groups if n_groups < n else i) % n_classes]
        rows.append({"clip": f"take {i}/é.wav", "path": str(path), "label": label, "labels": [],
                     "group": f"g{group}" if n_groups < n else "",
                     "fold": str(group % n_folds + 1), "split": "", "seconds": 1.0, "rate_hz": 8000.0,
                     "sha256": f"{i:064x}"})  # fmt: skip
        if sounds and i < 40:
            import soundfile

            path.parent.mkdir(exist_ok=True)
            tone = 0.3 * np.sin(2 * np.pi * (200 + 40 * i) * np.arange(8000) / 8000)
            soundfile.write(path, tone, 8000)
    return classes, rows


def _said(rng, model: str, skill: float, classes, rows, shots, failures: bool) -> results.Predictions:
    """Log-probabilities whose right class stands out by the skill; groups are easy or hard for all models."""
    draws = range(DRAWS) if shots else range(1)
    labels = np.array([classes.index(row["label"]) for row in rows])
    groups = np.unique([row["group"] or row["clip"] for row in rows], return_inverse=True)[1]
    easy = np.random.default_rng(5).normal(0, 0.5, groups.max() + 1)[groups]
    each, said = [], []
    for _ in draws:
        logits = rng.normal(0, 1, (len(rows), len(classes)))
        gain = 1.0 if shots is None else 0.4 + 0.1 * np.log2(shots)
        logits[np.arange(len(rows)), labels] += gain * (2 * skill + easy)
        log = (logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))).astype(np.float32)
        if failures and model == "old-net":
            log[3:5] = np.nan
        each.append(log)
        said += [classes[int(np.argmax(row))] if np.isfinite(row).all() else "" for row in log]
    k = len(draws)
    return results.Predictions(
        [row["clip"] for row in rows] * k, [row["fold"] for row in rows] * k, np.repeat(draws, len(rows)),
        [row["label"] for row in rows] * k, said, np.concatenate(each),
    )  # fmt: skip


def _cost(run: Path, model: str, data: str, k: int) -> None:
    failed = {"take 3/é.wav": "cannot be decoded", "take 4/é.wav": "holds NaN"} if model == "old-net" and k == 0 else {}
    results.write_cost(run, {"model": model, "data": data, "cached": False, "wall_s": 1 + len(model) + k,
                             "sound_s": 500.0, "windows": 4000, "bytes": 4000 * 512 * 4, "peak_mb": 150.0, "jobs": 2,
                             "precision": "f32", "device": "cpu", "failed": failed})  # fmt: skip


def _about(name: str, classes, rows) -> dict:
    return {"root": "/somewhere", "rule": "folds", "metric": SETS[name][4], "licence": "CC BY 4.0",
            "source": "Doe 2020", "notes": ["2 classes share a recorder"], "published": {"clips": len(rows)},
            "classes": classes, "n_clips": len(rows), "n_groups": SETS[name][2], "seconds": float(len(rows)),
            "sha256": f"sha of {name}"}  # fmt: skip


def _write_run(run: Path, sets: dict, models, probes, protocols, seed: int) -> None:
    results.write_run(run, {
        "settings": {"probes": list(probes), "pooling": ["mean+max"]}, "seed": seed, "failed_rule": "wrong", "code": 1,
        "versions": {"python": "3.11", "numpy": "2"}, "machine": {"system": "Linux", "cpus": 2},
        "protocols": {p: {"summary": f"what {p} does", "faults": ["tunes on the test fold"] if p == "esc2015" else [],
                          "source": "Piczak 2015"} for p in protocols},
        "data": sets,
        "models": {m: {"kind": KINDS.get(m, "model"), "fingerprint": m, "dim": 512, "parameters": 661_000,
                       "weights_bytes": 1_300_000 + 10_000 * len(m), "licence": "MIT", "recipe": {"hop": 0.1},
                       "trained_on": ["accents"] if m == "old-net" else [], "precision": "f32", "hop_s": 0.1}
                   for m in models},
        "probes": {p: {"input": "pooled", "grid": [{"C": 0.1}, {"C": 1}], "source": "scikit-learn"} for p in probes},
        "started": "2026-01-01T00:00:00Z", "finished": "2026-01-01T01:00:00Z", "wall_s": {"extract": 10, "probe": 99},
    })  # fmt: skip
