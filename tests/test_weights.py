"""Cards and weight files: right hash or refused; weights in order, of the right network, or refused."""

import shutil

import pytest

from l3embed import weights
from l3embed.errors import UsageError, WeightsError
from l3embed.spec import openl3_model


@pytest.fixture
def copy(tmp_path):
    """The shipped model in a folder of its own, to be spoilt."""
    for file in weights.shipped_folder().glob(f"{weights.DEFAULT}.*"):
        shutil.copy(file, tmp_path)
    return tmp_path


def test_what_ships_is_whole_and_small():
    assert weights.DEFAULT in weights.available()
    for name in weights.available():
        card = weights.card(name)
        assert card.model.name == name
        assert card.model.front_end.window_s == 1.0 and card.model.dim <= 512
        for key in ("description", "licence", "training", "results"):
            assert card.table.get(key), f"{name}: the card says nothing of {key}"
        assert sum(card.file(kind).stat().st_size for kind in ("weights", "graph", "graph_data")) <= 5e6


@pytest.mark.parametrize("suffix", ["bin", "xml", "h5"])
def test_a_changed_byte_is_found(copy, suffix):
    file = copy / f"{weights.DEFAULT}.{suffix}"
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    card = weights.card(copy)
    with pytest.raises(WeightsError, match=rf"{suffix}: is damaged or of another version .*install the model again"):
        for kind in ("weights", "graph", "graph_data"):
            card.file(kind)


def test_missing_and_unreadable_cards(copy, tmp_path_factory):
    with pytest.raises(UsageError, match="unknown model 'resnet': expected one of"):
        weights.card("resnet")
    (copy / f"{weights.DEFAULT}.bin").unlink()
    with pytest.raises(WeightsError, match=r"\.bin: cannot be read \(No such file"):
        weights.card(copy).file("graph_data")
    (copy / f"{weights.DEFAULT}.toml").write_text("name = 3")
    with pytest.raises(WeightsError, match="is not a model card"):
        weights.card(copy)
    with pytest.raises(WeightsError, match="holds 0 model cards"):
        weights.card(tmp_path_factory.mktemp("empty"))


def test_fingerprint_changes_with_every_field():
    from dataclasses import replace

    model = weights.card().model
    others = [replace(model, weights_sha256="0"), replace(model, dim=1), replace(model, name="x"),
              replace(model, front_end=replace(model.front_end, amin=1.0)),
              replace(model, front_end=replace(model.front_end, version=2)),
              replace(model, network=replace(model.network, width=1))]  # fmt: skip
    assert len({m.fingerprint() for m in [model, *others]}) == 1 + len(others)


def test_toml_round_trip():
    import tomllib

    table = {"a": 'quote " \\ and\nline', "b": 1.5, "c": [1, 2], "d": True, "e": {"x": "é", "f": {"y": 1}}}
    assert tomllib.loads(weights.toml(table)) == table


def test_published_names(tmp_path):
    assert openl3_model("openl3-mel128-env-512").dim == 512
    for name in ("openl3-mel64-env-512", "openl3-mel128-env", "openl3-mel128-speech-512", "openl3-mel128-env-1024"):
        with pytest.raises(UsageError):
            weights.find(name)
    with pytest.raises(WeightsError, match=r"none\.h5: cannot be read .*give the path of a weight file"):
        weights.find("openl3-mel128-env-512", tmp_path / "none.h5")
    for file in (3, ""):
        with pytest.raises(UsageError, match="weights are given as the path of a file"):
            weights.find("openl3-mel128-env-512", file)
    with pytest.raises(UsageError, match="has one front end, log-mel"):
        weights.find(None, None, "training")
