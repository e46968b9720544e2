"""int8: made from recordings, measured on others, refused where it cannot be."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
from conftest import tone, write

from l3embed import cli, engine, quantize, weights
from l3embed.embed import EmbeddingModel
from l3embed.errors import UsageError, WeightsError


@pytest.fixture
def card(tmp_path):
    """The shipped model, in a folder of its own and without its int8 graph."""
    shipped = weights.card()
    for kind in ("weights", "graph", "graph_data"):
        shutil.copy(shipped.file(kind), tmp_path)
    files = {kind: shipped.table["files"][kind] for kind in ("weights", "graph", "graph_data")}
    path = tmp_path / "copy.toml"
    path.write_text(weights.toml({**shipped.table, "files": files, "int8": {}}), encoding="utf-8")
    return weights.card(path)


@pytest.fixture
def sounds(tmp_path):
    """Nine recordings that can be read, and one that cannot."""
    rng = np.random.default_rng(0)
    for i in range(9):
        sweep = np.sin(np.cumsum(rng.uniform(0.01, 1.5, 5 * 32_000).cumsum() / np.arange(1, 160_001)))
        write(tmp_path / "sounds" / f"{i}.wav", 0.2 * rng.random() * sweep + tone(5, hz=200 * 1.5**i, seed=i))
    (tmp_path / "sounds" / "bad.wav").write_bytes(b"no sound")
    return tmp_path / "sounds"


def test_a_quantised_model_is_near_and_says_how_near(card, sounds, shared_data, capsys):
    pytest.importorskip("nncf")
    with pytest.raises(WeightsError, match="has no int8_graph: make it with 'l3embed models quantize"):
        engine.OpenVinoEngine(card, precision="int8")
    assert cli.main(["models", "quantize", str(card.path), "--sounds", str(sounds)]) == 0
    assert "against f32, on others, cosine" in capsys.readouterr().out
    made = weights.card(card.path)
    about = made.table["int8"]
    assert about["calibration_windows"] == 9 * 5 * 4 // 5, "a fifth of the windows is kept apart"
    assert 0.98 < about["cosine_min"] <= about["cosine_median"] < 1
    int8, f32 = (EmbeddingModel(made, engine.OpenVinoEngine, p) for p in ("int8", "f32"))
    dog = next((shared_data / "esc10" / "001 - Dog bark").iterdir())
    (a, _), (b, _) = int8.embed(dog), f32.embed(dog)
    cosine = (a * b).sum(axis=1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    assert 0.95 < cosine.min() and not np.array_equal(a, b)
    assert int8.recipe(int8.framing())["precision"] == "int8"


def test_the_shipped_int8_graph_keeps_what_its_card_says(shipped, shared_data):
    card = weights.card()
    found = quantize.agreement(card, _sample(card, shared_data / "pretraining" / "sonic-pi"))
    assert np.median(found) > card.table["int8"]["cosine_median"] - 0.002


def _sample(card, folder):
    files = sorted(p for p in folder.rglob("*") if p.suffix in (".wav", ".flac", ".ogg"))
    return np.concatenate(list(quantize._windows(card, files, 40)))


def test_too_little_to_calibrate_on(card, sounds):
    pytest.importorskip("nncf")
    with pytest.raises(UsageError, match="hold 5 windows: at least 20 are needed"):
        quantize.quantize(card, [sounds / "0.wav", sounds / "bad.wav", sounds / "gone.wav"])


def test_models_of_pictures_are_refused(card):
    from l3embed.spec import l3_image_front_end

    pytest.importorskip("nncf")
    of_pictures = replace(card, model=replace(card.model, front_end=l3_image_front_end()))
    with pytest.raises(UsageError, match="int8 is for models of sound"):
        quantize.quantize(of_pictures, [])
