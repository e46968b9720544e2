"""What the user named -> a card: shipped, published, or at a path; with weights of its own or from a file."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import numpy as np

from .. import zoo
from ..errors import UsageError, WeightsError, reason
from ..frontend import mel_filterbank
from ..spec import L3_REPRESENTATIONS, Model, Published, digest, l3_front_end, openl3_model, plain, published
from . import own, tfcheckpoint
from .arrays import WeightFile, read
from .cache import alone, cache_folder
from .cards import Card, card
from .cards import read as read_card
from .fetch import fetch
from .files import sha256
from .published import TRAINED_WITH, at_hand, differs, file_of, identify, is_published
from .release import check_arrays, outline, release
from .tensors import read as read_tensors

log = logging.getLogger("l3embed")
GRAPH = 3  # version of the conversion: what lies in the cache of another one is made anew
# The front ends that weights may have been trained with; which of them, a file tells by its filterbank or its hash.
TRAINED = (TRAINED_WITH, "training")


def find(name=None, file=None, front_end=None) -> Card:
    """The card of a model: shipped, published, or at a path; with weights from `file` (several: a list) where given.

    Raises UsageError for unknown names, WeightsError for files that are missing, damaged, or of another network.
    """
    _check_files(file)
    entry = zoo.find(name)
    if isinstance(file, list | tuple) and not entry:
        if len(file) > 1:
            raise UsageError(f"{name} takes one weight file. Received: {len(file)}")
        file = file[0]
    if own.is_own(name):
        if file is not None or front_end is not None:
            raise UsageError(f"{name}: is a model whole: its weights are in it, its front end in its card")
        return own.find(name)
    if is_published(name):
        return _find_published(str(name), file, front_end)
    found = None if entry else card(name)
    model = entry.model if entry else found.model
    if front_end not in (None, model.front_end.name):
        raise UsageError(f"{model.name} has one front end, {model.front_end.name}. Received: {front_end!r}")
    if entry:
        return _find_entry(entry, file)
    return found if file is None else with_file(found.model, file)


def _check_files(file) -> None:
    files = file if isinstance(file, list | tuple) else [file]
    if file is not None and (not files or not all(isinstance(f, str | os.PathLike) and f != "" for f in files)):
        raise UsageError(f"weights are given as the path of a file, or several in a list. Received: {file!r}")


def _find_entry(entry: zoo.Entry, file) -> Card:
    """The card of a published model beside OpenL3's, from files as they are published."""
    paths = _files_of(entry, file)
    about = {"description": entry.description, "licence": entry.licence, "origin": {}}

    def make(folder: Path) -> None:
        if entry.arrays is None:
            _convert(entry.model, paths[0], folder, "", about)
            return
        tensors, labels = read_tensors(paths)
        try:
            network = entry.network(tensors, entry.model) if entry.network else entry.model.network
            model = replace(entry.model, network=network)
            arrays = entry.arrays(tensors, model)
        except ValueError as error:
            raise WeightsError(f"{paths[0]}: is no weight file of {entry.name} ({error})") from error
        check_arrays(outline(model), arrays, paths[0])
        _release(model, arrays, folder, {**about, "classes": labels} if len(labels) == model.dim else about)

    return _converted(entry.model, [part for path in paths for part in tfcheckpoint.files(path)], make)


def _files_of(entry: zoo.Entry, file) -> list[Path]:
    """Where the files of a model lie: as named, in the folder that was named, beside the first one, or fetched."""
    named = [Path(f) for f in (file if isinstance(file, list | tuple) else [] if file is None else [file])]
    if len(named) == 1 and named[0].is_dir():
        named = [named[0] / known.name for known in entry.files]
    for known in entry.files[len(named) :]:
        beside = named[0].with_name(known.name) if named else None
        named.append(beside if beside and beside.exists() else fetch(known))
    return named


def _find_published(name: str, file, front_end: str | None) -> Card:
    which = published(name)
    model = openl3_model(name, front_end)
    if file is None:
        file = fetch_published(which)
    elif other := differs(which, os.path.basename(file)):
        log.warning("%s: its name says that it is of another model than %s: %s", file, name, other)
    found = with_file(model, file, which)
    if which.modality == "image" or which.representation == "linear":  # there all front ends are one
        return found
    return _with_front_end(found, which, front_end, file)


def _with_front_end(found: Card, which: Published, named: str | None, file) -> Card:
    """The front end that was named, or else the one that the weights were trained with, or else `training`."""
    trained = found.table.get("origin", {}).get("front_end", "")
    if named is None and trained in TRAINED:
        return replace(found, model=replace(found.model, front_end=l3_front_end(which.representation, trained)))
    if trained == "other" and named in (None, *TRAINED):
        log.warning("%s: holds a mel filterbank that no front end of l3embed has; it is not used", file)
    elif named is None:
        log.warning(
            "%s: does not tell which front end it was trained with, training is taken; published OpenL3 weights were "
            "trained with kapre-0.1.4: name either with --front-end (front_end=)", file,
        )  # fmt: skip
    elif named in TRAINED and trained in TRAINED and named != trained:
        log.warning("%s: was trained with front end %s, not with %s", file, trained, named)
    return found


