"""Folders and lists that are splits of a data set are recognized, and never read as classes."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from timesformer.data.check.listing import read_listing
from timesformer.data.manifest.manifest import load_manifest, load_split, load_training
from timesformer.data.manifest.splits import SplitName, find_split, holds_splits, parse_split
from timesformer.errors import DataError
from videos import touch

CLASSES = ("clap", "wave")


def plant(folder: Path, *parts: str, classes: tuple[str, ...] = CLASSES) -> Path:
    """Parts with a video in each class."""
    return touch(folder, *(f"{part}/{label}/{part}.mp4" for part in parts for label in classes))


@pytest.mark.parametrize(
    ("name", "split", "subject"),
    [
        ("train", "train", ()),
        ("Training", "train", ()),
        ("videos_train", "train", ()),
        ("videosTrain", "train", ()),
        ("train_256", "train", ()),
        ("train256", "train", ()),
        ("trainset", "train", ()),
        ("trainval", "train", ()),
        ("train-320x240px", "train", ()),
        ("val_256", "val", ()),
        ("validate", "val", ()),
        ("eval", "val", ()),
        ("DEV", "val", ()),
        ("dev set", "val", ()),
        ("test_videos", "test", ()),
        ("kinetics400_train_list_videos", "train", ("kinetics",)),
        ("ucf-val", "val", ("ucf",)),
    ],
)
def test_a_name_says_its_split(name, split, subject):
    assert parse_split(name) == SplitName(split, subject)


@pytest.mark.parametrize("name", ["strain", "trains", "devil", "interval", "protest", "train_val", "wave", "", "256"])
def test_other_names_state_no_split(name):
    assert parse_split(name) is None


@given(st.text())
def test_any_name_can_be_parsed(name):
    found = parse_split(name)
    assert found is None or found.split in ("train", "val", "test")


@pytest.mark.parametrize(
    ("train", "val"),
    [
        ("train", "val"),
        ("train", "validate"),
        ("train", "eval"),
        ("train", "dev"),
        ("Training", "Evaluation"),
        ("videos_train", "videos_val"),
        ("train_256", "val_256"),
        ("train_256", "val_128"),
        ("trainset", "devset"),
        ("toy_train", "toy_valid"),
        ("kinetics_train", "other_dev"),
    ],
)
def test_folders_of_class_folders_are_training_and_validation_by_name(tmp_path, train, val):
    plant(tmp_path, train, val, "test")
    assert holds_splits(tmp_path)
    assert (find_split(tmp_path, "train"), find_split(tmp_path, "val")) == (tmp_path / train, tmp_path / val)
    assert load_training(tmp_path).class_names == CLASSES
    held_out = load_split(tmp_path, "val", class_names=CLASSES)
    assert held_out is not None
    assert [sample.path.parts[-3] for sample in held_out.samples] == [val, val]
    listing = read_listing(tmp_path)
    assert [video.split for video in listing.videos] == ["train", "train", "val", "val"]
    with pytest.raises(DataError, match="contains splits, not classes"):
        load_manifest(tmp_path)


@pytest.mark.parametrize(
    ("train", "val"),
    [
        ("videos_train.csv", "videos_val.csv"),
        ("train_256.txt", "val_256.txt"),
        ("train.csv", "validate.csv"),
        ("train.csv", "dev.csv"),
        ("train.txt", "eval.lst"),
        ("kinetics400_train_list_videos.txt", "kinetics400_val_list_videos.txt"),
    ],
)
def test_lists_are_training_and_validation_by_name(tmp_path, train, val):
    for name in (train, val, "test.csv"):
        (tmp_path / name).write_text(f"{name}.mp4 wave\n")
    touch(tmp_path, "train_log.csv", "val_log.csv", "eval_results.csv", "dev_scores.json")
    assert (find_split(tmp_path, "train"), find_split(tmp_path, "val")) == (tmp_path / train, tmp_path / val)


def test_usual_names_go_before_others(tmp_path):
    plant(tmp_path, "train", "val", "dev", "eval", "train_256", "val_256", "test")
    touch(tmp_path, "dev.csv", "train_boxes.json", "val_boxes.json")
    assert (find_split(tmp_path, "train"), find_split(tmp_path, "val")) == (tmp_path / "train", tmp_path / "val")


def test_several_folders_of_one_split_are_refused(tmp_path):
    plant(tmp_path, "train", "dev", "eval")
    with pytest.raises(DataError, match="several sources for 'val': dev, eval: name one"):
        find_split(tmp_path, "val")


@pytest.mark.parametrize(
    "parts", [("train", "test"), ("train_256", "test_256"), ("ucf_train", "ucf_test"), ("val", "test")]
)
def test_folders_of_which_all_are_splits_are_refused(tmp_path, parts):
    plant(tmp_path, *parts)
    assert not holds_splits(tmp_path)
    for read in (load_manifest, load_training, read_listing):
        with pytest.raises(DataError, match=rf"contains splits, not classes \({', '.join(sorted(parts))}\): name one"):
            read(tmp_path)


@pytest.mark.parametrize(
    "parts", [("part1", "part2"), ("fold1", "fold2", "fold3"), ("rgb", "depth"), ("a", "b", "test")]
)
def test_folders_with_the_same_subfolders_are_splits_whatever_their_names(tmp_path, parts):
    plant(tmp_path, *parts, classes=("clap", "jump", "wave"))
    for label in ("jump", "wave"):  # mostly the same is enough
        (tmp_path / parts[-1] / label).rename(tmp_path / parts[-1] / label.replace("jump", "bow"))
    first, second = sorted(parts)[:2]
    for read in (load_manifest, load_training, read_listing):
        with pytest.raises(DataError, match=rf"contains splits, not classes.*train .*{first} --val .*{second}`"):
            read(tmp_path)


@pytest.mark.parametrize("data", ["UCF101", ".", "UCF101/lists/../.."])
def test_a_folder_above_the_class_folders_is_refused_with_their_parent(tmp_path, data):
    plant(tmp_path, "UCF101/UCF-101", classes=("clap", "jump", "wave"))
    touch(tmp_path, "UCF101/lists/trainlist01.txt", "UCF101/readme.txt")
    for read in (load_manifest, load_training, read_listing):
        with pytest.raises(DataError, match=r"all videos lie in .*UCF101/UCF-101, in 3 folders \(clap, jump, wave\)"):
            read(tmp_path / data)


def test_a_folder_above_the_splits_is_refused_with_their_parent(tmp_path):
    plant(tmp_path, "data/train", "data/val")
    with pytest.raises(DataError, match=r"all videos lie in .*/data, in 2 folders"):
        load_manifest(tmp_path)


@pytest.mark.parametrize(
    "videos",
    [
        ("training/a.mp4", "test/b.mp4", "boxing/c.mp4"),
        ("training/a.mp4", "evaluation/b.mp4", "meeting/c.mp4"),
        ("personal_training/a.mp4", "personal_development/b.mp4", "lunch/c.mp4"),
        ("train/a.mp4", "tram/b.mp4"),
        ("train_station/a.mp4", "web_dev/b.mp4"),
        ("wave/anna/a.mp4", "wave/ben/b.mp4", "clap/carl/c.mp4", "clap/dora/d.mp4"),
        ("wave/rgb/a.mp4", "clap/rgb/b.mp4"),
        ("wave/a.mp4", "wave/b.mp4", "wave/bad/a.mp4", "clap/c.mp4", "clap/d.mp4", "clap/bad/c.mp4"),
        ("wave/session/a.mp4", "wave/session/b.mp4"),
        ("wave/1/00001.jpg", "wave/2/00001.jpg", "clap/1/00001.jpg", "clap/2/00001.jpg"),
    ],
)
def test_classes_stay_classes(tmp_path, videos):
    touch(tmp_path, *videos)
    assert not holds_splits(tmp_path)
    assert load_training(tmp_path).class_names == tuple(sorted({video.split("/")[0] for video in videos}))


def test_flat_splits_are_refused_with_the_advice_to_write_a_list(tmp_path):
    touch(tmp_path, "toy_train/a.mp4", "toy_val/b.mp4")
    with pytest.raises(DataError, match=r"toy_train contains no folders.*; if toy_train is a class, list the videos"):
        load_training(tmp_path)
    with pytest.raises(
        DataError, match=r"contains splits, not classes.* if toy_train, toy_val are classes, list the videos"
    ):
        load_manifest(tmp_path)


def test_classes_that_hold_splits_are_refused(tmp_path):
    plant(tmp_path, "clap", "wave", classes=("train", "val", "test"))
    for read in (load_manifest, load_training, read_listing):
        with pytest.raises(
            DataError, match=r"classes \(clap, wave\), each with its own splits .*such as .*/test/clap, or"
        ):
            read(tmp_path)


@pytest.mark.parametrize(("first", "second"), [("k400", "a_val"), ("z_train", "k400"), ("k400", "a_test")])
def test_a_split_named_training_or_validation_is_proposed_as_such(tmp_path, first, second):
    plant(tmp_path, first, second)
    with pytest.raises(DataError, match=rf"train .*/{first} --val .*/{second}`"):
        load_manifest(tmp_path)


@pytest.mark.parametrize("other", ["clap/a.mp4.part", "clap/b", ""])
def test_a_class_without_videos_next_to_one_with_folders_is_not_ignored(tmp_path, other):
    touch(tmp_path, "wave/anna/a.mp4", "wave/ben/b.mp4", *filter(None, [other]))
    (tmp_path / "clap").mkdir(exist_ok=True)
    with pytest.raises(DataError, match=r"no video in 1 of 2 class folders \(clap\)"):
        load_manifest(tmp_path)
    assert read_listing(tmp_path).class_names == ("clap", "wave")


def test_a_folder_that_was_packed_twice_is_refused_with_the_inner_one(tmp_path):
    plant(tmp_path, "train/train", "val/val")
    with pytest.raises(DataError, match=r"all videos lie in .*/train/train, in 2 folders"):
        load_training(tmp_path)
