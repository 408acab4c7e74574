"""How a color camera shows bodies: clothes, skin and hair in light and shade, before a still background."""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from timesformer.people.bodies import PerBody, per_clip
from timesformer.people.pixels import Grain, blurred
from timesformer.people.render import Picture
from timesformer.people.spheres import Part

LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue (ITU-R BT.601)."""
_PARTS = len(Part)
_BLOCK = 8
_SCALES = (2, 4, 8, 16, 32)
"""Cells along the height of a background, from coarse to fine."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ColorLook:
    """Colors and light of each clip; colors are from 0 to 255, `c` is 3, or 1 for their luma."""

    palette: Float[Tensor, "n 10 c"]
    """Color of each `Part`."""
    background: Float[Tensor, "n c h w"]
    light: Float[Tensor, "n 3"]
    """Direction to the light, of length 1: right, up, toward the camera."""
    ambient: PerBody
    """Brightness of a surface in the shade, from 0 to 1."""
    scale: PerBody
    """Pixels per meter."""
    noise: PerBody
    """Standard deviation of the noise, in values of 0 to 255."""
    blocks: PerBody
    """Standard deviation of the noise of blocks of 8 x 8 pixels, as compression leaves it."""
    softness: PerBody
    """Weight of a neighboring pixel."""
    flicker: Float[Tensor, "n t 1"]
    """Factor of the exposure at each moment."""

    def as_luma(self) -> "ColorLook":
        """The same in black and white."""
        weights = torch.tensor(LUMA, device=self.palette.device)
        gray = {
            "palette": (self.palette * weights).sum(-1, keepdim=True),
            "background": (self.background * weights[:, None, None]).sum(1, keepdim=True),
        }
        return ColorLook(**{name: gray.get(name, getattr(self, name)) for name in self.__slots__})


def draw_color_looks(
    rng: np.random.Generator, grain: Grain, *, scale: PerBody, moments: int, size: tuple[int, int]
) -> ColorLook:
    """Random clothes, backgrounds, lights and cameras.

    Args:
        rng: Source of all numbers but the backgrounds.
        grain: Source of the backgrounds.
        scale: Pixels per meter in each clip.
        moments: Pictures of a clip.
        size: Height and width in pixels.
    """
    clips, device = len(scale), scale.device
    light = rng.normal(0, 1, (clips, 3)) * [0.7, 0.4, 0.3] + [0, 0.6, 1.0]
    light /= np.linalg.norm(light, axis=1, keepdims=True)
    flickers = rng.normal(0, 0.012, (clips, moments, 1)) * (rng.random((clips, 1, 1)) < 0.3)

    def tensor(values: np.ndarray) -> Tensor:
        return torch.from_numpy(values.astype(np.float32)).to(device)

    return ColorLook(
        palette=tensor(np.stack([_palette(rng) for _ in range(clips)])),
        background=_backgrounds(rng, grain, clips=clips, size=size),
        light=tensor(light),
        ambient=per_clip(rng.uniform(0.25, 0.95, clips), device=device),
        scale=scale,
        noise=per_clip(rng.uniform(0.3, 3.5, clips), device=device),
        blocks=per_clip(rng.uniform(0, 2, clips) * (rng.random(clips) < 0.5), device=device),
        softness=per_clip(rng.uniform(0.04, 0.3, clips), device=device),
        flicker=tensor(1 + flickers),
    )


def paint_color(picture: Picture, look: ColorLook, grain: Grain) -> list[Float[Tensor, "n t h w"]]:
    """Pictures of each color channel, 0 to 255."""
    shade = _shade(picture, look)
    noise = grain.of(picture.part.shape) * look.noise[..., None]
    noise += _blocks(grain, picture.part.shape) * look.blocks[..., None]
    index = picture.part.flatten(1).long()
    is_body = picture.part > 0
    softness, flicker = look.softness[..., None], look.flicker[..., None]
    channels = []
    for channel in range(look.palette.shape[-1]):
        body = look.palette[..., channel].gather(1, index).view(shade.shape) * shade
        image = torch.where(is_body, body, look.background[:, channel, None])
        channels.append((blurred(image, softness) * flicker + noise).clamp_(0, 255))
    return channels


