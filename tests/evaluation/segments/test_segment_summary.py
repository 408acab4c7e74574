"""Measures over several videos: pooled as published, intervals over whole videos, JSON, text and page."""

import json
import math
import re
from pathlib import Path

import numpy as np
import pytest

from timesformer.config.thresholds import Thresholds
from timesformer.errors import ConfigError, DataError
from timesformer.evaluation.intervals import fraction_interval
from timesformer.evaluation.metrics import wilson_interval
from timesformer.evaluation.report.segments import choose_videos, write_segment_report
from timesformer.evaluation.result import Skipped
from timesformer.evaluation.segments.metrics import Events
from timesformer.evaluation.segments.result import SegmentEvaluation
from timesformer.evaluation.segments.summary import ComparedVideo, summarize_segments

NAMES = ("wave", "clap <b>", "jump")
TRUTH = ((0.0, 4.0, 0, 1.0), (4.0, 6.0, 1, 1.0))


def video(
    name: str,
    truth: tuple = TRUTH,
    predicted: tuple = TRUTH,
    *,
    overlapping: tuple | None = None,
    group: str = "",
    seconds: float = 8.0,
) -> ComparedVideo:
    return ComparedVideo(
        path=f"{name}.mp4",
        group=group,
        times=np.arange(0, seconds, 0.5),
        duration=seconds,
        truth=Events.of(list(truth)),
        exclusive=Events.of(list(predicted)),
        overlapping=Events.of(list(predicted if overlapping is None else overlapping)),
    )


def summary(*videos: ComparedVideo) -> SegmentEvaluation:
    return summarize_segments(videos, class_names=NAMES, window=1.5, stride=0.5, thresholds=Thresholds())


def shifted(by: float) -> tuple:
    return ((by, 4 + by, 0, 0.9), (4 + by, 6 + by, 1, 0.8))


def test_perfect_timelines_are_perfect_in_every_measure():
    result = summary(*(video(str(number)) for number in range(6)))
    fractions = (
        result.frame_accuracy, result.frame_accuracy_inside, result.edit, result.mean_ap, *result.f1.values(),
        *result.f1_overlapping.values(),
    )  # fmt: skip
    assert [measure.value for measure in fractions] == [1.0] * len(fractions)
    assert all(measure.high == 1 and 0.5 < measure.low < 1 for measure in fractions)  # six videos are few
    assert (result.boundary_median.value, result.boundary_mean.value, result.num_matched) == (0, 0, 12)


def test_empty_timelines_are_wrong_except_in_background():
    result = summary(*(video(str(number), predicted=()) for number in range(5)))
    assert result.frame_accuracy.value == 0.25
    assert result.frame_accuracy_inside.value == result.edit.value == result.f1[10].value == result.mean_ap.value == 0
    assert math.isnan(result.boundary_median.value)
    assert result.num_matched == 0


def test_timelines_without_any_true_segment_have_no_average_precision():
    result = summary(video("a", truth=(), predicted=()), video("b", truth=()))
    assert result.frame_accuracy.value == (16 + 4) / 32
    assert math.isnan(result.mean_ap.value)
    assert math.isnan(result.frame_accuracy_inside.value)
    assert "mAP 0.5 to 0.95    -" in result.to_text()
    assert result.to_dict()["mean_ap"] == {"value": None, "low": None, "high": None}
    assert json.loads(json.dumps(result.to_dict(), allow_nan=False))["segments"] == 0


def test_frames_and_segments_are_pooled_and_edit_is_averaged_over_videos():
    result = summary(video("a"), video("b", predicted=((0.0, 1.0, 2, 1.0),), seconds=24.0))
    assert result.frame_accuracy.value == pytest.approx((16 + 36) / (16 + 48))
    assert result.edit.value == 0.5
    assert result.f1[50].value == pytest.approx(2 * 2 / (2 * 2 + 1 + 2))
    assert [round(one.f1, 6) for one in result.classes if one.support] == [round(2 / 3, 6)] * 2
    assert math.isnan(result.classes[2].f1)


def test_boundary_errors_are_signed_and_of_both_ends():
    result = summary(video("a", predicted=shifted(0.25)), video("b", predicted=shifted(-0.5)))
    assert result.boundary_median.value == pytest.approx(0.375)
    assert result.boundary_mean.value == pytest.approx(-0.125)
    assert math.isnan(result.boundary_mean.low)  # of two videos no interval can be told


def test_average_precision_is_of_the_detected_segments():
    result = summary(video("a", predicted=(), overlapping=TRUTH))
    assert result.mean_ap.value == 1
    assert result.f1[50].value == 0
    assert result.f1_overlapping[50].value == 1
    assert result.ap == dict.fromkeys((0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95), 1.0)


def test_order_of_videos_does_not_matter():
    videos = [video(str(number), predicted=shifted(number / 8)) for number in range(8)]
    first, second = summary(*videos), summary(*videos[::-1])
    for name in ("frame_accuracy", "edit", "mean_ap", "boundary_median", "boundary_mean"):
        assert getattr(first, name).value == pytest.approx(getattr(second, name).value)


