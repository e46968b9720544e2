"""What the user named -> which recordings, and where each result goes.

Folders are searched recursively for media files by suffix, of the kinds that the models embed; a file that is named is
taken whatever its suffix. The tree of results mirrors the tree of recordings below the common parent of everything that
was named, so equal names in different folders stay apart; `a.wav` and `a.flac` of one folder become `a.wav.npz` and
`a.flac.npz`. Where a run has two models, results say of which they are: `a.mp4` gives `a_audio.npz` and `a_image.npz`.
"""

from __future__ import annotations

import glob
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from .decode import AUDIO_SUFFIXES, IMAGE_SUFFIXES, VIDEO_SUFFIXES
from .errors import reason

SUFFIXES = {"audio": AUDIO_SUFFIXES | VIDEO_SUFFIXES, "image": IMAGE_SUFFIXES | VIDEO_SUFFIXES}  # of a modality
LIST_SUFFIXES = frozenset((".txt", ".lst", ".m3u"))
STDIN = "-"


@dataclass(frozen=True, slots=True)
class Item:
    """One recording: its path ("-" for standard input), and its result's path below the output folder."""

    source: str
    output: str
    data: bytes | None = field(default=None, repr=False)  # of standard input
    modality: str = "audio"

    @property
    def recording(self) -> str | bytes:
        """What `decode.open_recording` takes."""
        return self.source if self.data is None else self.data

    @property
    def name(self) -> str:
        """The recording's path below the common folder of all: the same wherever that folder lies."""
        if self.data is not None:
            return "stdin"
        return os.path.join(os.path.dirname(self.output), os.path.basename(self.source))


@dataclass
class Plan:
    items: list[Item]
    failures: list[tuple[str, str]]  # (what was named, why it cannot be taken)
    n_ignored: int  # files in folders that are no media files


def plan(inputs: list[str], stdin: BinaryIO | None = None, modalities: tuple[str, ...] = ("audio",)) -> Plan:
    """Expand folders, globs, lists of paths and "-". Nothing is opened but lists, standard input and folders.

    Standard input may be one recording, or a list of paths (separated by lines or by NUL).
    """
    found = _Found(stdin, modalities)
    for name in inputs:
        found.add(name)
    return Plan(_with_outputs(found), found.failures, found.n_ignored)


class _Found:
    def __init__(self, stdin: BinaryIO | None, modalities: tuple[str, ...]):
        self.stdin, self.modalities = stdin, modalities
        self.suffixes = frozenset().union(*(SUFFIXES[modality] for modality in modalities))
        self.files: dict[str, None] = {}  # absolute paths, each once, in order
        self.roots: list[str] = []  # what was named: folders, and the folders of named files
        self.failures: list[tuple[str, str]] = []
        self.n_ignored = 0
        self.data: bytes | None = None

    def add(self, name: str, from_list: bool = False) -> None:
        if name == STDIN and not from_list:
            self._add_stdin()
        elif os.path.isdir(name):
            self.roots.append(os.path.abspath(name))
            self._add_folder(name)
        elif os.path.lexists(name):
            if not from_list and Path(name).suffix.lower() in LIST_SUFFIXES:
                self._add_list_file(name)
            else:
                self._add_file(name)
        elif matches := sorted(glob.glob(name, recursive=True)):
            for match in matches:
                self.add(match, from_list)
        else:
            self.failures.append((name, "no such file or folder"))

    def _add_file(self, name: str) -> None:
        path = os.path.abspath(name)
        self.roots.append(os.path.dirname(path))
        self.files[path] = None

    def _add_folder(self, folder: str) -> None:
        n_media, n_failures = 0, len(self.failures)
        for path, is_media in _walk(os.path.abspath(folder), self.suffixes, self.failures):
            if is_media:
                self.files[path] = None
                n_media += 1
            else:
                self.n_ignored += 1
        if not n_media and len(self.failures) == n_failures:
            kinds = " or ".join(kind for kind in ("audio", "image", "video") if kind in {*self.modalities, "video"})
            self.failures.append((folder, f"holds no {kinds} files"))

    def _add_list_file(self, name: str) -> None:
        try:
            data = Path(name).read_bytes()
        except OSError as error:
            self.failures.append((name, reason(error)))
            return
        self._add_list(data, name)

    def _add_list(self, data: bytes, name: str) -> None:
        """Paths in a list are relative to the current folder, as those on the command line are."""
        data = data.removeprefix(b"\xef\xbb\xbf")  # some editors begin a text with this mark
        lines = data.split(b"\0") if b"\0" in data else data.splitlines()
        names = [os.fsdecode(line.strip(b"\r\n")) for line in lines if line.strip() and not _is_comment(line)]
        if not names:
            self.failures.append((name, "is an empty list of paths"))
        for entry in names:
            self.add(entry, from_list=True)

    def _add_stdin(self) -> None:
        data = self.stdin.read() if self.stdin is not None else b""
        if not data:
            self.failures.append((STDIN, "standard input is empty: pipe a recording or a list of paths into it"))
        elif _is_media(data):
            self.data = data
        else:
            self._add_list(data, STDIN)


