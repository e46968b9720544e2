"""The study's tables and tests, from results made by hand."""

import json
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

pytest.importorskip("sklearn")
pytest.importorskip("matplotlib")
from probes import plots, scores, statistics, study, study_report
from probes.datasets import Clip

N = 60
CLIPS = [Clip(f"{i}.wav", "ab"[i % 2], str(i % 6), f"g{i // 2 % 30}") for i in range(N)]
CLIPS = [Clip(c.path, c.label, str(i // 2 % 6), c.group) for i, c in enumerate(CLIPS)]


def _probed(variant, domain, right_share, pairs, best=True, trial=0, set="esc10", seed=0):
    right = np.random.default_rng([seed, len(variant), len(domain), pairs]).random(N)
    predicted = ["ab"[i % 2] if r < right_share else "x" for i, r in enumerate(right)]
    return study.Probed(set, variant, domain, trial, pairs, best, scores.table_row(predicted, CLIPS),
                        scores.right(predicted, CLIPS))  # fmt: skip


def _found():
    found = [_probed("", "", 0.6, 0, best=False)]
    for variant, share in (("linear", 0.6), ("mel128", 0.75), ("mel2561", 0.9)):
        found.append(_probed(variant, "", 0.5, 0, best=False))
        for domain in ("video", "scenes"):
            found += [_probed(variant, domain, share, n, best) for n, best in ((100, False), (200, False), (200, True))]
    return found


def test_levels_are_compared_over_everything_else():
    best = [p for p in _found() if p.best]
    rows = study_report.compare({"esc10": CLIPS}, best, lambda p: p.variant, lambda p: (p.domain, p.trial))
    assert [(r["a"], r["b"]) for r in rows] == [("linear", "mel128"), ("linear", "mel2561"), ("mel128", "mel2561")]
    row = rows[1]
    a, b = ([p for p in best if p.variant == v] for v in ("linear", "mel2561"))
    folds = [np.concatenate([p.row["folds"] for p in some]) for some in (a, b)]  # domain by domain
    assert row["n_pooled"] == 12
    assert row["p_pooled"] == statistics.wilcoxon_pooled(*folds).p
    means = [np.mean([p.row["folds"] for p in some], axis=0) for some in (a, b)]
    assert row["p_folds"] == statistics.wilcoxon(*means).p and row["smallest_p_folds"] == 2 / 2**6
    right = [np.mean([p.right for p in some], axis=0) for some in (a, b)]
    assert row["p_groups"] == statistics.by_group(*right, [c.group for c in CLIPS]).p < 0.05
    gap = 100 * (right[0] - right[1]).mean()
    assert row["interval"][0] < gap < row["interval"][1] < 0


def test_trained_networks_stand_beside_their_own_random_weights():
    (row,) = study_report.beside({"esc10": CLIPS}, found := _found(), "random weights")
    assert row["n_pooled"] == 36 and row["a"] == "trained"  # 3 variants x 2 domains x 6 folds
    random = [p for p in found if p.variant and not p.pairs]
    assert row["accuracy_b"] == pytest.approx(np.mean([p.row["accuracy"] for p in random]), abs=0.01)
    (row,) = study_report.beside({"esc10": CLIPS}, found, study.LOG_MEL)
    assert row["accuracy_b"] == pytest.approx(found[0].row["accuracy"], abs=0.01)


def _rows():
    return [
        {"run": f"{r}-0", "domain": d, "objective": "contrastive", "split": "held_out", "videos": 10, "questions": 100,
         "seed": 0, "left_out": {}, "accuracy": None, "interval": None, "two_way": 0.7, "two_way_interval": [0.6, 0.8]}
        for r in ("linear-video", "linear-scenes") for d in ("video", "scenes")
    ]  # fmt: skip


def test_the_report_holds_everything_and_is_written_the_same_twice(tmp_path):
    plan = study.Study(tmp_path, study.Settings(), {"linear": {}, "mel128": {}, "mel2561": {}}, {"video": {}}, {})
    path = study_report.write(plan, _rows(), {"esc10": CLIPS}, _found())
    text = path.read_text()
    for part in ("70.00 (60.0 to 80.0)", "77.04", "79.82", "linear, trained on video", "mel128, random weights",
                 "log-mel statistics", "p pooled", "correspondence"):  # fmt: skip
        assert part in text, part
    for name in ("representation", "domain", "amount"):
        assert f"({name}.svg)" in text
    found = json.loads((tmp_path / "report.json").read_text())
    assert len(found["probes"]) == len(_found()) and set(found["tests"]) == {"representation", "domain", "beside"}
    family = found["tests"]["representation"]
    np.testing.assert_allclose([r["p_holm"] for r in family], statistics.holm([r["p_groups"] for r in family]))
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    study_report.write(plan, _rows(), {"esc10": CLIPS}, _found())
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


def test_plots_show_every_run(tmp_path):
    files = plots.study(tmp_path, _rows(), _found())
    assert set(files) == {"correspondence", "representation", "domain", "amount"}
    for path in files.values():
        ElementTree.parse(path)  # well-formed
    shown = plots._panels(["esc10"], lambda axes, s: plots._amounts(axes, s, _found())).axes[0]
    curves = {line.get_label(): line.get_xydata() for line in shown.lines}
    assert len(curves) == 7  # six runs and log-mel
    np.testing.assert_array_equal(curves["mel128, video"][:, 0], [0, 100, 200])
    best = [p for p in _found() if p.best]
    shown = plots._panels(["esc10"], lambda axes, s: plots._levels(axes, s, best, _found(), "variant", "domain")).axes[
        0
    ]
    points = {tuple(np.round(line.get_ydata(), 2)) for line in shown.lines if len(line.get_xdata()) == 1}
    assert points == {(p.row["accuracy"],) for p in best}
    assert [t.get_text() for t in shown.get_xticklabels()] == ["linear", "mel128", "mel2561"]


def test_a_study_of_correspondence_alone(tmp_path):
    plan = study.Study(tmp_path, study.Settings(), {"linear": {}}, {"video": {}}, {})
    text = study_report.write(plan, _rows(), {}, []).read_text()
    assert "70.00" in text and "nothing to compare" in text
