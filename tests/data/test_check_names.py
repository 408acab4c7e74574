"""A check finds classes that look alike, and names that stand for a missing value."""

from pathlib import Path

import pytest

from timesformer.data.check.data_check import check_dataset
from timesformer.data.check.listing import ListedDataset, ListedVideo
from timesformer.data.check.names import is_placeholder, name_faults
from timesformer.data.synthetic.dataset import write_clip
from timesformer.data.synthetic.motion import MOTION_CLASSES, render_clip


def listing(*names: str) -> ListedDataset:
    videos = [
        ListedVideo(path=Path(f"{label}.mp4"), split="train", given=name, label=label)
        for label, name in enumerate(names)
    ]
    return ListedDataset(tuple(videos), names)


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        (("Wave", "clap", "wave"), "2 classes, with their numbers of training videos: 'Wave' (1), 'wave' (1)"),
        (("0", "O"), "2 classes, with their numbers of training videos: '0' (1), 'O' (1)"),
        (
            ("push up", "push_up", "pushup"),
            "3 classes, with their numbers of training videos: 'push up' (1), 'push_up'",
        ),
        (("wave", "w\u0430ve"), r"2 classes, with their numbers of training videos: 'wave' (1), 'w\u0430ve' (1)"),
        (("a  b", "a b"), "2 classes, with their numbers of training videos: 'a  b' (1), 'a b' (1)"),
    ],
)
def test_classes_that_look_alike_are_one_finding(names, reason):
    (fault,) = name_faults(listing(*names))
    assert (fault.kind, fault.files) == ("similar_classes", ())
    assert fault.reason.startswith(reason)


def test_classes_that_look_alike_over_a_third_are_one_finding():
    # O and 0 print alike, o and O differ in case only
    assert [fault.reason.partition(" ")[0] for fault in name_faults(listing("o", "0", "O", "x"))] == ["3"]


@pytest.mark.parametrize(
    "name", ["nan", "NaN", "None", "null", "undefined", "N/A", "<NA>", "#N/A", "?", "-", "___", "(none)", "unlabeled"]
)
def test_a_name_that_stands_for_a_missing_value_is_found_with_its_videos(name):
    (fault,) = name_faults(listing("wave", name))
    assert fault == ("placeholder_label", (Path("1.mp4"),), f"class {name!r}, videos: 1")


@pytest.mark.parametrize("name", ["wave", "nano", "nonexistent", "naan", "0", "👋", "no hands", "C#", "漢"])
def test_other_names_stand_for_a_class(name):
    assert not is_placeholder(name)
    assert list(name_faults(listing(name, "clap hands"))) == []


def test_good_names_are_without_findings():
    assert list(name_faults(listing(*MOTION_CLASSES))) == []
    assert list(name_faults(listing(*map(str, range(400))))) == []


def test_a_check_warns_of_names(tmp_path):
    for number, name in enumerate(("Wave", "wave", "nan")):
        (tmp_path / name).mkdir()
        frames = render_clip(MOTION_CLASSES[number], seed=number, num_frames=8, size=(32, 40), background="plain")
        write_clip(tmp_path / name / "a.mp4", frames)
    check = check_dataset(tmp_path)
    assert [(finding.kind, finding.severity, finding.files) for finding in check.findings] == [
        ("similar_classes", "warning", ()),
        ("placeholder_label", "warning", (tmp_path / "nan/a.mp4",)),
    ]


def test_a_check_of_labels_from_1_says_that_they_count_from_0(tmp_path):
    for number in (1, 2):
        frames = render_clip(MOTION_CLASSES[number], seed=number, num_frames=8, size=(32, 40), background="plain")
        write_clip(tmp_path / f"{number}.mp4", frames)
    (tmp_path / "list.txt").write_text("1.mp4 1\n2.mp4 2\n")
    (finding,) = check_dataset(tmp_path / "list.txt").findings
    assert (finding.kind, finding.reason) == (
        "empty_class",
        "no training video has class '0'; labels must count from 0",
    )
