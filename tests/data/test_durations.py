"""Lengths of the samples of a manifest."""

from pathlib import Path

import pytest

from timesformer.data.manifest.durations import median_seconds
from timesformer.data.manifest.manifest import Sample
from timesformer.data.video.segment import Segment
from videos import write_video


def segment(length: float) -> Sample:
    return Sample(Path("absent.mp4"), 0, segment=Segment(1.0, 1.0 + length))


def test_segment_is_as_long_as_it_says_and_a_video_as_its_frames_last(tmp_path: Path):
    video = write_video(tmp_path / "a.mp4", num_frames=9, fps=6)
    assert median_seconds([segment(0.5)]) == 0.5
    assert median_seconds([Sample(video, 0)]) == pytest.approx(1.5)
    assert median_seconds([segment(0.5), Sample(video, 0), segment(2.0)]) == pytest.approx(1.5)


def test_unreadable_videos_are_left_out():
    absent = Sample(Path("absent.mp4"), 0)
    assert median_seconds([absent, segment(0.5), absent]) == 0.5
    assert median_seconds([absent]) is None
    assert median_seconds([]) is None


def test_of_many_samples_evenly_spaced_ones_are_measured():
    samples = [segment(float(length)) for length in range(1, 11)]
    assert median_seconds(samples, most=3) == 4.0  # of 1, 4 and 7
    assert median_seconds(samples, most=10) == 5.5
