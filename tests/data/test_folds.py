"""No group is in two parts, ever: hold-out, folds, validation inside a fold, and fractions of the training videos."""

import os
import re
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from timesformer.config.run import DataConfig
from timesformer.data.manifest.folds import MIN_GROUPS, split_fold, take_fraction, unit_names
from timesformer.data.manifest.manifest import Manifest, Sample
from timesformer.data.video.segment import Segment
from timesformer.errors import DataError
from timesformer.training.parts import divide

NAMES = ("a", "b", "c")
SEED = st.integers(0, 99)


@st.composite
def lines(draw):
    """Lines of whole videos or segments of three classes, with groups, without, or mixed; lines may repeat."""
    groups = draw(st.sampled_from([[""], ["", *"pqrstuvwxyz"], list("pqrstuvwxyz")]))
    of_video = draw(st.lists(st.sampled_from(groups), min_size=1, max_size=30))
    has_segments = draw(st.booleans())
    label_of = [draw(st.integers(0, 2)) for _ in of_video]
    found = []
    for video in draw(st.lists(st.integers(0, len(of_video) - 1), min_size=1, max_size=50)):
        start = float(draw(st.integers(0, 3))) if has_segments else None
        label = draw(st.integers(0, 2)) if has_segments else label_of[video]
        found.append((f"{video}.mp4", label, of_video[video], start))
    return found


def manifest_of(found):
    samples = [
        Sample(Path(name), label, group, None if start is None else Segment(start, start + 1.0))
        for name, label, group, start in found
    ]
    return Manifest(tuple(samples), NAMES)


def units(manifest):
    return {sample.group or sample.path for sample in manifest.samples}


def are_apart(*parts):
    """Whether no group, and no video, is in two parts."""
    return sum(len(units(part)) for part in parts) == len(set().union(*map(units, parts))) and (
        sum(len(set(part.paths)) for part in parts) == len(set().union(*(part.paths for part in parts)))
    )


def divided(manifest, data, *, seed):
    """Training and validation videos; None if there are too few groups, which must be said."""
    try:
        return divide(manifest, data, seed=seed)
    except DataError as error:
        if re.search(r"to deal|name validation videos \(val\)", str(error)):
            return None
        raise


def is_selection(part, whole):
    """Whether a part has some of the samples, in their order, and all class names."""
    rest = iter(whole.samples)
    return part.class_names == whole.class_names and all(sample in rest for sample in part.samples)


@given(lines(), st.integers(2, 6), SEED)
def test_each_unit_is_in_exactly_one_fold(found, num_folds, seed):
    manifest = manifest_of(found)
    if len(units(manifest)) < num_folds:
        with pytest.raises(DataError, match=rf"num_folds={num_folds}: there (is|are) only \d+ (group|video)"):
            split_fold(manifest, fold=1, num_folds=num_folds, seed=seed)
        return
    folds = [split_fold(manifest, fold=fold, num_folds=num_folds, seed=seed) for fold in range(1, num_folds + 1)]
    assert are_apart(*(held for _, held in folds))
    assert sum(len(held.samples) for _, held in folds) == len(manifest.samples)
    for rest, held in folds:
        assert held.samples and are_apart(rest, held)
        assert len(rest.samples) + len(held.samples) == len(manifest.samples)
        assert is_selection(rest, manifest) and is_selection(held, manifest)


@given(
    lines(),
    st.integers(2, 5),
    st.integers(1, 5),
    SEED,
    st.sampled_from(["training", "fold"]),
    st.sampled_from([0.25, 0.5, 1.0]),
    st.floats(0.05, 0.9),
)
def test_no_unit_is_in_two_of_training_validation_and_the_fold(
    found, num_folds, fold, seed, val_from, fraction, val_fraction
):
    manifest, fold = manifest_of(found), min(fold, num_folds)
    data = DataConfig(
        train="unused",
        num_folds=num_folds,
        fold=fold,
        val_from=val_from,
        train_fraction=fraction,
        val_fraction=val_fraction,
    )
    parts = divided(manifest, data, seed=seed)
    if parts is None:
        return
    train, val = parts
    _, held = split_fold(manifest, fold=fold, num_folds=num_folds, seed=seed)
    assert train.samples and val.samples
    assert are_apart(train, val)
    assert are_apart(train, held)
    assert val == held if val_from == "fold" else are_apart(train, val, held)


