"""The lists of videos that the trainings of an experiment fraction."""

from dataclasses import replace
from itertools import pairwise

import pytest

from timesformer.config.run import DataConfig
from timesformer.data.manifest.manifest import Manifest, load_manifest
from timesformer.data.manifest.save import save_manifest
from timesformer.data.synthetic.dataset import write_motion_dataset
from timesformer.errors import ConfigError, DataError
from timesformer.reproduce.experiment import Motions
from timesformer.reproduce.videos import CLASSES, own_set, reversed_set, synthetic_set, write_fraction


def nothing(done, total):
    """Progress callback that does nothing."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_motion_dataset(
        tmp_path_factory.mktemp("own") / "videos",
        clips_per_class=8,
        val_clips_per_class=2,
        classes=("grow", "move_up"),
        num_frames=2,
        size=16,
    )


def test_a_synthetic_set_has_whole_classes_in_pairs(tmp_path):
    videos = synthetic_set(tmp_path, Motions(clips=25, num_frames=2, size=16), seed=0, on_progress=nothing)
    assert (videos.num_train, videos.num_val, videos.num_classes) == (24, 6, 6)  # 25 is not a multiple of 6 classes
    assert videos.is_paired
    assert load_manifest(videos.train).class_names == CLASSES
    other = synthetic_set(tmp_path, Motions(clips=8, num_frames=2, size=16, seed_offset=1), seed=0, on_progress=nothing)
    assert other.train.parent != videos.train.parent


def test_a_synthetic_set_has_a_video_of_every_class(tmp_path):
    with pytest.raises(ConfigError, match="clips=5 must be at least 6, one per class"):
        synthetic_set(tmp_path, Motions(clips=5), seed=0, on_progress=nothing)


def test_a_smaller_fraction_is_a_subset_of_a_larger_one_and_has_all_classes(folder, tmp_path):
    videos = own_set(tmp_path / "lists", DataConfig(train=str(folder)), seed=3)
    subsets = []
    for fraction in (0.25, 0.5, 0.75, 1.0):
        write_fraction(videos, fraction=fraction, seed=3)
        subsets.append(load_manifest(videos.data(DataConfig(), fraction=fraction).train))
    assert [len(subset.samples) for subset in subsets] == [4, 8, 12, 16]
    for small, large in pairwise(subsets):
        assert {sample.path for sample in small.samples} < {sample.path for sample in large.samples}
    assert [sum(sample.label for sample in subset.samples) for subset in subsets] == [2, 4, 6, 8]


def test_lists_of_other_videos_are_not_replaced(folder, tmp_path):
    data = DataConfig(train=str(folder / "train"), val_fraction=0.25)
    own_set(tmp_path / "lists", data, seed=0)
    own_set(tmp_path / "lists", data, seed=0)
    with pytest.raises(DataError, match="list other videos: choose another output folder"):
        own_set(tmp_path / "lists", data, seed=1)


@pytest.fixture
def grouped(folder, tmp_path):
    """The 16 training videos of `folder`, in 4 groups, as a list."""
    manifest = load_manifest(folder / "train")
    samples = tuple(replace(s, group=f"p{number % 4}") for number, s in enumerate(manifest.samples))
    save_manifest(Manifest(samples, manifest.class_names), tmp_path / "all.csv")
    return tmp_path / "all.csv"


def test_groups_are_held_out_whole_and_kept_in_all_lists(grouped, tmp_path):
    videos = own_set(tmp_path / "lists", DataConfig(train=str(grouped), val_fraction=0.25), seed=0)
    train, val = load_manifest(videos.train), load_manifest(videos.val)
    assert (len(train.groups), len(val.groups), videos.num_groups) == (3, 1, 1)
    assert set(train.groups).isdisjoint(val.groups)
    write_fraction(videos, fraction=0.5, seed=0)
    fraction = load_manifest(videos.data(DataConfig(), fraction=0.5).train)
    assert set(fraction.samples) < set(train.samples)
    assert len(fraction.samples) == 6


def test_copies_played_backwards_keep_the_groups(grouped, tmp_path):
    data = DataConfig(train=str(grouped), val_fraction=0.25)
    videos = reversed_set(tmp_path / "lists", data, seed=0, on_progress=nothing)
    train, val = load_manifest(videos.train), load_manifest(videos.val)
    assert (len(train.groups), len(val.groups)) == (3, 1)
    assert set(train.groups).isdisjoint(val.groups)
