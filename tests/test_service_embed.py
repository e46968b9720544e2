"""What the service answers are the numbers of the local model, in every format that goes in and comes out."""

import io
import json

import numpy as np
import pytest
from conftest import tone, write
from serving import ask, embed, form, process, running

from l3embed import extract, plan, pooling
from l3embed.decode import ffmpeg_binary
from l3embed.spec import digest

JSON, NDJSON, NPY, NPZ = "application/json", "application/x-ndjson", "application/x-npy", "application/x-npz"
ARROW = "application/vnd.apache.arrow.stream"


@pytest.fixture(scope="module")
def server(shipped):
    with running([shipped]) as server:
        yield server


@pytest.fixture(scope="module")
def wav(tmp_path_factory):
    return write(tmp_path_factory.mktemp("sound") / "tone.wav", tone(7.3, 44_100), 44_100)


def read(kind, body):
    """(embedding, timestamps or None) of an answer."""
    if kind == JSON:
        table = json.loads(body)
        return np.array(table["embedding"], np.float32), np.array(table["timestamps"])
    if kind == NDJSON:
        first, *rows, last = (json.loads(line) for line in body.splitlines())
        assert "fingerprint" in first and (first["pool"] or last["n_windows"] == len(rows))
        return np.array([r["embedding"] for r in rows], np.float32), np.array([r["time_s"] for r in rows])
    if kind == NPY:
        return np.load(io.BytesIO(body)), None
    if kind == NPZ:
        with np.load(io.BytesIO(body)) as file:
            return file["embedding"], file["timestamps"]
    import pyarrow

    table = pyarrow.ipc.open_stream(body).read_all()
    return np.array(table["embedding"].to_pylist(), np.float32), np.array(table["time_s"])


@pytest.mark.parametrize("kind", [JSON, NDJSON, NPY, NPZ, ARROW])
@pytest.mark.parametrize("how", [{}, {"hop": 0.37, "center": False}, {"hop": 0.25, "timestamps": "openl3"}])
def test_every_type_of_answer_holds_the_local_model_s_vectors_to_the_last_bit(server, shipped, wav, kind, how):
    wanted, times = shipped.embed(wav, **how)
    query = "?" + "&".join(f"{name}={str(value).lower()}" for name, value in how.items())
    status, headers, body = embed(server.url, wav.read_bytes(), kind, query=query)
    assert status == 200 and headers["Content-Type"] == kind
    assert headers["X-L3embed-Fingerprint"] == shipped.spec.fingerprint()
    embedding, got = read(kind, body)
    assert embedding.dtype == np.float32 and np.array_equal(embedding, wanted)
    assert got is None or np.array_equal(got, times)


@pytest.mark.parametrize("kind", [JSON, NDJSON, NPY, NPZ, ARROW])
@pytest.mark.parametrize("pool", pooling.POOLINGS)
def test_pooled_answers_are_the_corridor_s_pooling(server, shipped, wav, kind, pool):
    vectors, times = shipped.embed(wav)
    query = f"?pool={pool.replace('+', '%2B')}"
    embedding, got = read(kind, embed(server.url, wav.read_bytes(), kind, query=query)[2])
    assert np.array_equal(embedding, pooling.pool(vectors, pool)[None])
    assert got is None or np.array_equal(got, times[:1])


def test_the_npz_is_the_file_that_extract_writes_byte_for_byte(server, shipped, wav, tmp_path):
    found = plan.plan([str(wav)])
    for result in extract.extract(shipped, found.items, tmp_path / "out"):
        assert not result.error
    body, kind = form([("file", "tone.wav", wav.read_bytes())])
    status, _, got = embed(server.url, body, NPZ, kind)
    assert status == 200 and got == (tmp_path / "out" / "tone.npz").read_bytes()


