"""The MLP grid of a data set: all folds and points as one program, against the same networks in Keras, one by one.

    python scripts/bench_mlp_grid.py DATA [--model NAME] [--windows] [--hop S] [--epochs 50] [--folds N] [--engine jax]

DATA is a data set (`probes.datasets.read`). Nine networks (512-128, learning rate by L2) for every fold, on one vector
a clip or, with --windows, on windows. Both ways have the same clips to fit, validate and test on and the same recipe
(Adam, batches of 32, early stopping), and start from the same distribution; they draw batches of their own. Timed are
training, choice and prediction, compilation included; embedding is not. KERAS_BACKEND chooses what Keras runs on.
"""

import argparse
import sys
import time
import warnings

import numpy as np

import l3embed
from l3embed.errors import L3EmbedError, L3EmbedWarning
from probes import datasets, features, protocols, selection
from probes.estimators.mlp import MLPProbe
from probes.estimators.windows import Windows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--model", help="default: the shipped one")
    parser.add_argument("--windows", action="store_true", help="learn from windows, as the paper does")
    parser.add_argument("--hop", type=float, default=0.5, help="seconds between windows (0.5)")
    parser.add_argument("--epochs", type=int, default=50)
    parser.add_argument("--folds", type=int, help="only the first so many")
    parser.add_argument("--engine", choices=("jax", "tensorflow"))
    arguments = parser.parse_args()
    warnings.simplefilter("ignore", L3EmbedWarning)
    try:
        _run(arguments)
    except L3EmbedError as error:
        sys.exit(f"bench_mlp_grid: {error}")


def _run(arguments) -> None:
    data = datasets.read(arguments.data)
    model = l3embed.load(arguments.model)
    vectors = features.ArrayFeatures(model.name, features.windows(model, list(data.clips), arguments.hop, jobs=2))
    source = Windows(vectors if arguments.windows else vectors.pooled())
    probe = MLPProbe(epochs=arguments.epochs, engine=arguments.engine)
    nested = protocols.PROTOCOLS["nested"]
    tasks = nested.plan(data, 0)[: arguments.folds]
    parts = [protocols._part(nested, probe, source, data, task, [0, i]) for i, task in enumerate(tasks)]
    codes, classes = protocols._targets(data), len(data.classes)
    points = len(probe._grid())
    print(f"{data.name}, {model.name}: {len(source)} vectors of {source.dim}, {len(parts)} folds x {points} points")
    tests = [task.test for task in tasks]
    started = time.perf_counter()
    with selection.one_thread():
        found = [scores for scores, _ in probe.together(source, np.eye(classes)[codes], parts, tests)]
    together_s = time.perf_counter() - started
    _report("one program", together_s, found, codes, tests)
    keras = _keras()
    started = time.perf_counter()
    found = [
        _one_after_another(keras, probe, source, codes, classes, part, test)
        for part, test in zip(parts, tests, strict=True)
    ]
    apart_s = time.perf_counter() - started
    _report(f"keras.Model.fit ({keras.backend.backend()})", apart_s, found, codes, tests)
    print(f"ratio {apart_s / together_s:.1f}")


def _report(name: str, seconds: float, found: list, codes: np.ndarray, tests: list) -> None:
    right = np.concatenate([s.argmax(axis=1) == codes[test] for s, test in zip(found, tests, strict=True)])
    print(f"{name:32} {seconds:8.1f} s   accuracy {100 * right.mean():.2f} % of {len(right)}", flush=True)


def _keras():
    import os

    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import keras

    return keras


def _one_after_another(keras, probe: MLPProbe, source: Windows, codes, n_classes: int, part, test) -> np.ndarray:
    (mean,), (deviation,) = source.moments([np.concatenate([part.fit, part.validation])])
    x, y = (source.x - mean) / deviation, codes[source.clip_of]
    best, chosen = -1.0, None
    for rate, decay in probe._grid():
        keras.utils.set_random_seed(part.seed)
        l2 = keras.regularizers.L2(decay)
        layers = [keras.layers.Dense(n, "relu", kernel_regularizer=l2) for n in probe.hidden]
        layers.append(keras.layers.Dense(n_classes, "softmax", kernel_regularizer=l2))
        network = keras.Sequential([keras.Input((source.dim,)), *layers])
        network.compile(keras.optimizers.Adam(rate), "sparse_categorical_crossentropy", metrics=["accuracy"])
        stop = keras.callbacks.EarlyStopping(patience=probe.patience, restore_best_weights=True)
        held = x[part.validation], y[part.validation]
        network.fit(
            x[part.fit], y[part.fit], probe.batch, probe.epochs, verbose=0, validation_data=held, callbacks=[stop]
        )
        accuracy = network.evaluate(*held, verbose=0)[1]
        if accuracy > best:
            best, chosen = accuracy, network
    rows = [source.of([clip]) for clip in test]
    p = chosen.predict(x[np.concatenate(rows)], verbose=0)
    return np.array([some.mean(axis=0) for some in np.split(p, np.cumsum([len(r) for r in rows])[:-1])])


if __name__ == "__main__":
    main()
