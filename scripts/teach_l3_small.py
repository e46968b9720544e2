"""Train an audio network of the small family to say of a second of sound what published networks say of it.

    python scripts/teach_l3_small.py prepare CONFIG.toml [--jobs 2]     sounds -> shards of spectrograms and targets
    python scripts/teach_l3_small.py train CONFIG.toml                  shards -> RUN/model
    python scripts/teach_l3_small.py ask CONFIG.toml MODEL...           held-out shards -> how well models know them

The targets are the teachers' embeddings of the same window; the loss is one minus the cosine between the root of each
(embeddings after ReLU have few large values) and a linear map of the student's embedding, which is thrown away
afterwards. With `centred` the mean root, which most of every embedding is, is taken off first. With `same_clip` above 0
the embedding must also tell which two windows of a batch are of one clip (InfoNCE, van den Oord et al. 2018). No
label is used. Both steps go on where they were interrupted.

`ask` judges embeddings as they are, by what no label is needed for: the cosine of the best linear map (ridge, fitted
on other shards) to each teacher's centred root, and how often the nearest of all windows that begin 3 s later is the
one of the same clip.
"""

import argparse
import json
import os
import time
import tomllib
from dataclasses import replace
from pathlib import Path

import joblib
import numpy as np

import l3embed
from l3embed import decode, networks, weights
from l3embed.avc import scenes
from l3embed.errors import AudioError
from l3embed.frontend import spectrograms
from l3embed.spec import Model, Network, small_front_end

FRONT_END = small_front_end()
RATE_HZ = FRONT_END.rate_hz
CLIP_S, CLIPS = 4, 250  # seconds of a clip; clips of a shard
HOP_S = 0.5  # from target to target
STARTS = [int(k * HOP_S * RATE_HZ) for k in range(int((CLIP_S - 1) / HOP_S) + 1)]  # of the windows in a clip
HELD_OUT = 20  # every so many-th shard
USED = 16  # files of a clip that are written down
PROJECTED, TEMPERATURE = 128, 0.1  # of windows that are told apart by clip
ASKED = 12_000  # windows that a linear map is fitted on
BEGINNING_S = 30.0  # of a recording that is used, so that music does not crowd out what is short


class Sounds:
    """Draws clips from folders of recordings, weighed by the root of their duration, and so are the files in each."""

    def __init__(self, config: dict, rng: np.random.Generator):
        self.rng, self.paths, weights = rng, [], []
        for folder, durations in config["durations"].items():
            roots = np.sqrt(list(durations.values()))
            self.paths += [Path(folder, name) for name in durations]
            weights.append(roots / roots.sum() * np.sqrt(sum(durations.values())))
        self.cumulated = np.cumsum(np.concatenate(weights))
        self.used: list[int] = []  # files that the present clip is made of

    def clip(self) -> np.ndarray:
        """(CLIP_S x RATE_HZ,) float32: a synthesised scene, a recording, or a mixture of two."""
        rng, kind, self.used = self.rng, self.rng.random(), []
        if kind < 0.3:
            sound = scenes.scene(rng, CLIP_S, RATE_HZ, [lambda: self._stretch(3.0)] * 4)
        else:
            sound = self._recording()
            if kind > 0.8:
                sound = _level(sound) + 10 ** (rng.uniform(-12, 6) / 20) * _level(self._recording())
            if rng.random() < 0.2:
                sound = scenes.reverberate(rng, sound, RATE_HZ)
            if rng.random() < 0.4:
                sound = scenes.colour(rng, sound, RATE_HZ)
        peak = np.abs(sound).max()
        if not 1e-6 < peak < np.inf:
            return self.clip()
        return (sound / peak * 10 ** (min(0.0, rng.normal(-6, 6)) / 20)).astype(np.float32)

    def _recording(self) -> np.ndarray:
        """A stretch at its own or another speed; what is short lies in silence, or is repeated."""
        rng, n = self.rng, CLIP_S * RATE_HZ
        sound = self._stretch(1.7 * CLIP_S)
        if rng.random() < 0.5:
            sound = scenes.change_speed(sound, float(np.exp(rng.uniform(np.log(0.6), np.log(1.7)))))
        if len(sound) >= n:
            return sound[:n]
        if len(sound) > 0.6 * n or rng.random() < 0.25:
            return np.roll(np.pad(sound, (0, n - len(sound))), rng.integers(n - len(sound) + 1))
        return scenes.collage(rng, n, [lambda: sound])

    def _stretch(self, seconds: float) -> np.ndarray:
        """At most `seconds` of a file, from a random place in its beginning; one that can be read and is not silent."""
        while True:
            chosen = int(np.searchsorted(self.cumulated, self.rng.random() * self.cumulated[-1]))
            start = int(self.rng.uniform(0, BEGINNING_S) * RATE_HZ)
            try:
                sound = _read(self.paths[chosen], start, int(seconds * RATE_HZ))
            except AudioError:
                continue
            if len(sound) > 0.03 * RATE_HZ and np.abs(sound).max() > 1e-4:
                self.used.append(chosen)
                return sound


