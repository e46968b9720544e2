"""Training: configuration -> networks -> fit -> a model that `l3embed extract --model RUN/model` can use.

A run folder holds `config.json`, `history.csv`, the newest and the best checkpoint (weights and optimiser), and, once
finished, `model/`. A checkpoint is written at the end of every epoch; a killed run goes on from there and, since each
epoch draws its pairs from its own seed, sees the same pairs as an uninterrupted one.
"""

from __future__ import annotations

import csv
import io
import json
import math
import os
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

from ..errors import MissingExtraError, TrainingError
from ..spec import Model
from . import loader, pairs
from .config import TrainConfig

HISTORY, NEWEST = "history.csv", "newest-*.weights.h5"


def train(config: TrainConfig, progress: bool = True) -> Path:
    """Train, or go on training, and return the folder of the finished model. Raises TrainingError."""
    keras = _keras(config.backend)
    run = Path(config.run)
    sources = {split: pairs.Sources(config, split) for split in pairs.SPLITS}  # a wrong path ends the run here
    _claim(run, config)
    keras.utils.set_random_seed(config.seed)
    in_graph = keras.backend.backend() == "tensorflow"  # where kapre works
    model, audio_tower, image_size = build(config, in_graph)
    checkpoints = _Checkpoints(run)
    done = checkpoints.restore(model)
    if done < config.fit.epochs:
        _fit(model, config, sources["held_out"], image_size, in_graph, checkpoints, done, progress)
    return _release(config, run, audio_tower)


def build(config: TrainConfig, in_graph: bool):
    """The compiled correspondence model of a configuration: (model, audio tower, side of its pictures).

    Inputs: "audio" (N, window, 1), or spectrograms (N, F, T, 1) where the front end is not in the graph;
    "image" (N, size, size, 3) in 0 to 255.
    """
    import keras

    from ..networks import family, heads

    networks, front_end = family(config.model.family), config.front_end
    audio = keras.Input((front_end.window_samples, 1) if in_graph else front_end.shape, name="audio")
    image = keras.Input(networks.IMAGE_SHAPE, name="image", dtype="uint8")
    spectrogram = audio
    if in_graph:  # in float32 whatever the precision of the networks: bfloat16 has no room for a spectrogram
        from ..networks.front_end import front_end_layers

        spectrogram = front_end_layers(front_end)(audio)
    keras.config.set_dtype_policy(config.fit.precision)
    try:
        audio_tower = networks.audio_tower(front_end, config.audio)
        image_tower = networks.image_tower(config.image)
        picture = keras.layers.Rescaling(1 / 127.5, -1)(image)
        vectors = [image_tower(picture), audio_tower(spectrogram)]
        dims = [v.shape[-1] for v in vectors]
        binary = config.fit.objective == "binary"
        head = heads.correspondence_head(*dims) if binary else heads.contrastive_head(*dims)
        model = keras.Model({"image": image, "audio": audio}, head(vectors))
        model.compile(
            keras.optimizers.Adam(_learning_rate(config)),
            loss="categorical_crossentropy" if binary else heads.contrastive_loss,
            metrics=["accuracy"] if binary else [keras.metrics.MeanMetricWrapper(heads.pair_accuracy, name="accuracy")],
            jit_compile=False if in_graph else "auto",
        )
    finally:
        keras.config.set_dtype_policy("float32")
    return model, audio_tower, networks.IMAGE_SHAPE[0]


def _keras(backend: str):
    if backend and "keras" not in sys.modules:
        os.environ["KERAS_BACKEND"] = backend
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    try:
        import keras
        import pescador  # noqa: F401
    except ImportError as error:
        if error.name == "jax":
            raise TrainingError("Keras' JAX backend needs a package that is not installed: pip install jax") from error
        raise MissingExtraError("training", "train") from error
    if backend and keras.backend.backend() != backend:
        raise TrainingError(f"Keras already runs on {keras.backend.backend()!r} in this process, not on {backend!r}")
    return keras


def _claim(run: Path, config: TrainConfig) -> None:
    """Write the configuration, or refuse a folder with checkpoints of another one (length and texts may change)."""
    path, wanted = run / "config.json", json.loads(json.dumps(asdict(config)))
    if path.exists() and any(run.glob(NEWEST)):
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            for table in (found, wanted):
                table["fit"]["epochs"] = table["run"] = table["about"] = None
        except (ValueError, KeyError, TypeError) as error:
            raise TrainingError(f"{path}: is damaged ({error}): choose another folder ('run = ...')") from error
        if found != wanted:
            changed = [k for k in wanted if found.get(k) != wanted[k]]
            raise TrainingError(
                f"{run}: holds a run with other settings ({', '.join(changed)}): choose another folder ('run = ...')"
            )
    run.mkdir(parents=True, exist_ok=True)
    _replace(path, json.dumps(asdict(config), indent=1) + "\n")


def _replace(path: Path, text: str) -> None:
    temporary = path.with_name(path.name + ".part")
    temporary.write_text(text, encoding="utf-8", newline="")
    os.replace(temporary, path)


def _learning_rate(config: TrainConfig):
    import keras

    if config.fit.decay == "cosine":
        return keras.optimizers.schedules.CosineDecay(config.fit.learning_rate, config.fit.epochs * config.fit.steps)
    return config.fit.learning_rate


