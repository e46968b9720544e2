"""The page of the service, in a real browser: what is dropped is embedded, shown, played, compared, downloaded."""

import contextlib
import json
import re

import numpy as np
import pytest
from conftest import ROOT, tone, write
from pages import FAINT, NARROW, TOO_WIDE, WIDE, Visit, browser  # noqa: F401
from serving import process

pytest.importorskip("fastapi")
PAGE = ROOT / "l3embed" / "service" / "page"
LOOKS = [(WIDE, "light"), (WIDE, "dark"), (NARROW, "light"), (NARROW, "dark")]
REFUSED = ("Failed to load resource",)  # Chromium reports every status of 400 and above


@pytest.fixture(scope="module")
def address():
    with process("--model", "l3-small-taught-1", "--model", "l3-small-1") as service:
        yield service.url


@pytest.fixture(scope="module")
def sounds(tmp_path_factory):
    """`low_high`: two seconds at 500 Hz, two at 4 kHz; `high`: noise, then the same two seconds at 4 kHz."""
    folder = tmp_path_factory.mktemp("sounds")
    low, high = tone(2, 32_000, 500), tone(2, 32_000, 4000, seed=1)
    noise = 0.2 * np.random.default_rng(2).standard_normal(64_000)
    write(folder / "low_high.wav", np.concatenate([low, high]))
    write(folder / "noise_high.wav", np.concatenate([noise, high]))
    return folder


@pytest.fixture
def visiting(browser, address):  # noqa: F811
    @contextlib.contextmanager
    def visit(viewport=WIDE, colours="light", expect=(), **how):
        opened = Visit(browser, address, viewport, colours, **how)
        yield opened
        opened.close(expect)

    return visit


# --- what is seen


@pytest.mark.parametrize(("viewport", "colours"), LOOKS, ids=lambda x: str(x["width"]) if isinstance(x, dict) else x)
def test_a_dropped_recording_and_a_second_one_are_shown(visiting, sounds, viewport, colours):
    with visiting(viewport, colours) as visit:
        visit.open()
        assert visit.page.evaluate(TOO_WIDE) == visit.page.evaluate(FAINT) == []
        visit.drop("body", sounds / "low_high.wav")
        visit.embedded()
        visit.drawn()
        visit.drop("body", sounds / "noise_high.wav")
        visit.embedded("b")
        visit.page.locator("#compare .matches li").first.wait_for()
        visit.drawn("b")
        assert visit.page.locator("#track-a .facts").inner_text() == "4.00 s · 36 windows of 384 numbers · every 0.1 s"
        assert visit.page.evaluate(TOO_WIDE) == []
        ground = visit.page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (sum(map(int, re.findall(r"\d+", ground))) > 382) == (colours == "light")
        assert visit.page.evaluate(FAINT) == []


def test_the_spectrogram_shows_the_frequencies_at_their_height(visiting, sounds):
    with visiting() as visit:
        visit.open().drop("body", sounds / "low_high.wav")
        visit.embedded()
        canvas = visit.page.locator("#track-a [data-panel=spectrogram] canvas")
        visit.drawn()
        dark = """(c, [x, khz]) => {
          const column = c.getContext("2d").getImageData(Math.round(x * c.width), 0, 1, c.height).data;
          let darkest = 0;
          for (let y = 0; y < c.height; y++) if (column[4 * y] < column[4 * darkest]) darkest = y;
          return 1 - darkest / c.height;
        }"""
        for x, hz in ((0.25, 500), (0.75, 4000)):
            expected = np.log10(1 + hz / 700) / np.log10(1 + 16_000 / 700)  # mel, of the height
            assert canvas.evaluate(dark, [x, hz]) == pytest.approx(expected, abs=0.03)


def test_a_long_recording_is_shown_in_bounded_memory(visiting, tmp_path):
    with visiting() as visit:
        long = write(tmp_path / "long.wav", np.tile(tone(10, 8000), 22), 8000)
        visit.open().drop("body", long)
        visit.embedded()
        assert "3:40 · 2196 windows of 384 numbers · every 0.1 s" == visit.page.locator("#track-a .facts").inner_text()
        kept = visit.page.locator("#track-a .square").get_attribute("aria-label")
        assert int(re.search(r"(\d+) by", kept)[1]) <= 384
        visit.drawn()


