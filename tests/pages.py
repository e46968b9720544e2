"""A browser on the service's page, for tests: what is dropped, what is seen, what is heard of errors."""

import base64
import importlib
import os
import shutil
import time
from pathlib import Path

import pytest

ARGUMENTS = (
    "--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --use-fake-device-for-media-stream --use-fake-ui-for-media-stream "
    "--autoplay-policy=no-user-gesture-required"
).split()
WIDE, NARROW = {"width": 1280, "height": 900}, {"width": 390, "height": 844}
SENT_S = 60  # how long the page may take for what it does; generous, for slow machines with other work

DROP = """([selector, name, type, base64]) => {
  const bytes = Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
  const data = new DataTransfer();
  data.items.add(new File([bytes], name, { type }));
  const place = document.querySelector(selector);
  for (const kind of ["dragover", "drop"]) {
    place.dispatchEvent(new DragEvent(kind, { bubbles: true, cancelable: true, dataTransfer: data }));
  }
}"""
# How many colours a canvas shows, of a sample of its pixels.
COLOURS = """(canvas) => {
  const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  const found = new Set();
  for (let i = 0; i < data.length; i += 4 * 7) found.add(data.subarray(i, i + 4).join());
  return found.size;
}"""
# What reaches beyond the screen, and is not within something that scrolls or cuts.
TOO_WIDE = """() => [...document.querySelectorAll("body *")].filter((element) => {
  const cut = element.parentElement.closest("pre, .panel, .axis, .square, .skip") || element.matches(".skip");
  return element.checkVisibility() && !cut && element.getBoundingClientRect().right > innerWidth + 1;
}).map((element) => element.outerHTML.slice(0, 80))"""
# Text whose contrast with its ground is below 4.5 (WCAG 2.2, 1.4.3), with the ratio; disabled controls are exempt.
FAINT = """() => {
  const rgba = (text) => {
    const context = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
    context.fillStyle = text;
    context.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = context.getImageData(0, 0, 1, 1).data;
    return [r, g, b, a / 255];
  };
  const over = (top, below) => [0, 1, 2].map((i) => top[i] * top[3] + below[i] * (1 - top[3]));
  const behind = (element) => {
    if (!element) return rgba(getComputedStyle(document.body).backgroundColor).slice(0, 3);
    const own = rgba(getComputedStyle(element).backgroundColor);
    return own[3] === 1 ? own.slice(0, 3) : over(own, behind(element.parentElement));
  };
  const luminance = (c) => c.map((v) => v / 255).map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const faint = [];
  for (const element of document.querySelectorAll("body *")) {
    const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
    if (!own || !element.checkVisibility() || element.closest(":disabled, option, .skip")) continue;
    const ground = behind(element);
    const [a, b] = [luminance(over(rgba(getComputedStyle(element).color), ground)), luminance(ground)];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) faint.push([element.textContent.trim().slice(0, 40), ratio]);
  }
  return faint;
}"""


def chromium() -> str | None:
    """Where a Chromium is, None where there is none."""
    named = os.environ.get("CHROMIUM")
    return named or next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.fixture(scope="module")
def browser():
    """A headless Chromium; where there is none tests skip and say so, but not in CI."""
    found, in_ci = chromium(), os.environ.get("CI") == "true"
    if not found:
        say = pytest.fail if in_ci else pytest.skip
        say("no Chromium: apt-get install chromium, or name one in the variable CHROMIUM")
    api = (importlib.import_module if in_ci else pytest.importorskip)("playwright.sync_api")
    with api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=found, args=ARGUMENTS)
        yield opened
        opened.close()


class Visit:
    """A page that was opened, with all that it asked for and complained of."""

    def __init__(self, browser, address: str, viewport=WIDE, colours="light", **how):
        self.address, self.requests, self.complaints = address, [], []
        self.context = browser.new_context(viewport=viewport, color_scheme=colours, **how)
        self.page = self.context.new_page()
        self.page.set_default_timeout(1000 * SENT_S)
        self.page.on("console", lambda m: m.type in ("error", "warning") and self.complaints.append(m.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.context.on("request", lambda request: self.requests.append(request.url))

    def open(self):
        self.page.goto(f"{self.address}/")
        self.page.locator("#model:enabled").wait_for()
        return self

    def drop(self, selector: str, path: Path, kind: str = "audio/wav") -> None:
        self.page.evaluate(DROP, [selector, path.name, kind, base64.b64encode(path.read_bytes()).decode()])

    def embedded(self, letter: str = "a") -> None:
        """Wait until a recording's vectors are all there, and similarities computed."""
        self.page.locator(f"#track-{letter} [data-do=download]:enabled").wait_for()
        self.page.locator(f"#track-{letter} .square[aria-label]").wait_for()

    def drawn(self, letter: str = "a") -> dict[str, int]:
        """Wait until every canvas of a recording shows something; how many colours each shows."""
        over = time.monotonic() + SENT_S
        while min((found := self.colours(letter)).values()) < 3 and time.monotonic() < over:
            self.page.wait_for_timeout(50)
        assert min(found.values()) >= 3, found
        return found

    def colours(self, letter: str = "a") -> dict[str, int]:
        """How many colours each canvas of a recording shows."""
        names = ("waveform", "spectrogram", "components")
        places = {name: f"#track-{letter} [data-panel={name}] canvas" for name in names}
        places["self-similarity"] = f"#track-{letter} .matrix canvas"
        return {name: self.page.locator(place).evaluate(COLOURS) for name, place in places.items()}

    def imported(self, module: str, code: str, argument=None):
        """What an expression of `m`, one of the page's modules, and `x` gives in the browser."""
        whole = f"async (x) => {{ const m = await import('/page/{module}'); return {code}; }}"
        return self.page.evaluate(whole, argument)

    def close(self, expect=()) -> None:
        """End the visit: nothing was complained of but what is expected, and nothing was asked of anybody else."""
        self.context.close()
        expect = (*expect, "willReadFrequently")  # the tests read canvases, the page does not
        unexpected = [text for text in self.complaints if not any(part in text for part in expect)]
        assert not unexpected
        assert not [url for url in self.requests if not url.startswith((self.address, "blob:", "data:"))]