def _fit(model, config, held_out, image_size, in_graph, checkpoints, done: int, progress: bool) -> None:
    import keras

    class Watch(keras.callbacks.Callback):
        """Progress, history and checkpoints; stops at the first loss that is not a number."""

        def on_epoch_begin(self, epoch, logs=None):
            from tqdm import tqdm

            self.started = time.monotonic()
            self.bar = tqdm(
                total=config.fit.steps * config.fit.batch, unit="pair", file=sys.stderr, leave=False,
                desc=f"epoch {epoch + 1}/{config.fit.epochs}", disable=None if progress else True,
            )  # fmt: skip

        def on_train_batch_end(self, batch, logs=None):
            _check_loss(logs["loss"], f"at batch {batch + 1}")
            self.bar.update(config.fit.batch)
            self.bar.set_postfix(loss=f"{logs['loss']:.3f}", accuracy=f"{logs['accuracy']:.3f}")

        def on_epoch_end(self, epoch, logs=None):
            self.bar.close()
            seconds = time.monotonic() - self.started
            with loader.own_errors(loader.held_out(config, held_out, image_size, in_graph)) as batches:
                validation = model.evaluate(batches, steps=config.fit.validation_steps, verbose=0, return_dict=True)
            _check_loss(validation["loss"], "after the last batch")  # before a checkpoint of it is written
            n_pairs = (epoch + 1) * config.fit.steps * config.fit.batch
            row = {"epoch": epoch + 1, "pairs": n_pairs, "loss": logs["loss"], "accuracy": logs["accuracy"]}
            row |= {f"val_{k}": validation[k] for k in ("loss", "accuracy")}
            row |= {"pairs_per_s": config.fit.steps * config.fit.batch / seconds, "seconds": seconds}
            checkpoints.save(model, row)
            if progress:
                print(" ".join(f"{k} {v:.4g}" for k, v in row.items()), file=sys.stderr, flush=True)

    train = loader.Loader(config, image_size, in_graph, done)
    try:
        with loader.own_errors(train) as batches:
            model.fit(
                batches, initial_epoch=done, epochs=config.fit.epochs, steps_per_epoch=config.fit.steps,
                callbacks=[Watch()], verbose=0,
            )  # fmt: skip
    finally:
        train.close()


def _check_loss(loss: float, when: str) -> None:
    if not math.isfinite(loss):
        raise TrainingError(f"the loss is {loss} {when}: lower fit.learning_rate")


class _Checkpoints:
    """`newest-N.weights.h5` and `best.weights.h5` of a run, and its history up to epoch N."""

    def __init__(self, run: Path):
        self.run = run
        self.rows: list[dict] = []

    def restore(self, model) -> int:
        """Load the newest checkpoint; returns the number of finished epochs."""
        found = sorted(self.run.glob(NEWEST))
        if not found:
            return 0
        done = int(found[-1].name.split("-")[1].split(".")[0])
        model.optimizer.build(model.trainable_variables)  # Keras passes over the state of an optimiser not yet built
        try:
            model.load_weights(found[-1])
            self.rows = [row for row in _history(self.run) if int(row["epoch"]) <= done]
        except (ValueError, OSError, KeyError) as error:
            raise TrainingError(f"{found[-1]}: this run cannot go on from here: {error}") from error
        return done

    def save(self, model, row: dict) -> None:
        """History first, then the checkpoint: rows beyond the newest checkpoint are dropped when a run goes on."""
        best = max((float(r["val_accuracy"]) for r in self.rows), default=-1)
        self.rows.append(row)
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, row)
        writer.writeheader()
        writer.writerows(self.rows)
        _replace(self.run / HISTORY, text.getvalue())
        if row["val_accuracy"] > best:
            self._write(model, "best.weights.h5")
        newest = self._write(model, f"newest-{row['epoch']:05d}.weights.h5")
        for old in self.run.glob(NEWEST):
            if old != newest:
                old.unlink()

    def _write(self, model, name: str) -> Path:
        temporary = self.run / ("part." + name)
        model.save_weights(temporary)
        os.replace(temporary, self.run / name)
        return self.run / name


def _history(run: Path) -> list[dict]:
    with open(run / HISTORY, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _release(config: TrainConfig, run: Path, audio_tower) -> Path:
    """The audio network of the last epoch as a model of its own."""
    from .. import weights
    from ..networks import family

    network = family(config.model.family).audio_network(config.front_end, config.audio)
    arrays = audio_tower.get_weights()[: len(network.weights)]  # the tower begins with the network
    model = Model(config.model.name, config.front_end, config.audio, network.output_shape[-1], "")
    rows = _history(run)
    # A card travels: it tells the names of the folders, not where they lay on this machine.
    folders = {key: tuple(Path(p).name for p in getattr(config.data, key)) for key in ("videos", "recordings")}
    told = replace(config, run="", data=replace(config.data, **folders))
    if config.model.family != "l3":  # the small family has one representation
        told = replace(told, model=replace(told.model, representation=config.front_end.name))
    training = {
        "seed": config.seed, "objective": config.fit.objective, "pairs": int(rows[-1]["pairs"]),
        "hours": round(sum(float(r["seconds"]) for r in rows) / 3600, 2),
        "held_out_accuracy": round(float(rows[-1]["val_accuracy"]), 4),
        "config": {key: value for key, value in asdict(told).items() if key != "about"},
    }  # fmt: skip
    weights.release(model, arrays, run / "model", {**asdict(config.about), "training": training})
    return run / "model"
