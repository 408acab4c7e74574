"""The exact reader, against a plain decode of the whole file and against numbers drawn into the frames."""

from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import count
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from av.container import InputContainer
from av.video.stream import VideoStream
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pictures import write_turned_jpegs
from timesformer.data.check.fingerprint import fingerprint
from timesformer.data.video import container, packet_source, upright
from timesformer.data.video.file_reader import VideoInfo, VideoReader
from timesformer.data.video.packet_index import PacketIndex
from timesformer.data.video.packet_source import PacketSource
from timesformer.data.video.reader import probe, read_frames
from timesformer.errors import ConfigError, DataError, DecodeError
from videos import decode_all, draw_frame, frame_index, frame_indices, set_display_matrix, write_video

OPEN_GOP = {"x264-params": "open-gop=1:bframes=3:b-adapt=0"}
VIDEOS: dict[str, dict[str, Any]] = {
    "b_frames.mp4": {"num_b_frames": 2},
    "one_long_group.mp4": {"num_b_frames": 3, "gop": 250},
    "only_key_frames.mov": {"codec": "mjpeg", "pix_fmt": "yuvj420p"},
    "open_groups.mp4": {"codec_options": OPEN_GOP},
    "open_groups.mkv": {"codec_options": OPEN_GOP},
    "open_groups.ts": {"codec_options": OPEN_GOP},
    "open_groups_hevc.mp4": {
        "codec": "libx265",
        "codec_options": {"x265-params": "open-gop=1:bframes=3:keyint=12:log-level=none"},
    },
    "key_frames_that_are_none.mkv": {"codec_options": {"x264-params": "intra-refresh=1:keyint=20"}},
    "variable_rate.mkv": {"times_ms": [40 * i + 13 * (i % 3) + 500 * (i > 30) for i in range(60)]},
    "variable_rate.mp4": {"times_ms": [40 * i + 13 * (i % 3) + 500 * (i > 30) for i in range(60)], "num_b_frames": 2},
    "late_start.mkv": {"times_ms": [3000 + 40 * i for i in range(60)]},
    "fragmented.mp4": {"num_b_frames": 2, "format_options": {"movflags": "frag_keyframe+empty_moov"}},
    "b_frames.ts": {"num_b_frames": 2},
    "b_frames.avi": {"num_b_frames": 2},
    "b_frames.flv": {"num_b_frames": 2},
    "b_frames.mpg": {"codec": "mpeg2video", "num_b_frames": 2},
    "no_container.h264": {"num_b_frames": 2},
    "hidden_frames.webm": {"codec": "libvpx", "codec_options": {"auto-alt-ref": "1", "lag-in-frames": "16"}},
    "transparent.webm": {"codec": "libvpx-vp9", "pix_fmt": "yuva420p"},
    "animated.gif": {"codec": "gif", "pix_fmt": "rgb8"},
    "ten_bits.mp4": {"pix_fmt": "yuv420p10le"},
    "odd_sizes.mp4": {"pix_fmt": "yuv444p", "height": 47, "width": 83},
}
NUM_FRAMES = 60


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("videos")


@pytest.fixture(scope="module", params=VIDEOS)
def video(request: pytest.FixtureRequest, folder: Path) -> Path:
    return write_video(folder / request.param, num_frames=NUM_FRAMES, **VIDEOS[request.param])


@pytest.fixture(scope="module")
def whole(video: Path) -> np.ndarray:
    return decode_all(video)


class TestExactness:
    def test_frames_are_numbered_in_presentation_order(self, video: Path) -> None:
        assert frame_indices(read_frames(video, range(NUM_FRAMES))) == list(range(NUM_FRAMES))

    def test_every_frame_is_counted(self, video: Path) -> None:
        info = probe(video)
        kind = VIDEOS[video.name]
        assert info.num_frames == NUM_FRAMES
        assert (info.height, info.width, info.rotation) == (kind.get("height", 48), kind.get("width", 80), 0)
        assert info.duration_s == pytest.approx(NUM_FRAMES / info.fps)

    @settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(indices=st.lists(st.integers(0, NUM_FRAMES + 5), min_size=1, max_size=6))
    def test_any_frames_equal_those_of_a_whole_decode(self, video: Path, whole: np.ndarray, indices: list[int]) -> None:
        np.testing.assert_array_equal(read_frames(video, indices), whole[np.minimum(indices, NUM_FRAMES - 1)])

    def test_one_reader_serves_many_reads(self, video: Path, whole: np.ndarray) -> None:
        with VideoReader(video) as reader:
            for indices in ([50, 3], [59], [0, 1, 2], [31]):
                np.testing.assert_array_equal(reader.read(indices), whole[indices])

    def test_threads_change_nothing(self, video: Path, whole: np.ndarray) -> None:
        with VideoReader(video, num_threads=3) as reader:
            np.testing.assert_array_equal(reader.read([7, 58, 33]), whole[[7, 58, 33]])


