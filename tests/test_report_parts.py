"""Parts of the report by themselves: cells and files of tables, sentences, sets with several labels a clip, costs."""

import csv
import io

import numpy as np
import pytest

pytest.importorskip("sklearn")
pytest.importorskip("pyarrow")
from hypothesis import given
from hypothesis import strategies as st
from made_runs import SETS, made_run
from sklearn import metrics

from probes import report, results
from probes.report import costs, facts, fewshot, reading, tables, words
from probes.report.facts import Score
from probes.report.tables import Column, Table


@given(st.floats(0, 1))
def test_a_p_is_never_shown_as_less_or_as_nought(p):
    text = tables.p_text(p)
    if p < 0.0001:
        assert text == "< .0001"
    else:
        assert float(text) > 0 and (float(text) < 0.05) == (p < 0.05) and float(text) == pytest.approx(p, abs=0.0051)
        assert text == "1" or text[0] == "."
    assert tables.p_text(0.04999) == ".049990"


def test_cells_as_people_read_them():
    score = Score(0.953, 0.931, 0.976)
    assert tables.shown(score, "share") == "95.3 [93.1, 97.6]"
    assert tables.shown(-0.0312, "points") == "\N{MINUS SIGN}3.1" and tables.shown(0.0, "points") == "+0.0"
    assert tables.shown(None, "count") == tables.shown(float("nan"), "share") == "\N{EN DASH}"
    assert tables.shown(float("inf"), "share") == "none" and tables.shown(["a", "b"], "text") == "a, b"
    assert tables.sort_value(score, "share") == "0.953" and tables.sort_value(None, "share") == ""


@given(st.lists(st.tuples(st.text(max_size=20), st.one_of(st.none(), st.floats(0, 1))), min_size=1, max_size=5))
def test_csv_is_read_back_and_starts_no_formula(rows):
    table = Table("t", "T", [Column("name", "name"), Column("x", "x", "share")],
                  [{"name": name, "x": None if x is None else Score(x, 0.0, 1.0)} for name, x in rows])  # fmt: skip
    read = list(csv.reader(io.StringIO(tables.csv_text(table), newline="")))
    scored = any(x is not None for _, x in rows)
    assert read[0] == (["name", "x", "x_low", "x_high"] if scored else ["name", "x"])
    for line, (name, x) in zip(read[1:], rows, strict=True):
        name = name.replace("\r", " ")
        assert line[0] == (f"'{name}" if name[:1] in ("=", "@", "\t") else name)
        assert line[1] == "" if x is None else float(line[1]) == pytest.approx(x, rel=1e-5, abs=1e-12)


@given(st.text(max_size=40))
def test_latex_takes_any_text(text):
    out = tables.escaped(text)
    for sign in "%#&_$":
        assert out.count(sign) == out.count("\\" + sign) == text.count(sign)
    assert "\n" not in out and "~" not in out and "^" not in out


def test_a_card_that_names_a_data_set_is_noticed(tmp_path):
    found = reading.read([made_run(tmp_path / "run", sets=("accents", "scènes"), probes=("linear",), shots=())])
    assert list(words.contamination(found)) == [("old-net", "accents")]
    found.sets["accents"].about["source"] = "Doe 2018, doe/free-spoken-digits v1.0"
    found.models["mfcc"]["trained_on"] = "Free Spoken Digits, takes 0 to 19; scenes"
    assert ("mfcc", "accents") in words.contamination(found) and ("mfcc", "scènes") not in words.contamination(found)


def test_sets_with_several_labels_a_clip_are_decided_by_map(tmp_path):
    run = made_run(tmp_path / "run", sets=("scènes",), models=("sea-net", "random-twin"), probes=("linear",), shots=(),
                   protocols=("nested",), failures=False)  # fmt: skip
    rows = results.read_clips(run, "scènes").to_pylist()
    classes = sorted({row["label"] for row in rows})
    for k, row in enumerate(rows):
        row["labels"] = [row["label"], classes[(k + 1) % 5]] if k % 3 else [row["label"]]
    results.write_clips(run, "scènes", rows)
    (family,) = facts.families(reading.read([run]))
    assert family.metric == "map" and [row.model for row in family.rows] == ["sea-net", "random-twin"]
    job = next(j for j in results.read_jobs(run) if j["model"] == "sea-net")
    said = results.read_predictions(run, job)
    targets = np.array([[c in rows[k]["labels"] for c in classes] for k in range(len(rows))])
    best = family.rows[0]
    assert best.map.value == pytest.approx(metrics.average_precision_score(targets, said.scores))
    assert best.right.sum() == sum(p in row["labels"] for p, row in zip(said.predicted, rows, strict=True))
    assert family.pairs.adjusted[0, 1] < 0.05 and best.calibration is None


