"""Views of single frames, from which the clips of all windows that show them are put together."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from timesformer.config.schema import ClipConfig
from timesformer.data.clips.transforms import eval_views


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
