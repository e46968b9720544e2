"""Published weights by name: fetched once and whole, the right ones, or a sentence that says what to do."""

import gzip
import hashlib
import http.server
import signal
import socket
import subprocess
import sys
import threading
import time
import tomllib
from dataclasses import replace

import pytest

pytest.importorskip("pooch")

from l3embed import cli, weights, zoo
from l3embed.errors import UsageError, WeightsError
from l3embed.spec import published, published_names
from l3embed.weights import fetch
from l3embed.weights import published as registry
from l3embed.weights.files import blob

NAME = "openl3-mel128-env-512"
FILE = "openl3_audio_mel128_env-v0_4_0"
CONTENT = gzip.compress(bytes(range(256)) * 400, mtime=0) + b"\0" * 100_000


def _git_hash(content: bytes) -> str:
    return hashlib.sha1(b"blob " + str(len(content)).encode() + b"\0" + content).hexdigest()


class _Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        server = self.server
        server.asked.append(self.path)
        if server.mode == "404":
            return self.send_error(404)
        body = server.body
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if server.mode == "slow":
            time.sleep(0.5)
        self.wfile.write(body[: len(body) // 2] if server.mode in ("half", "hang") else body)
        if server.mode == "hang":
            self.wfile.flush()
            server.halfway.set()
            server.release.wait(60)

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch, tmp_path):
    """A mirror of one synthetic file; `mode` is how it behaves."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.mode, server.body, server.asked = "good", CONTENT, []
    server.halfway, server.release = threading.Event(), threading.Event()
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    server.url = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setenv("L3EMBED_MIRROR", server.url)
    monkeypatch.setenv("L3EMBED_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setitem(registry.BLOBS, FILE, _git_hash(CONTENT))
    yield server
    server.release.set()
    server.shutdown()
    server.server_close()


@pytest.fixture
def place(tmp_path):
    return tmp_path / "cache" / "openl3" / f"{FILE}.h5.gz"


def _fetch():
    return weights.fetch_files(NAME)[0]


def _left(place) -> set[str]:
    """What lies beside the place of the file, the lock aside."""
    return {p.name for p in place.parent.iterdir() if p.name != ".lock"} if place.parent.exists() else set()


def test_names_and_files():
    assert len(published_names()) == len(set(published_names())) == 24
    files = {published(name + suffix).file for name in published_names() for suffix in ("", "-v0_2_0")}
    assert files == set(registry.BLOBS) and len(files) == 24
    assert len(set(registry.BLOBS.values())) == 24 and all(len(h) == 40 for h in registry.BLOBS.values())
    which = published("openl3-image-linear-music-8192-v0_2_0")
    assert (which.modality, which.dim, which.file) == ("image", 8192, "openl3_image_linear_music-v0_2_0")
    # the two sizes share a file, and the version that is meant where none is said is v0_4_0
    assert published("openl3-mel256-env-512").file == published("openl3-mel256-env-6144-v0_4_0").file
    for name in ("openl3-mel64-env-512", "openl3-mel128-env", "openl3-mel128-speech-512", "openl3-mel128-env-1024",
                 "openl3-mel128-env-512-v0_1_0", "openl3-mel128-env-512-v",
                 "openl3-image-mel128-env-6144", "openl3-mel128-env-8192"):  # fmt: skip
        with pytest.raises(UsageError, match=f"unknown model '{name}': published ones are"):
            published(name)


def test_the_hash_is_gits(tmp_path):
    for content in (b"", b"what is up, doc?"):  # the second from the book "Pro Git", 10.2
        (tmp_path / "x").write_bytes(content)
        assert blob(tmp_path / "x") == _git_hash(content)
    assert blob(tmp_path / "x") == "bd9dbf5aae1a3862dd1526723246b20206e5fc37"


def test_fetched_once_and_whole(server, place):
    assert _fetch() == place and place.read_bytes() == CONTENT
    assert _fetch() == place
    assert server.asked == [f"/{FILE}.h5.gz"]
    assert _left(place) == {place.name}


@pytest.mark.parametrize(("mode", "body", "why"), [
    ("404", CONTENT, "the server answers 404 Not Found"),
    ("half", CONTENT, "cannot be fetched"),
    ("good", CONTENT[:-1], "sent another file"),
    ("good", b"<html>sign in</html>", r"sent another file \(20 bytes, git blob SHA-1 .*, expected"),
    ("good", b"", "sent another file"),
])  # fmt: skip
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # pooch leaves the broken socket open
def test_what_is_not_the_file_is_not_kept(server, place, mode, body, why):
    server.mode, server.body = mode, body
    with pytest.raises(WeightsError, match=why) as error:
        _fetch()
    text = str(error.value)
    assert (
        text.startswith(f"{server.url}/{FILE}.h5.gz: ") and f"put the file at {place}" in text and "--weights" in text
    )
    assert _left(place) == set()
    server.mode, server.body = "good", CONTENT
    assert _fetch().read_bytes() == CONTENT


def test_no_network(server, place, monkeypatch):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    monkeypatch.setenv("L3EMBED_MIRROR", f"http://127.0.0.1:{port}/x/")
    with pytest.raises(
        WeightsError, match=rf"http://127.0.0.1:{port}/x/{FILE}.h5.gz: cannot be fetched \(connection refu"
    ):
        _fetch()
    monkeypatch.setenv("L3EMBED_MIRROR", "ftp://somewhere")
    with pytest.raises(UsageError, match="L3EMBED_MIRROR must begin with http"):
        _fetch()
    assert _left(place) == set()


def test_a_missing_package_is_named(server, monkeypatch):
    monkeypatch.setitem(sys.modules, "pooch", None)
    with pytest.raises(ImportError, match=r"pip install 'l3embed\[train\]'"):
        _fetch()


# --- processes

_CODE = f"""
import sys
from l3embed import cli
from l3embed.weights import published
published.BLOBS[{FILE!r}] = sys.argv[1]
sys.exit(cli.main(["models", "fetch", {NAME!r}]))
"""


def _process():
    command = [sys.executable, "-c", _CODE, _git_hash(CONTENT)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_several_processes_at_once(server, place):
    server.mode = "slow"
    processes = [_process() for _ in range(4)]
    for process in processes:
        out, err = process.communicate(timeout=120)
        assert process.returncode == 0 and out.strip() == str(place) and err == ""  # no bar: not a terminal
    assert place.read_bytes() == CONTENT and _left(place) == {place.name}
    try:
        import fcntl  # noqa: F401
    except ImportError:
        return  # without locks each fetches for itself
    assert len(server.asked) == 1


def test_a_process_that_is_killed_leaves_nothing_that_counts(server, place):
    server.mode = "hang"
    process = _process()
    assert server.halfway.wait(60)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not place.exists() and registry.at_hand(published(NAME)) is None
    server.mode = "good"
    assert _fetch().read_bytes() == CONTENT  # nor a lock that anybody waits for


# --- by hand


def test_a_file_put_there_by_hand_is_used(server, place):
    place.parent.mkdir(parents=True)
    unpacked = place.with_name(f"{FILE}.h5")
    for path in (place.with_name("openl3_audio_mel128_env.h5"), unpacked, place):
        path.write_bytes(CONTENT)
        assert _fetch() == path
    assert server.asked == []
    place.write_bytes(CONTENT[:-1])
    with pytest.raises(WeightsError, match=r"v0_4_0\.h5\.gz: is damaged or another file .*: delete it, and it will be"):
        _fetch()


def test_a_file_of_another_model_is_refused_by_its_hash_and_doubted_by_its_name(server, tmp_path, caplog):
    path = tmp_path / "innocent.h5.gz"
    path.write_bytes(CONTENT)
    with pytest.raises(
        WeightsError, match=f"innocent.h5.gz: is {FILE}, another model's: expected openl3_audio_mel256_mu"
    ):
        weights.find("openl3-mel256-music-512", path)
    assert caplog.text == ""
    for name, said in (
        ("openl3_audio_linear_env.h5", "audio, linear, env"),
        ("openl3_image_mel256_music-v0_4_0.h5.gz", "image, mel256, music"),
        ("torchopenl3_mel128_music_6144.pth.tar", "audio, mel128, music"), ("openl3_audio_mel256_music.h5", ""),
        ("torchopenl3_mel256_music_512.pth.tar", ""), ("mine.h5", ""),
    ):  # fmt: skip
        caplog.clear()
        (tmp_path / name).write_bytes(b"no weights, so that nothing is converted")
        with pytest.raises(WeightsError, match="is not a weight file"):
            weights.find("openl3-mel256-music-512", tmp_path / name)
        assert (f"{name}: its name says that it is of another model" in caplog.text) == bool(said)
        assert said in caplog.text


# --- the command


def test_models_list_show_and_fetch(server, place, capsys):
    def listed(*words):
        assert cli.main(["models", "list", *words]) == 0
        return [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]

    assert len(listed()) == len(weights.available()) + 24 + len(zoo.names())
    what = "OpenL3, audio, mel128, env, weights v0_4_0"
    assert f"{NAME} 512 not fetched {what}" in listed()
    assert cli.main(["models", "fetch", NAME]) == 0
    assert capsys.readouterr().out == f"{place}\n"
    assert listed("mel128", "AUDIO", "env-512") == [f"{NAME} 512 at hand {what}"]
    assert cli.main(["models", "show", NAME]) == 0
    card = tomllib.loads(capsys.readouterr().out)
    assert card["files"] == {"url": f"{server.url}/{FILE}.h5.gz", "git_blob_sha1": _git_hash(CONTENT),
                             "file": str(place), "state": "at hand"}  # fmt: skip
    assert card["licence"] == "CC BY 4.0"
    assert card["front_end"]["name"] == "kapre-0.1.4" and card["front_end"]["n_mels"] == 128
    assert (card["input"]["minimum_s"], card["input"]["default_hop_s"], card["input"]["default_center"]) == (1, 0.1, 1)
    assert len(server.asked) == 1
    assert cli.main(["models", "list", "no", "such"]) == 2
    assert "no model's line holds no and such" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["openl3-image-linear-env-512", *zoo.names()])
def test_models_show_says_how_recordings_are_taken_what_is_allowed_and_where_files_belong(name, capsys):
    assert cli.main(["models", "show", name]) == 0
    card = tomllib.loads(capsys.readouterr().out)
    entry = zoo.find(name)
    assert card["name"] == name and card["licence"] and card["description"]
    if entry is None:
        return
    told, front_end = card["input"], entry.model.front_end
    assert told["rate_hz"] == front_end.rate_hz and 0 < told["minimum_s"] <= 20
    assert ("default_hop_s" in told) + ("default_hop" in told) + ("vector_every_s" in told) == 1
    assert told["shorter"] in ("zero-padded", "repeated")
    assert set(card["files"]) >= {file.name for file in entry.files}
    for file in card["files"].values():
        assert {"url", "hash", "file", "state"} == set(file)


# --- models beside OpenL3: with their own files and hashes, where those are at hand

REAL = {"edgel3-sea-64": "edgel3_sea_ust_audio_emb_64.h5.gz", "vggish": "vggish_pca_params.npz",
        "imagenet-squeezenet": "squeezenet_weights_tf_dim_ordering_tf_kernels_notop.h5"}  # fmt: skip


@pytest.mark.parametrize("name", REAL)
def test_a_real_file_is_fetched_by_name_and_its_hash_is_the_published_one(server, tmp_path, shared_data, name):
    server.body = (shared_data / "weights" / REAL[name]).read_bytes()
    file = next(f for f in zoo.find(f"{name}-pca" if name == "vggish" else name).files if f.name == REAL[name])
    if name != "vggish":  # whose checkpoint is not at hand
        assert weights.fetch_files(name) == [tmp_path / "cache" / file.folder / file.name]
    path = fetch.fetch(file)
    assert path.read_bytes() == server.body and server.asked == [f"/{file.name}"]
    server.body = server.body[:-1] + b"x"
    path.unlink()
    with pytest.raises(WeightsError, match=rf"{file.name}: sent another file .*SHA-256 .*, which was not kept"):
        fetch.fetch(file)
    assert not path.exists()


def test_a_file_is_fetched_from_its_own_address_and_known_by_any_kind_of_hash(server, tmp_path, monkeypatch):
    monkeypatch.delenv("L3EMBED_MIRROR")
    hashes = {"sha256": hashlib.sha256(CONTENT), "md5": hashlib.md5(CONTENT), "git": None}
    for kind, found in hashes.items():
        right = f"{kind}:{found.hexdigest() if found else _git_hash(CONTENT)}"
        file = zoo.File("x", f"{kind}.pth", f"{server.url}/files/{kind}%3D1.pth", right)
        with pytest.raises(WeightsError, match=r"sent another file .*expected 00+"):
            fetch.fetch(replace(file, hash=f"{kind}:{'0' * 40}"))
        assert fetch.fetch(file).read_bytes() == CONTENT
        assert fetch.fetch(file) == tmp_path / "cache" / "x" / f"{kind}.pth"
    assert server.asked == [f"/files/{kind}%3D1.pth" for kind in hashes for _ in range(2)]


def test_what_has_no_published_hash_is_not_fetched_but_another_file_of_the_same_weights_is(server, tmp_path):
    port = zoo.File("x", "port.pth", f"{server.url}/port.pth", f"sha256:{hashlib.sha256(CONTENT).hexdigest()}")
    original = zoo.File("x", "original.ckpt", f"{server.url}/original.ckpt", instead=port)
    assert fetch.fetch(original) == tmp_path / "cache" / "x" / "port.pth" and server.asked == ["/port.pth"]
    (tmp_path / "cache" / "x" / "original.ckpt").write_bytes(b"by hand")
    assert fetch.fetch(original).name == "original.ckpt"
    with pytest.raises(WeightsError, match=r"no hash of http.*/y is known, so it is not fetched: put .*x/y"):
        fetch.fetch(zoo.File("x", "y", f"{server.url}/y"))
    with pytest.raises(WeightsError, match=r"sound8.npy: is not at hand, and no stable address of sound8.npy is known"):
        weights.find("soundnet-conv7")


def test_the_command_says_in_one_line_what_failed(server, capsys):
    server.mode = "404"
    assert cli.main(["models", "fetch", NAME]) == 1
    assert capsys.readouterr().err.count("\n") == 1
    assert cli.main(["models", "fetch", "l3-small-1"]) == 2
    assert "unknown model 'l3-small-1': published ones are" in capsys.readouterr().err
