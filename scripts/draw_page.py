"""Draws docs/page.png: the page of `l3embed serve` with two made recordings, in a headless Chromium.

python scripts/draw_page.py [--out docs/page.png] [--dark] [--width 1280] [--chromium chromium]
"""

import argparse
import shutil
import tempfile
from pathlib import Path

import numpy as np
import service_process
import soundfile
from PIL import Image

RATE_HZ = 32_000


def song(seed: int, seconds: float = 6.0) -> np.ndarray:
    """(n,) phrases of sweeping notes, between them the wind."""
    rng = np.random.default_rng(seed)
    sound = 0.01 * rng.standard_normal(round(seconds * RATE_HZ))
    at = 0.2
    while at < seconds - 1:
        hz, sweep_hz, notes, length_s = rng.uniform(1500, 5000), rng.uniform(-6000, 6000), rng.integers(3, 8), 0.12
        for i in range(notes):
            t = np.arange(round(length_s * RATE_HZ)) / RATE_HZ
            phase = 2 * np.pi * (hz * t + sweep_hz * t**2 / 2)
            first = round((at + 0.15 * i) * RATE_HZ)
            note = 0.3 * np.sin(phase) * np.sin(np.pi * t / length_s) ** 2
            sound[first : first + len(note)] += note[: len(sound) - first]
        at += 0.15 * notes + rng.uniform(0.3, 0.8)
    return sound


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(__file__).resolve().parents[1] / "docs" / "page.png")
    parser.add_argument("--dark", action="store_true")
    parser.add_argument("--width", type=int, default=1280)
    parser.add_argument("--chromium", default="chromium")
    arguments = parser.parse_args()
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory() as scratch, sync_playwright() as playwright:
        folder = Path(scratch)
        morning = song(3)
        soundfile.write(folder / "morning.wav", morning, RATE_HZ)
        soundfile.write(
            folder / "evening.wav", np.concatenate([song(5, 3), morning[2 * RATE_HZ : 5 * RATE_HZ]]), RATE_HZ
        )
        with service_process.running(folder / "log") as (address, _):
            browser = playwright.chromium.launch(
                executable_path=shutil.which(arguments.chromium), args=["--no-sandbox"]
            )
            size = {"width": arguments.width, "height": 900}
            page = browser.new_page(viewport=size, color_scheme="dark" if arguments.dark else "light")
            page.goto(address)
            page.locator("#model:enabled").wait_for()
            page.set_input_files("#intake-a input[type=file]", folder / "morning.wav")
            page.set_input_files("#intake-b input[type=file]", folder / "evening.wav")
            page.locator("#compare .matches li").nth(2).wait_for()
            page.locator("#track-a .timeline").click(position={"x": 260, "y": 40})
            page.wait_for_timeout(500)
            page.screenshot(path=arguments.out, full_page=True)
            browser.close()
        Image.open(arguments.out).convert("RGB").quantize(160).save(arguments.out, optimize=True)


if __name__ == "__main__":
    main()