def test_intervals_contain_the_value_and_are_over_groups_if_there_are_any():
    videos = [video(str(number), predicted=shifted(number / 8)) for number in range(8)]
    alone = summary(*videos)
    grouped = summary(*(video(str(n), predicted=shifted(n / 8), group="ab"[n % 2]) for n in range(8)))
    assert (alone.num_groups, grouped.num_groups) == (8, 2)
    for result in (alone, grouped):
        for measure in (result.frame_accuracy, result.edit, result.f1[50], result.mean_ap):
            assert measure.low <= measure.value <= measure.high
    assert grouped.frame_accuracy.high - grouped.frame_accuracy.low > (
        alone.frame_accuracy.high - alone.frame_accuracy.low
    )
    assert "8 with 16 segments; intervals over videos" in alone.to_text()
    assert "8 with 16 segments; intervals over 2 groups" in grouped.to_text()


def test_interval_of_few_or_equal_groups_is_wilsons():
    low, high = fraction_interval(np.array([[3.0, 4.0]]))
    assert (low, high) == wilson_interval(0.75, num_trials=1)
    varied = np.array([[number, 10.0] for number in range(1, 10)])
    low, high = fraction_interval(varied)
    assert 0.3 < low < 0.4 < 0.6 < high < 0.7
    with pytest.raises(DataError, match="no samples to evaluate"):
        fraction_interval(np.zeros((2, 2)))


def test_no_video_is_refused():
    with pytest.raises(DataError, match="no samples to evaluate"):
        summary()


def test_text_tells_every_measure():
    lines = summary(*(video(str(number), predicted=shifted(number / 8)) for number in range(6))).to_text().splitlines()
    starts = [line[:19].strip() for line in lines]
    assert starts == [
        "frame accuracy", "inside segments", "Edit", "F1@10", "F1@25", "F1@50", "boundaries", "", "mAP 0.5 to 0.95",
        "at 0.5", "F1@10 by class", "F1@25 by class", "F1@50 by class", "videos", "protocol",
    ]  # fmt: skip
    assert re.search(r"\+0\.31 s \(\+0\.0\d to \+0\.5\d\) mean, negative is early", lines[7])
    assert lines[-1].endswith("windows of 1.5 s every 0.5 s")


# --- Page -----------------------------------------------------------------------------------------------------------


def test_page_shows_truth_above_prediction_with_names_escaped(tmp_path: Path):
    result = summary(video("a", predicted=shifted(0.5)), video("b"))
    page = write_segment_report(result, tmp_path / "page.html", title="x < y").read_text("utf-8")
    assert page.index(">truth<") < page.index(">predicted<")
    assert "<h1>x &lt; y</h1>" in page
    assert "clap &lt;b&gt;, 4.50 to 6.50 s" in page
    assert page.count("<figure") == 2
    assert "http" not in page.replace("http-equiv", "")


def test_existing_page_is_kept_unless_told_otherwise(tmp_path: Path):
    (tmp_path / "page.html").write_text("mine")
    with pytest.raises(ConfigError, match=r"already exists; pass overwrite=True \(--overwrite\) to replace it"):
        write_segment_report(summary(video("a")), tmp_path / "page.html", title="x")
    assert (tmp_path / "page.html").read_text() == "mine"
    write_segment_report(summary(video("a")), tmp_path / "page.html", title="x", overwrite=True)


def test_long_video_takes_several_lines_and_tells_what_is_left_out(tmp_path: Path):
    truth = tuple((float(second), second + 1.0, second % 3, 1.0) for second in range(200))
    result = summary(video("long", truth=truth, predicted=truth, seconds=200.0))
    page = write_segment_report(result, tmp_path / "page.html", title="x").read_text("utf-8")
    assert page.count("<svg") == 5
    assert "Shown: the first 1:20 of 3:20." in page


def test_lowest_and_highest_accuracies_are_shown():
    result = summary(*(video(str(number), predicted=shifted(number / 4)) for number in range(5)))
    accuracies = [one.frame_accuracy for one in result.videos]
    shown = [one.frame_accuracy for one in choose_videos(result.videos, count=3)]
    assert shown == [*sorted(accuracies)[:2], max(accuracies)]


def test_skipped_videos_are_listed(tmp_path: Path):
    skipped = (Skipped(path="bad.mp4", reason="bad.mp4: <broken>"),)
    result = summarize_segments(
        [video("a")], class_names=NAMES, window=1.0, stride=0.5, thresholds=Thresholds(), skipped=skipped
    )
    page = write_segment_report(result, tmp_path / "page.html", title="x").read_text("utf-8")
    assert "bad.mp4: &lt;broken&gt;" in page
    assert "1 (1 skipped) with 2 segments" in result.to_text()
