"""Linear probe of the shipped model, of the same network with random weights, and of log-mel statistics.

    python scripts/probe_shipped_model.py --esc10 FOLDER [--digits FOLDER] [--model CARD]

Prints one row a system: mean accuracy over the data set's own folds, their standard deviation, each fold. Scaler and C
are chosen inside the training folds. Building the random twins needs the train extra.
"""

import argparse
import tempfile
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np

import l3embed
from l3embed import networks, weights
from l3embed.embed import EmbeddingModel
from l3embed.engine import choose
from l3embed.pooling import POOLINGS
from probes import datasets, features, linear


def random_twin(card: weights.Card, seed: int, folder: Path, precision: str) -> EmbeddingModel:
    """The card's network with the weights it was initialised with, by seed."""
    import keras

    keras.utils.set_random_seed(seed)
    spec = card.model
    network = networks.family(spec.network.family).audio_network(spec.front_end, spec.network)
    twin = weights.release(replace(spec, name=f"random-{seed}"), network.get_weights(), folder / str(seed), {})
    return EmbeddingModel(twin, choose(), precision)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--esc10", type=Path)
    parser.add_argument("--digits", type=Path)
    parser.add_argument("--model", help="card of a model (default: the shipped one)")
    parser.add_argument("--pooling", default="mean+max", choices=POOLINGS)
    parser.add_argument("--random-seeds", type=int, nargs="*", default=[0, 1, 2])
    parser.add_argument("--precision", default="f32")
    parser.add_argument("--write", action="store_true", help="write the table into the model's card")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore", l3embed.errors.L3EmbedWarning)
    model = l3embed.load(arguments.model, precision=arguments.precision)
    with tempfile.TemporaryDirectory() as folder:
        systems = {model.name: lambda clips: features.embeddings(model, clips, arguments.pooling)}
        for seed in arguments.random_seeds:
            twin = random_twin(model.card, seed, Path(folder), arguments.precision)
            systems[f"random weights, seed {seed}"] = lambda clips, twin=twin: features.embeddings(
                twin, clips, arguments.pooling
            )
        systems["log-mel statistics"] = features.log_mel_statistics
        for name, read, where in (
            ("ESC-10", datasets.esc10, arguments.esc10),
            ("digits by speaker", datasets.digits, arguments.digits),
        ):
            if where:
                results = _table(name, read(where), systems, arguments.pooling)
                if arguments.write:
                    key = name.split()[0].lower().replace("-", "") + "_linear_probe"
                    model.card.table.setdefault("results", {})[key] = results
    if arguments.write:
        model.card.path.write_text(weights.toml(model.card.table), encoding="utf-8")


def _table(name: str, clips: list, systems: dict, pooling: str) -> dict:
    labels, folds = [c.label for c in clips], [c.fold for c in clips]
    print(f"{name}: {len(clips)} clips, {len(set(folds))} folds, linear probe")
    print(f"{'system':28} {'dims':>5} {'accuracy':>8} {'sd of folds':>11}  folds")
    results = {"clips": len(clips), "folds": len(set(folds)), "pooling": pooling}
    for system, vectors in systems.items():
        x = vectors(clips)
        predicted, _ = linear.nested(x, labels, folds, jobs=-1)
        each = 100 * linear.fold_accuracies(predicted, labels, folds)
        print(f"{system:28} {x.shape[1]:5} {np.mean(each):8.2f} {np.std(each, ddof=1):11.2f}  "
              f"{' '.join(f'{a:.1f}' for a in each)}", flush=True)  # fmt: skip
        key = system.replace("-", "_").replace(",", "").replace(" ", "_")
        results[key] = {"accuracy": round(float(np.mean(each)), 2), "folds": [round(float(a), 2) for a in each]}
    return results


if __name__ == "__main__":
    main()
