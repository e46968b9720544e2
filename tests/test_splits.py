"""No split can leak, whoever asks for it; what is drawn depends on the clips and the seed alone."""

from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("sklearn")
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from l3embed.errors import UsageError
from probes import splits
from probes.datasets import Clip, DataError, DataSet
from probes.splits import Split


def made(rows, rule="none") -> DataSet:
    """A set from (label, group, fold, split) of each clip."""
    clips = [Clip(Path(f"/x/{i:03}"), row[0], *row[2:3], group=row[1], split="".join(row[3:4]), id=f"{i:03}")
             for i, row in enumerate(rows)]  # fmt: skip
    return DataSet("made", Path("/x"), tuple(clips), rule)


def balanced(n_labels=3, n_groups=6, each=2) -> DataSet:
    return made([(f"l{i}", f"g{i}-{j}") for i in range(n_labels) for j in range(n_groups) for _ in range(each)])


rows = st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["", "1", "2", "3", "4", "5", "6", "7"])),
                min_size=4, max_size=50)  # fmt: skip


def disjoint(data: DataSet, split: Split, replica: bool = False) -> None:
    """Without the class's own check."""
    parts = [set(map(int, part)) for part in (split.train, split.valid, split.test)]
    assert sum(map(len, parts)) == len(set.union(*parts)) == sum(map(len, (split.train, split.valid, split.test)))
    groups = [{data.clips[row].group or row for row in part} for part in parts]
    if not replica:
        assert sum(map(len, groups)) == len(set.union(*groups))
    assert not groups[2] & (groups[0] | groups[1])


# --- the object refuses


@given(rows, st.lists(st.sampled_from(["train", "valid", "test", ""]), min_size=50, max_size=50))
def test_a_split_is_made_exactly_when_it_does_not_leak(of, parts):
    data = made(of)
    given_ = {p: [i for i in range(len(of)) if parts[i] == p] for p in ("train", "valid", "test")}
    places = defaultdict(set)
    for part, members in given_.items():
        for i in members:
            places[of[i][1] or i].add(part)
    fine = all(len(found) == 1 for found in places.values()) and given_["train"] and given_["test"]
    if fine:
        disjoint(data, Split("s", *given_.values(), data))
    else:
        with pytest.raises(DataError):
            Split("s", *given_.values(), data)


@pytest.mark.parametrize(("train", "valid", "test", "said"), [
    ([0, 1], [], [1, 4], "clip 001 is in train and test"),
    ([0, 1], [4], [4, 8], "clip 004 is in valid and test"),
    ([0], [], [1], "group 'g0-0' is in train and test"),
    ([0, 0], [], [4], "train has a clip twice"),
    ([0], [], [99], "test has a row outside the 36 clips"),
    ([0], [], [], "has no clips to test on"),
    ([], [0], [4], "has no clips to learn from"),
])  # fmt: skip
def test_what_a_split_says_when_it_refuses(train, valid, test, said):
    with pytest.raises(DataError, match=f"made, odd: {said}"):
        Split("odd", np.array(train), np.array(valid), np.array(test), balanced())


def test_a_replica_names_its_fault_and_still_shares_no_clip():
    data = balanced()
    assert Split("s", [0], [1], [4], data, "by clip").replica == "by clip"
    with pytest.raises(DataError, match="clip 000 is in train and test"):
        Split("s", [0], [], [0, 4], data, "by clip")


# --- what a set prescribes


