"""How alike are altered copies of a clip, and clips of different sources: what the threshold of `data check` rests on.

    python scripts/measure_near_duplicates.py DATA [--every 1]

Prints, for thresholds of cosine, the share of altered copies above it, and how many pairs of clips from different
groups are. DATA as for `l3embed data check`.
"""

import argparse
import io
import warnings

import numpy as np
import soundfile

import l3embed
from l3embed.decode import from_array
from l3embed.pooling import pool
from probes import datasets
from probes.datasets.sound import read_sound

THRESHOLDS = (0.99, 0.97, 0.95, 0.9, 0.85)


def coded(sound, rate_hz, **how):
    file = io.BytesIO()
    soundfile.write(file, sound, rate_hz, **how)
    file.seek(0)
    return soundfile.read(file, dtype="float32")[0]


def noisy(sound, rate_hz, decibels):
    noise = np.random.default_rng(0).standard_normal(len(sound))
    return (sound + sound.std() * 10 ** (-decibels / 20) * noise).astype(np.float32)


ALTERED = {
    "MP3": lambda x, r: coded(x, r, format="MP3"),
    "Ogg, lowest quality": lambda x, r: coded(x, r, format="OGG", compression_level=0.9),
    "12 dB quieter": lambda x, r: x * np.float32(0.25),
    "through 8 kHz": lambda x, r: from_array(from_array(x, r, 8000), 8000, r),
    "noise at -30 dB": lambda x, r: noisy(x, r, 30),
    "noise at -20 dB": lambda x, r: noisy(x, r, 20),
    "first 0.25 s cut": lambda x, r: x[r // 4 :],
    "first 1 s cut": lambda x, r: x[r:] if len(x) > r else x,
    "first half only": lambda x, r: x[: len(x) // 2],
}


def vectors(model, sounds) -> np.ndarray:
    rate_hz = model.spec.front_end.rate_hz
    return np.stack([pool(rows, "mean+std") for rows, _ in model.each(sounds, sample_rate=rate_hz)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--every", type=int, default=1, help="take each so-manieth clip only")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore", l3embed.errors.L3EmbedWarning)
    clips = datasets.read(arguments.data).clips[:: arguments.every]
    model = l3embed.load()
    rate_hz = model.spec.front_end.rate_hz
    sounds = [read_sound(clip, rate_hz) for clip in clips]
    plain = vectors(model, sounds)
    mean, deviation = plain.mean(axis=0), plain.std(axis=0) + 1e-6

    def unit(rows):
        rows = (rows - mean) / deviation
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    units = np.array([clip.unit for clip in clips])
    of_others = (unit(plain) @ unit(plain).T)[np.triu(units[:, None] != units, 1)]
    print(f"{'cosine at least':24}", *(f"{t:>6}" for t in THRESHOLDS))
    print(
        f"{'pairs of other groups':24}", *(f"{np.sum(of_others >= t):>6}" for t in THRESHOLDS), f"of {len(of_others)}"
    )
    for name, alter in ALTERED.items():
        cosines = (unit(plain) * unit(vectors(model, [alter(sound, rate_hz) for sound in sounds]))).sum(axis=1)
        print(f"{name:24}", *(f"{100 * np.mean(cosines >= t):5.0f}%" for t in THRESHOLDS))


if __name__ == "__main__":
    main()
