"""Still pictures are no videos, whatever they are called; animated ones are, with all their frames."""

import tarfile
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
import numpy as np
import pytest
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from PIL import Image

from pictures import write_heif, write_picture
from timesformer.data.check.fingerprint import fingerprint
from timesformer.data.video.container import open_video
from timesformer.data.video.header import stated_end_s
from timesformer.data.video.reader import probe, read_frames
from timesformer.data.video.still_pictures import picture_kind
from timesformer.errors import DecodeError
from videos import draw_frame, frame_indices, write_video

STILL = {
    "AVIF": "",
    "BMP": " (bmp)",
    "ICO": " (ico)",
    "JPEG": " (jpeg)",
    "JPEG2000": " (j2k)",
    "PCX": " (pcx)",
    "PNG": " (png)",
    "PPM": " (ppm)",
    "TIFF": " (tiff)",
    "WEBP": " (webp)",
}


def refused(path: Path) -> str:
    """Why a file is not read, which is the same for a reader and for `check`."""
    with pytest.raises(DecodeError) as caught:
        probe(path)
    assert str(caught.value).startswith(f"{path}: ")
    reason = str(caught.value).removeprefix(f"{path}: ")
    assert fingerprint(path).error == reason
    return reason


@pytest.mark.parametrize("name", ["a.mp4", "a.avi", "a", "a.jpg", "a.mjpeg"])
@pytest.mark.parametrize("kind", STILL)
def test_a_still_picture_is_refused_under_any_name(tmp_path, kind, name):
    assert refused(write_picture(tmp_path / name, kind=kind)) == f"a still picture, not a video{STILL[kind]}"


def test_a_name_like_a_pattern_of_pictures_is_that_of_one_file(tmp_path):
    write_picture(tmp_path / "a1.png")
    assert refused(write_picture(tmp_path / "a%d.png")) == "a still picture, not a video (png)"


@pytest.mark.parametrize("brand", [b"heic", b"mif1", b"avif"])
@pytest.mark.parametrize("num_tiles", [1, 2])
def test_a_still_heif_is_refused_also_as_a_grid(tmp_path, brand, num_tiles):
    path = write_heif(tmp_path / "a.heic", brand=brand, num_tiles=num_tiles)
    assert refused(path) == "a still picture, not a video"


def test_a_still_avif_with_opacity_is_refused(tmp_path):
    assert refused(write_picture(tmp_path / "a.avif", alpha=99)) == "a still picture, not a video"


def test_a_still_picture_in_a_tar_file_is_refused(tmp_path):
    write_picture(tmp_path / "picture", kind="PNG")
    with tarfile.open(tmp_path / "s.tar", "w") as tar:
        tar.add(tmp_path / "picture", "a.mp4")
    assert refused(tmp_path / "s.tar/a.mp4") == "a still picture, not a video (png)"


def test_pictures_of_several_views_in_one_jpeg_are_still(tmp_path):
    path = write_picture(tmp_path / "a.mp4", num_frames=3, kind="MPO")
    assert refused(path) == "a still picture, not a video (jpeg)"


def test_jpegs_in_a_document_are_not_a_video(tmp_path):
    path = tmp_path / "a.mp4"
    Image.fromarray(draw_frame(0)).save(path, format="PDF")
    assert "not a video" in refused(path)


def test_a_raw_stream_of_jpegs_stays_a_video(tmp_path):
    path = tmp_path / "a.mjpeg"
    for index in range(4):
        write_picture(tmp_path / "one.jpg")
        Image.fromarray(draw_frame(index)).save(tmp_path / "one.jpg")
        with path.open("ab") as file:
            file.write((tmp_path / "one.jpg").read_bytes())
    assert frame_indices(read_frames(path, range(4))) == [0, 1, 2, 3]


def test_what_is_no_picture_has_no_kind():
    assert [picture_kind(head) for head in (b"", b"RIFF", b"frames " * 99)] == ["", "", ""]


# --- animated pictures ---