def _read(path: Path, start: int, n: int) -> np.ndarray:
    """`n` samples from `start`, from an earlier place where the file ends before."""
    blocks, n_read = [], 0
    with decode.open_recording(path, RATE_HZ) as recording:
        start = min(start, max(0, int((recording.expected_s or 0) * RATE_HZ) - n))
        for block in recording:
            blocks.append(block)
            if (n_read := n_read + len(block)) >= start + n:
                break
    return np.concatenate(blocks or [np.zeros(0, np.float32)])[start : start + n]


def _level(sound: np.ndarray) -> np.ndarray:
    return sound / (np.sqrt(np.mean(sound**2)) + 1e-9)


# --- prepare


def prepare(config: dict, jobs: int) -> None:
    """Shards, each from its own seed: float16 `spectrogram` (CLIPS, F, T) and `TEACHER` (CLIPS, len(STARTS), D)."""
    folder = Path(config["shards"])
    folder.mkdir(parents=True, exist_ok=True)
    config["durations"] = _durations(config, folder / "durations.json")
    missing = [k for k in range(config["n_shards"]) if not _shard(config, k).exists()]
    joblib.Parallel(jobs, verbose=5)(joblib.delayed(_prepare_shard)(config, k) for k in missing)


def _durations(config: dict, cached: Path) -> dict[str, dict[str, float]]:
    """Folder -> file -> seconds, at most BEGINNING_S. Folders below a named one are folders of their own."""
    if cached.exists():
        return json.loads(cached.read_text())
    found = {}
    for path in sorted(p for root in config["sounds"] for p in Path(root).rglob("*")):
        if path.suffix.lower() in decode.AUDIO_SUFFIXES and path.is_file() and path.name not in config["left_out"]:
            root = next(Path(r) for r in config["sounds"] if path.is_relative_to(r))
            folder = root / path.relative_to(root).parts[0] if len(path.relative_to(root).parts) > 1 else root
            try:
                with decode.open_recording(path, RATE_HZ) as recording:
                    seconds = min(recording.expected_s or 1.0, BEGINNING_S)
            except AudioError as error:
                print(f"{path}: left out: {error}")
                continue
            found.setdefault(str(folder), {})[str(path.relative_to(folder))] = round(seconds, 3)
    cached.write_text(json.dumps(found))
    return found


def _shard(config: dict, number: int) -> Path:
    return Path(config["shards"]) / f"{number:05d}.npz"


def _prepare_shard(config: dict, number: int) -> None:
    sounds = Sounds(config, np.random.default_rng([config["seed"], number]))
    teachers = {
        name: l3embed.load(name, weights=of["weights"], precision="f32") for name, of in config["teachers"].items()
    }
    whole = replace(FRONT_END, window_samples=CLIP_S * RATE_HZ)
    rows = {"spectrogram": [], "used": [], **{name: [] for name in teachers}}
    for _ in range(CLIPS):
        clip = sounds.clip()
        rows["spectrogram"].append(spectrograms(clip, np.zeros(1, int), whole)[0, :, :, 0].astype(np.float16))
        for name, teacher in teachers.items():
            embedding, _ = teacher.embed(clip, RATE_HZ, hop=HOP_S, center=False)
            rows[name].append(embedding[: len(STARTS)].astype(np.float16))
        rows["used"].append(np.array((sounds.used + [-1] * USED)[:USED], np.int32))
    path = _shard(config, number)
    temporary = path.with_name(f"part.{path.name}")
    np.savez(temporary, **{key: np.stack(value) for key, value in rows.items()})
    os.replace(temporary, path)


# --- train


