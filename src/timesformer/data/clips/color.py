"""Color operations on clips of 8-bit pixels: one table or one matrix for all frames, so that nothing flickers.

Means and histograms are those of the whole clip. Operations on single values are tables of 256 entries; results are
rounded to the nearest value, halves up, and clipped to 0 to 255.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float, UInt8
from torch import Tensor

Clip = UInt8[Tensor, "t h w 3"]
Table = UInt8[np.ndarray, "256"]

_LUMA = (0.299, 0.587, 0.114)
_VALUES = np.arange(256)
_FACTOR = 0.9
_BITS = 4


def brightness(frames: Clip, factor: float) -> Clip:
    """Multiply all values: 0 is black, 1 changes nothing."""
    return _look_up(frames, _rounded(_VALUES * factor))


def contrast(frames: Clip, factor: float) -> Clip:
    """Multiply the distance to the clip's mean luma (ITU-R BT.601): 0 is that gray, 1 changes nothing."""
    mean = float(frames.reshape(-1, 3).float().mean(dim=0) @ torch.tensor(_LUMA))
    return _look_up(frames, _rounded(mean + (_VALUES - mean) * factor))


def saturation(frames: Clip, factor: float) -> Clip:
    """Multiply the distance of each pixel to its own luma: 0 is black and white, 1 changes nothing."""
    values = frames.float()
    luma = rearrange(values @ torch.tensor(_LUMA), "t h w -> t h w 1")
    return _to_bytes(torch.lerp(luma, values, factor))


def luma(frames: Clip) -> UInt8[Tensor, "t h w"]:
    """Brightness of each pixel (ITU-R BT.601), rounded to whole numbers; a gray keeps its value."""
    return torch.stack([_luma(frame) for frame in frames])  # frame by frame, without a second copy of a large clip


def _luma(frame: UInt8[Tensor, "h w 3"]) -> UInt8[Tensor, "h w"]:
    red, green, blue = (channel.to(torch.int32) for channel in frame.unbind(dim=-1))
    return ((77 * red + 150 * green + 29 * blue + 128) >> 8).to(torch.uint8)


def grayscale(frames: Clip) -> Clip:
    """Replace all three channels by the luma."""
    return saturation(frames, 0.0)


def hue(frames: Clip, turn: float) -> Clip:
    """Rotate all colors about the gray axis, by a fraction of the full circle; luma and grays are kept.

    The rotation is linear, in the YIQ color space; colors outside the RGB cube are clipped.
    """
    pixels = rearrange(frames, "t h w c -> (t h w) c").float()
    turned = _to_bytes(pixels @ torch.from_numpy(_hue_matrix(turn).T).float())
    return turned.reshape(frames.shape)


def sharpness(frames: Clip, factor: float) -> Clip:
    """Interpolate between a smoothed picture (0) and the picture itself (1), or sharpen it (above 1).

    The smoothed value is the mean of 3 x 3 pixels with the center counted five times; border pixels are unchanged.
    """
    values = frames.float()
    if min(values.shape[1:3]) < 3:
        return frames
    inner = values[:, 1:-1, 1:-1]
    columns = values[:, :-2] + values[:, 1:-1] + values[:, 2:]
    smooth = (columns[:, :, :-2] + columns[:, :, 1:-1] + columns[:, :, 2:] + 4 * inner) / 13
    sharpened = frames.clone()
    sharpened[:, 1:-1, 1:-1] = _to_bytes(torch.lerp(smooth, inner, factor))
    return sharpened


def posterize(frames: Clip, bits: int) -> Clip:
    """Keep the highest `bits` bits of each value, 0 to 8."""
    return _look_up(frames, (_VALUES & (0xFF00 >> bits)).astype(np.uint8))


def solarize(frames: Clip, threshold: float) -> Clip:
    """Invert values of at least `threshold`: 256 inverts nothing, 0 everything."""
    return _look_up(frames, np.where(threshold <= _VALUES, 255 - _VALUES, _VALUES).astype(np.uint8))


def invert(frames: Clip) -> Clip:
    """Replace each value by 255 minus it."""
    return 255 - frames


def autocontrast(frames: Clip) -> Clip:
    """Scale each channel so that its minimum in the clip becomes 0 and its maximum 255."""
    pixels = frames.reshape(-1, 3)
    lows, highs = (extreme.tolist() for extreme in (pixels.amin(dim=0), pixels.amax(dim=0)))
    return _look_up_by_channel(frames, [_autocontrast_table(low, high) for low, high in zip(lows, highs, strict=True)])


def equalize(frames: Clip) -> Clip:
    """Flatten the histogram of each channel over the clip."""
    counts = [torch.bincount(channel.flatten(), minlength=256).numpy() for channel in frames.unbind(dim=-1)]
    return _look_up_by_channel(frames, [_equalize_table(count) for count in counts])


OPERATIONS: Mapping[str, Callable[[Tensor, float], Tensor]] = MappingProxyType(
    {
        "brightness": lambda frames, strength: brightness(frames, 1 + _FACTOR * strength),
        "contrast": lambda frames, strength: contrast(frames, 1 + _FACTOR * strength),
        "saturation": lambda frames, strength: saturation(frames, 1 + _FACTOR * strength),
        "sharpness": lambda frames, strength: sharpness(frames, 1 + _FACTOR * strength),
        "posterize": lambda frames, strength: posterize(frames, 8 - round(_BITS * abs(strength))),
        "solarize": lambda frames, strength: solarize(frames, 256 * (1 - abs(strength))),
        "autocontrast": lambda frames, strength: autocontrast(frames),
        "equalize": lambda frames, strength: equalize(frames),
        "invert": lambda frames, strength: invert(frames),
    }
)
"""RandAugment's color operations, by a signed strength from -1 to 1: factors from 0.1 to 1.9, 8 to 4 bits, thresholds
from 256 to 0. The last three ignore the strength."""

NEED_COLORS = ("saturation", "autocontrast", "equalize")
"""Operations that treat the channels differently, as colors."""


def _look_up(frames: Clip, table: Table) -> Clip:
    return torch.from_numpy(np.take(table, frames.numpy()))


def _look_up_by_channel(frames: Clip, tables: list[Table]) -> Clip:
    channels = zip(frames.unbind(dim=-1), tables, strict=True)
    return torch.stack([torch.from_numpy(np.take(table, channel.numpy())) for channel, table in channels], dim=-1)


def _autocontrast_table(low: int, high: int) -> Table:
    if low == high:
        return _VALUES.astype(np.uint8)
    return _rounded((_VALUES - low) * (255 / (high - low)))


def _equalize_table(counts: np.ndarray) -> Table:
    # the count of the maximum is left out, so that it becomes 255
    step = int(counts.sum() - counts[counts > 0][-1]) // 255
    if step == 0:
        return _VALUES.astype(np.uint8)
    below = np.cumsum(counts) - counts
    return np.minimum((step // 2 + below) // step, 255).astype(np.uint8)


def _rounded(values: np.ndarray) -> Table:
    return (np.clip(values, 0, 255) + 0.5).astype(np.uint8)


def _to_bytes(values: Float[Tensor, "..."]) -> UInt8[Tensor, "..."]:
    return values.clamp_(0, 255).add_(0.5).to(torch.uint8)


def _hue_matrix(turn: float) -> Float[np.ndarray, "3 3"]:
    to_yiq = np.array([_LUMA, (0.5959, -0.2746, -0.3213), (0.2115, -0.5227, 0.3112)])
    angle = 2 * np.pi * turn
    rotation = np.array([[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]])
    return np.linalg.inv(to_yiq) @ rotation @ to_yiq
