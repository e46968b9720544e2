"""The report of a made-up run: a whole, offline page whose numbers are those of the predictions."""

import csv
import re
import shutil
from collections import Counter
from html.parser import HTMLParser

import numpy as np
import pytest

pytest.importorskip("sklearn")
pytest.importorskip("jinja2")
pytest.importorskip("matplotlib")
pytest.importorskip("pyarrow")
from conftest import tree
from made_runs import DRAWS, PROBES, SETS, SHOTS, SKILL, made_run
from sklearn import metrics

from l3embed.errors import DataError, UsageError
from probes import bayes, ranks, report, results, statistics
from probes.report import reading

VOID = {"meta", "br", "input", "img", "hr", "link", "source"}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return made_run(tmp_path_factory.mktemp("runs") / "the run", sounds=True)


@pytest.fixture(scope="module")
def made(run):
    page = report.write(run)
    assert page == run / "report" / "index.html"
    return page


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A run of one set with four groups: nothing can be told apart."""
    return made_run(tmp_path_factory.mktemp("runs") / "small", sets=("accents",), models=("sea-net", "random-twin"),
                    probes=("linear",), shots=(), protocols=("nested",), failures=False)  # fmt: skip


class Page(HTMLParser):
    """Checks nesting, collects ids, links, table rows and text."""

    def __init__(self, text: str):
        super().__init__()
        self.open, self.ids, self.links, self.sources, self.tables, self.text = [], [], [], [], [], []
        self.feed(text)
        assert not self.open, self.open

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        if tag not in VOID:
            self.open.append(tag)
        self.ids += [attrs["id"]] if "id" in attrs else []
        self.links += [attrs["href"]] if tag == "a" else []
        self.sources += [attrs[key] for key in ("src", "srcset", "data", "poster") if key in attrs]
        assert tag not in ("link", "iframe", "object", "embed", "base"), tag
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("script", "style"):
            self.text.append(data)
            if "td" in self.open or "th" in self.open:
                self.tables[-1][-1][-1] += data


def rows_of(path) -> list[dict]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_the_page_is_whole_and_needs_nothing_from_outside(made):
    text = made.read_text(encoding="utf-8")
    page = Page(text)
    assert max(Counter(page.ids).values()) == 1
    for link in page.links:
        if link.startswith("#"):
            assert link[1:] in page.ids, link
        else:
            assert (made.parent / link).is_file(), link
    assert page.sources and all(source.startswith("data:audio/mpeg;base64,") for source in page.sources)
    for used in re.findall(r"url\(([^)]*)\)|xlink:href=\"([^\"]*)\"", text):
        assert "".join(used).startswith("#")
    assert not re.search(r"(https?:)?//[a-z]", re.sub(r"base64,[A-Za-z0-9+/=]+", "", text).replace("// ", ""))
    assert "@import" not in text and "fetch(" not in text
    assert re.search(r'<html lang="en">', text) and "<b>toads" not in text and "frogs &amp; &lt;b&gt;toads" in text


def test_scores_are_scikit_learns_of_the_stored_predictions(run, made):
    rows = {(r["data"], r["protocol"], r["probe"], r["model"]): r for r in rows_of(made.parent / "tables/scores.csv")}
    jobs = [job for job in results.read_jobs(run) if job["status"] == "ok" and job["shots"] is None]
    assert len(rows) == len(jobs) == len(SETS) * len(SKILL) * len(PROBES) * 2 - 2
    for job in jobs:
        row, said = rows[job["data"], job["protocol"], job["probe"], job["model"]], results.read_predictions(run, job)
        labels, predicted, folds = map(np.array, (said.label, said.predicted, said.fold))
        each = [metrics.accuracy_score(labels[folds == f], predicted[folds == f]) for f in sorted(set(folds))]
        some = {"labels": job["classes"], "average": "macro", "zero_division": 0}
        assert float(row["accuracy"]) == pytest.approx(np.mean(each), abs=1e-5)
        assert float(row["spread"]) == pytest.approx(np.std(each, ddof=1), abs=1e-5)
        assert float(row["uar"]) == pytest.approx(metrics.recall_score(labels, predicted, **some), abs=1e-5)
        assert float(row["f1"]) == pytest.approx(metrics.f1_score(labels, predicted, **some), abs=1e-5)
        targets = labels[:, None] == np.array(job["classes"])
        ap = metrics.average_precision_score(targets, np.nan_to_num(said.scores, nan=-99))
        assert float(row["map"]) == pytest.approx(ap, abs=1e-5)
        assert float(row["score"]) == pytest.approx(float(row[SETS[job["data"]][4]]))
        assert float(row["score_low"]) < float(row["score"]) < float(row["score_high"]) or float(row["score"]) == 1
        assert int(row["failed"]) == predicted.tolist().count("")
    assert any(int(row["failed"]) == 2 for row in rows.values())


def test_the_page_shows_the_tables_numbers_with_their_protocols(made):
    page = Page(made.read_text(encoding="utf-8"))
    text, scores = " ".join(page.text), rows_of(made.parent / "tables/scores.csv")
    shown = {tuple(row[:3]): row for table in page.tables for row in table if table[0][0] == "protocol"}
    for row in scores:
        assert row["protocol"] in text
        cells = [
            cells for table in page.tables for cells in table
            if cells[:3] == [row["protocol"], row["probe"], row["model"]] and len(cells) > 10
            and cells[4].split()[0] == f"{100 * float(row['score']):.1f}"
            and cells[6].split()[0] == f"{100 * float(row['spread']):.1f}"
        ]  # fmt: skip
        assert cells, row
    assert shown
    for note in ("tunes on the test fold", "the probe <gave up>", "cannot be decoded", "2 classes share a recorder",
                 "old-net may know these sounds"):  # fmt: skip
        assert note in text


def test_tiers_and_p_are_those_of_the_statistics(run, made):
    found = reading.read([run])
    for row in rows_of(made.parent / "tables/pairs.csv"):
        if (row["data"], row["protocol"], row["probe"]) != ("scènes", "nested", "knn"):
            continue
        a, b = (
            reading.tested(found, job) for name in ("a", "b") for job in found.jobs
            if (job.data, job.protocol, job.probe, job.model, job.shots) == ("scènes", "nested", "knn", row[name], None)
        )  # fmt: skip
        test = statistics.by_group(a.right, b.right, found.sets["scènes"].units[a.rows])
        assert float(row["p"]) == pytest.approx(test.p) and float(row["mcnemar"]) == pytest.approx(
            statistics.mcnemar(a.right, b.right).p, abs=1e-5
        )
        assert float(row["gap"]) == pytest.approx(a.right.mean() - b.right.mean(), abs=1e-5)
        assert (row["verdict"] == "significant") == (float(row["adjusted"]) < 0.05)
    tiers = {row["model"]: int(row["tier"]) for row in rows_of(made.parent / "tables/ranking-nested--linear.csv")}
    assert tiers["sea-net"] == tiers["twin-of-sea"] == 1 < tiers["old-net"] < tiers["random-twin"]


def test_chances_and_ranks_are_those_of_the_scores(made):
    folder = made.parent
    folds = {(r["data"], r["model"]): [] for r in rows_of(folder / "tables/folds.csv")}
    for r in rows_of(folder / "tables/folds.csv"):
        if (r["protocol"], r["probe"]) == ("nested", "linear"):
            folds[r["data"], r["model"]].append(float(r["accuracy"]))
    pairs = [r for r in rows_of(folder / "tables/pairs.csv") if (r["protocol"], r["probe"]) == ("nested", "linear")]
    for row in pairs:
        a, b = (folds[row["data"], row[which]] for which in "ab")
        found = bayes.correlated_t(a, b, 1 / (len(a) - 1))
        for key in ("worse", "alike", "better"):
            assert float(row[key]) == pytest.approx(getattr(found, key), abs=1e-3)
    ranking = rows_of(folder / "tables/ranking-nested--linear.csv")
    scores = {r["model"]: [float(r[f"set:{name}"]) for name in SETS] for r in ranking}
    wanted = dict(zip(scores, ranks.mean_ranks(list(scores.values())), strict=True))
    assert {r["model"]: float(r["rank"]) for r in ranking} == pytest.approx(wanted, abs=1e-4)
    for row in rows_of(folder / "tables/pairs-over-sets.csv"):
        if (row["protocol"], row["probe"]) == ("nested", "linear"):
            found = bayes.signed_rank(scores[row["a"]], scores[row["b"]])
            assert float(row["better"]) == pytest.approx(found.better, abs=0.01)
            assert sum(float(row[key]) for key in ("worse", "alike", "better")) == pytest.approx(1, abs=1e-4)
    text = made.read_text(encoding="utf-8")
    assert (
        re.search(r"That all \d rank alike there: p (=|&lt;)", text)
        and (folder / "plots/ranks--linear--nested.svg").is_file()
    )


def test_few_shot_tables(run, made):
    rows = rows_of(made.parent / "tables/fewshot.csv")
    job = next(j for j in results.read_jobs(run) if j["shots"] == 2 and j["model"] == "sea-net")
    said = results.read_predictions(run, job)
    folds, right = np.array(said.fold), said.right
    draws = [np.mean([right[(said.draw == d) & (folds == f)].mean() for f in set(folds)]) for d in range(DRAWS)]
    row = next(r for r in rows if (r["data"], r["probe"], r["model"], r["shots"]) ==
               (job["data"], job["probe"], "sea-net", "2"))  # fmt: skip
    assert float(row["accuracy"]) == pytest.approx(np.mean(draws), abs=1e-5)
    assert float(row["spread"]) == pytest.approx(np.std(draws), abs=1e-5) and row["draws"] == str(DRAWS)
    assert {r["shots"] for r in rows} == set(map(str, SHOTS))
    areas = rows_of(made.parent / "tables/fewshot-area.csv")
    assert next(r for r in areas if r["model"] == "sea-net")["tier"] == "1"


def test_nothing_is_called_significant_where_the_test_cannot_reach_it(run, made, small, tmp_path):
    """Two models, ninety clips, but three groups (the speakers): .25 at best."""
    copy = shutil.copytree(small, tmp_path / "run")
    rows = results.read_clips(copy, "accents").to_pylist()
    results.write_clips(copy, "accents", [row | {"group": f"speaker {int(row['group'][1:]) % 3}"} for row in rows])
    page = report.write(copy)
    text = " ".join(Page(page.read_text(encoding="utf-8")).text)
    assert "significant" not in text and "cannot be told" in text and "too few groups" in text
    assert "Smallest visible gap: none" in text and "reaches p = .25 at best" in text
    (row,) = rows_of(page.parent / "tables/pairs.csv")
    assert row["verdict"] == "cannot be told" and float(row["smallest"]) == 0.25
    assert "textbf" not in (page.parent / "tables/ranking-nested--linear.tex").read_text()
    assert "significant" in " ".join(Page(made.read_text(encoding="utf-8")).text)  # where it is reached


def test_equal_runs_give_equal_bytes_and_a_report_is_replaced_whole(small, tmp_path):
    first = report.write(small, tmp_path / "a").parent
    again = report.write([small], tmp_path / "b").parent
    assert tree(first) == tree(again)
    (first / "tables" / "stale.csv").write_text("")
    report.write(small, first)
    assert tree(first) == tree(again) and sorted(p.name for p in tmp_path.iterdir()) == ["a", "b"]


def test_a_folder_of_something_else_is_left_alone(small, tmp_path):
    (tmp_path / "thesis.txt").write_text("years")
    with pytest.raises(UsageError, match="holds something else than a report"):
        report.write(small, tmp_path)
    with pytest.raises(UsageError, match=r"no run\.json"):
        report.write(tmp_path)
    with pytest.raises(UsageError, match="no model 'yamnet' in these runs: expected one of sea-net, random-twin"):
        report.write(small, tmp_path / "out", maps=["yamnet"])
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.txt"]


def test_latex_is_escaped_and_balanced(made):
    for path in (made.parent / "tables").glob("*.tex"):
        text = path.read_text(encoding="utf-8")
        assert text.count("{") - text.count("\\{") == text.count("}") - text.count("\\}"), path
        assert text.count(r"\begin") == text.count(r"\end")
        body = text[text.index("\\midrule") : text.index("\\bottomrule")].splitlines()[1:]
        columns = len(re.search(r"\\begin\{tabular\}\{(\w+)\}", text)[1])
        assert body and all(len(re.findall(r"(?<!\\)&", line)) == columns - 1 for line in body if line)
        assert not re.search(r"(?<!\\)[%#_]", text.replace("\\label{", "").split("\\toprule")[1])


def test_plots_are_there_in_both_forms(made):
    plots = {p.name for p in (made.parent / "plots").iterdir()}
    assert {p for p in plots if p.endswith(".svg")} == {p[:-3] + "svg" for p in plots if p.endswith(".png")}
    assert {"cost--speed.svg", "fewshot--accents--linear--nested.svg", "scores--accents--nested.svg"} <= plots


def test_runs_are_joined_and_a_job_in_both_is_named(run, small, tmp_path):
    other = made_run(tmp_path / "other", sets=("accents",), models=("sea-net", "old-net"), probes=("linear",),
                     shots=(), protocols=("nested",), failures=False)  # fmt: skip
    found = reading.read([small, other])
    assert sorted(job.model for job in found.jobs) == ["old-net", "random-twin", "sea-net"]
    (note,) = found.notes
    assert note.startswith("1 jobs") and "in another run too: counted once (accents sea-net linear)" in note
    table = results.read_run(other)
    table["models"]["sea-net"]["fingerprint"] = "trained longer"
    results.write_run(other, {k: v for k, v in table.items() if k != "schema"})
    assert {"sea-net@small", "sea-net@other"} <= set(reading.read([small, other]).models)
    table["data"]["accents"]["sha256"] = "other clips"
    results.write_run(other, {k: v for k, v in table.items() if k != "schema"})
    with pytest.raises(DataError, match="'accents' is another one"):
        reading.read([small, other])


def test_excluded_clips_are_left_out_for_all(small, tmp_path):
    """A run under the rule 'exclude' has no predictions for them; a model that has more is cut to what all have."""
    copy = shutil.copytree(small, tmp_path / "run")
    job = next(j for j in results.read_jobs(copy) if j["model"] == "sea-net")
    said = results.read_predictions(copy, job)
    keep = np.arange(len(said.clip)) > 4
    part = results.Predictions(
        *([v for v, k in zip(getattr(said, n), keep, strict=True) if k] for n in ("clip", "fold")), said.draw[keep],
        *([v for v, k in zip(getattr(said, n), keep, strict=True) if k] for n in ("label", "predicted")),
        said.scores[keep],
    )  # fmt: skip
    results.write_job(copy, job, part)
    from probes.report import facts

    (family,) = facts.families(reading.read([copy]))
    assert family.n_clips == 85 and "5 tests are not there for every model" in family.notes[0]
    assert all(len(row.right) == 85 for row in family.rows)
