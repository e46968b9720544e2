"""Checkpoints: the numbers of a run's networks on disk, and the folder in which a run keeps them.

    RUN/config.json     the configuration, to be read by people
    RUN/newest.npz      all that it takes to go on: networks, optimiser, position, history
    RUN/best/           the networks of the best validation accuracy so far
    RUN/at-<pairs>/     those after as many pairs (`fit.keep_at`)
    RUN/model/          those of the last batch, once the run is finished

The last three are model folders, for `l3embed extract --model`, with both towers and the head beside (`networks.npz`).
Each appears under its name only once it is complete, and `newest.npz` last: a run that is killed, or runs out of disk,
at any moment goes on from the newest one, and comes to the same folders again.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import zipfile
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np

from ..errors import TrainingError, reason
from .config import TrainConfig, parse
from .model import Networks

NEWEST, NETWORKS = "newest.npz", "networks.npz"
# What may change from one start to the next without changing a number of those that are still to come.
FREE = {"fit": ("epochs", "devices", "keep_at", "checkpoint_minutes", "tensorboard"), "": ("run", "about")}


@dataclass
class State:
    """Where a run is, and what it has to remember to write the same history as one that was never stopped."""

    epoch: int = 0  # finished ones
    step: int = 0  # finished batches of the epoch under way
    loss: float = 0.0  # summed over these
    accuracy: float = 0.0  # likewise
    seconds: float = 0.0  # spent on these
    rows: list[dict] = field(default_factory=list)  # of history.csv
    best: float = -1.0  # validation accuracy
    init: dict = field(default_factory=dict)  # where the first weights came from

    def batches(self, config: TrainConfig) -> int:
        return self.epoch * config.fit.steps + self.step

    def pairs(self, config: TrainConfig) -> int:
        """Pairs seen."""
        return self.batches(config) * config.fit.batch


@dataclass(frozen=True)
class Checkpoint:
    path: Path
    about: dict  # "config", and "state" or "pairs"
    arrays: dict[str, list[np.ndarray]]  # of "audio", "image", "head" and, in `newest.npz`, "optimizer"


def read(path: Path) -> Checkpoint:
    """Raises TrainingError for a file that is missing, damaged, or no checkpoint."""
    arrays: dict[str, list] = {}
    try:
        with open(path, "rb") as whole, np.load(whole, allow_pickle=False) as file:
            about = json.loads(str(file["about"]))
            for name in file.files:  # in the order in which they were written
                if name != "about":
                    arrays.setdefault(name.partition(".")[0], []).append(file[name])
        if not isinstance(about, dict) or not isinstance(about.get("config"), dict):
            raise ValueError("it does not tell its configuration")
        if missing := [name for name in ("audio", "image", "head") if name not in arrays]:
            raise ValueError(f"it holds no {missing[0]} network")
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile, zipfile.LargeZipFile) as error:
        raise TrainingError(f"{path}: is not a checkpoint of l3embed, or is damaged ({reason(error)})") from error
    return Checkpoint(Path(path), about, arrays)


def write(path: Path, about: dict, parts: dict[str, list]) -> None:
    """The file appears complete or not at all; the one that it replaces stays until then.

    parts : name -> Keras variables
    """
    arrays = {f"{name}.{i}": np.asarray(v) for name, values in parts.items() for i, v in enumerate(values)}
    with _replacing(path) as part, open(part, "wb") as file:
        np.savez(file, about=np.array(json.dumps(about)), **arrays)
        file.flush()
        os.fsync(file.fileno())


def write_text(path: Path, text: str) -> None:
    with _replacing(path) as part:
        part.write_text(text, encoding="utf-8", newline="")


@contextlib.contextmanager
def _replacing(path: Path):
    part = path.with_name(path.name + ".part")
    with writing(path):
        try:
            yield part
            os.replace(part, path)
        finally:
            part.unlink(missing_ok=True)


@contextlib.contextmanager
def writing(path: Path):
    """What the disk refuses becomes a sentence."""
    try:
        yield
    except OSError as error:
        raise TrainingError(
            f"{path}: cannot be written ({reason(error)}): make room, and give the command again; the run goes on from "
            "its last checkpoint"
        ) from error


def assign(variables: list, arrays: list[np.ndarray], source) -> None:
    """Raises TrainingError where they do not match."""
    found, expected = [a.shape for a in arrays], [tuple(v.shape) for v in variables]
    if found != expected:
        i = next((i for i, (a, b) in enumerate(zip(found, expected, strict=False)) if a != b), None)
        what = f"{len(found)} arrays, {len(expected)} are expected" if i is None else (
            f"array {i} of shape {found[i]}, {expected[i]} is expected")  # fmt: skip
        raise TrainingError(f"{source}: is of another network: holds {what}")
    for variable, array in zip(variables, arrays, strict=True):
        variable.assign(array)


def kept(run: str | os.PathLike) -> dict[int, Path]:
    """The model folders of `fit.keep_at`: pairs seen -> folder, in ascending order."""
    found = {p.name.removeprefix("at-"): p for p in Path(run).glob("at-*") if (p / NETWORKS).exists()}
    return {int(n): found[n] for n in sorted(filter(str.isdecimal, found), key=int)}


class Run:
    """The folder of a run, held by one process at a time."""

    def __init__(self, config: TrainConfig):
        self.config, self.folder = config, Path(config.run)
        with writing(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            self._lock = _locked(self.folder)
        try:
            self.newest = self._matching()
            write_text(self.folder / "config.json", json.dumps(asdict(config), indent=1) + "\n")
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        self._lock.close()

    def _matching(self) -> Checkpoint | None:
        """The newest checkpoint, if there is one. Raises TrainingError for one of other settings."""
        path = self.folder / NEWEST
        if not path.exists():
            return None
        newest = read(path)
        theirs = parse(TrainConfig, newest.about["config"], str(path))  # (keys that were added since: their defaults)
        if changed := _differences(asdict(theirs), asdict(self.config)):
            raise TrainingError(
                f"{path}: is of a run with other settings ({', '.join(changed)}): choose another folder ('run = ...')"
            )
        return newest

    def restore(self, networks: Networks) -> State:
        """Give networks and optimiser the newest numbers, if there are any."""
        if self.newest is None:
            return State()
        source, self.newest = self.newest, None  # its arrays are large
        try:
            for name, variables in _parts(networks).items():
                assign(variables, source.arrays[name], source.path)
            return State(**source.about["state"])
        except (KeyError, TypeError) as error:
            raise TrainingError(f"{source.path}: is no checkpoint to go on from ({error} is missing)") from error

    def save(self, networks: Networks, state: State) -> None:
        parts = _parts(networks)
        if not all(np.isfinite(np.asarray(v)).all() for values in parts.values() for v in values):
            raise TrainingError("the weights are no longer finite: lower fit.learning_rate")
        write(self.folder / NEWEST, {"config": asdict(self.config), "state": asdict(state)}, parts)

    def keep(self, networks: Networks, state: State, name: str) -> Path:
        """Write a model folder, or replace it."""
        folder = self.folder / name
        part = folder.with_name(f"{name}.part")
        with writing(folder):
            shutil.rmtree(part, ignore_errors=True)
            try:
                _save_model(self.config, networks, state, part)
            except RuntimeError as error:  # what HDF5 makes of a full disk
                raise OSError(str(error)) from error
            shutil.rmtree(folder, ignore_errors=True)
            os.rename(part, folder)
        return folder

    def add_graphs(self) -> None:
        """Convert what is kept to what `l3embed extract` runs."""
        from .. import weights

        folders = [self.folder / name for name in ("model", "best")] + list(kept(self.folder).values())
        cards = [weights.card(folder) for folder in folders if (folder / NETWORKS).exists()]
        with writing(self.folder):
            weights.add_graphs([card for card in cards if "graph" not in card.table["files"]])


def _parts(networks: Networks) -> dict[str, list]:
    parts = {name: part.variables for name, part in networks.parts().items()}  # (random seeds of layers included)
    return {**parts, "optimizer": networks.model.optimizer.variables}


def _differences(found: dict, wanted: dict) -> list[str]:
    """The keys whose values differ, but those that are free to."""
    keys = []
    for key in sorted(found.keys() | wanted.keys()):
        a, b = found.get(key), wanted.get(key)
        if key in FREE[""] or a == b:
            continue
        if isinstance(a, dict) and isinstance(b, dict):
            names = sorted(k for k in a.keys() | b.keys() if a.get(k) != b.get(k) and k not in FREE.get(key, ()))
            keys += [f"{key}.{name}" for name in names]
        else:
            keys.append(key)
    return keys


def _locked(folder: Path):
    """An open file that no other process can lock while it is open; a process that dies lets go of it."""
    file = open(folder / "lock", "w")
    try:
        import fcntl
    except ImportError:  # not on Windows
        return file
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise TrainingError(f"{folder}: another process trains in this folder: wait for it, or stop it") from None
    return file


def _save_model(config: TrainConfig, networks: Networks, state: State, folder: Path) -> None:
    """The audio network as a model of its own, without its graph, and all networks beside it."""
    from .. import weights
    from ..networks import family
    from ..spec import Model

    network = family(config.model.family).audio_network(config.front_end, config.audio)
    arrays = networks.audio.get_weights()[: len(network.weights)]  # the tower begins with the network
    model = Model(config.model.name, config.front_end, config.audio, network.output_shape[-1], "")
    told = _told(config)
    training = {"seed": config.seed, "objective": config.fit.objective, "pairs": state.pairs(config)}
    if state.rows:
        training["hours"] = round((sum(row["seconds"] for row in state.rows) + state.seconds) / 3600, 2)
    if state.rows and not state.step:  # measured with these very weights
        training["held_out_accuracy"] = round(state.rows[-1]["val_accuracy"], 4)
    if state.init:
        training["init"] = state.init
    training["config"] = {key: value for key, value in told.items() if key != "about"}
    if config.model.family != "l3":  # the small family has one representation
        training["config"]["model"] = {**told["model"], "representation": config.front_end.name}
    weights.save(model, arrays, folder, {**asdict(config.about), "training": training})
    about = {"config": told, "pairs": state.pairs(config)}
    write(folder / NETWORKS, about, {name: part.variables for name, part in networks.parts().items()})


def _told(config: TrainConfig) -> dict:
    """The configuration for a card, which travels: it tells the names of files, not where they lay on this machine."""
    folders = {key: tuple(Path(p).name for p in getattr(config.data, key)) for key in ("videos", "recordings")}
    folders |= {key: Path(getattr(config.data, key)).name for key in ("index", "prepared")}
    first = {key: Path(getattr(config.model, key)).name for key in ("init", "init_image")}
    told = replace(config, run="", data=replace(config.data, **folders), model=replace(config.model, **first))
    return asdict(told)