# First bytes of media files: RIFF and its kin, FLAC, Ogg, MP3 with a tag, AIFF, AU, CAF, Matroska, ASF, WavPack, AMR,
# MPEG
_MAGIC = (b"RIFF", b"RIFX", b"RF64", b"riff", b"fLaC", b"OggS", b"ID3", b"FORM", b".snd", b"caff", b"\x1aE\xdf\xa3")
_MAGIC += (b"0&\xb2u", b"wvpk", b"#!AMR", b"\x00\x00\x01\xba", b"\x00\x00\x01\xb3")
_CONTROLS = frozenset(range(32)) - frozenset(b"\0\t\n\r")  # bytes that a list of paths does not hold


def _is_media(data: bytes) -> bool:
    is_mpeg_frame = len(data) > 1 and data[0] == 0xFF and data[1] & 0xE0 == 0xE0
    return data.startswith(_MAGIC) or data[4:8] == b"ftyp" or is_mpeg_frame or not _CONTROLS.isdisjoint(data[:512])


def _is_comment(line: bytes) -> bool:
    """Unless a file is called so."""
    return line.startswith(b"#") and not os.path.lexists(line)


def _walk(folder: str, suffixes: frozenset[str], failures: list) -> Iterator[tuple[str, bool]]:
    """(path, whether it is a media file) of all files below, sorted, hidden ones left out; every folder once."""
    seen = set()
    for root, folders, files in os.walk(
        folder, followlinks=True, onerror=lambda e: failures.append((e.filename, reason(e)))
    ):
        try:
            status = os.stat(root)
        except OSError:
            continue
        if (status.st_dev, status.st_ino) in seen:  # a link back to a folder already walked
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders[:] = sorted(f for f in folders if not f.startswith("."))
        for name in sorted(files):
            if not name.startswith("."):
                yield os.path.join(root, name), Path(name).suffix.lower() in suffixes


def _with_outputs(found: _Found) -> list[Item]:
    base = os.path.commonpath(found.roots) if found.roots else ""
    prefix = len(os.path.join(base, ""))
    stdin = [] if found.data is None else [os.path.join(base, "stdin")]
    names = {path: name[prefix:] for path, name in result_names([*found.files, *stdin]).items()}
    items = []
    for modality in found.modalities:
        end = f"_{modality}.npz" if len(found.modalities) > 1 else ".npz"
        taken = [path for path in found.files if _may_be(path, modality, found.modalities)]
        items += [Item(path, names[path] + end, modality=modality) for path in taken]
        items += [Item(STDIN, names[path] + end, found.data, modality) for path in stdin]
    return items


def _may_be(path: str, modality: str, modalities: tuple[str, ...]) -> bool:
    """Whether a file is this model's business: unless its suffix is another one's, and only that one's."""
    suffix = Path(path).suffix.lower()
    return suffix in SUFFIXES[modality] or not any(suffix in SUFFIXES[other] for other in modalities)


def result_names(paths: list[str]) -> dict[str, str]:
    """Each path -> itself without its suffix, or with it wherever two recordings would get one name."""
    names = {path: os.path.splitext(path)[0] for path in paths}
    while clashes := {name for name, n in Counter(names.values()).items() if n > 1}:
        names = {path: path if name in clashes else name for path, name in names.items()}
    return names
