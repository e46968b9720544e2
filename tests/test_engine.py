"""One battery for all engines, and what each of them promises beyond it."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from l3embed import engine, weights
from l3embed.errors import UsageError, WeightsError

CARD = weights.card()
ENGINES = {
    "openvino": lambda batch=4: engine.OpenVinoEngine(CARD, precision="f32", batch=batch),
    "keras": lambda batch=4: engine.KerasEngine(CARD, batch=batch),
    "placeholder": lambda batch=4: engine.PlaceholderEngine(CARD, precision="f32", batch=batch),
}


@pytest.fixture(params=ENGINES)
def make(request):
    if request.param == "keras":
        pytest.importorskip("keras")
    return ENGINES[request.param]


def _windows(n, seed=0):
    return np.random.default_rng(seed).normal(-10, 8, (n, *CARD.model.front_end.shape)).astype(np.float32)


def _vectors(e, chunks):
    out = {}
    for owner, rows in engine.run(e, chunks):
        out.setdefault(owner, []).append(rows)
    assert all(rows[-1] is None and not any(r is None for r in rows[:-1]) for rows in out.values())
    return {k: np.concatenate([np.empty((0, CARD.model.dim), np.float32), *v[:-1]]) for k, v in out.items()}


def test_shape_dtype_finite_deterministic(make):
    e, x = make(), _windows(6)
    a, b = (_vectors(e, [("a", x), ("a", None)])["a"] for _ in range(2))
    assert a.shape == (6, CARD.model.dim) and a.dtype == np.float32 and np.isfinite(a).all()
    np.testing.assert_array_equal(a, b)
    assert np.ptp(a, axis=0).max() > 0.1, "different windows, different vectors"


def test_a_vector_does_not_depend_on_its_neighbours_to_the_last_bit(make):
    """What makes an interrupted run end with the same bytes."""
    e, x, noise = make(), _windows(5), _windows(9, seed=1)
    alone = _vectors(e, [("a", x), ("a", None)])["a"]
    for before in (1, 2, 3):
        among = _vectors(e, [("b", noise[:before]), ("b", None), ("a", x), ("a", None), ("c", noise), ("c", None)])["a"]
        np.testing.assert_array_equal(alone, among)


@pytest.mark.parametrize("name", ["openvino", "keras"])
def test_a_long_row_is_its_windows_wherever_it_lies_in_a_batch(name):
    if name == "keras":
        pytest.importorskip("keras")
    e, fe = ENGINES[name](32), CARD.model.front_end
    bins, frames, columns = fe.n_bins, fe.n_frames, CARD.model.step_samples // fe.hop_samples
    row = (bins, frames + 7 * columns, 1)
    assert (e.windows(row), e.shape(row), e.shape(fe.shape)) == (8, (4, *row), (32, *fe.shape))
    rows = np.random.default_rng(0).normal(-10, 8, (5, *row)).astype(np.float32)
    found = _vectors(e, [("a", rows), ("a", None)])["a"]
    windows = [s[:, i * columns : i * columns + frames] for s in rows for i in range(8)]
    alone = _vectors(ENGINES[name](8), [("a", np.stack(windows)), ("a", None)])["a"]
    np.testing.assert_allclose(found, alone, rtol=1e-4, atol=1e-5 * np.abs(alone).max())
    among = _vectors(e, [("b", np.stack(windows[:3])), ("a", rows[:2]), ("b", None), ("a", rows[2:]), ("a", None)])
    np.testing.assert_array_equal(found, among["a"])
    np.testing.assert_allclose(among["b"], alone[:3], rtol=1e-4, atol=1e-5 * np.abs(alone).max())


def test_batch_sizes_agree(make):
    x = _windows(7)
    one, many = (_vectors(make(batch), [("a", x), ("a", None)])["a"] for batch in (1, 64))
    np.testing.assert_allclose(one, many, rtol=1e-5, atol=1e-5)


@settings(max_examples=40)
@given(st.lists(st.lists(st.integers(0, 11), max_size=4), min_size=1, max_size=6), st.integers(1, 6))
def test_every_owner_gets_its_own_rows_in_order(lengths, batch):
    e = ENGINES["placeholder"](batch)
    pool, chunks, expected, at = _windows(240), [], {}, 0
    for owner, parts in enumerate(lengths):
        start = at
        for n in parts:
            chunks.append((owner, pool[at : at + n]))
            at += n
        chunks.append((owner, None))
        expected[owner] = pool[start:at]
    found = _vectors(e, chunks)
    assert list(found) == list(expected)
    for owner, x in expected.items():
        rows = np.arange(x.shape[1] * CARD.model.dim).reshape(x.shape[1], -1)
        np.testing.assert_allclose(found[owner], x.mean(axis=(2, 3)) @ np.cos(rows), rtol=1e-4, atol=1e-4)


def test_openvino_runs_the_keras_network():
    pytest.importorskip("keras")
    x = _windows(4)
    a, b = (_vectors(ENGINES[name](), [("a", x), ("a", None)])["a"] for name in ("openvino", "keras"))
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4 * np.abs(b).max())


def test_bf16_is_close_to_f32():
    x = _windows(8)
    f32 = _vectors(ENGINES["openvino"](), [("a", x), ("a", None)])["a"]
    try:
        e = engine.OpenVinoEngine(CARD, precision="bf16", batch=4)
    except UsageError as error:
        assert "does not compute in bfloat16" in str(error)
        assert engine.OpenVinoEngine(CARD).precision == "f32"
        return
    assert engine.OpenVinoEngine(CARD).precision == "bf16"
    bf16 = _vectors(e, [("a", x), ("a", None)])["a"]
    cosine = (f32 * bf16).sum(1) / np.linalg.norm(f32, axis=1) / np.linalg.norm(bf16, axis=1)
    assert 0.999 < cosine.min() < 1


def test_wrong_settings_are_refused():
    with pytest.raises(UsageError, match="batch must be at least 1"):
        engine.PlaceholderEngine(CARD, precision="f32", batch=0)
    with pytest.raises(UsageError, match="precision must be one of auto, f32, bf16"):
        engine.PlaceholderEngine(CARD, precision="f16", batch=1)


def test_a_graph_that_openvino_cannot_run_is_named(tmp_path):
    for kind in ("graph", "graph_data", "weights"):
        file = CARD.file(kind)
        (tmp_path / file.name).write_bytes(b"<net></net>" if kind == "graph" else file.read_bytes())
    table = {**CARD.table, "files": {k: {**v} for k, v in CARD.table["files"].items()}}
    table["files"]["graph"]["sha256"] = weights.sha256(tmp_path / table["files"]["graph"]["file"])
    broken = replace(CARD, path=tmp_path / "card.toml", table=table)
    with pytest.raises(WeightsError, match=r"\.xml: OpenVINO cannot run this graph"):
        engine.OpenVinoEngine(broken, precision="f32")


def test_engine_chosen_by_the_environment(monkeypatch):
    monkeypatch.setenv("L3EMBED_ENGINE", "abacus")
    with pytest.raises(UsageError, match="must be one of openvino, keras"):
        engine.default()
