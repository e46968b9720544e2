"""`l3embed probe --demo`: the whole path, from sounds made on the spot to the report."""

from pathlib import Path

import pytest
from conftest import tree

from l3embed import cli
from probes import datasets, demo, results, splits

pytest.importorskip("pyarrow")


def test_the_demonstration_s_sounds_are_decided_by_the_seed_and_split_without_a_leak(tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        demo.make(tmp_path / name, seed)
    assert tree(tmp_path / "a") == tree(tmp_path / "b") != tree(tmp_path / "c")
    data = datasets.read(tmp_path / "a")
    assert len(data) == 96 and data.classes == sorted(demo.KINDS) and data.folds == ["1", "2", "3"]
    assert len(set(data.units)) == 6 and len(splits.usual(data, 0)) == 3


def test_from_sounds_to_the_report(tmp_path, capsys):
    pytest.importorskip("jinja2")
    pytest.importorskip("matplotlib")
    given = ["--probes", "linear", "--shots", "1,4", "--draws", "3", "-q"]
    assert cli.main(["probe", "--demo", "-o", str(tmp_path / "demo"), *given]) == 0
    out = capsys.readouterr().out
    page = Path(out.splitlines()[-1].removeprefix("report: "))
    assert page.is_file() and "12 jobs done, 0 failed" in out and all(name in out for name in demo.MODELS)
    text = page.read_text(encoding="utf-8")
    assert all(name in text for name in (*demo.MODELS, *demo.KINDS, "nested"))
    jobs = {(job["model"], job["shots"]): results.read_predictions(tmp_path / "demo" / "run", job).right.mean()
            for job in results.read_jobs(tmp_path / "demo" / "run")}  # fmt: skip
    assert all(share > 0.45 for (_, shots), share in jobs.items() if shots is None)  # chance: 0.25
    assert jobs["l3-small-taught-1", None] > jobs["l3-small-taught-1", 1] > 0.5  # more to learn from is better