def test_folds_are_each_tested_once_and_named_in_order():
    data = made([("ab"[i % 2], f"g{i}", str(i // 2 + 1)) for i in range(24)] + [("a", "e", "", "test")], "folds")
    found = splits.folds(data)
    assert [s.name for s in found] == [f"fold {i}" for i in range(1, 13)]  # 10 after 9
    assert sorted(np.concatenate([s.test for s in found])) == list(range(24))  # what has no fold stays out
    assert all(len(s.train) == 22 and not len(s.valid) for s in found)


def test_a_group_in_two_folds_is_refused():
    data = made([("a", "g", "1"), ("a", "g", "2"), ("a", "h", "1")], "folds")
    with pytest.raises(DataError, match="made, fold 1: group 'g' is in train and test"):
        splits.folds(data)


@pytest.mark.parametrize(("rows", "rule", "said"), [
    ([("a", "1", "1"), ("a", "2", "2"), ("b", "3", "2")], "folds", r"fold 2: label 'b' \(clips in all: 1\)"),
    ([("a", "1", "1"), ("a", "2", "1")], "folds", "has 1 folds, and needs two"),
    ([("a", "1", "", "train"), ("b", "2", "", "test")], "lists", "test list: label 'b'"),
    ([("a", "1", "", "train"), ("a", "2", "", "train")], "lists", "has no clips to test on"),
])  # fmt: skip
def test_sets_that_cannot_be_split_say_why(rows, rule, said):
    with pytest.raises(DataError, match=said):
        splits.usual(made(rows, rule))


def test_published_folds_that_leak_need_a_name_for_it():
    data = made([("a", "g", "1"), ("a", "g", "2"), ("a", "h", "1"), ("a", "i", "2")], "folds")
    assert {split.replica for split in splits.folds(data, "episodes are in two folds")} == {"episodes are in two folds"}
    data = made([("a", "g", "", "train"), ("a", "g", "", "test")], "lists")
    with pytest.raises(DataError, match="group 'g' is in train and test"):
        splits.lists(data)
    assert splits.lists(data, "episodes are in two lists")[0].replica


def test_stretches_of_one_recording_stay_together():
    clips = [Clip(Path(f"/x/{i // 4}"), "ab"[i % 2], id=f"{i:03}", start_s=i % 4, end_s=i % 4 + 1) for i in range(40)]
    data = DataSet("made", Path("/x"), tuple(clips))
    for split in [*splits.usual(data), *splits.group_halves(data), splits.inside(data, splits.usual(data)[0], 0.3)]:
        parts = [{row // 4 for row in part} for part in (split.train, split.valid, split.test)]
        assert sum(map(len, parts)) == len(set.union(*parts)) == 10


def test_rows_cannot_be_changed_behind_the_checks_back():
    with pytest.raises(ValueError, match="read-only"):
        splits.group_halves(balanced())[0].test[0] = 0


def test_a_fold_may_lack_a_label():
    assert len(splits.folds(made([("a", "1", "1"), ("a", "2", "2"), ("b", "3", "2"), ("b", "4", "3")]))) == 3


def test_lists_and_a_test_list_whose_labels_are_withheld():
    rows = [("a", "1", "", "train"), ("a", "2", "", "valid"), ("a", "3", "", "test")]
    (found,) = splits.usual(made(rows, "lists"))
    assert (found.name, *found.train, *found.valid, *found.test) == ("test list", 0, 1, 2)
    (found,) = splits.lists(made(rows[:2], "lists"))
    assert (found.name, len(found.valid), *found.test) == ("valid list", 0, 1)


@settings(max_examples=30)
@given(rows, st.integers(0, 3))
def test_folds_that_are_made_never_leak_and_test_every_clip_once(of, seed):
    data = made(of)
    assume(len(set(data.units)) >= 5)
    try:
        found = splits.usual(data, seed)
    except DataError as error:
        assert "is tested and never learned" in str(error) or max(Counter(data.labels).values()) < 5
        return
    for split in found:
        disjoint(data, split)
    assert sorted(np.concatenate([s.test for s in found])) == list(range(len(of)))


def test_groups_left_out_one_by_one():
    data = made([("a", "1"), ("a", "2"), ("a", ""), ("a", "1")])
    assert {s.name: list(s.test) for s in splits.leave_out(data)} == {
        "without 1": [0, 3], "without 2": [1], "without 002": [2]}  # fmt: skip


# --- what is drawn


@given(rows, st.integers(0, 5), st.floats(0.05, 0.9), st.sampled_from(["group", "clip"]))
def test_validation_never_leaks_and_never_takes_a_labels_last_unit(of, seed, share, unit):
    data = made(of)
    asked = np.arange(0, len(of), 2)
    try:
        train, valid = splits.validation(data, asked, share, seed, unit)
    except DataError as error:
        assert "can be spared" in str(error)
        return
    assert sorted([*train, *valid]) == list(asked) and len(valid) and len(train)
    if unit == "group":
        assert not {of[i][1] or i for i in train} & {of[i][1] or i for i in valid}
    assert {of[i][0] for i in train} == {of[i][0] for i in asked}


def test_validation_has_the_share_of_every_label_and_depends_on_the_seed():
    data = balanced(3, 20, 2)
    train, valid = splits.validation(data, np.arange(120), 0.15, seed=1)
    assert Counter(data.clips[i].label for i in valid) == {"l0": 6, "l1": 6, "l2": 6}
    assert list(valid) == list(splits.validation(data, np.arange(120)[::-1], 0.15, seed=1)[1])
    assert list(valid) != list(splits.validation(data, np.arange(120), 0.15, seed=2)[1])
    assert len(splits.inside(data, Split("s", train, [], valid, data), 0.2).valid) == 24 - 6  # 3 of 17 groups a label


def test_validation_by_clip_or_window_is_a_named_replica():
    data = balanced(2, 4, 10)
    split = Split("s", np.arange(70), [], np.arange(70, 80), data)
    assert splits.inside(data, split, 0.2).replica == ""
    assert splits.inside(data, split, 0.2, unit="clip").replica == splits.SHARED
    n_windows = np.arange(80) % 3 + 1
    train, valid = splits.validation(data, [3, 5, 41], 0.3, unit="window", n_windows=n_windows)
    assert sorted([*train, *valid]) == list(range(1 + 3 + 3)) and len(valid) == 2  # of 4 windows 1, of 3 windows 1
    with pytest.raises(UsageError, match="needs the number of windows"):
        splits.validation(data, [3], unit="window")
    with pytest.raises(UsageError, match="unit must be"):
        splits.validation(data, [3], unit="speaker")
    with pytest.raises(UsageError, match="share must be between 0 and 1"):
        splits.validation(data, [3], 15)


@given(rows, st.integers(0, 3), st.floats(0.1, 0.5))
def test_halves_of_any_set_never_leak(of, seed, share):
    data = made(of)
    try:
        (split,) = splits.group_halves(data, seed, share)
    except DataError as error:
        assert "can be spared" in str(error) or "never learned" in str(error)
        return
    disjoint(data, split)
    assert not split.replica and len(split.train) + len(split.valid) + len(split.test) == len(of)


@given(st.integers(0, 20), st.sampled_from(["group", "clip"]))
def test_halves_of_each_labels_groups(seed, unit):
    data = balanced(3, 8, 5)
    (split,) = splits.group_halves(data, seed, 0.2, unit)
    disjoint(data, split, replica=unit == "clip")
    assert split.replica == (splits.SHARED if unit == "clip" else "")
    assert Counter(data.clips[i].label for i in split.test) == {"l0": 20, "l1": 20, "l2": 20}
    assert len(split.train) + len(split.valid) == 60 and len(split.valid) in ((12,) if unit == "clip" else (15,))


@given(rows, st.integers(1, 4), st.integers(0, 3), st.integers(0, 3))
def test_few_shots(of, n, draw, seed):
    data = made(of)
    labels = Counter(label for label, _ in of)
    if min(labels.values()) < n:
        with pytest.raises(DataError, match=rf"clips to learn from, and {n} are to be drawn"):
            splits.few_shot(data, range(len(of)), n, draw, seed)
        return
    drawn = splits.few_shot(data, range(len(of)), n, draw, seed)
    assert Counter(of[i][0] for i in drawn) == dict.fromkeys(labels, n) and len(set(drawn)) == len(drawn)
    for label in labels:
        of_label = [i for i in range(len(of)) if of[i][0] == label]
        there = {of[i][1] or i for i in of_label}
        assert len({of[i][1] or i for i in drawn if of[i][0] == label}) == min(n, len(there))
    assert list(drawn) == list(splits.few_shot(data, range(len(of))[::-1], n, draw, seed))


def test_draws_differ_by_draw_seed_number_and_fold_and_do_not_depend_on_where_the_data_lie():
    data = balanced(2, 30, 1)
    elsewhere = DataSet("other", Path("/y"), tuple(Clip(Path("/y") / c.id, c.label, id=c.id) for c in data.clips))
    alone = DataSet("alone", Path("/x"), tuple(Clip(c.path, c.label, id=c.id) for c in data.clips))
    few = splits.few_shot
    assert list(few(elsewhere, range(60), 5)) == list(few(alone, range(60), 5))
    drawn = [tuple(few(data, r, n, d, s)) for r, n, d, s in
             [(range(60), 5, 0, 0), (range(60), 5, 1, 0), (range(60), 5, 0, 1), (range(59), 5, 0, 0)]]  # fmt: skip
    assert len(set(drawn)) == 4
    seen = Counter(int(i) for d in range(300) for i in few(data, range(60), 5, d))
    assert len(seen) == 60 and max(seen.values()) < 2 * min(seen.values())  # 50 times each, give or take


def test_no_draw_of_nothing():
    with pytest.raises(UsageError, match="at least one clip"):
        splits.few_shot(balanced(), [0], 0)
