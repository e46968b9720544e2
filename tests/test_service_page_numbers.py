"""What the page computes by itself, in a real browser, against NumPy and libsndfile."""

import base64

import numpy as np
import pytest
from conftest import tone, write
from pages import Visit, browser  # noqa: F401
from serving import process

pytest.importorskip("fastapi")


@pytest.fixture(scope="module")
def visit(browser):  # noqa: F811
    with process() as service:
        opened = Visit(browser, service.url).open()
        yield opened
        opened.close()


def _set(rows: np.ndarray) -> str:
    """JavaScript for a set of vectors that the page's functions take; rows of the argument x."""
    n, dim = rows.shape
    times = f"Float64Array.from({{length: {n}}}, (_, i) => i)"
    return f"{{dim: {dim}, length: {n}, stride: 1, rows: Float32Array.from(x), times: {times}}}"


def test_power_spectrum(visit):
    x = np.random.default_rng(0).standard_normal(256)
    code = """(() => { const out = new Float64Array(129);
      new m.PowerSpectrum(256).add(Float32Array.from(x), 0, out);
      return [...out]; })()"""
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(256) / 256)
    expected = 16 / 256**2 * np.abs(np.fft.rfft(x.astype(np.float32) * window)) ** 2
    np.testing.assert_allclose(visit.imported("fft.js", code, x.tolist()), expected, rtol=1e-5, atol=1e-12)


def test_cosines(visit):
    rows = np.random.default_rng(1).standard_normal((9, 20)).astype(np.float32)
    rows[4] = 0
    got = visit.imported("vectors.js", f"[...m.cosines({_set(rows)}, {_set(rows)})]", rows.ravel().tolist())
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    unit = np.divide(rows, norms, out=np.zeros_like(rows), where=norms > 0)
    np.testing.assert_allclose(np.reshape(got, (9, 9)), unit @ unit.T, atol=1e-6)


@pytest.mark.parametrize(("n", "dim"), [(60, 24), (5, 40), (700, 12), (1, 8)])
def test_principal_components(visit, n, dim):
    """Up to sign, against the singular values of the centred rows; beyond 512 rows the directions come from means."""
    rng = np.random.default_rng(2)
    steady = np.repeat(rng.standard_normal((-(-n // 2), dim)), 2, axis=0)[:n]  # pairs: their means are exact
    rows = (steady * np.geomspace(8, 0.1, dim)).astype(np.float32)
    code = f"(() => {{ const r = m.principalComponents([{_set(rows)}]); return [[...r.values[0]], r.share]; }})()"
    values, share = visit.imported("vectors.js", code, rows.ravel().tolist())
    centred = rows.astype(np.float64) - rows.mean(axis=0)
    _, sizes, directions = np.linalg.svd(centred, full_matrices=False)
    expected = centred @ directions[:3].T
    got = np.reshape(values, (n, 3))
    for c in range(min(3, -(-n // 2) - 1)):  # as many as there are directions
        sign = np.sign(expected[:, c] @ got[:, c])
        np.testing.assert_allclose(got[:, c], sign * expected[:, c], atol=2e-3 * np.abs(expected[:, c]).max())
        assert got[np.argmax(np.abs(got[:, c])), c] > 0
        assert share[c] == pytest.approx(sizes[c] ** 2 / (sizes**2).sum(), rel=1e-3)
    assert n > 1 or (got == 0).all()


def test_collected_rows_are_means_of_neighbours(visit):
    rows = np.random.default_rng(3).standard_normal((41, 4)).astype(np.float32)
    code = """(() => { const c = new m.Collected(4, 16);
      for (let i = 0; i < 41; i++) c.add(i / 10, x.slice(4 * i, 4 * i + 4));
      return [[...c.plain.rows], [...c.plain.times], c.count, c.stride]; })()"""
    kept, times, count, stride = visit.imported("vectors.js", code, rows.ravel().tolist())
    assert (count, stride) == (41, 4)
    expected = [rows[i : i + 4].mean(axis=0) for i in range(0, 41, 4)]
    np.testing.assert_allclose(np.reshape(kept, (-1, 4)), expected, atol=1e-6)
    np.testing.assert_allclose(times, np.arange(0, 41, 4) / 10)


def test_best_matches_are_apart_and_of_windows_that_count(visit):
    matrix = np.random.default_rng(4).random((12, 15)).astype(np.float32)
    code = "m.bestMatches(Float32Array.from(x), 12, 15, { apart: 3, counts: (row) => row !== 5 })"
    found = visit.imported("vectors.js", code, matrix.ravel().tolist())
    left = matrix.copy()
    left[5] = -1
    for match in found:  # greedy, as its description says
        row, column = np.unravel_index(np.argmax(left), left.shape)
        assert (match["row"], match["column"]) == (row, column)
        left[max(0, row - 2) : row + 3, max(0, column - 2) : column + 3] = -1
    assert len(found) == 5


@pytest.mark.parametrize(
    ("subtype", "channels", "kind"),
    [("PCM_U8", 1, "WAV"), ("PCM_16", 2, "WAV"), ("PCM_24", 1, "WAV"), ("PCM_32", 3, "WAVEX"), ("FLOAT", 1, "WAV"),
     ("DOUBLE", 2, "RF64")],
)  # fmt: skip
def test_wav_files_are_read_as_libsndfile_reads_them(visit, tmp_path, subtype, channels, kind):
    import soundfile

    sound = np.stack([tone(0.1, 8000, 200 * (c + 1)) for c in range(channels)], axis=1)
    path = write(tmp_path / "a.wav", sound, 8000, subtype=subtype, format=kind)
    code = """(async () => { const file = new Blob([Uint8Array.from(atob(x), (c) => c.charCodeAt(0))]);
      const header = await m.wavHeader(file);
      return [header.rate, header.channels, header.frames, [...(await m.wavSamples(file, header, 100, 300))]]; })()"""
    rate, n, frames, samples = visit.imported("wav.js", "await " + code, base64.b64encode(path.read_bytes()).decode())
    assert (rate, n, frames) == (8000, channels, 800)
    expected = soundfile.read(path, always_2d=True)[0].mean(axis=1)[100:300]
    np.testing.assert_allclose(samples, expected, atol=1e-6)


def test_a_recorded_wav_file_holds_what_was_heard(visit, tmp_path):
    import soundfile

    code = "[...new Uint8Array(await m.wavFile([Int16Array.from(x), Int16Array.from([7])], 44100).arrayBuffer())]"
    heard = [0, 1, -1, 32767, -32768]
    (tmp_path / "a.wav").write_bytes(bytes(visit.imported("wav.js", code, heard)))
    sound, rate = soundfile.read(tmp_path / "a.wav", dtype="int16")
    assert rate == 44_100 and sound.tolist() == [*heard, 7]
