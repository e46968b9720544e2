"""The report in a real browser: wide and narrow, light and dark; it asks for nothing, sorts, plays, and can be read."""

import pytest

pytest.importorskip("sklearn")
pytest.importorskip("jinja2")
pytest.importorskip("matplotlib")
pytest.importorskip("pyarrow")
from made_runs import made_run
from pages import FAINT, NARROW, WIDE, Visit, browser  # noqa: F401

from probes import report


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    run = made_run(tmp_path_factory.mktemp("runs") / "run", sets=("accents", "scènes"), probes=("linear", "knn"),
                   sounds=True)  # fmt: skip
    return report.write(run)


class Opened(Visit):
    """A file instead of a service."""

    def open(self, file):
        self.address = "file:"
        self.page.goto(file.as_uri())
        return self


@pytest.fixture(params=[(WIDE, "light"), (WIDE, "dark"), (NARROW, "light"), (NARROW, "dark")], ids=str)
def visit(request, browser, page):  # noqa: F811
    opened = Opened(browser, "", *request.param).open(page)
    yield opened
    opened.close()


def test_everything_can_be_read_in_any_width_and_light(visit):
    visit.page.evaluate("document.querySelectorAll('details').forEach((d) => (d.open = true))")
    assert visit.page.evaluate("document.documentElement.scrollWidth") <= visit.page.viewport_size["width"]
    faint = visit.page.evaluate(FAINT)
    assert not faint, faint[:5]
    assert visit.page.locator("figure svg").count() > 6
    assert [url for url in visit.requests if url.startswith("file:")] == [visit.page.url]


@pytest.mark.parametrize("visit", [(WIDE, "light")], indirect=True, ids=["wide"])
def test_tables_sort_by_mouse_and_keyboard(visit):
    table = visit.page.locator("#ranking table").first
    names = "(t) => [...t.tBodies[0].rows].map((r) => r.cells[1].textContent)"
    before = table.evaluate(names)
    model = table.locator("thead button").nth(1)
    model.click()
    assert table.evaluate(names) == sorted(before) and table.locator("[aria-sort=ascending]").count() == 1
    mean = table.locator("thead button").nth(2)
    mean.focus()
    visit.page.keyboard.press("Enter")
    assert table.evaluate(names) == before and table.locator("[aria-sort=descending]").count() == 1
    visit.page.keyboard.press("Enter")
    assert table.evaluate(names) == before[::-1]


@pytest.mark.parametrize("visit", [(WIDE, "light")], indirect=True, ids=["wide"])
def test_clips_play(visit):
    sound = visit.page.locator("audio").first
    seconds = sound.evaluate("""(audio) => new Promise((done, failed) => {
        audio.onloadedmetadata = () => done(audio.duration);
        audio.onerror = () => failed(audio.error.message);
        audio.preload = "auto";
        audio.load();
    })""")
    assert seconds == pytest.approx(1, abs=0.1)
    visit.page.keyboard.press("Tab")
    assert visit.page.evaluate("document.activeElement.textContent") == "Skip to the results"
