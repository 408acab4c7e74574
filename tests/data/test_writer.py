"""Videos are written with the frames and the times they are given."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from timesformer.data.video.writer import write_timed_mp4
from videos import decode_all, draw_frame, frame_indices


@pytest.mark.parametrize("fps", [Fraction(30000, 1001), Fraction(24), Fraction(25), Fraction(60)])
def test_common_rates_are_exact(tmp_path: Path, fps: Fraction):
    times = np.array([float(number / fps) for number in range(9)])
    write_timed_mp4(tmp_path / "video.mp4", map(draw_frame, range(9)), times=times, quality={"crf": "18"})
    with av.open(str(tmp_path / "video.mp4")) as file:
        found = [frame.pts * frame.time_base for frame in file.decode(video=0)]
    assert found == [number / fps for number in range(9)]
    assert frame_indices(decode_all(tmp_path / "video.mp4")) == list(range(9))


def test_equal_times_become_one_tick_apart(tmp_path: Path):
    times = np.array([0.0, 0.5, 0.5, 0.5, 1.0])
    write_timed_mp4(tmp_path / "video.mp4", map(draw_frame, range(5)), times=times, quality={"crf": "18"})
    with av.open(str(tmp_path / "video.mp4")) as file:
        ticks = [round(float(frame.time) * 90_000) for frame in file.decode(video=0)]
    assert ticks == [0, 45_000, 45_001, 45_002, 90_000]


@pytest.mark.parametrize("num_frames", [3, 5])
def test_as_many_frames_as_times_are_needed(tmp_path: Path, num_frames: int):
    times = np.arange(4) / 25
    with pytest.raises(ValueError, match=r"zip\(\) argument 2 is (shorter|longer) than argument 1"):
        write_timed_mp4(tmp_path / "video.mp4", map(draw_frame, range(num_frames)), times=times, quality={"crf": "18"})
