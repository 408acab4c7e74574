"""Another background behind what moves: augmentation for cameras that stand still.

What a pixel shows in most frames of a clip, its median, is the background; it is replaced wherever a frame does not
differ from it. Parts of a person that stay in place belong to it.
"""

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float, UInt8
from torch import Tensor

FRAMES = 5
"""Frames from which the background of another video is computed."""
_NOISE_SIDE = 32
_SAME, _OTHER = 8.0, 24.0
"""Differences in gray levels up to which a pixel is background, and from which on it is not."""
_STILL = 0.5
"""Largest fraction of the pixels that change in a clip of a camera that stands still."""


def draw_noise(generator: np.random.Generator) -> UInt8[np.ndarray, "h w 3"]:
    """Draw a small picture of colored noise: coarse patches, and fine ones in them."""
    coarse, fine = (generator.integers(0, 256, (side, side, 3)) for side in (_NOISE_SIDE // 8, _NOISE_SIDE))
    return ((coarse.repeat(8, axis=0).repeat(8, axis=1) + fine) // 2).astype(np.uint8)


def replace_background(
    frames: UInt8[Tensor, "t h w 3"], backdrop: UInt8[Tensor, "h w 3"], *, has_colors: bool = True
) -> UInt8[Tensor, "t h w 3"]:
    """Replace the background of a clip, unless its camera moves.

    Between the background and what moves the two pictures are blended.

    Args:
        frames: Frames whose channels are colors or times, 0 to 255; not modified.
        backdrop: The new background, in the size of the frames, with the same kind of channels.
        has_colors: Whether the channels are colors. Those that are times have one background.

    Returns:
        The frames with the new background; unchanged if most pixels differ from their median in some frame.
    """
    moments = frames if has_colors else rearrange(frames, "t h w c -> (t c) h w 1")
    new = backdrop if has_colors else backdrop[..., :1]
    old = moments.median(dim=0).values
    differences = _differences(moments, old)
    if float((differences.amax(dim=0) > _OTHER).float().mean()) > _STILL:
        return frames
    weights = rearrange((differences - _SAME).div_(_OTHER - _SAME).clamp_(0, 1), "t h w -> t h w 1")
    mixed = torch.lerp(new.float(), moments.float(), weights).add_(0.5).to(torch.uint8)
    return mixed if has_colors else rearrange(mixed, "(t c) h w 1 -> t h w c", c=3)


def _differences(frames: UInt8[Tensor, "t h w c"], background: UInt8[Tensor, "h w c"]) -> Float[Tensor, "t h w"]:
    """Largest difference of a pixel's channels to the background, as the mean over 3 x 3 pixels."""
    largest = (frames.to(torch.int16) - background).abs_().amax(dim=-1).float()
    return F.avg_pool2d(largest[:, None], 3, stride=1, padding=1, count_include_pad=False)[:, 0]
