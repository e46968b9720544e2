"""Data sets laid out in small, and read with what must hold of each."""

from pathlib import Path

from conftest import tree
from tones import encoded, tones

from probes import datasets

SOUND = encoded(tones(0.1, 8000), 8000)


def lay(root: Path, *names: str) -> Path:
    """Files with a short sound."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(SOUND)
    return root


def write(root: Path, name: str, *lines: str) -> Path:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return root


def read(root: Path, name: str, options: str = "strict=no", **how) -> datasets.DataSet:
    """Recognised, and read by its name; the two agree, and clips are what is there."""
    before = tree(root)
    data = datasets.read(f"{root}?{options}", **how)
    assert data == datasets.read(f"{name}={root}?{options}", **how) and data.name == name
    assert len({clip.id for clip in data}) == len(data) and all(clip.label for clip in data)
    assert all((data.root / clip.id.partition("#")[0]).exists() for clip in data)
    assert data.licence != "unknown" and data.source and tree(root) == before
    return data


def of(data, *fields) -> set:
    return {tuple(getattr(clip, field) for field in ("id", *fields)) for clip in data}
