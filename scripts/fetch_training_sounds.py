"""Fetch the recordings that the taught model was trained on: the sounds in some packages of Debian 12.

    python scripts/fetch_training_sounds.py data/debian

Needs apt-get and dpkg-deb with Debian 12's sources (an archive keeps old versions). Leaves the sound files and the
copyright file of each package in a folder of its own.
"""

import argparse
import subprocess
import tarfile
import tempfile
import zipfile
from pathlib import Path

PACKAGES = Path(__file__).with_name("training_sounds.txt")
SUFFIXES = {".ogg", ".oga", ".wav", ".flac", ".mp3", ".opus", ".aif", ".aiff"}


def fetch(package: str, out: Path) -> int:
    """Download one package and keep its sounds; returns how many."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["apt-get", "download", "-qq", package], cwd=folder, check=True)
        (deb,) = Path(folder).glob("*.deb")
        with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", deb], stdout=subprocess.PIPE) as process:
            with tarfile.open(fileobj=process.stdout, mode="r|") as archive:
                n = sum(_keep(archive, member, out) for member in archive if member.isfile())
    return n


def _keep(archive: tarfile.TarFile, member: tarfile.TarInfo, out: Path) -> int:
    path = Path(member.name)
    if path.suffix.lower() in SUFFIXES or path.name == "copyright":
        _write(out / path, archive.extractfile(member).read())
        return path.name != "copyright"
    if path.suffix.lower() != ".zip":
        return 0
    with tempfile.TemporaryFile() as copy:  # a stream cannot be searched
        copy.write(archive.extractfile(member).read())
        with zipfile.ZipFile(copy) as inner:
            names = [name for name in inner.namelist() if Path(name).suffix.lower() in SUFFIXES]
            for name in names:
                _write(out / name, inner.read(name))
    return len(names)


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    out = parser.parse_args().out
    for line in PACKAGES.read_text().splitlines():
        if line and not line.startswith("#"):
            name = line.partition("=")[0]
            print(f"{name}: {fetch(line, out / name)} sounds", flush=True)


if __name__ == "__main__":
    main()
