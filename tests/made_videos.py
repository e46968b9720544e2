"""Videos whose content tells which second (or which video) it is: each has a colour and a tone of its own."""

import subprocess
import tempfile
from itertools import islice
from pathlib import Path

import numpy as np
import soundfile

from l3embed.avc import clips, pairs
from l3embed.avc.config import DataConfig, FitConfig, ModelConfig, PairConfig, TrainConfig
from l3embed.decode import ffmpeg_binary

RATE = 32_000
FORM = clips.Format(RATE, 2.5, 10.0, 73)  # of the configurations made here: frames of 73 for pictures of 64
PLAIN = PairConfig(gain=(1, 1), flip=False, saturation=(1, 1), brightness=0)


def ffmpeg(*arguments):
    subprocess.run([ffmpeg_binary(), "-y", "-v", "error", "-nostdin", *map(str, arguments)], check=True)


def colour(i):
    return 20 + 30 * i  # of the red channel


def tone_hz(i):
    return 400 * (i + 1)


def seen(image):
    """Which of the colours a picture has."""
    return round((float(image[..., 0].mean()) - 20) / 30)


def heard(sound):
    """Which of the tones a sound has."""
    spectrum = np.abs(np.fft.rfft(sound * np.hanning(len(sound))))
    return round(spectrum.argmax() * RATE / len(sound) / 400) - 1


def make_video(path, marks, hz=10, size=(96, 80), sound=True):
    """A lossless video whose second j has the colour and the tone number `marks[j]`."""
    with tempfile.TemporaryDirectory() as folder:
        wav, raw = Path(folder) / "sound.wav", Path(folder) / "frames.raw"
        t = np.arange(RATE) / RATE
        soundfile.write(wav, np.concatenate([0.5 * np.sin(2 * np.pi * tone_hz(m) * t) for m in marks]), RATE)
        frames = np.zeros((len(marks) * hz, size[1], size[0], 3), np.uint8)
        frames[..., 0] = np.repeat([colour(m) for m in marks], hz)[:, None, None]
        frames.tofile(raw)
        pictures = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{size[0]}x{size[1]}", "-r", hz]
        tracks = ["-i", wav, "-c:a", "pcm_s16le"] if sound else []
        ffmpeg(*pictures, "-i", raw, *tracks, "-c:v", "ffv1", "-pix_fmt", "bgr0", path)
    return path


def make_config(pair=None, fit=None, **data):
    small = ModelConfig(family="l3-small", width=4, image_width=4)
    data = DataConfig(**{"clip_s": 2.5, "n_active": 4, "pairs_per_clip": 4, "held_out": 0.0, **data})
    fit = FitConfig(**{"batch": 16, "steps": 4, "validation_steps": 0, "epochs": 2, **(fit or {})})
    return TrainConfig(seed=7, model=small, data=data, pairs=pair or PLAIN, fit=fit)


def batches(config, n, seed=(7, 0, 0), split="train", first=0):
    draws = pairs.stream(config, pairs.Sources(config, split), 64, list(seed))
    return list(islice(pairs.batches(draws, config, list(seed), first), n))


def equal_batches(a, b):
    return len(a) == len(b) and all(
        np.array_equal(x["audio"], y["audio"]) and np.array_equal(x["image"], y["image"]) and np.array_equal(t, u)
        for (x, t), (y, u) in zip(a, b, strict=True)
    )
