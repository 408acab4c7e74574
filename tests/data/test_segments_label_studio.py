"""Segments in exports of Label Studio: frames of real videos, annotators, paths and what is refused."""

import json
import logging
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from timesformer.data.manifest.manifest import read_rows
from timesformer.data.video.reader import open_reader
from timesformer.errors import DataError
from videos import frame_indices, touch, write_video


def region(label: str, *ranges: tuple[int, int]) -> dict[str, Any]:
    value = {"ranges": [{"start": start, "end": end} for start, end in ranges], "timelinelabels": [label]}
    return {"id": "r", "type": "timelinelabels", "from_name": "tricks", "to_name": "video", "value": value}


def task(*results: list[dict[str, Any]], number: int = 7, **data: Any) -> dict[str, Any]:
    annotations = [{"id": place, "was_cancelled": False, "result": result} for place, result in enumerate(results)]
    return {"id": number, "data": {"video": "a.mp4", **data}, "annotations": annotations, "predictions": []}


def write(folder: Path, *tasks: object) -> Path:
    path = folder / "export.json"
    path.write_text(json.dumps(tasks))
    return path


def found(path: Path) -> list[tuple[str, str, Any]]:
    return [(row.path.name, row.label, row.segment) for row in read_rows(path)[0]]


TIMES_MS = (0, 40, 90, 120, 250, 260, 400)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("studio")
    write_video(folder / "a.mp4", num_frames=12, fps=24)
    write_video(folder / "variable.mkv", num_frames=7, times_ms=TIMES_MS)
    return folder


@pytest.mark.parametrize("video", ["a.mp4", "variable.mkv"])
@given(st.data())
def test_frames_of_a_region_are_the_frames_of_its_segment(video, folder, data):
    num_frames = {"a.mp4": 12, "variable.mkv": 7}[video]
    start = data.draw(st.integers(1, num_frames))
    end = data.draw(st.integers(start, num_frames))
    (row,), _ = read_rows(write(folder, task([region("wave", (start, end))], video=video)))
    with open_reader(folder / video, segment=row.segment) as reader:
        shown = frame_indices(reader.read(range(reader.info.num_frames)))
    assert shown == list(range(start - 1, end))


def test_frames_of_a_task_with_its_rate_need_no_video(tmp_path):
    path = write(tmp_path, task([region("wave", (1, 30), (31, 45))], fps=30), task([region("clap", (1, 5))], fps="10"))
    assert found(path) == [("a.mp4", "wave", (0.0, 1.0)), ("a.mp4", "wave", (1.0, 1.5)), ("a.mp4", "clap", (0.0, 0.5))]
    assert [row.where for row in read_rows(path)[0]] == ["task 7, region 1", "task 7, region 2", "task 7, region 1"]


def test_labels_of_older_projects_are_in_seconds(tmp_path):
    value = {"start": 0.5, "end": 2.25, "labels": ["wave"], "channel": 0}
    path = write(tmp_path, task([{"type": "labels", "value": value}]))
    assert found(path) == [("a.mp4", "wave", (0.5, 2.25))]


def test_the_short_export_is_read_too(tmp_path):
    item = {"id": 3, "annotation_id": 1, "annotator": 1, "lead_time": 2.5, "created_at": "2026-01-01", "fps": 10}
    tricks = [{"ranges": [{"start": 1, "end": 5}], "timelinelabels": ["wave"]}]
    path = write(tmp_path, {**item, "video": "/data/upload/1/0a1b2c3d-a.mp4", "tricks": tricks})
    touch(tmp_path, "a.mp4")
    assert found(path) == [("a.mp4", "wave", (0.0, 0.5))]
    path = write(tmp_path, *({**item, "video": "a.mp4", "tricks": own} for own in (tricks, tricks[:0])))
    with pytest.raises(DataError, match=r"export.json, task 3: its 2 annotations differ: keep one of them"):
        read_rows(path)


def test_annotators_may_agree_but_not_differ(tmp_path):
    one, other = region("wave", (1, 5)), region("wave", (1, 6))
    assert len(found(write(tmp_path, task([one], [one], fps=10)))) == 1
    with pytest.raises(DataError, match=r"task 7: its 2 annotations differ: keep one of them in Label Studio"):
        read_rows(write(tmp_path, task([one], [other], fps=10)))


def test_what_is_left_out_is_counted(tmp_path, caplog):
    cancelled = task([region("clap", (1, 2))], fps=10)
    cancelled["annotations"][0]["was_cancelled"] = True
    choice = {"type": "choices", "value": {"choices": ["good"]}}
    tasks = task([region("wave", (1, 5)), choice], fps=10), cancelled, task(fps=10), task([choice], fps=10)
    path = write(tmp_path, *tasks)
    with caplog.at_level(logging.WARNING):
        assert found(path) == [("a.mp4", "wave", (0.0, 0.5))]
    message = "1 cancelled annotations, 3 tasks without timeline labels, regions of other kinds (choices: 2)"
    assert caplog.messages == [f"{path}: left out {message}"]


def test_another_rate_than_the_default_is_reported(folder, caplog):
    with caplog.at_level(logging.WARNING):
        path = write(folder, task([region("wave", (1, 5))]))
        read_rows(path)
        assert caplog.messages == []
        read_rows(write(folder, task([region("wave", (1, 5))], video="variable.mkv")))
    message = "frames are counted at the rate of each file; 1 videos have another rate than 24, Label Studio's default"
    assert len(caplog.messages) == 1 and message in caplog.messages[0]


# --- paths ---


