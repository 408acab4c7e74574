"""Each segment is evaluated as a clip; intervals resample whole videos; all outputs tell the segments apart."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from timesformer.data.manifest.manifest import Manifest, Sample, load_manifest
from timesformer.data.synthetic.dataset import write_clip
from timesformer.data.synthetic.motion import render_clip
from timesformer.data.video.segment import Segment
from timesformer.evaluation.evaluate import evaluate
from timesformer.evaluation.intervals import accuracy_interval
from timesformer.evaluation.report.page import write_report
from timesformer.evaluation.result import Evaluation, write_predictions
from timesformer.model.timesformer import TimeSformer

CLASSES = ("move_left", "move_right", "grow")
FPS = 10
LENGTH = 6
PARTS = tuple(Segment(start / FPS, (start + LENGTH) / FPS) for start in range(0, 3 * LENGTH, LENGTH))


@pytest.fixture(scope="module")
def segments(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    """Seven videos of three segments of 6 frames, one of each class."""
    folder = tmp_path_factory.mktemp("long")
    samples = []
    for number in range(7):
        clips = [render_clip(name, seed=number, num_frames=LENGTH, size=(16, 20)) for name in CLASSES]
        path = folder / f"{number}.mp4"
        write_clip(path, np.concatenate(clips), fps=FPS)
        samples += [Sample(path, label, segment=part) for label, part in enumerate(PARTS)]
    return Manifest(tuple(samples), CLASSES)


@pytest.fixture
def evaluation(model: TimeSformer, segments: Manifest) -> Evaluation:
    return evaluate(model, segments, num_workers=0)


def test_each_segment_counts_and_whole_videos_are_resampled(evaluation: Evaluation, segments: Manifest):
    assert evaluation.num_videos == 21
    assert evaluation.confusion.sum(axis=1).tolist() == [7, 7, 7]
    assert [(video.path, video.segment) for video in evaluation.predictions] == [
        (str(sample.path), sample.segment) for sample in segments.samples
    ]
    correct = np.array([[video.predicted == video.label for video in evaluation.predictions]])
    expected = accuracy_interval(correct, groups=[str(number) for number in range(7) for _ in CLASSES])
    assert evaluation.top1_interval == (expected.low, expected.high)
    assert (evaluation.num_groups, evaluation.group_kind) == (7, "video")
    assert "7 videos" in evaluation.describe_interval()
    assert evaluation.describe_size() == "21 segments of 7 videos"


def test_groups_come_before_videos(model: TimeSformer, segments: Manifest):
    samples = tuple(
        Sample(s.path, s.label, "anna" if number < 9 else "ben", s.segment) for number, s in enumerate(segments.samples)
    )
    evaluation = evaluate(model, Manifest(samples, CLASSES), num_workers=0)
    assert (evaluation.num_groups, evaluation.group_kind) == (2, "group")
    assert evaluation.describe_interval().endswith("(Wilson with the variance between 2 groups)")


def test_whole_videos_keep_their_columns_keys_and_interval(model: TimeSformer, segments: Manifest, tmp_path: Path):
    whole = Manifest(tuple(Sample(path, 0) for path in segments.paths), CLASSES)
    evaluation = evaluate(model, whole, num_workers=0)
    content = evaluation.to_dict()
    assert "group_kind" not in content
    assert not {"segment", "start", "end"} & content["predictions"][0].keys()
    assert (evaluation.top1_interval_method, evaluation.describe_size()) == ("wilson", "7")
    write_predictions(evaluation, tmp_path / "p.csv")
    assert (tmp_path / "p.csv").read_text().startswith("path,label,predicted,")


def test_table_and_json_have_the_times(evaluation: Evaluation, tmp_path: Path):
    write_predictions(evaluation, tmp_path / "p.csv")
    with (tmp_path / "p.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0])[:4] == ["path", "start", "end", "label"]
    assert [(float(row["start"]), float(row["end"])) for row in rows[:3]] == list(PARTS)
    again = load_manifest(tmp_path / "p.csv")  # the table is itself a list of segments
    assert [(sample.path, sample.segment) for sample in again.samples] == [
        (Path(video.path), video.segment) for video in evaluation.predictions
    ]
    content = json.loads(json.dumps(evaluation.to_dict()))
    assert (content["group_kind"], content["num_groups"]) == ("video", 7)
    assert list(content["predictions"][1])[:3] == ["path", "start", "end"]
    assert content["predictions"][1]["start"] == 0.6


def test_skipped_segments_are_named_with_their_times(model: TimeSformer, segments: Manifest, tmp_path: Path):
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    broken = Sample(tmp_path / "broken.mp4", 0, segment=Segment(1, 2.5))
    evaluation = evaluate(model, Manifest((broken, *segments.samples), CLASSES), num_workers=0, on_error="skip")
    (skipped,) = evaluation.skipped
    assert skipped.name == f"{tmp_path / 'broken.mp4'}, 1 to 2.5 s"
    (content,) = evaluation.to_dict()["skipped"]
    assert list(content) == ["path", "start", "end", "reason"]
    assert (content["start"], content["end"]) == (1, 2.5)
    page = write_report(evaluation, tmp_path / "page.html", model=model, title="t").read_text()
    assert "broken.mp4, 1 to 2.5 s: " in page


def test_page_shows_the_frames_of_the_segments(evaluation: Evaluation, model: TimeSformer, tmp_path: Path):
    page = write_report(evaluation, tmp_path / "page.html", model=model, title="t").read_text()
    assert "<b>21</b><span class=soft>segments</span>" in page
    assert ".mp4, 0.6 to 1.2 s</span>" in page
    alone = Manifest(tuple(Sample(Path(v.path), 0) for v in evaluation.predictions[:1]), CLASSES)
    whole = evaluate(model, alone, num_workers=0)
    assert "to 0.6 s" not in write_report(whole, tmp_path / "whole.html", model=model, title="t").read_text()


def test_segments_are_read_by_workers_too(evaluation: Evaluation, model: TimeSformer, segments: Manifest):
    torch.manual_seed(3)
    other = evaluate(model, segments, num_workers=2)
    assert [video.top5 for video in other.predictions] == [video.top5 for video in evaluation.predictions]
