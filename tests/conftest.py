"""What several test files share."""

import os
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

settings.register_profile("l3embed", deadline=None)  # no test asserts wall-clock time
settings.load_profile("l3embed")
ROOT = Path(__file__).resolve().parents[1]


def _beside(name: str) -> Path:
    """A folder that lies beside the repository where it is at hand."""
    folder = ROOT.parent / "shared" / name
    if not folder.is_dir():
        pytest.skip(f"../shared/{name} is absent here")
    return folder


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real recordings."""
    return _beside("data")


@pytest.fixture(scope="session")
def fixtures() -> Path:
    """Reference outputs of the original programs."""
    return _beside("fixtures")


def tree(folder: Path) -> dict[str, bytes]:
    """All files below a folder."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in Path(folder).rglob("*") if p.is_file()}


def tone(seconds: float, rate_hz: int = 32_000, hz: float = 440.0, seed: int = 0) -> np.ndarray:
    """(n,) float64: a tone in a little noise."""
    n = round(seconds * rate_hz)
    noise = np.random.default_rng(seed).standard_normal(n)
    return 0.3 * np.sin(2 * np.pi * hz * np.arange(n) / rate_hz) + 0.01 * noise


def write(path: Path, sound: np.ndarray, rate_hz: int = 32_000, **how) -> Path:
    import soundfile

    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, sound, rate_hz, **how)
    return path


def environment() -> dict[str, str]:
    """For a child process that is to find what this process finds, installed or not."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, sys.path)])}


@pytest.fixture(scope="session")
def changing(tmp_path_factory) -> Path:
    """A video of six seconds, each of another colour and tone."""
    from made_videos import make_video

    return make_video(tmp_path_factory.mktemp("video") / "changing.mkv", [3, 0, 4, 1, 5, 2])


@pytest.fixture(scope="session")
def constant(tmp_path_factory) -> Path:
    """A folder of videos that keep their colour and tone for three seconds."""
    from made_videos import make_video

    folder = tmp_path_factory.mktemp("constant")
    for i in range(6):
        make_video(folder / f"{i}.mkv", [i] * 3, hz=5)
    return folder


@pytest.fixture(scope="session")
def shipped():
    """The shipped model in f32."""
    import l3embed

    return l3embed.load(precision="f32")


@pytest.fixture(scope="session")
def placeholder():
    """A model with an engine that computes next to nothing: for what surrounds engines."""
    return make_placeholder()


def make_placeholder():
    """The same for processes of a test's own."""
    from l3embed import weights
    from l3embed.embed import EmbeddingModel
    from l3embed.engine import PlaceholderEngine

    card = weights.card()
    small = replace(card, model=replace(card.model, name="placeholder", dim=8))
    return EmbeddingModel(small, PlaceholderEngine, "f32")
