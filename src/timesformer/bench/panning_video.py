"""The video of `timesformer bench predict`: as hard to decode as a real one, written with x264's defaults."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import UInt8

_ENCODER = {"preset": "medium", "crf": "23"}
"""x264's defaults: up to 3 B-frames, 3 references, CABAC, key frames at cuts."""
_GRAIN = 5.0
"""Standard deviation of the grain, in levels of 255; decodes at the speed of `benchmarks/synthetic_videos.py`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PanningVideo:
    """A camera that pans over a fine texture with grain; by default 10 s of 720p."""

    num_frames: int = 300
    fps: int = 30
    height: int = 720
    """In pixels, even."""
    width: int = 1280
    """In pixels, even."""
    gop: int = 250
    """Frames from one key frame to the next, at most."""


def write_panning_video(path: Path, video: PanningVideo) -> None:
    """Draw the video and write it as an H.264 file in 4:2:0.

    Raises:
        OSError: The disk refused.
    """
    encode_frames(_draw_frames(video), {video.gop: path}, fps=video.fps, height=video.height, width=video.width)


def encode_frames(
    frames: Iterable[UInt8[np.ndarray, "h w 3"]], paths: Mapping[int, Path], *, fps: int, height: int, width: int
) -> None:
    """Write frames as H.264, 4:2:0, by x264's defaults, once for each key frame interval.

    Args:
        frames: RGB frames, 0 to 255, of even height and width.
        paths: The mp4 file for each key frame interval: frames from one key frame to the next, at most.
        fps: Frames a second.
        height: Height of the frames, in pixels.
        width: Width of the frames, in pixels.

    Raises:
        OSError: The disk refused.
    """
    with ExitStack() as files:
        outputs = []
        for gop, path in paths.items():
            container = files.enter_context(av.open(path, "w"))
            stream = container.add_stream("libx264", rate=fps, options={**_ENCODER, "g": str(gop)})
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
            outputs.append((container, stream))
        for number, picture in enumerate(frames):
            # one thread: a pool of the scaler left behind would hang a forked worker
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format="yuv420p", threads=1)
            frame.pts = number
            for container, stream in outputs:
                container.mux(stream.encode(frame))
        for container, stream in outputs:
            container.mux(stream.encode(None))


def _draw_frames(video: PanningVideo) -> Iterator[UInt8[np.ndarray, "h w 3"]]:
    rng = np.random.default_rng(0)
    height, width = video.height, video.width
    margin = height // 4
    texture = draw_texture(rng, height=height + margin, width=width + margin)
    for number in range(video.num_frames):
        phase = 0.5 * number / video.fps + np.array([0, 1])
        top, left = (margin * (1 + np.sin(phase)) / 2).astype(int)
        grain = rng.normal(0, _GRAIN, (height, width, 1)).astype(np.int16)
        yield np.clip(texture[top : top + height, left : left + width] + grain, 0, 255).astype(np.uint8)


def draw_texture(rng: np.random.Generator, *, height: int, width: int) -> UInt8[np.ndarray, "h w 3"]:
    """A picture with details of all sizes, the finer the fainter, as in photographs."""
    total = torch.zeros(1, 3, height, width)
    for octave in range(2, 9):
        rows, columns = max(2, 2**octave * height // width), 2**octave
        noise = torch.from_numpy(rng.standard_normal((1, 3, rows, columns), dtype=np.float32))
        total += 0.75**octave * F.interpolate(noise, size=(height, width), mode="bicubic", align_corners=False)
    levels = 120 + 45 * (total - total.mean()) / total.std()
    return rearrange(levels.clamp_(0, 255).to(torch.uint8), "1 c h w -> h w c").numpy()
