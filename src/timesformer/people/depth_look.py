"""How a depth camera shows bodies: near is bright, the background is black, edges are ragged and surfaces noisy."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from timesformer.people.bodies import PerBody, per_clip
from timesformer.people.pixels import Grain, blurred
from timesformer.people.render import Picture

_DARKEST, _BRIGHTEST = 25, 255


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DepthLook:
    """How depth becomes gray, for each clip."""

    gray: PerBody
    """Value of the middle of the body, from 0 to 255."""
    contrast: PerBody
    """Gray values per meter."""
    noise: PerBody
    """Standard deviation, in gray values."""
    ragged: PerBody
    """How many pixels of the edge are lost: none at 0, about one in 8 at 0.45."""


def draw_depth_looks(rng: np.random.Generator, *, clips: int, device: torch.device) -> DepthLook:
    """Random ranges of gray, noise and edges."""
    values = {
        "gray": rng.normal(128, 20, clips),
        "contrast": np.exp(rng.normal(np.log(130), 0.25, clips)),
        "noise": rng.uniform(0.5, 4, clips),
        "ragged": rng.uniform(0.0, 0.45, clips),
    }
    return DepthLook(**{name: per_clip(value, device=device) for name, value in values.items()})


def paint_depth(picture: Picture, look: DepthLook, grain: Grain) -> Float[Tensor, "n t h w"]:
    """Gray pictures, 0 to 255."""
    is_body = picture.part > 0
    gray, contrast, noise, ragged = (x[..., None] for x in (look.gray, look.contrast, look.noise, look.ragged))
    image = (gray + picture.near * contrast).clamp_(_DARKEST, _BRIGHTEST)
    random = grain.of(picture.part.shape)
    is_lost = _edge(is_body) & (random > 2.0 - 2.2 * ragged)
    image = torch.where(is_body & ~is_lost, image.add_(random * noise).clamp_(0, 255), 0.0)
    return blurred(image, 0.14)


def _edge(is_body: Tensor) -> Tensor:
    """Pixels of the body with a neighbor that is none."""
    inner = is_body.clone()
    inner[:, :, 1:] &= is_body[:, :, :-1]
    inner[:, :, :-1] &= is_body[:, :, 1:]
    inner[..., 1:] &= is_body[..., :-1]
    inner[..., :-1] &= is_body[..., 1:]
    return is_body & ~inner