@pytest.mark.parametrize("kind", ["AVIF", "GIF", "PNG"])
@pytest.mark.parametrize("alpha", [255, 99])
def test_an_animated_picture_is_read_whole(tmp_path, kind, alpha):
    path = write_picture(tmp_path / "a.mp4", num_frames=7, alpha=alpha, kind=kind)
    info = probe(path)
    assert (info.num_frames, info.height, info.width, info.fps) == (7, 48, 80, pytest.approx(25))
    assert frame_indices(read_frames(path, [6, 0, 3])) == [6, 0, 3]
    found = fingerprint(path)
    assert (found.error, found.num_frames, found.num_missing, found.num_damaged) == ("", 7, 0, 0)


def test_an_animated_avif_of_another_writer_is_read_whole(tmp_path):
    path = write_video(tmp_path / "a.avif", num_frames=6, codec="libsvtav1", height=64, width=80)
    with av.open(path) as file:
        assert [stream.frames for stream in file.streams.video] == [1, 6]  # the still comes first
    assert frame_indices(read_frames(path, range(6))) == [0, 1, 2, 3, 4, 5]


def test_an_animated_webp_is_read_whole_or_refused_with_the_way_out(tmp_path):
    path = write_picture(tmp_path / "a.mp4", num_frames=3, kind="WEBP")
    if "webp_anim" in av.codecs_available:  # since FFmpeg 9
        assert frame_indices(read_frames(path, range(3))) == [0, 1, 2]
    else:
        assert refused(path) == "an animated WebP, which FFmpeg decodes from version 9 on: convert it to MP4 or GIF"


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.avi", "a.ts", "a.gif"])
def test_a_video_of_one_frame_stays_a_video(tmp_path, name):
    options = {"codec": "gif", "pix_fmt": "bgr8"} if name == "a.gif" else {}
    path = write_video(tmp_path / name, num_frames=1, **options)
    assert probe(path).num_frames == 1
    assert read_frames(path, [0]).shape == (1, 48, 80, 3)


# --- files with several video streams ---


def write_streams(path: Path, counts: list[int]) -> Path:
    """Write several H.264 streams, whose frames count from 0, 100, 200 and on."""
    with av.open(path, "w") as file:
        streams = [cast(VideoStream, file.add_stream("libx264", rate=Fraction(25))) for _ in counts]
        for stream in streams:
            stream.width, stream.height, stream.pix_fmt = 80, 48, "yuv420p"
            stream.codec_context.thread_count, stream.codec_context.max_b_frames = 1, 0
        for number, (stream, count) in enumerate(zip(streams, counts, strict=True)):
            for index in range(count):
                frame = VideoFrame.from_ndarray(draw_frame(100 * number + index), format="rgb24")
                frame = frame.reformat(format="yuv420p", threads=1)
                frame.pts, frame.time_base = index, Fraction(1, 25)
                file.mux(stream.encode(frame))
            file.mux(stream.encode(None))
    return path


@pytest.mark.parametrize("name", ["a.mp4", "a.mov", "a.mkv"])
@pytest.mark.parametrize(
    ("counts", "chosen"), [([1, 10], 1), ([2, 1, 10], 2), ([10, 1], 0), ([9, 10], 0), ([10, 9], 0), ([1, 1], 0)]
)
def test_a_preview_gives_way_to_the_video_and_of_equals_the_first_is_taken(tmp_path, name, counts, chosen):
    path = write_streams(tmp_path / name, counts)
    assert probe(path).num_frames == counts[chosen]
    last = counts[chosen] - 1
    np.testing.assert_array_equal(frame_indices(read_frames(path, [last, 0])), [100 * chosen + last, 100 * chosen])


@pytest.mark.parametrize(
    "stated", [b"a0:00:00.400000000", b"00:00:00:400000000", b"..................", b"00:00:00.4x0000000"]
)
def test_a_duration_that_means_nothing_is_passed_over(tmp_path, stated):
    path = write_video(tmp_path / "a.mkv")
    data = path.read_bytes()
    assert data.count(b"00:00:00.400000000") == 1
    path.write_bytes(data.replace(b"00:00:00.400000000", stated))
    container, stream = open_video(path, num_threads=1)
    with container:
        assert stated_end_s(stream) is None
    assert probe(path).num_frames == fingerprint(path).num_frames == 10