def with_file(model: Model, file: str | os.PathLike, which: Published | None = None) -> Card:
    """The card of a model (the published one `which`) with weights from a file: converted once, then cached."""
    path = Path(file)
    return _converted(model, [path], lambda folder: _convert(model, path, folder, _origin(which, path, sha256(path))))


def _converted(model: Model, paths: list[Path], make: Callable[[Path], None]) -> Card:
    """What `make` writes into a folder from these files: made once, then cached under their hash."""
    identity = _identity(paths)
    kind = digest({**plain(model.network), "graph": GRAPH})
    folder = cache_folder() / f"{model.name}-{identity[:16]}-{kind}"
    if not (folder / f"{model.name}.toml").exists():
        with alone(folder.parent):
            if not folder.exists():
                make(folder)
    found = read_card(folder / f"{model.name}.toml")
    changed = {"front_end": model.front_end, "weights_sha256": identity, "cutting": model.cutting, "auto": model.auto}
    return replace(found, model=replace(found.model, **changed))


def _identity(paths: list[Path]) -> str:
    """SHA-256 of a file; of several, that of their hashes."""
    hashes = []
    for path in paths:
        try:
            hashes.append(sha256(path))
        except OSError as error:
            raise WeightsError(f"{path}: cannot be read ({reason(error)}): give the path of a weight file") from error
    return hashes[0] if len(hashes) == 1 else hashlib.sha256(" ".join(hashes).encode()).hexdigest()


def _origin(which: Published | None, path: Path, identity: str) -> str:
    """The published file that this one is, or "". Raises WeightsError where it is another than it should be."""
    origin = identify(path, identity) or ""
    if which and origin and origin.partition("-")[0] != which.file.partition("-")[0]:
        raise WeightsError(f"{path}: is {origin}, another model's: expected {which.file}")
    return origin


def arrays_of(model: Model, path: Path) -> list[np.ndarray]:
    """The arrays of a weight file for a model, not converted, but checked in the same way.

    A published file is known by its hash: of another modality or representation it is refused. Raises WeightsError.
    """
    if origin := identify(path, sha256(path)):
        _, modality, representation, _ = origin.split("-")[0].split("_")
        n_mels = L3_REPRESENTATIONS[representation]
        if modality != model.modality or (modality == "audio" and n_mels != model.front_end.n_mels):
            raise WeightsError(f"{path}: is {origin}: {model.name} is of another modality or representation")
    return _checked(model, path).arrays


def _checked(model: Model, path: Path) -> WeightFile:
    weights = read(path)
    if model.modality == "audio":
        _check_front_end(model, weights, path)
    check_arrays(outline(model), weights.arrays, path)
    return weights


def _convert(model: Model, path: Path, folder: Path, origin: str, about: Mapping = MappingProxyType({})) -> None:
    weights = _checked(model, path)
    origins = {"published": origin, "front_end": _trained_with(model, weights, origin)}
    _release(model, weights.arrays, folder, {**about, "origin": origins})


def _release(model: Model, arrays: list, folder: Path, about: dict) -> None:
    with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
        release(model, arrays, Path(temporary) / folder.name, about, "float32")
        with contextlib.suppress(OSError):  # another process was faster: the same files
            os.rename(Path(temporary) / folder.name, folder)


def _check_front_end(model: Model, weights: WeightFile, path: Path) -> None:
    """Refuse weights whose own front end has other sizes: mel128, mel256 and linear have arrays of the same shapes."""
    fe, bank = model.front_end, weights.filterbank
    if weights.n_fft not in (None, fe.n_fft):
        raise WeightsError(
            f"{path}: was trained with a Fourier transform of {weights.n_fft} samples, {model.name} has {fe.n_fft}: "
            "name the model that it belongs to"
        )
    if bank is not None and bank.shape[1] != fe.n_mels:
        raise WeightsError(
            f"{path}: was trained with {bank.shape[1]} mel bands, {model.name} has {fe.n_mels}: name the model that it "
            "belongs to"
        )


def _trained_with(model: Model, weights: WeightFile, origin: str) -> str:
    """A name in TRAINED, "other" for an unknown filterbank, "" where nothing tells."""
    if weights.filterbank is None or model.network.family != "l3":
        return TRAINED_WITH if origin else ""
    for name in TRAINED:
        known = mel_filterbank(l3_front_end(f"mel{model.front_end.n_mels}", name)).T
        if np.allclose(weights.filterbank, known, rtol=0, atol=1e-5 * known.max()):
            return name
    return "other"


def fetch_published(which: Published) -> Path:
    """OpenL3's weight file: at hand, packed or unpacked, or fetched."""
    return at_hand(which) or fetch(file_of(which))
