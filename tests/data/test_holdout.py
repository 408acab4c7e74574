"""Whole groups are held out, about the share of each class that was asked for, and training keeps every class."""

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from timesformer.data.manifest.holdout import choose_groups, choose_videos
from timesformer.data.manifest.manifest import Manifest, Sample, split_manifest
from timesformer.errors import DataError

NAMES = ("a", "b", "c", "d")
VIDEOS = st.lists(
    st.tuples(st.integers(0, 3), st.sampled_from(["", "anna", "ben", "cleo", "dora", "emil", "fay"])),
    min_size=1,
    max_size=60,
).filter(lambda videos: any(group for _, group in videos))
FRACTION, SEED = st.floats(0.01, 0.99), st.integers(0, 99)


def manifest_of(videos):
    return Manifest(tuple(Sample(Path(f"{k}.mp4"), label, group) for k, (label, group) in enumerate(videos)), NAMES)


def labels(manifest):
    return Counter(sample.label for sample in manifest.samples)


def unit(sample):
    return sample.group or sample.path


def can_give(manifest):
    """Whether every class keeps a video without some group."""
    units = {unit(sample) for sample in manifest.samples}
    return any(
        {sample.label for sample in manifest.samples if unit(sample) != one} == set(labels(manifest)) for one in units
    )


@given(VIDEOS, FRACTION, SEED)
def test_no_group_is_in_both_splits_and_training_keeps_every_class(videos, fraction, seed):
    manifest = manifest_of(videos)
    if not can_give(manifest):
        with pytest.raises(DataError, match="name validation videos"):
            split_manifest(manifest, fraction=fraction, seed=seed)
        return
    train, val = split_manifest(manifest, fraction=fraction, seed=seed)
    assert (train, val) == split_manifest(manifest, fraction=fraction, seed=seed)
    assert {unit(sample) for sample in train.samples}.isdisjoint(map(unit, val.samples))
    assert set(labels(train)) == set(labels(manifest))
    assert val.samples
    order = {sample: k for k, sample in enumerate(manifest.samples)}
    assert sorted([*train.samples, *val.samples], key=order.__getitem__) == list(manifest.samples)
    for part in (train, val):
        assert part.class_names == NAMES
        assert list(part.samples) == sorted(part.samples, key=order.__getitem__)


@given(
    st.lists(st.integers(1, 9), min_size=2, max_size=12),
    st.lists(st.integers(1, 9), min_size=2, max_size=12),
    FRACTION,
    SEED,
)
def test_classes_with_separate_groups_give_about_the_fraction(first, second, fraction, seed):
    counts = {
        f"{label}{k}": {label: size} for label, sizes in enumerate((first, second)) for k, size in enumerate(sizes)
    }
    chosen = choose_groups(counts, fraction=fraction, seed=seed)
    for label, sizes in enumerate((first, second)):
        held = sum(counts[group].get(label, 0) for group in chosen)
        assert 0 < held < sum(sizes)
        assert abs(held - fraction * sum(sizes)) <= max(sizes)


@given(st.integers(4, 20), st.integers(2, 5), SEED)
def test_people_who_show_every_class_equally_are_held_out_by_number(num_persons, num_classes, seed):
    counts = {person: dict.fromkeys(range(num_classes), 3) for person in range(num_persons)}
    chosen = choose_groups(counts, fraction=0.25, seed=seed)
    assert abs(len(chosen) - num_persons / 4) <= 0.5


def test_another_seed_holds_out_other_groups():
    counts = {person: {0: 2, 1: 2} for person in range(20)}
    assert len({choose_groups(counts, fraction=0.2, seed=seed) for seed in range(5)}) == 5


def test_a_class_of_few_large_groups_still_gives_one():
    counts = {"anna": {0: 10}, "ben": {0: 10}, "cleo": {1: 10}, "dora": {1: 90}}
    assert choose_groups(counts, fraction=0.05, seed=0) in ({"anna", "cleo"}, {"ben", "cleo"})


def test_a_class_in_one_group_keeps_it():
    counts = {"anna": {0: 4, 1: 4}, "ben": {0: 4, 2: 4}, "cleo": {0: 4}}
    assert all(choose_groups(counts, fraction=0.3, seed=seed) == {"cleo"} for seed in range(9))


def test_many_groups_take_no_time():
    counts = {group: {group % 400: 1 + group % 3} for group in range(40_000)}
    held = Counter()
    for group in choose_groups(counts, fraction=0.2, seed=1):
        held.update(counts[group])
    sizes = Counter()
    for own in counts.values():
        sizes.update(own)
    assert all(abs(held[label] - 0.2 * sizes[label]) <= 1.5 for label in sizes)


@pytest.mark.parametrize(
    ("videos", "message"),
    [
        ([(0, "anna"), (1, "anna")], r"all videos belong to one group \(anna\): nothing can be held out"),
        ([(0, "anna"), (1, "ben")], r"each of 2 groups \(anna, ben\) contains all videos of a class: none can be held"),
        (
            [(0, "anna"), (1, "ben"), (2, "cleo"), (3, "dora")],
            r"each of 4 groups \(anna, ben, cleo, \.\.\.\) contains all videos of a class",
        ),
        ([(0, "anna"), (1, "")], r"each of 2 groups \(anna, 1\.mp4\) contains all videos of a class"),
    ],
)
def test_groups_that_cannot_be_held_out_are_named(videos, message):
    with pytest.raises(DataError, match=message):
        split_manifest(manifest_of(videos), fraction=0.2, seed=0)


def test_a_video_without_a_group_is_its_own_group():
    manifest = manifest_of([(0, "anna")] * 6 + [(0, "")] * 4)
    train, val = split_manifest(manifest, fraction=0.2, seed=0)
    assert [sample.group for sample in val.samples] == ["", ""]
    assert train.groups == ("anna",)


def test_entries_of_a_video_with_and_without_its_group_stay_together():
    samples = tuple(Sample(Path(f"{k % 6}.mp4"), k % 2, f"p{k % 6}" if k < 6 else "") for k in range(12))
    train, val = split_manifest(Manifest(samples, ("x", "y")), fraction=0.3, seed=0)
    assert {sample.path for sample in train.samples}.isdisjoint(sample.path for sample in val.samples)


@given(st.lists(st.integers(0, 30), max_size=3), SEED)
def test_training_videos_of_a_larger_fraction_are_among_those_of_a_smaller_one(sizes, seed):
    by_class = {label: [Path(f"{label}-{k}.mp4") for k in range(size)] for label, size in enumerate(sizes)}
    chosen = [choose_videos(by_class, fraction=fraction, seed=seed) for fraction in (0.25, 0.5, 0.75)]
    assert chosen[0] <= chosen[1] <= chosen[2]
