"""Synthetic videos for the benchmarks of readers, as hard to decode as real ones, written with x264's defaults.

Flat or still pictures would decode too fast. Here a camera pans by fractions of a pixel over a texture with details of
all sizes, patches of other textures move across it, and every frame has its own grain.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int16, UInt8

from timesformer.bench.panning_video import draw_texture, encode_frames

_PATCH_SIDES = (0.3, 0.22, 0.17)
"""Sides of the moving patches, as fractions of the picture's height."""
_GRAIN = 4.0
"""Standard deviation of the grain, in levels of 255."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SyntheticVideo:
    """A video to draw; by default 10 s of 720p."""

    num_frames: int = 300
    fps: int = 30
    height: int = 720
    """In pixels, even."""
    width: int = 1280
    """In pixels, even."""
    seed: int = 0


def write_synthetic_video(video: SyntheticVideo, paths: Mapping[int, Path]) -> None:
    """Draw a video once and write it as H.264, 4:2:0, once for each key frame interval.

    Args:
        video: The video to draw.
        paths: The mp4 file for each key frame interval: frames from one key frame to the next, at most.

    Raises:
        OSError: The disk refused.
    """
    encode_frames(draw_frames(video), paths, fps=video.fps, height=video.height, width=video.width)


def draw_frames(video: SyntheticVideo) -> Iterator[UInt8[np.ndarray, "h w 3"]]:
    """The RGB frames of a video, 0 to 255, in order."""
    rng = np.random.default_rng(video.seed)
    height, width = video.height, video.width
    margin = height // 4
    background = draw_texture(rng, height=height + margin + 1, width=width + margin + 1)
    sides = [max(2, round(fraction * height)) for fraction in _PATCH_SIDES]
    patches = [draw_texture(rng, height=side, width=side) for side in sides]
    phases = rng.uniform(0, 2 * np.pi, (1 + len(patches), 2))
    for number in range(video.num_frames):
        time_s = number / video.fps
        top, left = margin * _swing(0.5 * time_s + phases[0])
        picture = _shifted(background, top, left, height=height, width=width)
        for index, (patch, side) in enumerate(zip(patches, sides, strict=True), start=1):
            y, x = (_swing((0.6 + 0.2 * index) * time_s + phases[index]) * (height - side, width - side)).astype(int)
            picture[y : y + side, x : x + side] = patch
        grain = rng.normal(0, _GRAIN, (height, width, 1)).astype(np.int16)
        yield np.clip(picture + grain, 0, 255).astype(np.uint8)


def _swing(phase: Float[np.ndarray, "2"]) -> Float[np.ndarray, "2"]:
    """Swing between 0 and 1."""
    return (1 + np.sin(phase)) / 2


def _shifted(
    picture: UInt8[np.ndarray, "h2 w2 3"], top: float, left: float, *, height: int, width: int
) -> Int16[np.ndarray, "h w 3"]:
    """Crop a picture at a subpixel position, in sixteenths of a pixel."""
    down, right = int(16 * (top % 1)), int(16 * (left % 1))
    y, x = int(top), int(left)
    crop = picture[y : y + height + 1, x : x + width + 1].astype(np.int16)
    crop = (crop[:-1] * (16 - down) + crop[1:] * down) >> 4
    return (crop[:, :-1] * (16 - right) + crop[:, 1:] * right) >> 4
