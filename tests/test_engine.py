"""One battery for all engines, and what each of them promises beyond it."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from l3embed import engine, weights
from l3embed.engine import cpu, gpu
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
    """What makes an interrupted run end with the same bytes.

    Keras keeps to it up to rounding: TensorFlow's threads share out a batch so that the place of a row decides which
    kernel computes it, on processors without AVX-512 (2e-6 of values around 1).
    """
    e, x, noise = make(), _windows(5), _windows(9, seed=1)
    rounding = 1e-5 if e.name == "keras" else 0
    alone = _vectors(e, [("a", x), ("a", None)])["a"]
    for before in (1, 2, 3):
        among = _vectors(e, [("b", noise[:before]), ("b", None), ("a", x), ("a", None), ("c", noise), ("c", None)])["a"]
        np.testing.assert_allclose(among, alone, rtol=0, atol=rounding * np.abs(alone).max())


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
    np.testing.assert_allclose(among["a"], found, rtol=0, atol=1e-5 * np.abs(found).max() if name == "keras" else 0)
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
    assert 0.99995 < cosine.min() < 1


def test_wrong_settings_are_refused():
    with pytest.raises(UsageError, match="batch must be at least 1"):
        engine.PlaceholderEngine(CARD, precision="f32", batch=0)
    with pytest.raises(UsageError, match="precision must be one of auto, f32, bf16, int8"):
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
        engine.choose()


def test_device_gpu_without_one_says_what_to_do():
    pytest.importorskip("keras")
    if gpu.gpus():
        assert engine.choose("gpu") is engine.KerasEngine
        return
    with pytest.raises(UsageError, match="sees no GPU: install its GPU build"):
        engine.choose("gpu")
    with pytest.raises(UsageError, match="device must be one of cpu, gpu"):
        engine.choose("tpu")


@pytest.mark.parametrize("holds", [5, 0])
def test_a_batch_that_the_device_does_not_hold_is_halved(monkeypatch, holds):
    pytest.importorskip("keras")

    def predict(self, rows):
        if len(rows) > holds:
            raise RuntimeError("RESOURCE_EXHAUSTED: out of memory")
        return np.zeros((len(rows), 1, CARD.model.dim), np.float32)

    monkeypatch.setattr(gpu, "gpus", lambda: ["gpu:0"])
    monkeypatch.setattr(gpu.KerasEngine, "_predict", predict)
    if not holds:
        with pytest.raises(WeightsError, match="memory does not hold one window"):
            engine.KerasEngine(CARD)
        return
    e = engine.KerasEngine(CARD)
    assert (e.batch, e.precision) == (4, "bf16")
    assert _vectors(e, [("a", _windows(9)), ("a", None)])["a"].shape == (9, CARD.model.dim)


def test_keras_in_bf16_is_close_to_f32():
    pytest.importorskip("keras")
    x = _windows(4)
    f32, bf16 = (_vectors(engine.KerasEngine(CARD, precision=p), [("a", x), ("a", None)])["a"] for p in ("f32", "bf16"))
    cosine = (f32 * bf16).sum(1) / np.linalg.norm(f32, axis=1) / np.linalg.norm(bf16, axis=1)
    assert 0.999 < cosine.min() and not np.array_equal(f32, bf16)


@given(st.integers(1, 5), st.integers(1, 300), st.integers(0, 2**32 - 1), st.floats(-3, 3))
def test_weights_rounded_to_bfloat16_keep_their_sums(filters, n, seed, mean):
    exact = np.random.default_rng(seed).normal(mean, 1, (filters, n)).astype(np.float32)
    rounded = cpu._diffused(exact.reshape(filters, 1, n)).reshape(filters, n)
    assert not np.any(rounded.view(np.uint32) & 0xFFFF), "numbers that bfloat16 has"
    step = 2.0 ** (np.floor(np.log2(np.abs(exact).max())) + 1 - 7)  # of bfloat16, at the largest weight
    np.testing.assert_array_less(np.abs(np.cumsum(rounded - exact.astype(float), axis=1)), step)
    assert np.abs(rounded - exact).max() <= 2 * step


def test_rounding_to_bfloat16_is_to_the_nearest_even():
    import ml_dtypes

    x = np.random.default_rng(0).standard_normal(1000).astype(np.float32)
    np.testing.assert_array_equal(cpu._bfloat16(x), x.astype(ml_dtypes.bfloat16).astype(np.float32))
