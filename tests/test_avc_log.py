"""What a run tells: event files as TensorBoard's own reader finds them, rows after a restart, speeds."""

import pytest

pytest.importorskip("keras")
pytest.importorskip("pescador")

from tiny_runs import tiny

from l3embed.avc import log
from l3embed.avc.checkpoints import State
from l3embed.avc.tensorboard import Scalars


def _events(folder):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    found.Reload()
    return {tag: [(e.step, e.value) for e in found.Scalars(tag)] for tag in found.Tags()["scalars"]}


@pytest.mark.filterwarnings("ignore")  # TensorBoard's own
def test_tensorboard_reads_the_scalars_and_forgets_what_a_restarted_run_computes_again(tmp_path):
    first = Scalars(tmp_path, 1)
    for step in (1, 2, 300):
        first.write(step, {"batch/loss": 1 / step, "batch/accuracy": 0.5})
    first.close()
    second = Scalars(tmp_path, 2)
    second.write(2, {"batch/loss": 7.0})
    second.close()
    found = _events(tmp_path)
    assert found["batch/loss"] == [(1, 1.0), (2, 7.0)]
    assert found["batch/accuracy"] == [(1, 0.5)]


def test_rows_of_batches_that_come_again_are_dropped(tmp_path):
    path = tmp_path / "batches.csv"
    path.write_text("pairs,loss,accuracy\n8,1,1\n16,1,1\n24,1,1\n32,1")
    log.Log(tmp_path, tiny(tmp_path), State(epoch=0, step=2), progress=False).close()
    assert path.read_text() == "pairs,loss,accuracy\n8,1,1\n16,1,1\n"
    log.Log(tmp_path, tiny(tmp_path), State(), progress=False).close()
    assert path.read_text() == "pairs,loss,accuracy\n"


def test_speed_tells_the_loader_from_the_network():
    """100 pairs in 10 s, 4 of them spent waiting; 2 processes worked 2.5 s each on 120 pairs."""
    mark = log.Mark(time_s=5.0, n_pairs=50, waited_s=1.0, n_made=60, made_s=3.0)
    found = log.speed(mark, log.Mark(15.0, 150, 5.0, 180, 8.0), 2)
    assert found == {
        "pairs_per_s": 10.0, "network_pairs_per_s": pytest.approx(100 / 6), "loader_pairs_per_s": 48.0, "waited": 0.4,
    }  # fmt: skip
    assert "waited 40.0% of the time" in log.said(found)
    none_made = log.speed(mark, log.Mark(15.0, 150, 5.0, 60, 3.0), 2)
    assert none_made["loader_pairs_per_s"] is None and "loader ?)" in log.said(none_made)
    assert set(log.speed(mark, mark, 2).values()) == {None}
    assert log.said(log.speed(mark, mark, 2)) == "too short to tell its speed"
