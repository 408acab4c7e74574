"""Frames that nobody asks for are left out where no other is made of them; what is asked for stays what it is."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from timesformer.data.video.file_reader import VideoReader
from videos import damage_packets, decode_all, write_video

KINDS: Mapping[str, Mapping[str, object]] = {
    "pyramid": {"num_b_frames": 3},
    "flat": {"num_b_frames": 2, "codec_options": {"x264-params": "b-pyramid=none:weightp=2"}},
    "many": {"num_b_frames": 8, "codec_options": {"x264-params": "b-adapt=0:ref=5:direct=temporal"}},
    "open": {"num_b_frames": 3, "gop": 20, "codec_options": {"x264-params": "open-gop=1"}},
    "interlaced": {"num_b_frames": 3, "codec_options": {"x264-params": "interlaced=1"}},
    "hevc": {"num_b_frames": 3, "codec": "libx265", "codec_options": {"x265-params": "log-level=none:pools=1"}},
}


def _write(path: Path, kind: str) -> Path:
    return write_video(path, **{"num_frames": 70, "height": 64, "width": 96, "gop": 60, **KINDS[kind]})


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("num_threads", [1, 2])
def test_each_frame_alone_is_that_of_the_whole_video(tmp_path: Path, kind: str, num_threads: int):
    path = _write(tmp_path / "a.mp4", kind)
    want = decode_all(path)
    assert len(want) == 70
    with VideoReader(path, num_threads=num_threads) as reader:
        got = np.concatenate([reader.read([index]) for index in range(70)])
    np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("kind", KINDS)
def test_frames_of_a_clip_are_those_of_the_whole_video(tmp_path: Path, kind: str):
    path = _write(tmp_path / "a.mp4", kind)
    want = decode_all(path)
    for start in range(7):
        indices = list(range(start, 70, 9))
        with VideoReader(path) as reader:
            np.testing.assert_array_equal(reader.read(indices), want[indices])


def _num_decoded(path: Path, index: int) -> int:
    with VideoReader(path) as reader:
        positions = reader._index.positions[[index]]
        return sum(len(frames) for frames in reader._decode_needed(0, positions))


def test_frames_that_no_other_needs_are_not_decoded(tmp_path: Path):
    assert _num_decoded(_write(tmp_path / "flat.mp4", "flat"), 50) < 35
    assert _num_decoded(_write(tmp_path / "pyramid.mp4", "pyramid"), 50) < 40


@pytest.mark.parametrize("kind", ["hevc", "interlaced"])
def test_all_are_decoded_where_it_is_not_certain_which_are_needed(tmp_path: Path, kind: str):
    assert _num_decoded(_write(tmp_path / "a.mp4", kind), 50) >= 51


def test_no_packet_after_the_last_that_is_needed_is_read(tmp_path: Path):
    path = _write(tmp_path / "a.mp4", "many")
    with VideoReader(path) as reader:
        read: list[int] = []
        packets = reader._source.packets_from
        reader._source.packets_from = lambda start, *, index: (
            read.append(1) or packet for packet in packets(start, index=index)
        )
        reader.read([0])
        assert len(read) == 1


def test_frame_that_cannot_be_decoded_is_the_nearest_earlier_one_of_the_whole_video(tmp_path: Path):
    path = _write(tmp_path / "a.mp4", "flat")
    with VideoReader(path) as reader:
        place = int(reader._index.positions[31])
    damage_packets(path, [place])
    whole = decode_all(path)
    with VideoReader(path) as reader:
        alone, clip = reader.read([31]), reader.read([10, 31, 50])
    np.testing.assert_array_equal(clip[[0, 2]], whole[[10, 50]] if len(whole) == 70 else whole[[10, 49]])
    np.testing.assert_array_equal(alone[0], clip[1])
