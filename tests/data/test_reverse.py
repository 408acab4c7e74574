"""Videos played backwards, as classes of their own."""

from dataclasses import replace

import numpy as np
import pytest

from timesformer.data.manifest.manifest import Manifest, Sample
from timesformer.data.synthetic.dataset import write_clip
from timesformer.data.synthetic.motion import render_clip
from timesformer.data.synthetic.reversed import write_reversed
from timesformer.data.video.file_reader import VideoReader
from timesformer.errors import DecodeError
from videos import frame_indices, write_video


def read(path):
    with VideoReader(path) as reader:
        return reader.read(range(reader.info.num_frames)), reader.info.fps


@pytest.fixture
def manifest(tmp_path):
    samples = []
    for number, motion in enumerate(("grow", "move_up", "grow")):
        path = tmp_path / f"{number}.mp4"
        frames = render_clip(motion, seed=number, num_frames=5 + number, size=(16, 24), background="texture")
        write_clip(path, frames, fps=12.5)
        samples.append(Sample(path, ("grow", "move_up").index(motion)))
    return Manifest(tuple(samples), ("grow", "move_up"))


def test_classes_double_and_every_video_has_both_copies(manifest, tmp_path):
    both = write_reversed(manifest, tmp_path / "both")
    assert both.class_names == ("grow", "move_up", "grow reversed", "move_up reversed")
    assert [sample.label for sample in both.samples] == [0, 1, 0, 2, 3, 2]
    assert len({sample.path for sample in both.samples}) == 6
    assert both.samples[4].path.parent.name == "move_up reversed"


def test_the_copies_have_the_same_frames_to_the_bit_in_opposite_order(manifest, tmp_path):
    samples = write_reversed(manifest, tmp_path / "both").samples
    for number, source in enumerate(manifest.samples):
        (original, fps), (forward, _), (backward, backward_fps) = (
            read(path) for path in (source.path, samples[number].path, samples[number + 3].path)
        )
        np.testing.assert_array_equal(backward, forward[::-1])
        assert backward_fps == pytest.approx(fps)
        assert np.abs(forward.astype(int) - original).mean() < 6  # color is halved once more
        assert (forward[0] != forward[-1]).any()


def test_copies_that_are_there_are_taken_and_a_changed_video_is_copied_anew(manifest, tmp_path):
    first = write_reversed(manifest, tmp_path / "both")
    times = [sample.path.stat().st_mtime_ns for sample in first.samples]
    assert write_reversed(manifest, tmp_path / "both") == first
    assert [sample.path.stat().st_mtime_ns for sample in first.samples] == times
    write_clip(manifest.samples[0].path, render_clip("grow", seed=9, num_frames=4, size=(16, 24)))
    changed = write_reversed(manifest, tmp_path / "both")
    assert changed.samples[0].path != first.samples[0].path
    assert changed.samples[1:3] == first.samples[1:3]


def test_progress_counts_both_copies(manifest, tmp_path):
    seen = []
    write_reversed(manifest, tmp_path / "both", on_progress=lambda done, total: seen.append((done, total)))
    assert seen == [(2, 6), (4, 6), (6, 6)]


def test_an_odd_side_loses_a_row(tmp_path):
    source = write_video(tmp_path / "odd.avi", num_frames=3, height=49, width=81, codec="mjpeg", pix_fmt="yuvj444p")
    backward = write_reversed(Manifest((Sample(source, 0),), ("a",)), tmp_path / "both").samples[1].path
    assert read(backward)[0].shape == (3, 48, 80, 3)
    assert frame_indices(read(backward)[0]) == [2, 1, 0]


def test_a_video_that_is_gone_is_named(manifest, tmp_path):
    manifest.samples[1].path.unlink()
    with pytest.raises(DecodeError, match=r"1\.mp4"):
        write_reversed(manifest, tmp_path / "both")


def test_copies_are_in_the_group_of_their_original(manifest, tmp_path):
    samples = tuple(replace(s, group=group) for s, group in zip(manifest.samples, ("anna", "", "ben"), strict=True))
    both = write_reversed(replace(manifest, samples=samples), tmp_path / "both")
    assert [sample.group for sample in both.samples] == ["anna", "", "ben"] * 2