class Batches:
    """Windows and targets of some shards, held in memory; a batch depends on nothing but (seed, its number)."""

    def __init__(self, config: dict, numbers: list[int]):
        shards = [np.load(_shard(config, k)) for k in numbers]
        durations = json.loads((Path(config["shards"]) / "durations.json").read_text())
        names = [Path(name).name for folder in durations.values() for name in folder]
        bad = [i for i, name in enumerate(names) if name in config["left_out"]]  # also what was found out afterwards
        kept = [~np.isin(s["used"], bad).any(axis=1) for s in shards]
        read = lambda key: np.concatenate([s[key][k] for s, k in zip(shards, kept, strict=True)])  # noqa: E731
        self.spectrograms = read("spectrogram")
        self.targets = {name: np.sqrt(read(name).astype(np.float32)).astype(np.float16) for name in config["teachers"]}
        self.centres = {name: x.mean((0, 1), np.float32) for name, x in self.targets.items()}
        if not config.get("centred"):
            self.centres = {name: np.zeros_like(x) for name, x in self.centres.items()}
        self.seed, self.size, self.in_twos = config["seed"], config["batch"], config.get("same_clip", 0) > 0

    def __len__(self) -> int:
        """Clips."""
        return len(self.spectrograms)

    def train(self, number: int) -> tuple[np.ndarray, dict]:
        """A random batch, each window at a level of its own: -8 to +4 dB."""
        rng = np.random.default_rng([self.seed, number])
        if self.in_twos:
            clip = np.repeat(rng.choice(len(self), self.size // 2, replace=False), 2)
            start = np.argsort(rng.random((self.size // 2, len(STARTS))), axis=1)[:, :2].ravel()
        else:
            clip, start = rng.integers(len(self), size=self.size), rng.integers(len(STARTS), size=self.size)
        return self.of(clip, start, rng.uniform(-4, 2, self.size))

    def every(self, starts: list[int]) -> tuple[np.ndarray, dict]:
        """Windows of all clips as they are, clip by clip."""
        clip, start = np.repeat(np.arange(len(self)), len(starts)), np.tile(starts, len(self))
        return self.of(clip, start, np.zeros(len(clip)))

    def of(self, clip, start, gain) -> tuple[np.ndarray, dict]:
        """Spectrograms (n, F, T, 1), and by teacher the targets (n, D)."""
        columns = [STARTS[s] // FRONT_END.hop_samples for s in start]
        x = [self.spectrograms[c][:, a : a + FRONT_END.n_frames] for c, a in zip(clip, columns, strict=True)]
        x = np.stack(x).astype(np.float32) + gain[:, None, None].astype(np.float32)
        floor = 10 * np.log10(FRONT_END.amin)
        y = {name: target[clip, start].astype(np.float32) - self.centres[name] for name, target in self.targets.items()}
        if self.in_twos:
            y["clip"] = np.zeros((len(clip), 1), np.float32)  # the loss knows which rows belong together
        return np.maximum(x, floor)[..., None], y


def same_clip_loss(_, projected):
    """(n, D) projections, rows 2i and 2i + 1 of one clip -> (n,) InfoNCE of cosines; other rows are negatives."""
    from keras import ops

    unit = ops.normalize(ops.cast(projected, "float32"), axis=-1)
    n = ops.shape(unit)[0]
    cosines = ops.matmul(unit, ops.transpose(unit)) / TEMPERATURE - 1e4 * ops.eye(n)
    own = ops.arange(n)
    partner = own + 1 - 2 * (own % 2)
    return -ops.take_along_axis(ops.log_softmax(cosines, axis=-1), partner[:, None], axis=1)[:, 0]


def train(config: dict) -> None:
    keras = networks.keras()
    Path(config["run"]).mkdir(parents=True, exist_ok=True)
    keras.utils.set_random_seed(config["seed"])
    keras.config.set_dtype_policy("mixed_bfloat16")
    batches, held_out = _parts(config)
    network = Network("l3-small", config["width"], (config["bands"], 1))
    student = networks.family("l3-small").audio_network(FRONT_END, network)
    if initial := config.get("initial"):
        card = weights.card(initial)
        weights.set_arrays(student, weights.read_arrays(card.file("weights")), card.path)
    started = time.monotonic()
    held_out_loss = _fit(config, _taught(config, student, batches), batches, held_out)
    hours = round((time.monotonic() - started) / 3600, 2)
    windows = config["steps"] * config["epochs"] * config["batch"]
    print(f"{windows} windows, {hours} h in this process")
    released = replace(network, pool=(config["released_bands"], 1))  # pooling has no weights
    dim = student.output_shape[-1] * config["released_bands"] // config["bands"]
    told = {k: v for k, v in config.items() if k not in ("about", "shards", "run")}
    told["sounds"] = [Path(folder).name for folder in config["sounds"]]  # a card travels
    told["teachers"] = {name: {"share": of["share"]} for name, of in config["teachers"].items()}
    training = {
        "objective": "taught", "teachers": list(config["teachers"]), "windows": windows, "clips": len(batches),
        "hours": hours, "held_out_loss": held_out_loss, "config": told,
    }  # fmt: skip
    keras.config.set_dtype_policy("float32")
    spec = Model(config["name"], FRONT_END, released, dim, "")
    about = {**config["about"], "training": training}
    weights.release(spec, student.get_weights(), Path(config["run"]) / "model", about)


def _parts(config: dict) -> tuple[Batches, Batches]:
    """Training and held-out shards."""
    numbers = [k for k in range(config["n_shards"]) if _shard(config, k).exists()]
    held_out = numbers[::HELD_OUT]
    parts = Batches(config, sorted({*numbers} - {*held_out})), Batches(config, held_out)
    parts[1].centres = parts[0].centres
    return parts


def _taught(config: dict, student, batches: Batches):
    """The student with a linear map to each teacher's embedding, and one to what tells clips apart; compiled."""
    import keras

    x = keras.layers.ReLU()(keras.layers.BatchNormalization()(student.output))
    sizes = {name: target.shape[-1] for name, target in batches.targets.items()}
    losses = {name: keras.losses.CosineSimilarity() for name in sizes}
    shares = {name: of["share"] for name, of in config["teachers"].items()}
    if batches.in_twos:
        sizes["clip"], losses["clip"], shares["clip"] = PROJECTED, same_clip_loss, config["same_clip"]
    outputs = {name: keras.layers.Dense(size, dtype="float32", name=name)(x) for name, size in sizes.items()}
    model = keras.Model(student.input, outputs)
    steps = config["steps"] * config["epochs"]
    rate = keras.optimizers.schedules.CosineDecay(
        1e-5, steps, 1e-3, warmup_target=config["learning_rate"], warmup_steps=200
    )
    # XLA convolves slower than oneDNN on a processor: 239 against 288 windows/s with TensorFlow on 2 cores with AMX.
    # JAX without it would run every operation by itself.
    model.compile(
        keras.optimizers.AdamW(rate, weight_decay=1e-4), losses, loss_weights=shares,
        jit_compile=False if keras.backend.backend() == "tensorflow" else "auto",
    )  # fmt: skip
    return model


def _fit(config: dict, model, batches: Batches, held_out: Batches) -> float:
    """Train; returns the loss on the held-out clips."""
    import keras

    run, steps = Path(config["run"]), config["steps"]

    class Train(keras.utils.PyDataset):
        epoch = 0  # set at the beginning of each

        def __len__(self):
            return steps

        def __getitem__(self, step):
            return batches.train(self.epoch * steps + step)

    data = Train(workers=1, max_queue_size=8)
    callbacks = [
        keras.callbacks.BackupAndRestore(run / "backup", delete_checkpoint=False),
        keras.callbacks.LambdaCallback(on_epoch_begin=lambda epoch, logs: setattr(data, "epoch", epoch)),
        keras.callbacks.CSVLogger(run / "history.csv", append=True),
    ]
    judged = held_out.every([0, len(STARTS) - 1])
    model.fit(
        data, epochs=config["epochs"], validation_data=judged, validation_batch_size=config["batch"], verbose=2,
        callbacks=callbacks,
    )  # fmt: skip
    return round(float(model.evaluate(*judged, config["batch"], verbose=0, return_dict=True)["loss"]), 4)


# --- ask


def ask(config: dict, models: list[str]) -> None:
    """Print a line a model; see the top of this file."""
    parts = _parts({**config, "centred": True, "same_clip": 0})
    rng = np.random.default_rng(config["seed"])
    clip, start = rng.integers(len(parts[0]), size=ASKED), rng.integers(len(STARTS), size=ASKED)
    (x, y), (z, w) = parts[0].of(clip, start, np.zeros(ASKED)), parts[1].every([0, len(STARTS) - 1])
    for name in models:
        network = weights.load_network(weights.card(name))
        known, new = (network.predict(part, 256, verbose=0) for part in (x, z))
        mean, deviation = known.mean(0), known.std(0) + 1e-6
        known, new = (known - mean) / deviation, (new - mean) / deviation
        told = {}
        for teacher in config["teachers"]:
            gram = known.T @ known + len(known) * 1e-3 * np.eye(known.shape[1])
            told[teacher] = _cosines(new @ np.linalg.solve(gram, known.T @ y[teacher]), w[teacher]).mean()
        unit = new / np.linalg.norm(new, axis=1, keepdims=True)
        told["same clip"] = np.mean((unit[::2] @ unit[1::2].T).argmax(1) == np.arange(len(unit) // 2))
        print(f"{name}: " + ", ".join(f"{key} {value:.4f}" for key, value in told.items()), flush=True)


def _cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.sum(a * b, axis=1) / (np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1) + 1e-9)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("step", choices=("prepare", "train", "ask"))
    parser.add_argument("config", type=Path)
    parser.add_argument("models", nargs="*", help="names or cards of the models to ask")
    parser.add_argument("--jobs", type=int, default=1, help="processes that prepare (default: 1)")
    arguments = parser.parse_args()
    config, folder = tomllib.loads(arguments.config.read_text()), arguments.config.parent
    for key in ("run", "shards"):
        config[key] = str(folder / config[key])
    for teacher in config["teachers"].values():
        teacher["weights"] = str(folder / teacher["weights"])
    config["sounds"] = [str(folder / sounds) for sounds in config["sounds"]]
    if arguments.step == "prepare":
        prepare(config, arguments.jobs)
    elif arguments.step == "train":
        train(config)
    else:
        ask(config, arguments.models)


if __name__ == "__main__":
    main()
