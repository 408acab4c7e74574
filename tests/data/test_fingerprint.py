import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from pictures import write_folder
from timesformer.data.check.fingerprint import fingerprint
from timesformer.data.synthetic.dataset import write_clip
from timesformer.data.video.reader import read_frames
from videos import cut_off, damage_packets, set_display_matrix, write_audio, write_video


def gray_clip(num_frames, *, step=4):
    """Frame k is all of brightness 20 + step * k."""
    levels = 20 + step * np.arange(num_frames)
    return np.broadcast_to(levels[:, None, None, None], (num_frames, 32, 48, 3)).astype(np.uint8)


@pytest.mark.parametrize(
    "name", ["video.mp4", "video.mkv", "video.ts", "video.avi", "video.webm", "video.flv", "v.h264"]
)
def test_a_whole_video_is_whole_in_every_container(tmp_path, name):
    codec = {"codec": "libvpx"} if name.endswith("webm") else {}
    found = fingerprint(write_video(tmp_path / name, num_frames=60, height=48, width=80, fps=25, **codec))
    assert (found.num_frames, found.num_missing, found.num_damaged, found.error) == (60, 0, 0, "")
    assert (found.height, found.width, found.fps) == (48, 80, 25)
    assert found.duration_s == pytest.approx(2.4)


@pytest.mark.parametrize("num_frames", [4, 16, 50])
def test_thumbnails_are_the_middle_frames_of_equal_spans(tmp_path, num_frames):
    write_clip(tmp_path / "video.mp4", gray_clip(num_frames))
    found = fingerprint(tmp_path / "video.mp4")
    assert found.thumbnails.shape == (16, 3, 16, 16)
    shown = (found.thumbnails[:, 0].mean(axis=(1, 2)) - 20) / 4
    np.testing.assert_allclose(shown, (2 * np.arange(16) + 1) * num_frames // 32, atol=0.4)


def test_thumbnails_are_upright(tmp_path):
    path = write_video(tmp_path / "stored.mp4", height=48, width=80)
    stored = fingerprint(path).thumbnails
    copy = Path(shutil.copy(path, tmp_path / "turned.mp4"))  # encoded once: two encodings may differ by a bit
    turned = fingerprint(set_display_matrix(copy, (0, 1, -1, 0)))
    assert (turned.height, turned.width) == (80, 48)
    np.testing.assert_array_equal(turned.thumbnails, np.rot90(stored, -1, axes=(2, 3)))


@pytest.mark.parametrize("matrix", [(-1, 0, 0, 1), (1, 0, 0, -1), (0, 1, 1, 0), (0, -1, -1, 0), (-1, 0, 0, -1)])
def test_thumbnails_are_those_of_what_a_reader_gives(tmp_path, matrix):
    path = set_display_matrix(write_video(tmp_path / "turned.mp4"), matrix)
    upright = read_frames(path, range(10))
    plain = write_folder(tmp_path / "plain", upright)
    found = fingerprint(path)
    assert (found.height, found.width) == upright.shape[1:3]
    difference = np.abs(found.thumbnails.astype(int) - fingerprint(plain).thumbnails)
    assert difference.mean() < 3  # pixels go through RGB on the way


def test_thumbnails_are_right_if_the_container_states_too_many_frames(tmp_path):
    whole = tmp_path / "whole.mkv"
    write_video(whole, num_frames=100)
    cut = tmp_path / "cut.mkv"
    cut.write_bytes(whole.read_bytes())
    num_left = fingerprint(cut_off(cut, 0.5)).num_frames
    assert num_left < 60
    short = fingerprint(write_video(tmp_path / "short.mkv", num_frames=num_left)).thumbnails
    difference = np.abs(fingerprint(cut).thumbnails.astype(int) - short)
    assert difference.mean() < 3


@pytest.mark.parametrize("name", ["video.mp4", "video.mkv", "video.avi", "video.webm", "video.flv"])
def test_missing_frames_are_counted(tmp_path, name):
    options = {"format_options": {"movflags": "faststart"}} if name.endswith("mp4") else {}
    codec = {"codec": "libvpx"} if name.endswith("webm") else {}
    path = cut_off(write_video(tmp_path / name, num_frames=100, **options, **codec), 0.6)
    found = fingerprint(path)
    assert found.num_frames + found.num_missing == pytest.approx(100, abs=2)
    assert found.num_missing > 20
    assert found.fps == pytest.approx(25)


def test_damaged_packets_are_counted(tmp_path):
    path = write_video(tmp_path / "video.avi", codec="mjpeg", pix_fmt="yuvj420p")
    found = fingerprint(damage_packets(path, [4, 9]))
    assert (found.num_frames, found.num_missing, found.num_damaged) == (8, 2, 2)


def test_the_error_says_why_a_file_is_not_a_video(tmp_path):
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("hello")
    os.mkfifo(tmp_path / "pipe.mp4")
    write_audio(tmp_path / "sound.mp3")
    reasons = {name: fingerprint(tmp_path / name).error for name in ("empty.mp4", "text.mp4", "pipe.mp4", "sound.mp3")}
    assert reasons["empty.mp4"] == "an empty file, not a video"
    assert reasons["text.mp4"].startswith("not a video")
    assert reasons["pipe.mp4"] == "a device or pipe, not a video file"
    assert reasons["sound.mp3"] == "no video stream (found: audio)"
    assert fingerprint(tmp_path / "none.mp4").error == "No such file or directory"


def test_the_digest_is_that_of_the_bytes(tmp_path):
    one = write_video(tmp_path / "one.mp4")
    other = tmp_path / "other.mp4"
    other.write_bytes(one.read_bytes())
    assert fingerprint(one).digest == fingerprint(other).digest != ""
    other.write_bytes(one.read_bytes() + b"\0")
    assert fingerprint(one).digest != fingerprint(other).digest
