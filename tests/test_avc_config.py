"""The training configuration: the paper's defaults, and an answer for every mistake that a person can make in it."""

import pytest

from l3embed.avc import config
from l3embed.errors import TrainingError


@pytest.fixture
def read(tmp_path):
    def _read(text):
        path = tmp_path / "run.toml"
        path.write_text(text, encoding="utf-8")
        return config.read(path)

    return _read


def test_defaults_are_the_published_training_jobs(read):
    found = read("data.videos = ['v']")
    fit, data = found.fit, found.data
    assert (fit.learning_rate, fit.batch, fit.steps, fit.epochs, fit.validation_steps) == (1e-5, 64, 4096, 300, 1024)
    assert (fit.l2, fit.decay, fit.precision, fit.train, found.model.init) == (1e-5, "none", "float32", "both", "")
    assert (data.n_active, fit.objective, found.seed, data.held_out) == (20, "binary", 20180216, 0.1)
    assert (found.front_end.n_mels, found.audio.width, found.image.pool) == (256, 64, (28, 28))
    assert found.pairs == config.PairConfig(
        negatives="other", misaligned=False, same_second=1.0, gain=(0.9, 1.1), flip=True, saturation=(0.5, 1.5),
        brightness=32 / 255,
    )  # fmt: skip


def test_values_arrive_and_integers_serve_as_floats(read):
    found = read(
        "seed = 3\n[data]\nscenes = 1\n[pairs]\ngain = [1, 2]\nflip = false\n[model]\nfamily = 'l3-small'\nbands = 4"
    )
    assert (found.seed, found.data.scenes, found.pairs.gain, found.pairs.flip) == (3, 1, (1, 2), False)
    assert found.audio.pool == (4, 1)


def test_paths_are_relative_to_the_file(read, tmp_path):
    elsewhere = tmp_path.parent / "elsewhere"
    found = read(f"run = 'r'\n[data]\nvideos = ['v', {str(elsewhere)!r}]\nrecordings = ['s']\nindex = 'i.csv'")
    assert (found.data.index, found.data.prepared) == (str(tmp_path / "i.csv"), "")
    assert found.run == str(tmp_path / "r")
    assert found.data.videos == (str(tmp_path / "v"), str(elsewhere))
    assert found.data.recordings == (str(tmp_path / "s"),)


@pytest.mark.parametrize(("text", "message"), [
    ("[data]\nvidoes = ['v']", "data: unknown key 'vidoes': did you mean 'videos'"),
    ("sed = 1", "unknown key 'sed': did you mean 'seed'"),
    ("zzz = 1", "unknown key 'zzz': expected one of run, seed"),
    ("fit = 3", "fit must be a table"),
    ("fit.batch = 2.5", "fit: batch must be int. Received: 2.5"),
    ("fit.batch = true", "fit: batch must be int. Received: True"),
    ("fit.learning_rate = 'fast'", "fit: learning_rate must be float. Received: 'fast'"),
    ("pairs.flip = 1", "pairs: flip must be bool"),
    ("pairs.gain = 1.0", "pairs: gain must be a list of 2"),
    ("pairs.gain = [1.0]", "pairs: gain must be a list of 2"),
    ("pairs.gain = ['a', 'b']", "pairs: gain: each item must be float"),
    ("pairs.gain = [1.1, 0.9]", "pairs.gain must be two numbers, 0 <= low <= high"),
    ("data.videos = 'v'", "data: videos must be a list"),
    ("data.videos = [1]", "data: videos: each item must be str"),
    ("data.scenes = 1.5", "data.scenes must be from 0 to 1. Received: 1.5"),
    ("data.clip_s = 0.5", "data.clip_s must be at least 1"),
    ("data.clip_s = inf", "data.clip_s must be at least 1. Received: inf"),
    ("data.n_active = 1", "data.n_active must be at least 2"),
    ("fit.learning_rate = nan", "fit.learning_rate must be at least"),
    ("fit.learning_rate = 0.0", "fit.learning_rate must be at least"),
    ("fit.validation_steps = 0", "fit.validation_steps must be at least 1"),
    ("fit.keep_at = [0]", "fit.keep_at must lie between 1 and 78643200, the pairs of the whole run"),
    ("fit.keep_at = [100, 78643201]", "Received: 78643201"),
    ("fit.keep_at = [1.5]", "fit: keep_at: each item must be int"),
    ("fit.train = 'image'", "fit.train must be one of 'both', 'audio'. Received: 'image'"),
    ("fit.devices = -1", "fit.devices must be at least 0"),
    ("fit.l2 = -1e-5", "fit.l2 must be at least 0"),
    ("model.init = 3", "model: init must be str"),
    ("seed = -1", "seed must be from 0"),
    ("fit.objective = 'triplet'", "fit.objective must be one of 'binary', 'contrastive'. Received: 'triplet'"),
    ("model.family = 'vgg'", "model.family must be one of 'l3', 'l3-small'"),
    ("model.representation = 'mel64'", "model.representation must be one of 'linear', 'mel128', 'mel256'"),
    ("model.bands = 3", "model.bands must be one of 1, 2, 4, 8"),
    ("model.n_mels = 40", "model.n_mels must be one of 32, 64, 128"),
    ("model.n_mels = 32\nmodel.bands = 8", "model.bands must be at most model.n_mels / 8"),
    ("data.picture = 'photo'", "data.picture must be one of 'full', 'spectrogram', 'curves'"),
    ("model.name = '../x'", "model.name names files"),
    ("backend = 'torch'", "backend must be one of"),
    ("data.frames = 'png'", "data.frames must be one of 'jpeg', 'array'"),
    ("data.clips_per_file = -1", "data.clips_per_file must be at least 0"),
    ("data.index = ['i.csv']", "data: index must be str"),
    ("data.indx = 'i.csv'", "data: unknown key 'indx': did you mean 'index'"),
    ("pairs.negatives = 'vidoe'", "pairs.negatives must be one of 'other', 'label', 'video'"),
    ("pairs.far_s = 0.5", "pairs.far_s must be at least 1"),
    ("pairs.negatives = 'video'\ndata.clip_s = 3", "needs data.clip_s of 1 + pairs.far_s = 4 at least. Received: 3"),
    ("pairs.negatives = 'video'\npairs.misaligned = true", "pairs.misaligned shows the last frame"),
    ("pairs.negatives = 'label'\nfit.batch = 9", "draws in twos: fit.batch must be even"),
    ("", "nothing to learn from"),
    ("= 3", "is not valid TOML"),
])  # fmt: skip
def test_each_mistake_is_named_with_the_file_and_the_key(read, text, message):
    with pytest.raises(TrainingError) as caught:
        read(text)
    assert message in str(caught.value) and "run.toml: " in str(caught.value)


def test_a_file_that_is_not_there_or_not_text(tmp_path):
    with pytest.raises(TrainingError, match=r"nowhere.toml: cannot be read \(No such file"):
        config.read(tmp_path / "nowhere.toml")
    (tmp_path / "x.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(TrainingError, match="is not valid TOML"):
        config.read(tmp_path / "x.toml")
