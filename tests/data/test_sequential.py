import io
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from timesformer.data.video.feed import FrameGap, TimedFrame
from timesformer.data.video.reader import open_reader
from timesformer.data.video.sequential import open_feed
from timesformer.errors import CodecError, ConfigError, DecodeError
from videos import (
    cut_off,
    damage_packets,
    frame_index,
    set_display_matrix,
    write_frames,
    write_timed,
    write_video,
)

VARIABLE_MS = [0, 40, 120, 130, 300, 310, 320, 500, 700, 710, 800, 990]


class Pipe(io.RawIOBase):
    """A file that cannot be sought in, and gives little at a time."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._file = io.BytesIO(path.read_bytes())

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return False

    def readinto(self, buffer) -> int:
        data = self._file.read(min(len(buffer), 3000))
        buffer[: len(data)] = data
        return len(data)


def frames_and_gaps(source):
    with open_feed(source) as feed:
        items = [(item, item.pixels()) if isinstance(item, TimedFrame) else (item, None) for item in feed]
        frames = [(item.number, item.time, pixels) for item, pixels in items if isinstance(item, TimedFrame)]
        gaps = [item for item, _ in items if isinstance(item, FrameGap)]
        return frames, gaps, feed.num_decoded, feed.size(), feed.sha256()


def make(kind: str, folder: Path) -> Path:
    match kind:
        case "constant rate":
            return write_video(folder / "v.mp4", num_frames=23, format_options={"movflags": "faststart"})
        case "b-frames":
            return write_video(folder / "v.mkv", num_frames=23, num_b_frames=3, fps=Fraction(30000, 1001))
        case "transport stream":
            return write_video(folder / "v.ts", num_frames=23, num_b_frames=2)
        case "variable rate":
            return write_video(folder / "v.mkv", num_frames=12, times_ms=VARIABLE_MS, num_b_frames=2)
        case "edit list":  # the encoder's delay is cut by the list
            return write_video(
                folder / "v.mp4", num_frames=17, num_b_frames=3, format_options={"movflags": "faststart"}
            )
        case "rotated":
            path = write_video(folder / "v.mp4", num_frames=9, format_options={"movflags": "faststart"})
            return set_display_matrix(path, (0, 1, -1, 0))
        case "no timestamps":
            return write_video(folder / "v.h264", num_frames=11, fps=25)
        case "avi":
            return write_video(folder / "v.avi", num_frames=11, codec="mpeg4")
        case "one frame":
            return write_video(folder / "v.mkv", num_frames=1)
    raise ValueError(kind)


KINDS = (
    "constant rate", "b-frames", "transport stream", "variable rate", "edit list", "rotated", "no timestamps", "avi",
    "one frame",
)  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_every_frame_comes_once_with_the_number_the_time_and_the_pixels_of_the_reader(kind: str, tmp_path: Path):
    path = make(kind, tmp_path)
    frames, gaps, num_decoded, size, _ = frames_and_gaps(path)
    with open_reader(path) as reader:
        info, times, pixels = reader.info, reader.times, reader.read(range(reader.info.num_frames))
    assert [number for number, _, _ in frames] == list(range(info.num_frames))
    assert [time for _, time, _ in frames] == times.tolist()
    np.testing.assert_array_equal(np.stack([each for _, _, each in frames]), pixels)
    assert (num_decoded, size, gaps) == (info.num_frames, (info.height, info.width), [])


@pytest.mark.parametrize("kind", KINDS)
def test_a_pipe_gives_the_same_frames_as_the_file(kind: str, tmp_path: Path):
    path = make(kind, tmp_path)
    frames, *others = frames_and_gaps(path)
    piped, *others_piped = frames_and_gaps(Pipe(path))
    assert [each[:2] for each in piped] == [each[:2] for each in frames]
    np.testing.assert_array_equal(np.stack([each[2] for each in piped]), np.stack([each[2] for each in frames]))
    assert others_piped == others
    with path.open("rb") as file:
        assert len(frames_and_gaps(file)[0]) == len(frames)


def test_pixels_are_converted_on_request_and_a_kept_frame_stays_what_it_was(tmp_path: Path):
    path = write_video(tmp_path / "v.mp4", num_frames=30, num_b_frames=2)
    with open_feed(path) as feed:
        kept = [item for item in feed if isinstance(item, TimedFrame)]
        assert [frame_index(item.pixels()) for item in kept] == list(range(30))


def test_frames_that_cannot_be_decoded_keep_their_numbers_and_are_a_gap(tmp_path: Path):
    path = damage_packets(write_video(tmp_path / "v.mp4", num_frames=20, gop=1), [7, 8, 12])
    frames, gaps, *_ = frames_and_gaps(path)
    assert [number for number, _, _ in frames] == [n for n in range(20) if n not in (7, 8, 12)]
    assert gaps == [
        FrameGap(0.28, 0.36, "frames that cannot be decoded: 2"),
        FrameGap(0.48, 0.52, "frames that cannot be decoded: 1"),
    ]


def test_the_last_frames_that_cannot_be_decoded_are_a_gap(tmp_path: Path):
    path = damage_packets(write_video(tmp_path / "v.mp4", num_frames=6, gop=1), [4, 5])
    _, gaps, *_ = frames_and_gaps(path)
    assert gaps == [FrameGap(0.16, pytest.approx(0.24), "frames that cannot be decoded: 2")]


def test_a_pause_of_the_timestamps_is_a_gap(tmp_path: Path):
    times = [*range(0, 400, 40), *range(61_000, 61_400, 40)]
    frames, gaps, *_ = frames_and_gaps(write_timed(tmp_path / "v.mkv", times))
    assert [time for _, time, _ in frames] == [time / 1000 for time in times]
    assert gaps == [FrameGap(pytest.approx(0.4), 61.0, "no frame for 60.64 s")]


def test_a_clock_that_is_set_back_goes_on_at_the_usual_interval(tmp_path: Path):
    first = write_video(tmp_path / "a.ts", num_frames=10).read_bytes()
    path = tmp_path / "joined.ts"
    path.write_bytes(first + first)
    frames, gaps, *_ = frames_and_gaps(path)
    assert [number for number, _, _ in frames] == list(range(20))
    np.testing.assert_allclose([time for _, time, _ in frames], np.arange(20) / 25, atol=1e-9)
    assert gaps == []


def test_a_folder_of_frames_is_a_feed(tmp_path: Path):
    frames, gaps, num_decoded, size, sha256 = frames_and_gaps(write_frames(tmp_path / "f", num_frames=7))
    assert [(number, time) for number, time, _ in frames] == [(n, n / 30) for n in range(7)]
    assert [frame_index(pixels) for _, _, pixels in frames] == list(range(7))
    assert (gaps, num_decoded, size, sha256) == ([], 7, (48, 80), "")


def test_an_mp4_with_its_index_last_cannot_come_from_a_pipe(tmp_path: Path):
    path = write_video(tmp_path / "v.mp4", num_frames=300, codec="mjpeg", pix_fmt="yuvj420p")
    assert path.stat().st_size > 2**16  # more than FFmpeg reads at once
    with pytest.raises(DecodeError, match=r"^-: an MP4 or MOV whose index comes last cannot be read from a pipe: "):
        frames_and_gaps(Pipe(path))
    with path.open("rb") as file:
        assert len(frames_and_gaps(file)[0]) == 300


def test_bytes_that_are_not_a_video_are_one_error(tmp_path: Path):
    (tmp_path / "text").write_text("no video" * 100)
    (tmp_path / "empty").touch()
    with pytest.raises(DecodeError, match=r"^-: not a video, or cut off before its index"):
        frames_and_gaps(Pipe(tmp_path / "text"))
    with pytest.raises(DecodeError, match=r"^-: no bytes, not a video$"):
        frames_and_gaps(Pipe(tmp_path / "empty"))


def test_what_the_reader_refuses_the_feed_refuses(tmp_path: Path):
    with pytest.raises(DecodeError, match="No such file"):
        frames_and_gaps(tmp_path / "missing.mp4")
    with pytest.raises(DecodeError, match="is an address, not a path"):
        open_feed("https://example.org/v.mp4")
    with pytest.raises(ConfigError, match="is not a video codec"):
        open_feed(tmp_path / "v.mp4", allow_codecs=("h265x",))
    listed = tmp_path / "list.m3u8"
    listed.write_text("#EXTM3U\n#EXTINF:1,\nother.ts\n")
    with pytest.raises(DecodeError, match="not a video"):
        frames_and_gaps(Pipe(listed))


def test_a_rare_codec_is_refused_from_a_pipe_too(tmp_path: Path):
    path = write_video(tmp_path / "v.avi", num_frames=3, codec="snow", codec_options={"strict": "-2"})
    with pytest.raises(CodecError, match=r"^-: the codec snow is rare"):
        frames_and_gaps(Pipe(path))
    with open_feed(Pipe(path), allow_codecs=("snow",)) as feed:
        assert sum(isinstance(item, TimedFrame) for item in feed) == 3


def test_a_file_that_is_cut_off_gives_the_frames_that_are_there(tmp_path: Path):
    path = cut_off(write_video(tmp_path / "v.ts", num_frames=40), 0.6)
    frames, *_ = frames_and_gaps(path)
    assert 10 < len(frames) < 40
    assert [number for number, _, _ in frames] == list(range(len(frames)))
