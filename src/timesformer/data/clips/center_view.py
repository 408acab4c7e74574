"""The view of a video that an explanation is about: the first clip and its center crop, and where it lies."""

from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int64, UInt8
from torch import Tensor

from timesformer.config.schema import ClipConfig, ModelConfig
from timesformer.data.clips.sampling import Box, eval_boxes, eval_clips
from timesformer.data.clips.transforms import eval_views, region_of
from timesformer.data.video.file_reader import VideoInfo
from timesformer.data.video.reader import Reader, open_reader


class CenterView(NamedTuple):
    """One view of a video, its frames, and their place in the video."""

    view: UInt8[Tensor, "3 t s1 s2"]
    """The view, for `transforms.to_floats`."""
    pixels: UInt8[np.ndarray, "t h w 3"]
    """Its frames: whole, upright, in their original size."""
    frames: Int64[np.ndarray, " t"]
    """Number of each frame in the video, counted from 0."""
    seconds: Float64[np.ndarray, " t"]
    """Presentation time of each frame, in seconds from the first of the video."""
    box: tuple[float, float, float, float]
    """Top, left, height and width of the view in `pixels`."""
    info: VideoInfo
    """Size, length and timing of the video."""


def read_center_view(
    video: str | Path | Reader, model: ModelConfig, clip: ClipConfig, *, allow_codecs: Collection[str] = ()
) -> CenterView:
    """Read the first clip of a video, as for evaluation, and its center crop.

    If the channels are times, three frames of the video are one of the clip; `frames`, `seconds` and `pixels` are those
    of the middle one.

    Args:
        video: A file, a folder of frames, a video in a tar file, or a reader.
        model: Frame count and image size of the view.
        clip: Sampling and crops.
        allow_codecs: Codecs to decode besides `timesformer.data.video.codecs.DEFAULT_CODECS`.

    Raises:
        DecodeError: The video cannot be decoded.
    """
    reader = open_reader(video, allow_codecs=allow_codecs) if isinstance(video, str | Path) else video
    with reader:
        info = reader.info
        read = np.array(eval_clips(info, clip, num_frames=model.num_frames)[0])
        pixels, seconds = reader.read(read), reader.times[read]
    group = clip.frames_per_channel_group
    middle = slice(group // 2, None, group)
    views = eval_views(pixels, clip, image_size=model.image_size)
    region = region_of(pixels, clip, image_size=model.image_size)
    box = center_box(region, clip, crop=model.image_size)
    return CenterView(views[len(views) // 2], pixels[middle], read[middle], seconds[middle], box, info)


def center_box(region: Box, clip: ClipConfig, *, crop: tuple[int, int]) -> tuple[float, float, float, float]:
    """Compute the rectangle of an upright frame that the center crop shows.

    Args:
        region: Part of the frame that crops are taken from, in pixels.
        clip: Number of crops and their scale.
        crop: Height and width of the crop in pixels.

    Returns:
        Top, left, height and width in pixels of the frame: real numbers, edges at whole numbers.
    """
    (resized_height, resized_width), boxes = eval_boxes(region.height, region.width, clip, crop=crop)
    box = boxes[len(boxes) // 2]
    rows, columns = region.height / resized_height, region.width / resized_width
    return region.top + box.top * rows, region.left + box.left * columns, box.height * rows, box.width * columns
