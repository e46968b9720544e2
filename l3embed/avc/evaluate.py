"""Correspondence accuracy on held-out videos, within and across domains (Cramer et al. 2019, Table 1).

Each held-out video gives a few moments. A moment is shown to the networks twice: with the picture of its own second,
and with a picture of another video. Nothing is altered: no gain, no colours, the middle of the frame. Moments, pictures
and partners are drawn by a seed from the domain alone, so every run is asked the same questions.

Two measures come of it. `accuracy` is the paper's: of all questions, half of them matches, how many does the network
answer right (correspondence when its probability exceeds one half). Networks of the contrastive objective answer no
such question; of them, and of all, `two_way` says how often the match scores above the mismatch of the same sound.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from .. import decode
from ..errors import AudioError, L3EmbedError, TrainingError, UsageError, reason
from ..frontend import spectrograms
from . import clips, model, pairs, prepared, restore
from .config import DataConfig, TrainConfig, parse

MOMENTS, MOST = 10, 1000  # of a video; videos of a domain
BLOCK = 32  # videos in memory at a time; partners are of the same block
BATCH = 32
DRAWS = 2000  # of the bootstrap


@dataclass(frozen=True)
class Domain:
    name: str
    data: DataConfig


@dataclass(frozen=True)
class Run:
    """A trained run: its networks, ready to be asked."""

    name: str
    config: TrainConfig
    networks: object  # keras.Model of towers and head
    in_graph: bool  # whether it takes sound; else spectrograms
    image_size: int

    def scores(self, sound: np.ndarray, image: np.ndarray) -> np.ndarray:
        """(N, window) and (N, size, size, 3) uint8 -> (N,): how much sound and picture of an item belong together.

        The probability of correspondence, or the similarity of the contrastive objective.
        """
        out = []
        for at in range(0, len(sound), BATCH):
            index = np.minimum(np.arange(at, at + BATCH), len(sound) - 1)  # every batch has the same shape
            answers = np.asarray(
                self.networks.predict_on_batch({"audio": self._audio(sound[index]), "image": image[index]})
            )
            out.append(answers[:, 1] if self.config.fit.objective == "binary" else np.diagonal(answers))
        return np.concatenate(out)[: len(sound)].astype(np.float64)

    def _audio(self, sound: np.ndarray) -> np.ndarray:
        if self.in_graph:
            return sound[..., None]
        return np.concatenate([spectrograms(x, np.zeros(1, int), self.config.front_end) for x in sound])


def restored(paths: list[str | Path]) -> list[Run]:
    """The networks of runs (at their best epoch), model folders or checkpoints. Raises TrainingError."""
    runs, paths = [], [Path(path) for path in paths]
    for path in paths:
        networks, config = restore.restore(path / "best" if (path / "best").is_dir() else path)
        here = next((folder for folder in (path, path.parent) if (folder / "config.json").exists()), None)
        if here:  # cards travel, and tell the names of files only
            config = replace(config, data=_data_of(here / "config.json"))
        alone = sum(other.name == path.name for other in paths) == 1
        name = path.name if alone else str(path)
        runs.append(Run(name, config, networks.model, model.front_end_in_graph(), networks.image_size))
    return runs


def _data_of(path: Path) -> DataConfig:
    try:
        return parse(TrainConfig, json.loads(path.read_text(encoding="utf-8")), str(path)).data
    except (OSError, ValueError, AttributeError) as error:
        raise TrainingError(f"{path}: is damaged ({reason(error)})") from error


def domain(text: str) -> Domain:
    """``NAME=PATH`` or ``PATH``: an index of `l3embed data`, or a folder of prepared clips, videos, or sound."""
    name, _, path = ("", "", text) if Path(text).exists() else text.partition("=") if "=" in text else ("", "", text)
    where = Path(path)
    name = name or where.resolve().stem
    if where.is_file():
        return Domain(name, DataConfig(index=path))
    if not where.is_dir():
        raise TrainingError(f"{path}: is not there: name a folder, an index, or NAME=FOLDER")
    if (where / prepared.MANIFEST).exists():
        return Domain(name, DataConfig(prepared=path))
    for key, suffixes in (("videos", decode.VIDEO_SUFFIXES), ("recordings", decode.AUDIO_SUFFIXES)):
        if any(p.suffix.lower() in suffixes for p in where.rglob("*")):
            return Domain(name, DataConfig(**{key: (path,)}))
    raise TrainingError(f"{path}: holds neither videos nor sound")


def own_domains(runs: list[Run]) -> list[Domain]:
    """What the runs were trained on, each once, named after the first run that was."""
    found: dict[DataConfig, str] = {}
    for run in runs:
        found.setdefault(replace(run.config.data, picture=DataConfig.picture), run.name)  # each run sees its own
    return [Domain(name, data) for data, name in found.items()]


def evaluate(
    runs: list[Run], domains: list[Domain], *, split: str | None = None, seed: int = 0, moments: int = MOMENTS,
    most: int = MOST, jobs: int = 2,
) -> list[dict]:  # fmt: skip
    """Ask every run about the same moments of every domain.

    `split` is a part of the data; by default test where there is an index, held_out elsewhere.

    Returns a row of plain values for each pair: run, domain, objective, `videos`, `questions`, `accuracy` (None of
    contrastive networks) and `two_way`, each with its 95 % bootstrap interval over videos, and what was `left_out`.
    Raises TrainingError where a domain has no two usable videos.
    """
    _check(runs, domains, seed, moments, most, jobs)
    rows = []
    for where in domains:
        forms: dict[tuple, list[Run]] = {}
        for run in runs:
            form = (run.config.front_end.rate_hz, run.image_size, run.config.data.picture)
            forms.setdefault(form, []).append(run)
        for (rate_hz, size, picture), alike in forms.items():
            drawn = replace(where, data=replace(where.data, picture=picture))
            questions = Questions(drawn, split, rate_hz, size, seed, moments, most, jobs)
            answers = {run.name: [] for run in alike}
            for sound, image, other in questions:
                for run in alike:
                    answers[run.name].append((run.scores(sound, image), run.scores(sound, other)))
            rows += [_row(run, where, answers[run.name], questions, seed) for run in alike]
    order = [run.name for run in runs]
    return sorted(rows, key=lambda row: order.index(row["run"]))


def _check(runs: list[Run], domains: list[Domain], seed: int, moments: int, most: int, jobs: int) -> None:
    for what, value, least in (("seed", seed, 0), ("moments", moments, 1), ("most", most, 2), ("jobs", jobs, 1)):
        if value < least:
            raise UsageError(f"{what} must be at least {least}. Received: {value}")
    for what, names in (("run", [run.name for run in runs]), ("domain", [where.name for where in domains])):
        if twice := [name for name in names if names.count(name) > 1]:
            raise UsageError(f"two of the {what}s are called {twice[0]!r}: name each once (--data NAME=PATH)")


def _trained_on(run: Run, files: list) -> int | None:
    """How many of the files the run was trained on; None where its own data are not there to tell."""
    try:
        own = {file.path for file in pairs.Sources(TrainConfig(data=run.config.data), "train").files}
    except L3EmbedError:
        return None
    return sum(getattr(file, "path", None) in own for file in files)


class Questions:
    """Blocks of (sound (N, window), matching image, other image) of a domain; the moments of a video stand together."""

    def __init__(
        self, where: Domain, split: str | None, rate_hz: int, size: int, seed: int, moments: int, most: int, jobs: int
    ):
        self.where, self.seed, self.moments, self.jobs, self.size = where, seed, moments, jobs, size
        data = where.data
        self.form = clips.Format(rate_hz, data.clip_s, data.frames_hz, int(size * pairs.SHORT_SIDE), data.picture)
        self.split = split or ("test" if data.index else "held_out")
        sources = pairs.Sources(TrainConfig(data=data), self.split)
        files = sources.files if data.scenes < 1 else []
        files = [files[i] for i in np.random.default_rng([seed, 0]).permutation(len(files))[:most]]
        n_scenes = round(len(files) * data.scenes / (1 - data.scenes)) if files else most if data.scenes else 0
        self.files = files[: most - min(n_scenes, most)] + [_Scene(sources.recordings)] * min(n_scenes, most)
        self.left_out: dict[str, str] = {}

    def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        self.left_out, made, asked = {}, [], False
        for block in np.array_split(np.arange(len(self.files)), max(1, len(self.files) // BLOCK)):
            made += self._opened(block)
            if len(made) > 1:  # else no other picture is at hand yet
                yield self._asked(made, int(block[0]))
                made, asked = [], True
        if not asked:
            first = next((f" ({name}: {why})" for name, why in self.left_out.items()), "")
            raise TrainingError(
                f"{self.where.name}: {len(made)} of {len(self.files)} held-out videos can be used, and a mismatch "
                f"needs two{first}"
            )

    def _asked(self, made: list[tuple], block: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        sound, image = (np.stack([video[i] for video in made]) for i in (0, 1))  # (videos, moments, ...)
        rng = np.random.default_rng([self.seed, 2, block])
        partner = rng.integers(1, len(made), image.shape[:2]) + np.arange(len(made))[:, None]
        other = image[partner % len(made), np.arange(self.moments)]
        return tuple(x.reshape(-1, *x.shape[2:]) for x in (sound, image, other))

    def _opened(self, block: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
        from joblib import Parallel, delayed

        made = Parallel(self.jobs, prefer="threads")(delayed(self._moments)(int(i)) for i in block)
        return [video for video in made if video is not None]

    def _moments(self, i: int) -> tuple[np.ndarray, np.ndarray] | None:
        """(moments, window) and (moments, size, size, 3) of one video."""
        file, rate_hz = self.files[i], self.form.rate_hz
        rng = np.random.default_rng([self.seed, 1, i])
        try:
            clip = file.open(rng, self.form)
            starts_s = rng.uniform(0, max(0.0, len(clip.sound) / rate_hz - 1), self.moments)
            sounds = [_padded(clip.sound[int(s * rate_hz) :][:rate_hz], rate_hz) for s in starts_s]
            images = [_middle(clip.image(float(s), self.form, rng), self.size) for s in starts_s]
        except AudioError as error:
            name = str(getattr(file, "path", "a scene"))
            self.left_out[name] = reason(error)
            print(f"{name}: left out of evaluation: {reason(error)}", file=sys.stderr)
            return None
        return np.stack(sounds), np.stack(images)


@dataclass(frozen=True)
class _Scene:
    """Stands in the list of files for a clip that is synthesised, or mixed from recordings."""

    recordings: list

    def open(self, rng: np.random.Generator, form: clips.Format) -> clips.Clip:
        snippets = [partial(clips.snippet, file.path, form.rate_hz) for file in self.recordings]
        return clips.from_scene(rng, form.rate_hz, form.clip_s, snippets)


def _padded(sound: np.ndarray, n: int) -> np.ndarray:
    return np.pad(sound, (0, n - len(sound)))


def _middle(image: np.ndarray, size: int) -> np.ndarray:
    top, left = ((n - size) // 2 for n in image.shape[:2])
    return image[top : top + size, left : left + size]


def _row(run: Run, where: Domain, answers: list[tuple], questions: Questions, seed: int) -> dict:
    match, mismatch = (np.concatenate(some).reshape(-1, questions.moments) for some in zip(*answers, strict=True))
    row = {
        "run": run.name, "domain": where.name, "objective": run.config.fit.objective, "split": questions.split,
        "videos": len(match), "questions": 2 * match.size, "seed": seed, "left_out": questions.left_out,
        "trained_on": _trained_on(run, questions.files),
    }  # fmt: skip
    binary = run.config.fit.objective == "binary"
    row["accuracy"], row["interval"] = (
        _share(np.mean([match > 0.5, mismatch <= 0.5], axis=0), seed) if binary else (None, None)
    )
    row["two_way"], row["two_way_interval"] = _share((match > mismatch) + (match == mismatch) / 2, seed)
    return row


def _share(right: np.ndarray, seed: int) -> tuple[float, list[float]]:
    """Mean of (videos, moments), and its 95 % interval by drawing videos: moments of one are not independent."""
    each = right.mean(axis=1)
    drawn = np.random.default_rng([seed, 3]).integers(0, len(each), (DRAWS, len(each)))
    low, high = np.quantile(each[drawn].mean(axis=1), [0.025, 0.975])
    return round(float(each.mean()), 4), [round(float(low), 4), round(float(high), 4)]


def table(rows: list[dict]) -> str:
    """The rows as text: trained on (down), tested on (across), per cent with their interval."""
    runs, domains = (list(dict.fromkeys(row[key] for row in rows)) for key in ("run", "domain"))
    text = []
    for measure, interval, title in (
        ("accuracy", "interval", "correspondence, accuracy in % (half of the questions are matches)"),
        ("two_way", "two_way_interval", "match or mismatch of the same sound, two-way, in %"),
    ):
        if all(row[measure] is None for row in rows):
            continue
        cells = {(row["run"], row["domain"]): _cell(row[measure], row[interval]) for row in rows}
        lines = [["trained on", *domains], *([run, *(cells[run, d] for d in domains)] for run in runs)]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        text.append(title)
        text += ["  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip() for line in lines]
        text.append("")
    counts = {
        row["domain"]: f"{row['domain']}: {row['videos']} videos ({row['split']}), {row['questions']} questions"
        for row in rows
    }
    warned = [
        f"{row['run']} was trained on {row['trained_on']} of the videos of {row['domain']}: its figure there is no test"
        for row in rows if row["trained_on"]
    ]  # fmt: skip
    return "\n".join([*text, "; ".join(counts.values()), *warned])


def _cell(value: float | None, interval: list[float] | None) -> str:
    return "-" if value is None else f"{100 * value:.2f} ({100 * interval[0]:.1f} to {100 * interval[1]:.1f})"
