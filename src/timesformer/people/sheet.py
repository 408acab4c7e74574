"""A picture of what a pretraining draws: a motion in each row, as two bodies do it."""

from collections.abc import Sequence

import numpy as np
import torch
from einops import rearrange
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from timesformer.people.batch import FAR, Look, draw_scene
from timesformer.people.color_look import draw_color_looks, paint_color
from timesformer.people.depth_look import draw_depth_looks, paint_depth
from timesformer.people.motions import Motion, draw_motion
from timesformer.people.pixels import Grain
from timesformer.people.render import Frame

_COLUMNS = 8
"""Moments shown of each clip."""
_LINE, _GAP = 16, 8


def draw_sheet(*, seed: int, looks: tuple[Look, Look], size: Frame, rows: int = 10) -> Image.Image:
    """Draw motions with their names: of each, moments of two clips side by side.

    The clips are drawn as for training; color clips in color, of which training sees the brightness.

    Args:
        seed: Seed of the run; other motions than those of its batches.
        looks: Look of the left and of the right clip.
        size: Size of the clips.
        rows: Number of motions.
    """
    rng = np.random.default_rng((seed, 2**32))  # the batches have smaller numbers
    motions = tuple(draw_motion(rng) for _ in range(rows))
    grain = Grain(torch.Generator().manual_seed(int(rng.integers(2**62))))
    chosen = np.linspace(0, size.moments - 1, min(_COLUMNS, size.moments)).round().astype(int)
    strips = [_strips(rng, grain, motions, size, look=look, chosen=chosen) for look in looks]
    return _laid_out([motion.name for motion in motions], list(zip(*strips, strict=True)))


def _strips(
    rng: np.random.Generator, grain: Grain, motions: tuple[Motion, ...], size: Frame, *, look: Look, chosen: np.ndarray
) -> UInt8[np.ndarray, "n h w2 3"]:
    """Chosen moments of each clip, side by side."""
    scene = draw_scene(rng, motions, size, far=FAR[look], device=torch.device("cpu"))
    if look == "depth":
        gray = paint_depth(scene.picture, draw_depth_looks(rng, clips=len(motions), device=torch.device("cpu")), grain)
        channels: Sequence[Tensor] = [gray] * 3
    else:
        colors = draw_color_looks(
            rng, grain, scale=scene.cameras.scale, moments=size.moments, size=(size.height, size.width)
        )
        channels = paint_color(scene.picture, colors, grain)
    image = torch.stack([channel[:, torch.from_numpy(chosen)] for channel in channels])
    return rearrange(image.round().to(torch.uint8), "c n t h w -> n h (t w) c").numpy()


def _laid_out(names: Sequence[str], rows: Sequence[tuple[np.ndarray, ...]]) -> Image.Image:
    height, width, _ = rows[0][0].shape
    step = height + _LINE + _GAP
    image = Image.new("RGB", (2 * width + 3 * _GAP, len(rows) * step + _GAP), "white")
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(size=_LINE - 5)
    for number, (name, strips) in enumerate(zip(names, rows, strict=True)):
        top = _GAP + number * step
        draw.text((_GAP, top), name, fill="#222222", font=font)
        for side, strip in enumerate(strips):
            image.paste(Image.fromarray(strip), (_GAP + side * (width + _GAP), top + _LINE))
    return image