@pytest.mark.parametrize(
    ("given", "file"),
    [
        ("a.mp4", "a.mp4"),
        ("/data/upload/12/0a1b2c3d-a.mp4", "0a1b2c3d-a.mp4"),
        ("/data/upload/12/0a1b2c3d-a.mp4", "videos/a.mp4"),
        ("/data/local-files/?d=clips/day%201/a.mp4", "clips/day 1/a.mp4"),
        ("/data/local-files/?d=clips/day1/a.mp4", "videos/a.mkv"),
        ("http://localhost:8080/data/local-files/?d=clips/a.mp4", "clips/a.mp4"),
        ("s3://bucket/folder/a.mp4", "a.mp4"),
        ("https://example.org/a.mp4?token=1", "a.mp4"),
        ("/data/upload/1/0a1b2c3d-my%20clip.mp4", "my clip.mp4"),
        ("C:\\videos\\a.mp4", "a.mp4"),
    ],
)
def test_videos_are_found_by_their_path_or_name(given, file, tmp_path):
    touch(tmp_path, file)
    (row,), _ = read_rows(write(tmp_path, task([region("wave", (1, 5))], video=given, fps=10)))
    assert row.path == tmp_path / file


def test_a_missing_video_is_missed_next_to_the_export(tmp_path):
    (row,), _ = read_rows(write(tmp_path, task([region("wave", (1, 5))], video="s3://bucket/a.mp4", fps=10)))
    assert row.path == tmp_path / "a.mp4"


def test_the_video_may_have_another_key(tmp_path):
    item = task([region("wave", (1, 5))], fps=10)
    item["data"] = {"fps": 10, "title": "day 1", "recording": "b.webm"}
    assert found(write(tmp_path, item)) == [("b.webm", "wave", (0.0, 0.5))]
    item["data"]["other"] = "c.mp4"
    with pytest.raises(DataError, match=r"task 7: names several videos in its data"):
        read_rows(write(tmp_path, item))
    item["data"] = {"title": "day 1"}
    with pytest.raises(DataError, match=r'task 7: names no video in its data: {"title": "day 1"}'):
        read_rows(write(tmp_path, item))


# --- what is refused ---


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        ((0, 5), "frames 0 to 5, but .*a.mp4 has frames 1 to 12: if the framerate of the Video tag"),
        ((1, 13), "frames 1 to 13, but .*a.mp4 has frames 1 to 12"),
        ((13, 13), "frames 13 to 13, but .*a.mp4 has frames 1 to 12"),
        ((1, -1), "frames 1 to -1, but .*a.mp4 has frames 1 to 12"),
        ((9, 3), "a segment from 0.333333 to 0.125 s: it must end after it starts"),
    ],
)
def test_frames_that_the_video_does_not_have_are_refused(frames, message, folder):
    with pytest.raises(DataError, match=rf"export.json, task 7, region 1: {message}"):
        read_rows(write(folder, task([region("wave", frames)])))


def test_frames_of_a_video_that_cannot_be_read_are_refused(tmp_path):
    message = r"task 7, region 1: frames have no times, since the video cannot be read: .*a.mp4.*; or add 'fps'"
    with pytest.raises(DataError, match=message):
        read_rows(write(tmp_path, task([region("wave", (1, 5))])))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"ranges": [{"start": 1, "end": 5}], "timelinelabels": ["a", "b"]}, r'labels \["a", "b"\]; a segment has one'),
        ({"ranges": [{"start": 1, "end": 5}]}, "the labels null; a segment has one"),
        ({"ranges": [{"start": 1, "end": 5}], "timelinelabels": [3]}, r"the labels \[3\]; a segment has one"),
        ({"ranges": {"start": 1}, "timelinelabels": ["a"]}, '{"start": 1} is not a list of ranges'),
        ({"ranges": [{"start": 1}], "timelinelabels": ["a"]}, "a region from 1 to null: allowed are frame numbers"),
        ({"ranges": [{"start": 1.5, "end": 2}], "timelinelabels": ["a"]}, "from 1.5 to 2: allowed are frame numbers"),
        ({"ranges": [{"start": "1", "end": 2}], "timelinelabels": ["a"]}, 'from "1" to 2: allowed are frame numbers'),
    ],
)
def test_bad_regions_are_refused_with_their_task(value, message, tmp_path):
    with pytest.raises(DataError, match=rf"export.json, task 7: .*{message}"):
        read_rows(write(tmp_path, task([{"type": "timelinelabels", "value": value}], fps=10)))


@pytest.mark.parametrize("fps", ["fast", 0, -3, [1], True and "inf"])
def test_bad_rates_are_refused(fps, tmp_path):
    with pytest.raises(DataError, match=r"task 7: .* is not a rate in frames a second"):
        read_rows(write(tmp_path, task([region("wave", (1, 5))], fps=fps)))


@pytest.mark.parametrize(
    "item",
    [
        {"id": 7, "data": [], "annotations": []},
        {"id": 7, "data": {}, "annotations": {}},
        {"id": 7, "data": {}, "annotations": ["x"]},
    ],
)
def test_tasks_of_another_form_are_refused(item, tmp_path):
    with pytest.raises(DataError, match=r"export.json, task 7: its data or annotations are of another form"):
        read_rows(write(tmp_path, item))


def test_results_of_another_form_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"export.json, task 7: the result of an annotation is not a list of regions"):
        read_rows(write(tmp_path, task(["wave"])))  # ty: ignore[invalid-argument-type]


def test_an_export_without_timeline_labels_lists_no_video(tmp_path):
    with pytest.raises(DataError, match=r"export.json lists no video"):
        read_rows(write(tmp_path, task([])))