def test_a_ranking_weighs_sets_alike_and_leaves_no_model_out_silently(tmp_path):
    run = made_run(tmp_path / "run", probes=("prototype",), shots=(), protocols=("nested",))
    families = facts.families(reading.read([run]))
    (one,) = facts.rankings(reading.read([run]), families)
    for row in one.rows:
        assert row.mean.value == pytest.approx(np.mean([row.sets[s].score.value for s in one.sets]))
        assert row.mean.low < row.mean.value < row.mean.high
    assert one.missing == {"mfcc": ["accents"]} and len(one.rows) == 4  # its job on accents failed
    said = " ".join(words.of_ranking(one))
    assert one.rows[0].model in said and "reaches p = .25 at best, too little to say anything" in said


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=12))
def test_the_line_joins_what_none_beats_in_both(points):
    keep = costs.best_in_both(points)
    for i, (x, y) in enumerate(points):
        beaten = any(a >= x and b >= y and (a, b) != (x, y) for a, b in points)
        assert (i not in keep) == beaten
    assert [points[i][0] for i in keep] == sorted(points[i][0] for i in keep)


def test_costs_are_sums_over_sets(tmp_path):
    run = made_run(tmp_path / "run", models=("sea-net", "mfcc"), probes=("linear",), shots=(), protocols=("nested",))
    table = costs.costs(reading.read([run]), None)
    row = next(row for row in table.rows if row["model"] == "sea-net")
    each = [c for c in results.read_costs(run) if c["model"] == "sea-net"]
    assert row["speed"] == pytest.approx(1500 / sum(c["wall_s"] for c in each))
    assert row["bytes_per_hour"] == pytest.approx(3 * 4000 * 512 * 4 / (310 / 3600) / 1e6)
    assert row["parameters"] == 0.661 and row["peak_mb"] == 150 and row["device"] == "cpu"


def test_a_run_of_few_shot_jobs_alone_and_one_that_was_killed(tmp_path):
    run = made_run(tmp_path / "run", sets=("accents",), models=("sea-net", "mfcc"), probes=("linear",), shots=(1, 2),
                   protocols=("nested",), failures=False)  # fmt: skip
    for job in results.read_jobs(run):
        if job["shots"] is None or (job["model"], job["shots"]) == ("mfcc", 2):
            for path in (run / "jobs").glob(f"{job['id']}.*"):
                path.unlink()
    table = results.read_run(run)
    results.write_run(run, {**{k: v for k, v in table.items() if k != "schema"}, "finished": None})
    text = report.write(run).read_text(encoding="utf-8")
    assert "No job learned from all clips" in text and "is not finished" in text
    assert "linear, nested: mfcc lacks some numbers of shots" in text
    (shots,) = fewshot.families(reading.read([run]))
    assert list(shots.curves) == ["sea-net"] and "mfcc lacks some numbers of shots" in shots.notes[0]


def test_what_asks_the_same_twice_counts_once(tmp_path):
    how = {"sets": ("accents",), "probes": ("linear",), "shots": (), "protocols": ("nested",), "models": ("sea-net",)}
    runs = [made_run(tmp_path / str(seed), seed=seed, **how) for seed in (0, 1)]
    found = reading.read(runs)
    assert len(found.jobs) == 1 and found.jobs[0].run == runs[0]
    assert (
        "1 jobs" in found.notes[0]
        and "another seed or version: counted once (accents sea-net linear)" in found.notes[0]
    )


def test_a_set_that_is_tested_once_has_no_chances_over_folds(tmp_path, monkeypatch):
    monkeypatch.setitem(SETS, "one list", (3, 60, 30, 1, "accuracy"))
    run = made_run(tmp_path / "run", sets=("one list",), probes=("linear",), shots=(), protocols=("nested",),
                   failures=False)  # fmt: skip
    page = report.write(run, sounds=False)
    with open(page.parent / "tables/pairs.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 10
    assert all(row[key] == "" for row in rows for key in ("worse", "alike", "better", "wilcoxon", "corrected_t"))
    assert not (page.parent / "plots/ranks--linear--nested.svg").exists()