@given(lines(), SEED, st.floats(0.05, 0.9))
def test_the_parts_of_a_curve_are_nested_and_apart_from_the_same_validation_videos(found, seed, val_fraction):
    manifest = manifest_of(found)
    parts = []
    for fraction in (0.25, 0.5, 1.0):
        data = DataConfig(train="unused", train_fraction=fraction, val_fraction=val_fraction)
        parts.append(divided(manifest, data, seed=seed))
    if None in parts:
        assert parts == [None] * 3
        return
    assert parts[0][1] == parts[1][1] == parts[2][1]
    for (small, _), (large, val) in pairwise(parts):
        assert is_selection(small, large)
        assert are_apart(small, val) and are_apart(large, val)


@given(lines(), st.floats(0.01, 1.0), SEED)
def test_a_part_is_whole_groups_or_some_of_each_class(found, fraction, seed):
    manifest = manifest_of(found)
    part = take_fraction(manifest, fraction=fraction, seed=seed)
    assert part == take_fraction(manifest, fraction=fraction, seed=seed)
    rest = Manifest(tuple(s for s in manifest.samples if s.path not in part.paths), NAMES)
    if len(manifest.groups) >= MIN_GROUPS:
        assert are_apart(part, rest)
    else:
        assert {sample.label for sample in part.samples} == {sample.label for sample in manifest.samples}


def people(count, *, per_class=2):
    """People who each show every class."""
    samples = [
        Sample(Path(f"{person}_{label}_{number}.mp4"), label, f"p{person:02d}")
        for person in range(count)
        for label in range(3)
        for number in range(per_class)
    ]
    return Manifest(tuple(samples), NAMES)


def test_folds_of_equal_people_are_equal():
    for num_folds in (2, 4, 5):
        sizes = [
            Counter(s.label for s in split_fold(people(20), fold=fold, num_folds=num_folds, seed=3)[1].samples)
            for fold in range(1, num_folds + 1)
        ]
        assert sizes == [Counter(dict.fromkeys(range(3), 40 // num_folds))] * num_folds


@pytest.mark.parametrize(("count", "quarter", "half"), [(8, 2, 4), (12, 3, 6), (20, 5, 10)])
def test_parts_of_many_people_are_whole_people(count, quarter, half):
    manifest = people(count)
    found = [len(take_fraction(manifest, fraction=fraction, seed=0).groups) for fraction in (0.25, 0.5, 1)]
    assert found == [quarter, half, count]


def test_parts_of_few_people_are_some_videos_of_all_of_them():
    manifest = people(4, per_class=4)
    part = take_fraction(manifest, fraction=0.25, seed=0)
    assert part.groups == manifest.groups
    assert Counter(sample.label for sample in part.samples) == {0: 4, 1: 4, 2: 4}


def test_another_seed_deals_other_folds():
    held = {split_fold(people(12), fold=1, num_folds=3, seed=seed)[1].groups for seed in range(6)}
    assert len(held) > 3


def test_folds_do_not_depend_on_the_working_folder(tmp_path, monkeypatch):
    names = [*(f"{number}.mp4" for number in range(9)), *(f"{tmp_path}/sub/{number}.mp4" for number in range(9))]
    held = []
    for folder, prefix in ((tmp_path, "sub/"), (tmp_path.parent, f"{tmp_path.name}/sub/")):
        monkeypatch.chdir(folder)
        samples = [
            Sample(Path(name if name.startswith("/") else prefix + name), number % 3, "Anna" if number == 4 else "")
            for number, name in enumerate(names)
        ]
        _, fold = split_fold(Manifest(tuple(samples), NAMES), fold=1, num_folds=3, seed=0)
        held.append([samples.index(sample) for sample in fold.samples])
    assert held[0] == held[1]


def test_a_video_is_in_the_group_of_any_of_its_lines():
    manifest = Manifest((Sample(Path("a.mp4"), 0), Sample(Path("a.mp4"), 0, "anna"), Sample(Path("b.mp4"), 1)), NAMES)
    assert unit_names(manifest) == {Path("a.mp4"): "anna", Path("b.mp4"): os.path.abspath("b.mp4")}


def test_too_many_folds_are_refused_with_the_number_that_is_possible():
    with pytest.raises(
        DataError, match=r"num_folds=5: there are only 3 groups to deal \(p00, p01, p02\); use at most 3"
    ):
        split_fold(people(3), fold=1, num_folds=5, seed=0)
    alone = Manifest((Sample(Path("a.mp4"), 0), Sample(Path("a.mp4"), 1)), NAMES)
    with pytest.raises(DataError, match=r"num_folds=2: there is only 1 video to deal \(.*a\.mp4\)"):
        split_fold(alone, fold=1, num_folds=2, seed=0)
