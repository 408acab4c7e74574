"""Videos to read in a benchmark: drawn as a camera sees, and written as ordinary encoders write.

A flat or still picture would be decoded in no time. Here a camera pans by fractions of a pixel over a texture with
details of all sizes, patches of other textures move across it, and every frame has its own grain.
"""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import torch
import torch.nn.functional as F
from av.container import OutputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from einops import rearrange
from jaxtyping import Float, Int16, UInt8

_ENCODER = {"preset": "medium", "crf": "23"}
"""What x264 does where nobody asks for anything else: up to 3 B-frames, 3 references, CABAC, key frames at cuts."""
_SHARE_OF_PATCHES = (0.3, 0.22, 0.17)
"""Sides of the moving patches over the height of the picture."""
_GRAIN = 4.0
"""Standard deviation of the grain, in levels of 255."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """A video to draw; of the default size, 10 s of 720p."""

    num_frames: int = 300
    fps: int = 30
    height: int = 720
    """In pixels, even."""
    width: int = 1280
    """In pixels, even."""
    seed: int = 0


def write_scene(scene: Scene, paths: Mapping[int, Path]) -> None:
    """Draw a scene once and write it as H.264, 4:2:0, once for each distance of key frames.

    Args:
        scene: What to draw.
        paths: The mp4 file for each number of frames from one key frame to the next, at most.

    Raises:
        OSError: The disk refused.
    """
    with ExitStack() as files:
        outputs = [_open(files.enter_context(av.open(path, "w")), scene, gop=gop) for gop, path in paths.items()]
        for number, picture in enumerate(draw_frames(scene)):
            # one thread: a pool of the scaler left behind would hang a forked worker
            frame = VideoFrame.from_ndarray(picture, format="rgb24").reformat(format="yuv420p", threads=1)
            frame.pts = number
            for container, stream in outputs:
                container.mux(stream.encode(frame))
        for container, stream in outputs:
            container.mux(stream.encode(None))


def draw_frames(scene: Scene) -> Iterator[UInt8[np.ndarray, "h w 3"]]:
    """The RGB frames of a scene, 0 to 255, one after the other."""
    rng = np.random.default_rng(scene.seed)
    height, width = scene.height, scene.width
    room = height // 4
    background = draw_texture(rng, height=height + room + 1, width=width + room + 1)
    sides = [max(2, round(share * height)) for share in _SHARE_OF_PATCHES]
    patches = [draw_texture(rng, height=side, width=side) for side in sides]
    phases = rng.uniform(0, 2 * np.pi, (1 + len(patches), 2))
    for number in range(scene.num_frames):
        time_s = number / scene.fps
        top, left = room * _swing(0.5 * time_s + phases[0])
        picture = _shifted(background, top, left, height=height, width=width)
        for place, (patch, side) in enumerate(zip(patches, sides, strict=True), start=1):
            y, x = (_swing((0.6 + 0.2 * place) * time_s + phases[place]) * (height - side, width - side)).astype(int)
            picture[y : y + side, x : x + side] = patch
        grain = rng.normal(0, _GRAIN, (height, width, 1)).astype(np.int16)
        yield np.clip(picture + grain, 0, 255).astype(np.uint8)


def draw_texture(rng: np.random.Generator, *, height: int, width: int) -> UInt8[np.ndarray, "h w 3"]:
    """A picture with details of all sizes, the finer the fainter, as photographs have."""
    total = torch.zeros(1, 3, height, width)
    for octave in range(2, 9):
        rows, columns = max(2, 2**octave * height // width), 2**octave
        noise = torch.from_numpy(rng.standard_normal((1, 3, rows, columns), dtype=np.float32))
        total += 0.75**octave * F.interpolate(noise, size=(height, width), mode="bicubic", align_corners=False)
    levels = 120 + 45 * (total - total.mean()) / total.std()
    return rearrange(levels.clamp_(0, 255).to(torch.uint8), "1 c h w -> h w c").numpy()


def _open(container: OutputContainer, scene: Scene, *, gop: int) -> tuple[OutputContainer, VideoStream]:
    stream = container.add_stream("libx264", rate=scene.fps, options={**_ENCODER, "g": str(gop)})
    stream.width, stream.height, stream.pix_fmt = scene.width, scene.height, "yuv420p"
    return container, stream


def _swing(phase: Float[np.ndarray, "2"]) -> Float[np.ndarray, "2"]:
    """To and fro between 0 and 1."""
    return (1 + np.sin(phase)) / 2


def _shifted(
    picture: UInt8[np.ndarray, "h2 w2 3"], top: float, left: float, *, height: int, width: int
) -> Int16[np.ndarray, "h w 3"]:
    """A part of a picture, from a place that lies between pixels, to a sixteenth of one."""
    down, right = int(16 * (top % 1)), int(16 * (left % 1))
    y, x = int(top), int(left)
    part = picture[y : y + height + 1, x : x + width + 1].astype(np.int16)
    part = (part[:-1] * (16 - down) + part[1:] * down) >> 4
    return (part[:, :-1] * (16 - right) + part[:, 1:] * right) >> 4