def test_the_recipe_is_the_key_of_a_store_that_extract_would_write(server, shipped, wav, tmp_path):
    pytest.importorskip("pyarrow")
    list(extract.extract(shipped, plan.plan([str(wav)]).items, tmp_path, format="store"))
    keys = {folder.name for folder in tmp_path.iterdir() if folder.is_dir()}
    status, headers, body = embed(server.url, wav.read_bytes())
    table = json.loads(body)
    assert status == 200 and keys == {headers["X-L3embed-Recipe"]} == {table["recipe_hash"]}
    recipe = shipped.recipe(shipped.framing())
    assert {name: table[name] for name in recipe} == recipe
    assert digest({**recipe, "dtype": "float32"}) == table["recipe_hash"]


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "mp3", "aiff", "m4a", "webm", "mkv", "wma", "ac3"])
def test_recordings_of_any_format_come_in_by_their_content(server, shipped, wav, tmp_path, suffix):
    """m4a has its index at the end: what is no longer a pipe, but an open file, is read as the local model reads it."""
    import subprocess

    path = tmp_path / f"sound.{suffix}"
    subprocess.run([ffmpeg_binary(), "-v", "error", "-i", str(wav), str(path)], check=True)
    status, _, body = embed(server.url, path.read_bytes(), NPY)
    assert status == 200 and np.array_equal(np.load(io.BytesIO(body)), shipped.embed(path)[0])


@pytest.mark.parametrize("kind", ["audio/wav", "audio/x-whatever; rate=1", "video/mp4", "application/ogg", ""])
def test_what_a_body_calls_itself_does_not_matter(server, shipped, wav, kind):
    status, _, body = embed(server.url, wav.read_bytes(), NPY, kind)
    assert status == 200 and np.array_equal(np.load(io.BytesIO(body)), shipped.embed(wav)[0])


def test_samples_come_as_json_and_as_npy(server, shipped):
    sound = np.stack([tone(2.1, 16_000), tone(2.1, 16_000, 900)], axis=1)
    wanted = shipped.embed(sound, 16_000)[0]
    text = json.dumps({"samples": sound.tolist(), "sample_rate": 16_000})
    assert np.array_equal(read(NPY, embed(server.url, text, NPY, "application/json")[2])[0], wanted)
    for array in (sound, (sound * 32_767).astype(np.int16), sound.astype(np.float32)[:, 0]):
        out = io.BytesIO()
        np.save(out, array)
        answer = embed(server.url, out.getvalue(), NPY, "application/x-npy", "?sample_rate=16000")
        assert answer[0] == 200 and np.array_equal(read(NPY, answer[2])[0], shipped.embed(array, 16_000)[0])


def test_whole_numbers_in_json_are_samples_too(server, shipped):
    body = json.dumps({"samples": [0, 1, 0, -1] * 2000, "sample_rate": 8000})
    wanted = shipped.embed(np.array([0.0, 1, 0, -1] * 2000), 8000)[0]
    assert np.array_equal(read(NPY, embed(server.url, body, NPY, "application/json")[2])[0], wanted)


def test_settings_in_a_form_count(server, shipped, wav):
    body, kind = form([("file", "a.wav", wav.read_bytes())], [("hop", "0.5"), ("center", "false")])
    answer = embed(server.url, body, NPY, kind, "?hop=2")
    assert np.array_equal(read(NPY, answer[2])[0], shipped.embed(wav, hop=0.5, center=False)[0])


def test_notes_about_a_result_that_is_valid_come_with_it(server):
    body = json.dumps({"samples": [0.0] * 8000, "sample_rate": 8000})
    _, _, answer = embed(server.url, body, kind="application/json")
    assert json.loads(answer)["notes"] == ["all samples are zero"]