class TestOnlyWhatIsNeeded:
    @pytest.fixture
    def packets_read(self, monkeypatch: pytest.MonkeyPatch) -> list[int]:
        """Positions of the packets that went into the decoder."""
        seen: list[int] = []
        packets_from = PacketSource.packets_from

        def spy(source: PacketSource, start: int, *, index: PacketIndex) -> Iterator[av.Packet]:
            for position, packet in enumerate(packets_from(source, start, index=index), start):
                seen.append(position)
                yield packet

        monkeypatch.setattr(PacketSource, "packets_from", spy)
        return seen

    def test_a_read_decodes_from_the_key_frame_to_the_frame(self, tmp_path: Path, packets_read: list[int]) -> None:
        path = write_video(tmp_path / "video.mp4", num_frames=96, gop=12, codec_options={"x264-params": "scenecut=0"})
        read_frames(path, [77, 29])
        assert packets_read == [*range(24, 30), *range(72, 78)]

    def test_a_short_way_is_decoded_and_not_jumped(self, tmp_path: Path, packets_read: list[int]) -> None:
        path = write_video(tmp_path / "video.mp4", num_frames=48, gop=12, codec_options={"x264-params": "scenecut=0"})
        read_frames(path, [10, 14, 17, 25])
        assert packets_read == list(range(26))


class TestDistrust:
    @pytest.mark.parametrize(
        ("lost", "fault"),
        [
            (range(0, 30), "lands late"),
            (range(0, 999), "gives nothing"),
            ([3], "loses a packet"),
            (range(20, 999), "ends"),
        ],
    )
    def test_frames_are_exact_where_a_seek_is_not(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lost: Sequence[int], fault: str
    ) -> None:
        path = write_video(tmp_path / "video.mp4", num_frames=60, num_b_frames=2)
        whole, passes = decode_all(path), count()

        def unreliable(file: InputContainer, stream: VideoStream) -> Iterator[av.Packet]:
            is_first_seek = next(passes) == 1
            for place, packet in enumerate(container.demux(file, stream)):
                if not (is_first_seek and place in lost):
                    yield packet

        monkeypatch.setattr(packet_source, "demux", unreliable)
        np.testing.assert_array_equal(read_frames(path, [17, 41]), whole[[17, 41]], err_msg=fault)


class TestInfo:
    def test_variable_rate_is_the_mean_over_the_real_duration(self, tmp_path: Path) -> None:
        path = write_video(tmp_path / "video.mkv", num_frames=5, times_ms=[0, 100, 500, 600, 1000], fps=30)
        assert probe(path) == VideoInfo(num_frames=5, fps=4.0, height=48, width=80, duration_s=1.25, rotation=0)

    @pytest.mark.parametrize("name", ["video.mp4", "video.mkv", "video.ts", "video.avi"])
    def test_timestamps_in_milliseconds_do_not_blur_the_rate(self, tmp_path: Path, name: str) -> None:
        path = write_video(tmp_path / name, num_frames=7, fps=Fraction(30000, 1001))
        assert probe(path).fps == pytest.approx(30000 / 1001, rel=1e-12)

    def test_a_single_frame_has_a_rate(self, tmp_path: Path) -> None:
        info = probe(write_video(tmp_path / "video.mp4", num_frames=1, fps=20))
        assert (info.num_frames, info.fps, info.duration_s) == (1, 20.0, 0.05)

    def test_a_raw_stream_has_the_rate_that_it_states(self, tmp_path: Path) -> None:
        assert probe(write_video(tmp_path / "video.h264", num_frames=9, fps=10)).fps == 10.0

    def test_frames_cut_by_an_edit_list_do_not_count(self, tmp_path: Path) -> None:
        path = write_video(tmp_path / "video.mp4", num_frames=30, times_ms=range(-200, 1000, 40))
        assert frame_indices(read_frames(path, range(25))) == list(range(5, 30))
        assert probe(path).num_frames == 25


def displayed(frame: np.ndarray, matrix: tuple[int, int, int, int]) -> np.ndarray:
    """A frame as a display matrix defines it: each pixel (x, y) goes to (a x + c y, b x + d y)."""
    a, b, c, d = matrix
    y, x = np.mgrid[: frame.shape[0], : frame.shape[1]]
    to_x, to_y = a * x + c * y, b * x + d * y
    to_x, to_y = to_x - to_x.min(), to_y - to_y.min()
    image = np.empty((to_y.max() + 1, to_x.max() + 1, 3), dtype=np.uint8)
    image[to_y, to_x] = frame
    return image