def _blocks(grain: Grain, shape: torch.Size) -> Float[Tensor, "n t h w"]:
    """Noise that is constant within blocks."""
    clips, moments, height, width = shape
    cells = (clips, moments, -(-height // _BLOCK), -(-width // _BLOCK))
    noise = torch.randn(cells, generator=grain.generator, device=grain.generator.device)
    return noise.repeat_interleave(_BLOCK, 2).repeat_interleave(_BLOCK, 3)[:, :, :height, :width]


def _shade(picture: Picture, look: ColorLook) -> Float[Tensor, "n t h w"]:
    """Brightness of surfaces from 0 to 1, by the angle between the surface and the light."""
    half_meters = 0.5 * look.scale[..., None]
    near = picture.near
    across, down = torch.zeros_like(near), torch.zeros_like(near)
    # beyond the edge of a limb there is another surface far behind it
    across[..., 1:-1] = ((near[..., 2:] - near[..., :-2]) * half_meters).clamp_(-2, 2)
    down[:, :, 1:-1] = ((near[:, :, 2:] - near[:, :, :-2]) * half_meters).clamp_(-2, 2)
    right, up, forward = look.light[:, :, None, None, None].unbind(1)
    facing = (forward - across * right + down * up) / (1 + across.square() + down.square()).sqrt_()
    ambient = look.ambient[..., None]
    return ambient + (1 - ambient) * facing.clamp_(0, 1)


def _palette(rng: np.random.Generator) -> Float[np.ndarray, "10 3"]:
    """Colors of skin, hair, shirt, trousers and shoes, with long or short sleeves and legs."""
    skin = np.array([225, 172, 140]) * rng.uniform(0.3, 1.08) + rng.normal(0, 6, 3)
    hair = np.array([70, 52, 40]) * rng.uniform(0.2, 2.6) + rng.normal(0, 6, 3)
    shirt, trousers, shoes = rng.uniform(10, 250, (3, 3))
    grayness = rng.uniform(0, 1, (3, 1))
    clothes = np.stack([shirt, trousers, shoes])
    shirt, trousers, shoes = clothes + grayness * (clothes.mean(axis=1, keepdims=True) - clothes)
    palette = np.zeros((_PARTS, 3))
    palette[Part.TRUNK] = shirt
    palette[Part.UPPER_ARM] = shirt if rng.random() < 0.9 else skin
    palette[Part.FOREARM] = shirt if rng.random() < 0.45 else skin
    palette[[Part.HAND, Part.FACE]] = skin
    palette[Part.THIGH] = trousers
    palette[Part.SHANK] = trousers if rng.random() < 0.75 else skin
    palette[Part.FOOT] = shoes
    palette[Part.HAIR] = skin if rng.random() < 0.12 else hair
    return np.clip(palette, 2, 253)


def _backgrounds(
    rng: np.random.Generator, grain: Grain, *, clips: int, size: tuple[int, int]
) -> Float[Tensor, "clips 3 h w"]:
    """Flat walls, and textures of blotches of several sizes, with soft or hard edges."""
    height, width = size
    device = grain.generator.device
    base = rng.uniform(15, 240, (clips, 3))
    base = base + rng.uniform(0.3, 1, (clips, 1)) * (base.mean(axis=1, keepdims=True) - base)
    image = torch.from_numpy(base.astype(np.float32)).to(device)[:, :, None, None].expand(-1, -1, height, width)
    shown = (rng.random((clips, len(_SCALES))) < 0.7) & (rng.random((clips, 1)) < 0.75)
    strengths = rng.uniform(0, 55, (clips, len(_SCALES))) * shown
    has_edges = torch.from_numpy(rng.random((clips, len(_SCALES))) < 0.4).to(device)
    for level, scale in enumerate(_SCALES):
        smooth = _blotches(grain, clips, cells=(scale, max(round(scale * width / height), 1)), size=size)
        hard = has_edges[:, level, None, None, None]
        strength = per_clip(strengths[:, level], device=device)[..., None]
        image = image + torch.where(hard, smooth.sign(), smooth) * strength
    return image.clamp(0, 255)


def _blotches(
    grain: Grain, clips: int, *, cells: tuple[int, int], size: tuple[int, int]
) -> Float[Tensor, "clips 3 h w"]:
    """Smooth noise, more gray than colored."""
    noise = torch.randn((clips, 3, *cells), generator=grain.generator, device=grain.generator.device)
    mixed = 0.35 * noise + 1.1 * noise.mean(dim=1, keepdim=True)
    return F.interpolate(mixed, size=size, mode="bilinear", align_corners=False)