@pytest.mark.parametrize(
    ("seconds", "scale", "part", "said"),
    [(0.2, 1, "facts", "0.20 s · 1 window of 384 numbers"), (2, 0, "note", "all samples are zero")],
)
def test_odd_sounds_are_shown_with_what_is_odd(visiting, tmp_path, seconds, scale, part, said):
    with visiting() as visit:
        path = write(tmp_path / "odd.wav", scale * tone(seconds))
        visit.open().drop("body", path)
        visit.embedded()
        visit.page.locator(f"#track-a .{part}", has_text=said).wait_for()
        visit.drop("body", path)
        visit.embedded("b")
        visit.page.locator("#compare").wait_for()


def test_what_the_browser_cannot_play_is_embedded_all_the_same(visiting, tmp_path):
    with visiting(expect=REFUSED) as visit:
        visit.open().drop("body", write(tmp_path / "a.aiff", tone(3), subtype="PCM_16"), "audio/aiff")
        visit.embedded()
        assert "cannot play" in visit.page.locator("#track-a .note").inner_text()
        assert visit.page.locator("#track-a [data-do=play]").is_disabled()
        assert visit.page.locator("#track-a [data-panel=components]").is_visible()
        assert not visit.page.locator("#track-a [data-panel=waveform]").is_visible()


# --- what is heard


def test_clicks_and_keys_seek_and_all_cursors_follow(visiting, sounds):
    with visiting() as visit:
        visit.open().drop("body", sounds / "low_high.wav")
        visit.embedded()
        timeline, page = visit.page.locator("#track-a .timeline"), visit.page
        box = timeline.bounding_box()

        def at() -> float:
            return float(timeline.get_attribute("aria-valuenow"))

        page.locator("#track-a [data-do=play]:enabled").wait_for()
        timeline.click(position={"x": box["width"] / 2, "y": 40})
        assert at() == pytest.approx(2.0, abs=0.02)
        cursor = page.locator("#track-a .cursor").bounding_box()
        assert cursor["x"] + 1 == pytest.approx(box["x"] + box["width"] / 2, abs=2)
        assert cursor["height"] > 250, "over all panels"
        lines = [page.locator(f"#track-a .line.{way}").evaluate("(e) => parseFloat(e.style.top || e.style.left)")
                 for way in ("row", "column")]  # fmt: skip
        assert lines == pytest.approx([100 * 2.05 / 3.6] * 2, abs=0.5)  # 36 windows, the first one from -0.05 s
        keys = {"Home": 0, "ArrowRight": 0.1, "Shift+ArrowRight": 1.1, "ArrowLeft": 1.0, "End": 4}
        for key, expected in keys.items():
            timeline.press(key)
            assert at() == pytest.approx(expected, abs=0.02), key
        timeline.press("Home")
        timeline.press("Space")
        page.get_by_role("button", name="Pause A").wait_for()
        page.wait_for_timeout(400)
        timeline.press("Space")
        page.get_by_role("button", name="Play A").wait_for()
        assert 0.1 < at() < 3.9
        square = page.locator("#track-a .square").bounding_box()
        page.locator("#track-a .square").click(position={"x": square["width"] * 20.5 / 36, "y": 5})
        assert at() == pytest.approx(2.0, abs=0.02), "the matrix seeks too"


# --- what is compared


