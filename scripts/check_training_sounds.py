"""Look for recordings of test sets among the sounds that a model is trained on.

    python scripts/check_training_sounds.py --test data/esc10 data/language --training data/debian data/pretraining

Prints the training files that share landmarks, at one time offset, with a file of one of the test sets: pairs of
neighbouring spectral peaks (after Wang 2003, "An industrial-strength audio search algorithm"), which survive coding,
noise, cutting and level, but not a change of speed. Short sounds have few landmarks, so a low count says little by
itself: what counts is how well the two waveforms correlate there, fifth of a second by fifth of a second, in the
median. Each set is searched by itself; at the end stands the highest count of landmarks in each among the files that
were not told.
"""

import argparse
from pathlib import Path

import numpy as np
from scipy.ndimage import maximum_filter
from tqdm import tqdm

from l3embed import decode
from l3embed.errors import AudioError

RATE_HZ, N_FFT, HOP = 8_000, 512, 128
BINS = slice(4, 252)
NEIGHBOURHOOD = (9, 15)  # (frames, bins) of which a peak is the largest value
RANGE = 7.0  # nepers below the maximum in which peaks count
PARTNERS, REACH = 8, 64  # peaks that one is paired with, and how many frames later they may be
PIECE = RATE_HZ // 5  # samples
COMMON = 200  # times that a landmark may occur in the test set before it says nothing


def landmarks(sound: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(n,) at RATE_HZ -> landmarks (k,) int and the frames (k,) where they begin."""
    sound = np.pad(sound, (0, max(0, N_FFT - len(sound))))
    frames = np.lib.stride_tricks.sliding_window_view(sound, N_FFT)[::HOP] * np.hanning(N_FFT)
    level = np.log(np.abs(np.fft.rfft(frames, axis=1))[:, BINS] + 1e-5)
    is_peak = (maximum_filter(level, NEIGHBOURHOOD) == level) & (level > level.max() - RANGE)
    time, bin_ = (x.astype(np.int64) for x in np.nonzero(is_peak))
    marks, starts = [], []
    for k in range(1, PARTNERS + 1):
        later = time[k:] - time[:-k]
        near = (later > 0) & (later < REACH)
        marks.append((bin_[:-k][near] * 256 + bin_[k:][near]) * REACH + later[near])
        starts.append(time[:-k][near])
    return np.concatenate(marks), np.concatenate(starts)


class TestFiles:
    """The landmarks of all test files, sorted, and where each landmark's begin."""

    def __init__(self, files: list[Path]):
        self.files = files
        each = [landmarks(read(path)) for path in tqdm(files, "test files")]
        marks, starts = (np.concatenate(part) for part in zip(*each, strict=True))
        file = np.repeat(np.arange(len(files)), [len(m) for m, _ in each])
        order = np.argsort(marks, kind="stable")
        self.starts, self.file = starts[order], file[order]
        self.count = np.bincount(marks, minlength=256 * 256 * REACH)
        self.first = np.cumsum(self.count) - self.count

    def match(self, marks: np.ndarray, starts: np.ndarray) -> tuple[int, Path | None, int]:
        """How many landmarks the best test file shares with a sound's at one offset; of which file, how much later."""
        count = self.count[marks]
        kept = (count > 0) & (count < COMMON)
        if not kept.any():
            return 0, None, 0
        count, first = count[kept], self.first[marks[kept]]
        found = np.repeat(first - np.cumsum(count) + count, count) + np.arange(count.sum())
        offset = np.repeat(starts[kept], count) - self.starts[found]
        which, n = np.unique(self.file[found] << 32 | offset + (1 << 31), return_counts=True)
        best = n.argmax()
        return int(n[best]), self.files[which[best] >> 32], (1 << 31) - int(which[best] & 0xFFFFFFFF)


def correlation(sound: np.ndarray, other: np.ndarray, frames: int) -> tuple[float, float]:
    """Of two sounds, of which the other has everything so many frames later: median and highest of all pieces.

    Both are differenced twice: rumble and low tones, which are alike for long, count little then.
    """
    sound, other = np.diff(sound, 2), np.diff(other, 2)
    found, room = [], HOP  # the offset is known to a frame
    for start in range(0, len(sound) - PIECE + 1, PIECE // 2):
        at = start + frames * HOP - room
        piece, there = sound[start : start + PIECE], other[max(0, at) : max(0, at + PIECE + 2 * room)]
        if len(there) >= PIECE and np.abs(piece).max() > 0.01 * np.abs(sound).max():
            energy = np.convolve(there**2, np.ones(PIECE), "valid")
            like = np.correlate(there, piece, "valid") / np.sqrt(np.maximum(energy, 1e-9) * np.sum(piece**2))
            found.append(float(np.abs(like).max()))
    return float(np.median(found or [0.0])), max(found, default=0.0)


def read(path: Path, seconds: float = 60.0) -> np.ndarray:
    blocks, n = [np.zeros(0, np.float32)], 0
    with decode.open_recording(path, RATE_HZ) as recording:
        for block in recording:
            blocks.append(block)
            if (n := n + len(block)) > seconds * RATE_HZ:
                break
    return np.concatenate(blocks)


def sounds(folders: list[Path]) -> list[Path]:
    return sorted(p for f in folders for p in f.rglob("*") if p.suffix.lower() in decode.AUDIO_SUFFIXES and p.is_file())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--test", type=Path, nargs="+", required=True, help="folders, each a test set")
    parser.add_argument("--training", type=Path, nargs="+", required=True, help="folders of training sounds")
    parser.add_argument("--least", type=int, default=9, help="landmarks from which waveforms are compared (default: 9)")
    parser.add_argument("--correlation", type=float, default=0.4, help="median to be told (default: 0.4)")
    arguments = parser.parse_args()
    tests = [TestFiles(sounds([folder])) for folder in arguments.test]
    n_read, highest = 0, [0] * len(tests)
    for path in tqdm(sounds(arguments.training), "training files"):
        try:
            marks = landmarks(sound := read(path))
        except AudioError:
            continue
        n_read += 1
        for i, test in enumerate(tests):
            n, of, frames = test.match(*marks)
            median, best = correlation(sound, read(of), frames) if n >= arguments.least else (0.0, 0.0)
            if median >= arguments.correlation:
                print(f"{n} landmarks, correlation {median:.2f} (best {best:.2f}): {path} | {of}", flush=True)
            else:
                highest[i] = max(highest[i], n)
    for folder, n in zip(arguments.test, highest, strict=True):
        print(f"{folder}: {n_read} training files read; at most {n} landmarks in the others")


if __name__ == "__main__":
    main()