def test_a_batch_has_a_result_or_an_error_for_each(server, shipped, wav):
    short = json.dumps({}).encode()
    files = [("files", "a.wav", wav.read_bytes()), ("files", "b.wav", short), ("files", "../c.wav", wav.read_bytes())]
    body, kind = form(files, [("hop", "0.5")])
    status, headers, got = ask(server.url, "POST", "/v1/embed/batch", body, {"Content-Type": kind})
    table = json.loads(got)
    assert status == 200 and table["n_failed"] == 1 and headers["X-L3embed-Recipe"] == table["recipe_hash"]
    assert [(i["index"], i["name"]) for i in table["items"]] == [(0, "a.wav"), (1, "b.wav"), (2, "c.wav")]
    assert table["items"][1]["error"]["reason"] == "bad_audio" and "embedding" not in table["items"][1]
    wanted, times = shipped.embed(wav, hop=0.5)
    for i in (0, 2):
        assert np.array_equal(np.array(table["items"][i]["embedding"], np.float32), wanted)
        assert table["items"][i]["timestamps"] == times.tolist()
    lines = ask(server.url, "POST", "/v1/embed/batch", body, {"Content-Type": kind, "Accept": NDJSON})[2].splitlines()
    head, *items, last = map(json.loads, lines)
    assert head["model"] == shipped.name and last == {"n_items": 3, "n_failed": 1}
    by_index = {item["index"]: {k: v for k, v in item.items() if k != "error"} for item in items}
    assert by_index == {i["index"]: {k: v for k, v in i.items() if k != "error"} for i in table["items"]}


def test_similarity_is_the_cosine_of_what_embed_gives(server, shipped, wav, tmp_path):
    other = write(tmp_path / "other.wav", tone(3, 32_000, 3000, seed=1))
    body, kind = form([("a", "a", wav.read_bytes()), ("b", "b", other.read_bytes())])
    path = "/v1/similarity?matrix=true&hop=0.5&pool=max"
    table = json.loads(ask(server.url, "POST", path, body, {"Content-Type": kind})[2])
    a, b = (shipped.embed(sound, hop=0.5)[0].astype(float) for sound in (wav, other))

    def cosine(u, v):
        return u @ v / np.sqrt((u @ u) * (v @ v))

    assert table["similarity"] == pytest.approx(cosine(a.max(0), b.max(0)), abs=1e-12)
    assert np.allclose(table["matrix"], [[cosine(u, v) for v in b] for u in a], atol=1e-6)
    assert len(table["a"]["timestamps"]) == len(a) and table["b"]["seconds"] == 3
    assert "matrix" not in json.loads(ask(server.url, "POST", "/v1/similarity", body, {"Content-Type": kind})[2])


def test_the_models_are_told_with_their_cards(server, shipped):
    table = json.loads(ask(server.url, "GET", "/v1/models")[2])
    (card,) = table["models"]
    assert table["default"] == card["name"] == shipped.name and table["limits"]["max_seconds"] == 3600
    assert (
        card["dim"] == shipped.dim and card["fingerprint"] == shipped.spec.fingerprint() and "CC BY" in card["licence"]
    )
    assert json.loads(ask(server.url, "GET", f"/v1/models/{shipped.name}")[2]) == card


def test_two_models_are_told_apart_and_a_long_recording_streams(wav, tmp_path):
    import l3embed

    long = write(tmp_path / "long.wav", tone(150))
    other = l3embed.load("l3-small-1", precision="f32")
    with process("--model", "l3-small-taught-1", "--model", "l3-small-1", "--precision", "f32") as server:
        answer = embed(server.url, wav.read_bytes(), NPY, query="?model=l3-small-1")
        assert answer[1]["X-L3embed-Fingerprint"] == other.spec.fingerprint()
        assert np.array_equal(np.load(io.BytesIO(answer[2])), other.embed(wav)[0])
        got = read(NDJSON, embed(server.url, long.read_bytes(), NDJSON, query="?model=l3-small-1")[2])
    wanted = other.embed(long)
    assert np.array_equal(got[0], wanted[0]) and np.array_equal(got[1], wanted[1])