def test_the_best_match_is_where_both_recordings_hold_the_same(visiting, sounds):
    import l3embed

    with visiting() as visit:
        page = visit.open().page
        visit.drop("body", sounds / "low_high.wav")
        visit.embedded()
        visit.drop("body", sounds / "noise_high.wav")
        visit.embedded("b")
        first = page.locator("#compare .matches li").first
        first.wait_for()
        a_s, b_s = (float(x) for x in re.findall(r"\d+:([\d.]+)", first.locator(".match").inner_text()))
        assert a_s >= 2 and b_s >= 2
        (a, times), (b, _) = l3embed.load().embed([sounds / "low_high.wav", sounds / "noise_high.wav"])
        a, b = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (a, b))
        told = float(first.locator(".cosine").inner_text())
        assert told == pytest.approx((a @ b.T).max(), abs=1e-3)
        at = a[np.argmin(abs(times - a_s))] @ b[np.argmin(abs(times - b_s))]
        assert told == pytest.approx(at, abs=1e-3)
        first.get_by_role("button", name="Play B").click()
        page.get_by_role("button", name="Pause B").wait_for()
        cross = page.locator("#cross .square")
        cross.press("ArrowDown")
        cross.press("ArrowRight")
        value = float((a @ b.T)[1, 1])
        assert page.locator("#cross .caption span").first.inner_text() == f"A 0:00.1 and B 0:00.1: {value:.2f}"
        page.locator("#track-a [data-do=remove]").click()
        page.locator("#compare").wait_for(state="hidden")
        assert page.locator("#track-a h2").inner_text() == "A\nnoise_high.wav", "the second one moves up"


def test_the_download_is_what_the_local_model_computes(visiting, sounds, tmp_path):
    import l3embed

    with visiting() as visit:
        visit.open().page.locator("#hop").select_option("0.5")
        visit.drop("body", sounds / "low_high.wav")
        visit.embedded()
        visit.page.locator("#model").select_option("l3-small-1")  # embeds anew
        visit.embedded()
        with visit.page.expect_download() as waiting:
            visit.page.locator("#track-a [data-do=download]").click()
        assert waiting.value.suggested_filename == "low_high.npz"
        waiting.value.save_as(tmp_path / "got.npz")
    embedding, timestamps = l3embed.load("l3-small-1").embed(sounds / "low_high.wav", hop=0.5)
    with np.load(tmp_path / "got.npz") as got:
        np.testing.assert_array_equal(got["embedding"], embedding)
        np.testing.assert_array_equal(got["timestamps"], timestamps)
        assert json.loads(str(got["metadata"]))["source"] == "low_high.wav"


def test_the_microphone_is_recorded_as_it_is(visiting, sounds):
    with visiting(permissions=["microphone"]) as visit:
        page = visit.open().page
        page.get_by_role("button", name="Record A").click()
        page.locator("#intake-a .recording").get_by_text(re.compile(r"^0:0[1-9]")).wait_for()
        page.get_by_role("button", name="Stop recording").click()
        visit.embedded()
        page.get_by_role("button", name="Record B").click()
        page.locator("#intake-b .recording").wait_for()
        visit.drop("body", sounds / "low_high.wav")  # in place of what is being recorded
        visit.embedded("b")
        assert page.locator("#track-b [data-name]").inner_text() == "low_high.wav"
        assert re.match(r"recording .*\.wav", page.locator("#track-a [data-name]").inner_text())
        seconds = float(page.locator("#track-a .facts").inner_text().split()[0])
        assert 1 <= seconds < 10
        assert visit.drawn()["spectrogram"] > 10, "the fake microphone beeps"


# --- what goes wrong


def test_a_bad_file_is_explained_in_a_sentence(visiting, tmp_path):
    with visiting(expect=REFUSED) as visit:
        bad = tmp_path / "bad.wav"
        bad.write_bytes(b"this is not sound" * 100)
        visit.open().drop("body", bad)
        alert = visit.page.locator("#track-a [role=alert]")
        alert.wait_for()
        sentence = alert.locator("p").inner_text()
        assert "not audio" in sentence and sentence[0].isupper() and sentence.endswith(".")
        assert visit.page.evaluate(FAINT) == []
        assert visit.page.locator("#status").inner_text() == ""
        visit.page.locator("#track-a [data-do=remove]").click()
        assert visit.page.locator("#intake-a").is_visible()
        empty = tmp_path / "empty.wav"
        empty.write_bytes(b"")
        visit.drop("body", empty)
        visit.page.get_by_text("The file is empty.").wait_for()


