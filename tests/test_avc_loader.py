"""The processes that make pairs: their order, their end, what they tell of their speed."""

import contextlib
import subprocess
import sys
import threading
from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
from conftest import environment
from made_videos import batches, equal_batches, make_config

pytest.importorskip("pescador")

from l3embed.avc import loader, pairs
from l3embed.errors import TrainingError


def _loaded(config, n, first_epoch=0, in_graph=True, first_step=0):
    found = loader.Loader(config, 64, in_graph, first_epoch, first_step)
    with contextlib.closing(found):
        return list(islice(iter(found), n))


@pytest.mark.parametrize("workers", [1, 2])
def test_the_order_does_not_depend_on_speed_and_an_epoch_can_be_resumed(workers):
    config = make_config(scenes=1.0)
    config = replace(config, fit=replace(config.fit, batch=4, steps=3, workers=workers))
    first = _loaded(config, 99)
    assert len(first) == 6  # two epochs of three steps, then the end
    assert equal_batches(_loaded(config, 99, first_epoch=1), first[3:])
    assert equal_batches(_loaded(config, 99, first_step=2), first[2:])  # in mid-epoch too
    assert not equal_batches(first[:3], first[3:])
    direct = [batches(config, 3, (7, 0, worker)) for worker in range(workers)]
    assert equal_batches(first[:3], [direct[step % workers][step // workers] for step in range(3)])


def test_what_the_loader_tells_of_its_speed(monkeypatch):
    """Against a clock of our own: of two processes, one batch of 4 takes 2 s to make, the other 6 s."""
    config = make_config(scenes=1.0, fit={"batch": 4, "steps": 2, "workers": 2, "epochs": 1})
    found = loader.Loader(config, 64, True, 0)
    with contextlib.closing(found):
        assert (found.n_pairs, found.waited_s, found.made_s, found.pairs_per_s) == (0, 0, 0, 0)
        for pipe, seconds in zip(found._pipes, (2.0, 6.0), strict=True):
            inputs, target, made_s = pipe.recv()
            assert made_s > 0 and len(target) == 4
            monkeypatch.setattr(pipe, "recv", lambda batch=(inputs, target, seconds): batch, raising=False)
        assert len(list(found)) == 2
        assert (found.n_pairs, found.made_s) == (8, 8.0) and found.waited_s >= 0
        assert found.pairs_per_s == 2.0  # 8 pairs in 8 seconds of work, by two at a time


def test_spectrograms_where_the_front_end_is_not_in_the_graph():
    config = make_config(scenes=1.0)
    inputs, _ = next(loader.held_out(config, pairs.Sources(config, "held_out"), 64, in_graph=False))
    assert inputs["audio"].shape == (16, *config.front_end.shape)
    again, _ = next(loader.held_out(config, pairs.Sources(config, "held_out"), 64, in_graph=False))
    np.testing.assert_array_equal(inputs["audio"], again["audio"])


def test_an_error_of_a_worker_reaches_its_parent(tmp_path):
    for name in ("a.mp4", "b.mp4"):
        (tmp_path / name).write_text("no video")
    with pytest.raises(TrainingError, match="files can be used"):
        _loaded(make_config(videos=(str(tmp_path),)), 1)


def test_a_killed_worker_ends_the_run():
    """Killed within a batch, as the kernel does when memory runs out: no waiting for the other half."""
    config = make_config(scenes=1.0)
    found = loader.Loader(replace(config, fit=replace(config.fit, steps=1000)), 64, True, 0)
    errors = []

    def consume():
        try:
            for i, _ in enumerate(found):
                if i == 0:
                    found._processes[0].kill()
        except TrainingError as error:
            errors.append(str(error))

    thread = threading.Thread(target=consume, daemon=True)
    with contextlib.closing(found):
        thread.start()
        thread.join(60)
        assert not thread.is_alive() and "ended without a word" in errors[0]


def test_a_killed_run_leaves_no_worker_behind():
    code = (
        "import os, signal\nfrom l3embed.avc import config, loader\n"
        "c = config.TrainConfig(model=config.ModelConfig(family='l3-small'), data=config.DataConfig(scenes=1.0, "
        "clip_s=2.0, n_active=2), fit=config.FitConfig(batch=4))\n"
        "next(iter(loader.Loader(c, 64, True, 0)))\nos.kill(os.getpid(), signal.SIGKILL)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], env=environment(), stdout=subprocess.PIPE)
    with process:
        process.communicate(timeout=60)  # a worker that lived on would keep the other end of this pipe open
    assert process.returncode == -9


class _Batches:
    """Stands in for a loader: two batches, then a fault."""

    n_pairs, made_s = 0, 0.0

    def __iter__(self):
        yield {}, [1, 2]
        yield {}, [3]
        raise TrainingError("the disk is full")

    def close(self):
        pass


def test_batches_taken_ahead_come_in_order_and_errors_pass_through():
    ahead = loader.Ahead(_Batches())
    assert [next(ahead)[1], next(ahead)[1], ahead.n_pairs] == [[1, 2], [3], 3]
    with pytest.raises(TrainingError, match="the disk is full"):
        next(ahead)
    ahead.close()
    unread = loader.Ahead(_Batches())
    next(unread)
    unread.close()
    assert not unread._thread.is_alive()


def test_the_held_out_batches_follow_those_of_each_epoch():
    fit = {"batch": 4, "steps": 1, "validation_steps": 2, "workers": 2}
    config = make_config(fit=fit, scenes=1.0)
    first = _loaded(config, 99)
    assert len(first) == 2 * (1 + 2)
    assert equal_batches(first[1:3], first[4:6]) and not equal_batches(first[:1], first[3:4])
    sources = pairs.Sources(config, "held_out")
    assert equal_batches(first[1:2], [next(loader.held_out(config, sources, 64, in_graph=True))])
    assert equal_batches(_loaded(config, 99, first_step=1), first[1:])  # killed between the two
