"""Segments in JSON of ActivityNet: subsets, ids of videos, and what is refused."""

import json
import logging
from pathlib import Path

import pytest

from timesformer.data.manifest.inputs import list_files
from timesformer.data.manifest.manifest import find_split, holds_splits, read_rows, source_exists
from timesformer.errors import DataError
from videos import touch


def video(subset: str, *segments: tuple[str, float, float]) -> dict[str, object]:
    annotations = [{"label": label, "segment": [start, end]} for label, start, end in segments]
    return {"subset": subset, "duration": 99.5, "url": "https://example.org/v", "annotations": annotations}


DATABASE = {
    "version": "VERSION 1.3",
    "database": {
        "a-1": video("training", ("wave", 0.5, 3.25), ("clap", 3.25, 8)),
        "b": video("validation", ("wave", 0, 1)),
        "c": video("testing"),
        "d": video("training", ("wave", 7, 99.5)),
    },
}


def write(path: Path, content: object) -> Path:
    path.write_text(json.dumps(content))
    return path


def found(source: Path, root: Path) -> list[tuple[str, str, tuple[float, float] | None]]:
    return [(row.path.relative_to(root).as_posix(), row.label, row.segment) for row in read_rows(source)[0]]


@pytest.fixture
def activity_net(tmp_path):
    touch(tmp_path, "videos/v_a-1.mp4", "b.mkv", "videos/d.webm")
    return write(tmp_path / "activity_net.json", DATABASE)


def test_a_subset_is_named_behind_the_file(activity_net, tmp_path):
    assert found(activity_net / "training", tmp_path) == [
        ("videos/v_a-1.mp4", "wave", (0.5, 3.25)),
        ("videos/v_a-1.mp4", "clap", (3.25, 8.0)),
        ("videos/d.webm", "wave", (7.0, 99.5)),
    ]
    assert found(activity_net / "Validation", tmp_path) == [("b.mkv", "wave", (0.0, 1.0))]
    assert [row.where for row in read_rows(activity_net / "training")[0]] == [
        "video a-1, segment 1",
        "video a-1, segment 2",
        "video d, segment 1",
    ]


def test_training_and_validation_are_splits_of_the_file(activity_net):
    assert holds_splits(activity_net)
    assert find_split(activity_net, "train") == activity_net / "training"
    assert find_split(activity_net, "val") == activity_net / "validation"
    assert source_exists(activity_net / "training")
    assert activity_net in list_files(activity_net / "training")


def test_other_files_hold_no_splits(tmp_path):
    touch(tmp_path, "empty.json")
    for name, text in {"list.json": "[]", "broken.json": '{"database": ', "other.json": '{"database": 3}'}.items():
        (tmp_path / name).write_text(text)
        assert not holds_splits(tmp_path / name)
    assert not holds_splits(tmp_path / "empty.json")
    assert not holds_splits(tmp_path / "none.json")
    assert not source_exists(tmp_path / "none.json" / "training")


def test_several_subsets_without_a_name_are_refused(activity_net):
    message = r"activity_net.json has several subsets \(training: 2, validation: 1 videos\): name one of them, such as "
    with pytest.raises(DataError, match=message + r".*activity_net.json/training$"):
        read_rows(activity_net)


@pytest.mark.parametrize("subset", ["train", "testing"])
def test_a_subset_without_segments_is_refused(subset, activity_net):
    message = rf"activity_net.json has no subset '{subset}' with segments; its subsets are: training, validation"
    with pytest.raises(DataError, match=message):
        read_rows(activity_net / subset)


def test_one_subset_needs_no_name_and_videos_without_segments_are_counted(tmp_path, caplog):
    path = write(tmp_path / "thumos.json", {"database": {"x": video("Validation", ("jump", 1, 2)), "y": video("Test")}})
    with caplog.at_level(logging.WARNING):
        assert found(path, tmp_path) == [("videos/x.mp4", "jump", (1.0, 2.0))]
    assert caplog.messages == [f"{path}: left out 1 videos without segments"]


def test_results_are_read_without_their_scores(tmp_path):
    touch(tmp_path, "v_x.mp4")
    results = {"x": [{"label": "jump", "score": 0.9, "segment": [1, 2.5]}]}
    path = write(tmp_path / "results.json", {"version": "1", "results": results, "external_data": {}})
    assert found(path, tmp_path) == [("v_x.mp4", "jump", (1.0, 2.5))]


def test_class_names_come_from_the_file_next_to_it(activity_net, tmp_path):
    (tmp_path / "classes.txt").write_text("wave\nclap\n")
    assert read_rows(activity_net / "training")[1] == ("wave", "clap")


@pytest.mark.parametrize(
    ("annotation", "message"),
    [
        ({"label": "wave"}, "segment 1: has no 'label' and 'segment'"),
        ("wave", "segment 1: has no 'label' and 'segment', got \"wave\""),
        ({"label": "", "segment": [1, 2]}, 'segment 1: "" is not a label; a segment has one label'),
        ({"label": ["a", "b"], "segment": [1, 2]}, r'segment 1: \["a", "b"\] is not a label'),
        ({"label": "wave", "segment": [1]}, r"segment 1: \[1\] is not a segment such as \[1.5, 8.0\], in seconds"),
        ({"label": "wave", "segment": ["1", "2"]}, "is not a segment such as"),
        ({"label": "wave", "segment": [1, float("nan")]}, r"\[1, NaN\] is not a segment such as"),
        ({"label": "wave", "segment": [1, 10**400]}, "is not a segment such as"),
        ({"label": "wave", "segment": [5, 2]}, "segment 1: a segment from 5 to 2 s: it must end after it starts"),
        (
            {"label": "wave", "segment": [-1, 2]},
            "segment 1: a segment from -1 to 2 s: times are seconds from",
        ),
    ],
)
def test_bad_annotations_are_refused_with_their_video(annotation, message, tmp_path):
    path = write(tmp_path / "a.json", {"database": {"x": {"subset": "training", "annotations": [annotation]}}})
    with pytest.raises(DataError, match=rf"a.json, video x, .*{message}"):
        read_rows(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"database": {"x": 3}}, "a.json, video x: 3 is not an object with 'annotations'"),
        (
            {"database": {"x": {"annotations": {"a": 1}}}},
            "a.json, video x: its annotations are not a list, but {",
        ),
        ({"database": {"https://x": video("s", ("a", 1, 2))}}, "a.json, video https://x: .* is a URL"),
        ({"database": {}}, "a.json lists no video"),
        ({"other": {}}, "a.json is not a list of clips"),
    ],
)
def test_other_contents_are_refused(content, message, tmp_path):
    with pytest.raises(DataError, match=message):
        read_rows(write(tmp_path / "a.json", content))


def test_only_activity_net_has_subsets(tmp_path):
    path = write(tmp_path / "clips.json", [{"id": "a", "label": "wave"}])
    with pytest.raises(DataError, match=r"clips.json/training does not exist: only ActivityNet's files have subsets"):
        read_rows(path / "training")