class TestUpright:
    @pytest.mark.parametrize(
        ("matrix", "rotation"),
        [((1, 0, 0, 1), 0), ((0, -1, 1, 0), 90), ((-1, 0, 0, -1), 180), ((0, 1, -1, 0), 270)],
    )
    def test_rotated_video_is_turned(self, tmp_path: Path, matrix: tuple[int, int, int, int], rotation: int) -> None:
        path = set_display_matrix(write_video(tmp_path / "video.mp4"), matrix)
        info, (frame,) = probe(path), read_frames(path, [6])
        np.testing.assert_array_equal(frame, displayed(decode_all(path)[6], matrix))
        assert (info.height, info.width) == frame.shape[:2]
        assert info.rotation == rotation

    @pytest.mark.parametrize("matrix", [(-1, 0, 0, 1), (1, 0, 0, -1), (0, 1, 1, 0), (0, -1, -1, 0)])
    def test_mirrored_video_is_mirrored_back(self, tmp_path: Path, matrix: tuple[int, int, int, int]) -> None:
        path = set_display_matrix(write_video(tmp_path / "video.mp4"), matrix)
        np.testing.assert_array_equal(read_frames(path, [6])[0], displayed(decode_all(path)[6], matrix))

    @pytest.mark.parametrize("orientation", range(1, 9))
    def test_frames_with_exif_of_their_own_are_turned(self, tmp_path: Path, orientation: int) -> None:
        path = write_turned_jpegs(tmp_path / "video.mjpeg", orientation)
        info, found = probe(path), fingerprint(path)
        assert (info.num_frames, info.height, info.width) == (4, 48, 80)
        assert frame_indices(read_frames(path, [3, 0])) == [3, 0]
        assert (found.error, found.num_frames, found.height, found.width) == ("", 4, 48, 80)

    def test_frames_of_another_size_are_scaled_to_the_first(self, tmp_path: Path) -> None:
        small = write_video(tmp_path / "small.h264", num_frames=4)
        large = write_video(tmp_path / "large.h264", num_frames=6, height=64, width=120)
        path = tmp_path / "video.h264"
        path.write_bytes(small.read_bytes() + large.read_bytes())
        frames = read_frames(path, range(10))
        assert frames.shape == (10, 48, 80, 3)
        assert frame_indices(frames) == [0, 1, 2, 3, 0, 1, 2, 3, 4, 5]


class TestErrors:
    @pytest.mark.parametrize(
        ("indices", "message"),
        [
            ([], "indices is empty: ask for at least one frame"),
            ([3, -1], "frame index -1 is negative: frames are counted from 0"),
            (torch.tensor([0.5, 1.0]), r"frame index tensor\(0.5000\) is not a whole number"),
            (np.zeros((2, 2), dtype=int), r"frame index array\(\[0, 0\]\) is not a whole number"),
        ],
    )
    def test_indices_that_cannot_be_are_errors(self, tmp_path: Path, indices: Any, message: str) -> None:
        path = write_video(tmp_path / "video.mp4", num_frames=2)
        with VideoReader(path) as reader, pytest.raises(DataError, match=message):
            reader.read(indices)

    def test_indices_may_be_an_array(self, tmp_path: Path) -> None:
        path = write_video(tmp_path / "video.mp4")
        assert frame_indices(read_frames(path, np.array([5, 5, 2], dtype=np.int32))) == [5, 5, 2]

    def test_a_closed_reader_is_an_error(self, tmp_path: Path) -> None:
        reader = VideoReader(write_video(tmp_path / "video.mp4"))
        with pytest.raises(DecodeError, match="the reader is not open"):
            reader.read([0])
        with reader:
            assert reader.info.num_frames == 10
        with pytest.raises(DecodeError, match="use it inside `with`"):
            _ = reader.info

    def test_a_negative_number_of_threads_is_an_error(self) -> None:
        with pytest.raises(ConfigError, match=r"num_threads=-1 must be 0 \(one per core\) or more"):
            VideoReader("video.mp4", num_threads=-1)

    def test_a_file_that_disappears_while_read_is_an_error(self, tmp_path: Path) -> None:
        path = write_video(tmp_path / "video.h264")
        with VideoReader(path) as reader:
            path.unlink()
            with pytest.raises(DecodeError, match="No such file"):
                reader.read([3])

    def test_frames_that_disappear_while_read_are_an_error(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with VideoReader(write_video(tmp_path / "video.mp4")) as reader:
            monkeypatch.setattr(packet_source, "demux", lambda container, stream: iter(()))
            with pytest.raises(DecodeError, match=r"cannot be read \(the decoder returned no frame\)"):
                reader.read([3])

    def test_pixels_that_cannot_be_converted_are_an_error(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(frame: av.VideoFrame) -> tuple[int, bool]:
            raise av.FFmpegError(1, "pixel format not known")

        monkeypatch.setattr(upright, "orientation", fail)
        with pytest.raises(DecodeError, match=r"the first frame cannot be converted \(.*pixel format not known"):
            probe(write_video(tmp_path / "video.mp4"))


def test_a_drawn_number_is_read_back_and_only_upright() -> None:
    assert [frame_index(draw_frame(number, height=20, width=40)) for number in (0, 5, 682, 1023)] == [0, 5, 682, 1023]
    with pytest.raises(ValueError, match="not an upright test frame"):
        frame_index(draw_frame(5)[:, ::-1])


def test_an_address_is_told_from_a_path():
    for path in ("https://x.org/a.mp4", Path("https://x.org/a.mp4")):
        with pytest.raises(DecodeError, match=r"a.mp4 is an address, not a path: download it first, and name the file"):
            probe(path)
