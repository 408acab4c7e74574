"""Views of single frames, from which the clips of all windows that show them are put together.

If crops are taken from the region in which something moves, or frames are differences from the background, which each
window has of its own, frames are kept whole, and their views are made when the window is complete.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from einops import rearrange
from jaxtyping import UInt8
from torch import Tensor

from timesformer.config.schema import ClipConfig
from timesformer.data.clips.transforms import as_tensor, eval_views, resize


def kept_frame(
    pixels: UInt8[np.ndarray, "h w 3"], clip: ClipConfig, *, image_size: tuple[int, int]
) -> UInt8[Tensor, "crops c 1 s1 s2"] | UInt8[Tensor, "h w 3"]:
    """What is kept of a frame until its windows are complete: its views, or the frame itself."""
    return frame_views(pixels, clip, image_size=image_size) if _is_by_frame(clip) else as_tensor(pixels[None])[0]


def window_views(
    kept: Mapping[int, UInt8[Tensor, "crops c 1 s1 s2"] | UInt8[Tensor, "h w 3"]],
    frames: Sequence[int],
    clip: ClipConfig,
    *,
    image_size: tuple[int, int],
) -> dict[int, UInt8[Tensor, "crops c 1 s1 s2"]]:
    """The views of the frames of a window, from what `kept_frame` kept of them, by frame number.

    Args:
        kept: What was kept of each frame.
        frames: The numbers of the window's frames, of which the model's clip is made.
        clip: Region and crops.
        image_size: Height and width of a crop in pixels.
    """
    if _is_by_frame(clip):
        return {number: kept[number] for number in frames}
    height, width, _ = kept[frames[0]].shape
    # a stream that was opened again may have another size
    pixels = torch.cat([resize(kept[number][None], (height, width)) for number in frames])
    views = eval_views(pixels, clip, image_size=image_size)
    if clip.frames_per_channel_group > 1:
        views = rearrange(views, "crops c t h w -> crops 1 (t c) h w")
    return {number: views[:, :, i : i + 1] for i, number in enumerate(frames)}


def _is_by_frame(clip: ClipConfig) -> bool:
    """Whether the views of a frame do not depend on the other frames of its window."""
    return clip.region == "frame" and clip.background != "difference"


def frame_views(
    pixels: UInt8[np.ndarray, "h w 3"], clip: ClipConfig, *, image_size: tuple[int, int]
) -> UInt8[Tensor, "crops c 1 s1 s2"]:
    """The spatial views of one frame: its colors, or its brightness alone if the model's channels are times."""
    group = clip.frames_per_channel_group
    views = eval_views(np.repeat(pixels[None], group, axis=0), clip, image_size=image_size)
    return views[:, :1].clone() if group > 1 else views


def clip_views(
    frames: Sequence[UInt8[Tensor, "crops c 1 s1 s2"]], clip: ClipConfig
) -> UInt8[Tensor, "crops 3 t s1 s2"]:
    """The spatial views of a clip, as `timesformer.data.clips.transforms.eval_views` makes them of all frames."""
    group = clip.frames_per_channel_group
    return torch.cat([torch.cat([*frames[i : i + group]], dim=1) for i in range(0, len(frames), group)], dim=2)
