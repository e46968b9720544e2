"""Networks with the weights they were initialised with: what a trained one has to beat."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

from l3embed import networks, weights
from l3embed.embed import EmbeddingModel
from l3embed.engine import choose
from l3embed.spec import Model, digest


def random_twin(model: Model, seed: int, folder: Path, precision: str = "f32", device: str = "cpu") -> EmbeddingModel:
    """The network of a model, its weights random by seed; kept in `folder`. Needs the train extra to be made."""
    spec = replace(model, name=f"random-{seed}", weights_sha256="")
    folder = folder / digest(asdict(spec))
    if not (folder / "done").exists():
        keras = networks.keras()
        keras.utils.set_random_seed(seed)
        network = networks.family(spec.network.family).audio_network(spec.front_end, spec.network)
        weights.release(spec, network.get_weights(), folder, {})
        (folder / "done").touch()
    return EmbeddingModel(weights.card(folder / f"{spec.name}.toml"), choose(device), precision)
