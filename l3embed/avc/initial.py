"""First weights that are not random: from l3embed's own runs, from shipped or published models, from weight files."""

from __future__ import annotations

from pathlib import Path

from .. import weights
from ..errors import TrainingError
from ..spec import FrontEnd, ImageFrontEnd, Model, Network, l3_image_front_end
from .checkpoints import NETWORKS, NEWEST, assign, read
from .config import TrainConfig, parse
from .model import Networks


def start(networks: Networks, config: TrainConfig) -> dict:
    """Give the networks the weights that `model.init` and `model.init_image` name; the optimiser starts anew.

    Returns where they came from, for the card: part -> {"from", "sha256"}. Raises TrainingError, WeightsError or
    UsageError for what cannot be found or read, or is of another network.
    """
    found: dict[str, dict] = {}
    audio, image = config.model.init, config.model.init_image
    if audio:
        found |= _give(networks, config, audio, ("audio",) if image else ("audio", "image", "head"))
    if image not in ("", "none"):
        found |= _give(networks, config, image, ("image",))
    if config.fit.train == "audio" and "image" not in found:
        raise TrainingError(
            "fit.train = 'audio' leaves the image network as it is, and its weights are random: name some for it with "
            "model.init_image (--init-image)"
        )
    return found


def checkpoint_of(source: str | Path) -> Path | None:
    """The file that holds all networks, if `source` is one of l3embed's own runs, model folders or checkpoints."""
    path = Path(source)
    files = [path / NETWORKS, path / NEWEST, path / "model" / NETWORKS] if path.is_dir() else [path]
    return next((file for file in files if file.suffix == ".npz" and file.is_file()), None)


def _give(networks: Networks, config: TrainConfig, source: str, wanted: tuple[str, ...]) -> dict[str, dict]:
    """The wanted parts, as far as the source has them; the first one it must have."""
    if checkpoint := checkpoint_of(source):
        return _from_checkpoint(networks, config, checkpoint, wanted)
    part = wanted[0]
    model = _model(config, part)
    if Path(source).is_file() and Path(source).suffix != ".toml":
        path = Path(source)
        arrays = weights.arrays_of(model, path)
    else:
        card = _card(source, model)
        path = card.file("weights")
        arrays = weights.read_arrays(path)
    _fill(networks, model, part, arrays, source)
    return {part: {"from": Path(source).name, "sha256": weights.sha256(path)}}


def _card(source: str, model: Model) -> weights.Card:
    if not Path(source).exists() and ("/" in source or Path(source).suffix):
        raise TrainingError(f"{source}: there is no such file, nor a model of this name")
    card = weights.find(source)
    _same(source, _described(card.model.network, card.model.front_end), _described(model.network, model.front_end))
    return card


def _from_checkpoint(networks: Networks, config: TrainConfig, path: Path, wanted: tuple[str, ...]) -> dict[str, dict]:
    source, found = read(path), {}
    theirs = parse(TrainConfig, source.about["config"], str(path))
    for part in wanted:
        if part == "head":
            same_shapes = _shapes(source.arrays[part]) == _shapes(networks.head.weights)
            if theirs.fit.objective != config.fit.objective or not same_shapes:
                continue  # for another task, or for vectors of another size: a new one learns quickly
            assign(networks.head.weights, source.arrays[part], path)
        else:
            old, new = _model(theirs, part), _model(config, part)
            _same(path, _described(old.network, old.front_end), _described(new.network, new.front_end))
            _fill(networks, new, part, source.arrays[part], path, of_tower=True)
        found[part] = {"from": f"{path.parent.name}/{path.name}", "sha256": weights.sha256(path)}
    return found


def _fill(networks: Networks, model: Model, part: str, arrays: list, source, of_tower: bool = False) -> None:
    """Give a tower the arrays of the network that it begins with, or of a whole tower.

    What follows the network, one batch normalisation, is given where its size is the same: pooling may differ.
    """
    tower, network = networks.parts()[part], weights.build(model)
    n = len(network.weights)
    weights.set_arrays(network, arrays[:n] if of_tower else arrays, source)  # checks them
    assign(tower.weights[:n], arrays[:n], source)
    if of_tower and _shapes(arrays[n:]) == _shapes(tower.weights[n:]):
        assign(tower.weights[n:], arrays[n:], source)


def _shapes(arrays: list) -> list[tuple]:
    return [tuple(a.shape) for a in arrays]


def _model(config: TrainConfig, part: str) -> Model:
    """The model that a tower begins with."""
    if part == "audio":
        return Model(config.model.name, config.front_end, config.audio, 0, "")
    return Model(config.model.name, l3_image_front_end(), config.image, 0, "")


def _same(source, found: str, expected: str) -> None:
    if found != expected:
        raise TrainingError(f"{source}: holds {found}; the configuration asks for {expected}")


def _described(network: Network, front_end) -> str:
    """What weights belong to: neither the pooling, nor details of a front end that leave its sizes as they are."""
    what = f"network of family {network.family}, width {network.width}"
    if isinstance(front_end, ImageFrontEnd):
        return f"an image {what}"
    if not isinstance(front_end, FrontEnd):
        return f"a {what}"
    bins, columns, _ = front_end.shape
    return f"an audio {what}, for {bins} x {columns} spectrograms at {front_end.rate_hz} Hz"