def test_a_busy_service_is_asked_again(visiting, sounds):
    with visiting(expect=REFUSED) as visit:
        answers = iter(["busy"])

        def busy_once(route):
            if next(answers, None):
                route.fulfill(status=429, headers={"Retry-After": "1"}, json={"detail": "the queue is full"})
            else:
                route.continue_()

        visit.page.route("**/v1/embed?*", busy_once)
        visit.open().drop("body", sounds / "low_high.wav")
        visit.page.get_by_text("The service is busy. Trying again in 1 s.").wait_for()
        visit.embedded()


def test_a_stream_that_breaks_is_an_error(visiting, sounds):
    with visiting() as visit:
        cut = '{"dim": 2, "window_s": 1}\n{"time_s": 0, "embedding": [1, 2]}\n'
        visit.page.route("**/v1/embed?*", lambda route: route.fulfill(status=200, body=cut))
        visit.open().drop("body", sounds / "low_high.wav")
        visit.page.get_by_text("The connection broke before the last window came.").wait_for()
        assert visit.page.locator("#track-a [data-do=download]").is_disabled()


def test_a_key_is_asked_for_only_where_one_is_needed(visiting, browser, sounds, tmp_path):  # noqa: F811
    with visiting() as visit:
        assert not visit.open().page.locator("#key-form").is_visible()
    (tmp_path / "keys").write_text("the-right-key-of-some-length\n")
    with process("--api-key-file", str(tmp_path / "keys")) as service:
        visit = Visit(browser, service.url)
        visit.page.goto(visit.address)
        key = visit.page.get_by_label("API key")
        for tried in ("wrong", "the-right-key-of-some-length"):
            key.fill(tried)
            key.press("Enter")
            if tried == "wrong":
                visit.page.locator("#key-error").get_by_text(re.compile(r"^[A-Z].*key.*\.$")).wait_for()
        key.wait_for(state="hidden")
        visit.drop("body", sounds / "low_high.wav")
        visit.embedded()
        visit.close(expect=REFUSED)


# --- who can use it


def test_every_control_has_a_name_and_is_reached_with_the_keyboard(visiting, sounds):
    with visiting(reduced_motion="reduce") as visit:
        page = visit.open().page
        visit.drop("body", sounds / "low_high.wav")
        visit.embedded()
        visit.drop("body", sounds / "noise_high.wav")
        visit.embedded("b")
        page.locator("#compare .matches li").first.wait_for()
        for letter in "ab":
            visit.drawn(letter)
            page.locator(f"#track-{letter} [data-do=play]:enabled").wait_for()
        tree = visit.context.new_cdp_session(page).send("Accessibility.getFullAXTree")["nodes"]
        named = set("button combobox slider image img link region application heading progressbar textbox".split())
        nodes = [(n["role"]["value"], n.get("name", {}).get("value", "")) for n in tree if not n["ignored"]]
        assert not [role for role, name in nodes if role in named and not name.strip()]
        assert {"status", "main", "banner", "button", "slider", "application"} <= {role for role, _ in nodes}
        wanted = page.locator("button:visible:enabled, select:visible:enabled, a[href]:visible, [tabindex='0']:visible")
        reached, outlined = set(), True
        page.locator("body").press("Tab")
        for _ in range(wanted.count() + 5):
            reached.add(page.evaluate("[...document.querySelectorAll('*')].indexOf(document.activeElement)"))
            outlined &= page.evaluate("parseFloat(getComputedStyle(document.activeElement).outlineWidth) > 0")
            page.keyboard.press("Tab")
        index = "(all) => all.map((e) => [...document.querySelectorAll('*')].indexOf(e))"
        assert set(wanted.evaluate_all(index)) <= reached
        assert outlined, "focus is seen"
        moving = "(all) => all.filter((e) => !['0s', ''].includes(getComputedStyle(e).transitionDuration)).length"
        assert page.locator("*").evaluate_all(moving) == 0


def test_the_page_has_nothing_inline_and_nothing_from_elsewhere():
    text = (PAGE / "index.html").read_text(encoding="utf-8")
    assert not re.search(r"\son\w+=|\sstyle=|<style|<script(?![^>]*\ssrc=)", text)
    for path in PAGE.iterdir():
        assert not re.search(r"https?://|//\w+\.\w+/", path.read_text(encoding="utf-8")), path.name
        assert re.fullmatch(r"[\w.]+", path.name)
