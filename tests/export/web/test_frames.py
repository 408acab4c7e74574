"""The page's own reading of videos, in Chromium: the frames, rates and pixels of the library, bit by bit."""

from base64 import b64decode
from fractions import Fraction

import numpy as np
import pytest
import torch

from browsers import visit
from static_site import served
from timesformer.config.info import ModelInfo
from timesformer.config.schema import ClipConfig
from timesformer.data.clips.sampling import crop_boxes, eval_clips, resized_size
from timesformer.data.clips.transforms import resize
from timesformer.data.video.reader import open_reader
from timesformer.export.sidecar import sidecar
from tiny import tiny_config
from videos import cut_off, set_display_matrix, write_timed, write_video
from web_pages import page_folder

pytestmark = pytest.mark.xdist_group("browser")

READ = """async ([url, every]) => {
  const { openVideo, framesOf } = await import('./decode.js');
  const video = await openVideo(await (await fetch(url)).blob());
  const wanted = Array.from({ length: video.numFrames }, (_, i) => i).filter((i) => i % every === 0);
  const frames = {};
  await framesOf(video, wanted, (rank, { rgb, height, width, exact }) => {
    frames[rank] = { pixels: btoa(String.fromCharCode(...rgb)), height, width, exact };
  });
  return { numFrames: video.numFrames, fps: video.fps, frames };
}"""
ERROR = """async (url) => {
  const { openVideo, framesOf } = await import('./decode.js');
  try {
    const video = await openVideo(await (await fetch(url)).blob());
    await framesOf(video, [video.numFrames - 1], () => {});
  } catch (error) {
    return [error.constructor.name, error.message];
  }
}"""
UNEVEN = [0, 40, 70, 160, 170, 300, 333, 420, 500, 610, 655, 700]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Folder of a page, which is served."""
    folder = tmp_path_factory.mktemp("site")
    page_folder(folder / "page", tiny_config(), ClipConfig(sampling="uniform", num_crops=1))
    return folder


@pytest.fixture(scope="module")
def page(chromium, site):
    """The page, open in the browser."""
    with served(site) as address, visit(chromium, f"{address}/page/") as visited:
        visited.page.wait_for_selector("#file:enabled")
        yield visited


def _turned(path, matrix):
    return set_display_matrix(write_video(path, num_frames=4, num_b_frames=0), matrix)


VIDEOS = {
    "plain.mp4": lambda path: write_video(path),
    "reordered.mp4": lambda path: write_video(path, num_frames=30, num_b_frames=3),
    "long groups.mp4": lambda path: write_video(path, num_frames=50, gop=25, num_b_frames=2),
    "open groups.mp4": lambda path: write_video(
        path, num_frames=40, gop=10, num_b_frames=3, codec_options={"x264-params": "open-gop=1"}
    ),
    "fragments.mp4": lambda path: write_video(
        path, num_frames=30, num_b_frames=2, format_options={"movflags": "frag_keyframe+empty_moov+default_base_moof"}
    ),
    "older fragments.mp4": lambda path: write_video(path, format_options={"movflags": "frag_keyframe+empty_moov"}),
    "uneven.mp4": lambda path: write_timed(path, UNEVEN),
    "uneven.mkv": lambda path: write_timed(path, UNEVEN),
    "a pause.mp4": lambda path: write_timed(path, [0, 40, 80, 120, 5000, 5040, 5080]),
    "late start.mp4": lambda path: write_timed(path, [500, 540, 580]),
    "quicktime.mov": lambda path: write_video(path, height=50, width=98, fps=Fraction(30000, 1001)),
    "matroska.mkv": lambda path: write_video(path, num_b_frames=2, fps=Fraction(24000, 1001)),
    "vp9.webm": lambda path: write_video(path, codec="libvpx-vp9", fps=30, codec_options={"cpu-used": "8"}),
    "vp8.webm": lambda path: write_video(path, codec="libvpx", fps=Fraction(30000, 1001)),
    "phone.mp4": lambda path: _turned(path, (0, 1, -1, 0)),
    "head over.mp4": lambda path: _turned(path, (-1, 0, 0, -1)),
    "mirrored.mp4": lambda path: _turned(path, (-1, 0, 0, 1)),
    "left.mp4": lambda path: _turned(path, (0, -1, 1, 0)),
    "one frame.mp4": lambda path: write_video(path, num_frames=1),
    "full range.mp4": lambda path: write_video(path, pix_fmt="yuvj420p"),
}


@pytest.mark.parametrize("name", VIDEOS)
def test_every_frame_is_the_one_that_the_library_reads(page, site, name):
    path = VIDEOS[name](site / name)
    _compare(page, path, every=1)
    _compare(page, path, every=13)  # seeks to key frames


def _compare(page, path, *, every):
    with open_reader(path) as reader:
        info = reader.info
        wanted = list(range(0, info.num_frames, every))
        frames = reader.read(wanted)
    found = page.page.evaluate(READ, [f"../{path.name}", every])
    assert (found["numFrames"], found["fps"]) == (info.num_frames, info.fps)
    assert sorted(map(int, found["frames"])) == wanted
    for number, frame in zip(wanted, frames, strict=True):
        given = found["frames"][str(number)]
        assert (given["height"], given["width"], given["exact"]) == (*frame.shape[:2], True)
        pixels = np.frombuffer(b64decode(given["pixels"]), np.uint8).reshape(frame.shape)
        np.testing.assert_array_equal(pixels, frame)


def test_an_odd_height_differs_by_three_levels_at_most(page, site):
    path = write_video(site / "odd.webm", height=49, width=81, codec="libvpx-vp9", num_frames=3)
    with open_reader(path) as reader:
        frames = reader.read([0, 2])
    found = page.page.evaluate(READ, ["../odd.webm", 2])["frames"]
    for number, frame in zip(("0", "2"), frames, strict=True):
        pixels = np.frombuffer(b64decode(found[number]["pixels"]), np.uint8).reshape(frame.shape)
        assert not found[number]["exact"]
        assert np.abs(pixels.astype(int) - frame).max() <= 3  # FFmpeg rounds between its two passes


@pytest.mark.parametrize(
    ("name", "make", "reason"),
    [
        ("text.mp4", lambda path: path.write_text("no video"), "it is neither an MP4 nor a WebM file"),
        ("old.mp4", lambda path: write_video(path, codec="mpeg4"), "its codec mp4v is not one of avc1, avc3, hvc1, "),
        ("cut.mp4", lambda path: cut_off(write_video(path), 0.6), "the file is cut off"),
        ("empty.mp4", lambda path: path.write_bytes(b""), "it is neither an MP4 nor a WebM file"),
    ],
)
def test_what_cannot_be_read_exactly_is_left_to_the_player(page, site, name, make, reason):
    make(site / name)
    kind, message = page.page.evaluate(ERROR, f"../{name}")
    assert kind == "InexactError" and reason in message


@pytest.mark.parametrize(
    ("size", "new"),
    [
        ((48, 80), (8, 20)),
        ((8, 20), (13, 17)),
        ((61, 47), (120, 90)),
        ((9, 130), (9, 20)),
        ((200, 8), (31, 8)),
        ((33, 21), (33, 21)),
        ((70, 90), (1, 1)),
        ((1, 3), (8, 20)),
    ],
)
def test_pictures_are_resized_as_torch_does(page, size, new):
    frame = torch.randint(0, 256, (1, *size, 3), generator=torch.Generator().manual_seed(sum(size)), dtype=torch.uint8)
    wanted = resize(frame, new)[0].flatten().tolist()
    found = page.page.evaluate(
        """async ([pixels, height, width, size]) => {
          const { resize } = await import('./resize.js');
          return Array.from(resize(Uint8Array.from(pixels), { height, width, channels: 3 }, size));
        }""",
        [frame.flatten().tolist(), *size, list(new)],
    )
    assert found == wanted


@pytest.mark.parametrize(
    "fields",
    [
        {"sampling": "dense", "frame_stride": 5, "num_clips": 4},
        {"sampling": "dense", "frame_stride": 32, "target_fps": 25.0},
        {"sampling": "center", "frame_stride": 5},
        {"sampling": "coverage", "frame_stride": 5},
        {"sampling": "segment"},
        {"sampling": "segment", "num_clips": 3},
        {"sampling": "uniform", "num_clips": 2},
        {"sampling": "uniform", "channel_order": "time"},
    ],
    ids=str,
)
def test_frame_numbers_are_those_of_the_library(page, fields):
    clip, config = ClipConfig(**{"num_clips": 1, "num_crops": 1, **fields}), tiny_config()
    described = sidecar(
        config, ModelInfo(clip=clip), file="", content=b"", export={"dynamic_frames": False}, weights_sha256=""
    )["sampling"]
    videos = [_Timing(n, fps) for n in (1, 2, 7, 100, 1000) for fps in (0.5, 25.0, 30000 / 1001, 500.0)]
    found = page.page.evaluate(
        """async ([videos, sampling]) => {
          const { evalClips } = await import('./sampling.js');
          return videos.map(([numFrames, fps]) => evalClips({ numFrames, fps }, sampling, 3));
        }""",
        [[[video.num_frames, video.fps] for video in videos], described],
    )
    assert found == [eval_clips(video, clip, num_frames=config.num_frames) for video in videos]


def test_sizes_and_boxes_are_those_of_the_library(page):
    cases = [
        (height, width, crop, scale, num_crops)
        for height in (31, 96, 720)
        for width in (33, 54, 1280)
        for crop in ((8, 20), (21, 21), (19, 7))
        for scale in (1.0, 1.15)
        for num_crops in (1, 3)
    ]
    wanted = []
    for height, width, crop, scale, num_crops in cases:
        size = resized_size(height, width, crop=crop, scale=scale)
        wanted.append([list(size), [[box.top, box.left] for box in crop_boxes(*size, crop=crop, num_crops=num_crops)]])
    script = """async (cases) => {
      const { cropBoxes, resizedSize } = await import('./sampling.js');
      return cases.map(([height, width, crop, scale, numCrops]) => {
        const size = resizedSize(height, width, crop, scale);
        return [size, cropBoxes(...size, crop, numCrops).map(({ top, left }) => [top, left])];
      });
    }"""
    assert page.page.evaluate(script, [[*case] for case in cases]) == wanted


class _Timing:
    """Frame count and rate of a video."""

    def __init__(self, num_frames, fps):
        self.num_frames, self.fps = num_frames, fps
