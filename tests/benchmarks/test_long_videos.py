"""Long videos of clips: the boundaries that are told are those of the file, and background is made of real frames."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from long_videos import STILL_FRAMES, Clip, draw_order, hold_still, write_long_video, write_table
from timesformer.data.manifest.manifest import load_manifest
from timesformer.data.video.reader import open_reader
from timesformer.data.video.segment import Segment
from timesformer.data.video.writer import write_mp4


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[Clip]:
    """Six clips of 40 to 50 gray frames, each brighter than the one before."""
    folder, made = tmp_path_factory.mktemp("clips"), []
    for number in range(6):
        frames = np.full((40 + 2 * number, 16, 24, 3), 20 + 35 * number, np.uint8)
        write_mp4(folder / f"{number}.mp4", frames, rate=Fraction(30), quality={"qp": "0"})
        made.append(Clip(path=folder / f"{number}.mp4", label="abc"[number % 3]))
    return made


@pytest.mark.parametrize("background", [0.0, 0.4])
def test_parts_are_those_of_the_file_frame_by_frame(clips: list[Clip], tmp_path: Path, background: float):
    video = tmp_path / "long.mp4"
    parts = write_long_video(video, clips, background=background, rng=np.random.default_rng(0))
    with open_reader(video) as reader:
        frames = [Segment(part.start, part.end).frames(reader.times) for part in parts]
        levels = reader.read(range(reader.info.num_frames)).mean(axis=(1, 2, 3))
    assert [*np.concatenate(frames)] == [*range(len(levels))]
    assert [len(own) for own, part in zip(frames, parts, strict=True) if part.label] == [40, 42, 44, 46, 48, 50]
    for own in frames:
        assert np.ptp(levels[own]) < 4  # all of one clip
    has_background = any(not part.label for part in parts)
    assert has_background == (background > 0)


def test_table_is_read_back_with_background_left_out(clips: list[Clip], tmp_path: Path):
    video = tmp_path / "long.mp4"
    parts = write_long_video(video, clips, background=0.4, rng=np.random.default_rng(0))
    write_table(tmp_path / "long.csv", [(video, part) for part in parts])
    samples = load_manifest(tmp_path / "long.csv").samples
    assert [sample.segment for sample in samples] == [Segment(part.start, part.end) for part in parts if part.label]


def test_stretch_of_background_consists_of_the_first_frames_one_step_at_a_time():
    frames = np.arange(20, dtype=np.uint8).reshape(20, 1, 1, 1).repeat(3, axis=3)
    still = hold_still(frames, 300, rng=np.random.default_rng(1))[:, 0, 0, 0].astype(int)
    assert set(still.tolist()) == set(range(STILL_FRAMES))
    assert np.abs(np.diff(still)).max() == 1


def test_order_repeats_no_clip_before_all_were_drawn(clips: list[Clip]):
    drawn = draw_order(clips, seconds=14.0, rng=np.random.default_rng(0))
    assert {clip.path for clip in drawn[:6]} == {clip.path for clip in clips}
    assert len(drawn) > 6
    assert drawn == draw_order(clips, seconds=14.0, rng=np.random.default_rng(0))
