from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from timesformer.data.video.reader import open_reader, probe
from timesformer.data.video.segment import Segment, check_segment
from timesformer.errors import DataError
from videos import frame_indices, write_video


@pytest.fixture
def video(tmp_path: Path) -> Path:
    path = tmp_path / "clip.mp4"
    write_video(path, num_frames=20, fps=10)
    return path


@pytest.mark.parametrize(
    ("segment", "frames"),
    [((0.5, 1.2), range(5, 12)), ((0.0, 2.0), range(20)), ((1.95, 9.0), range(0)), ((0.41, 0.5), range(0))],
)
def test_a_segment_is_half_open(segment: tuple[float, float], frames: range):
    assert list(Segment(*segment).frames(np.arange(20) / 10)) == list(frames)


@pytest.mark.parametrize("fps", [23.976, 24, 25, 29.97, 30, 48, 50, 60, 120, 240])
@given(first=st.integers(0, 5000), count=st.integers(1, 500))
def test_edges_rounded_to_milliseconds_are_those_of_the_frames(fps: float, first: int, count: int):
    times = np.arange(6000) / fps
    start, end = times[[first, first + count]].tolist()
    for segment in (Segment(start, end), Segment(round(start, 3), round(end, 3))):
        assert segment.frames(times) == range(first, first + count)


def test_a_segment_is_read_in_place(video: Path):
    with open_reader(video, segment=Segment(0.5, 1.2)) as part:
        assert part.info.num_frames == 7
        assert part.info.fps == probe(video).fps
        assert part.info.duration_s == pytest.approx(0.7)
        np.testing.assert_allclose(part.times, np.arange(7) / 10)
        assert frame_indices(part.read([0, 6, 99])) == [5, 11, 11]


def test_a_segment_without_frames_says_where_the_video_ends(video: Path):
    reader = open_reader(video, segment=Segment(5.0, 6.0))
    with (
        pytest.raises(DataError, match=r"clip.mp4: no frame in the segment from 5 to 6 s; .* 20 frames .* 2 s"),
        reader,
    ):
        pass
    assert probe(video).num_frames == 20


@pytest.mark.parametrize("times", [(2.0, 1.0), (1.0, 1.0), (-1.0, 1.0), (0.0, float("nan"))])
def test_other_times_are_refused(times: tuple[float, float]):
    with pytest.raises(DataError, match="line 3: a segment from"):
        check_segment(*times, where="line 3")
