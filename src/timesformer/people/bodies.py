"""Random bodies: lengths and radii in meters, from textbook ratios to the height with wide spreads."""

from dataclasses import dataclass, fields

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

PerBody = Float[Tensor, "n 1 1"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Bodies:
    """Bodies of different sizes; all in meters except `thigh`."""

    hip: PerBody
    """Height of the hips."""
    torso: PerBody
    neck: PerBody
    head: PerBody
    """Radius."""
    shoulders: PerBody
    """Half of the distance between the shoulders."""
    hips: PerBody
    upper_arm: PerBody
    forearm: PerBody
    hand: PerBody
    thigh: PerBody
    """Share of the leg."""
    foot: PerBody
    stance: PerBody
    """Half of the distance between the feet."""
    waist_width: PerBody
    chest_radius: PerBody
    waist_radius: PerBody
    upper_arm_radius: PerBody
    forearm_radius: PerBody
    hand_radius: PerBody
    thigh_radius: PerBody
    shank_radius: PerBody
    foot_radius: PerBody

    @property
    def arm(self) -> PerBody:
        """Length from the shoulder to the wrist."""
        return self.upper_arm + self.forearm

    @property
    def leg(self) -> PerBody:
        """Length from the hip joint to the ankle."""
        return 0.93 * self.hip


_LENGTHS = {
    "hip": (0.505, 0.03),
    "torso": (0.30, 0.04),
    "neck": (0.022, 0.25),
    "head": (0.068, 0.08),
    "shoulders": (0.112, 0.09),
    "hips": (0.055, 0.12),
    "upper_arm": (0.165, 0.05),
    "forearm": (0.15, 0.05),
    "hand": (0.085, 0.1),
    "foot": (0.085, 0.1),
    "stance": (0.06, 0.3),
}
"""Ratio to the height, and logarithmic standard deviation."""
_TRUNK = {"chest_radius": (0.105, 0.1), "waist_radius": (0.10, 0.12), "waist_width": (0.107, 0.15)}
"""Meters for an average girth, and logarithmic standard deviation."""
_LIMBS = {
    "upper_arm_radius": (0.056, 0.1),
    "forearm_radius": (0.046, 0.1),
    "thigh_radius": (0.084, 0.08),
    "shank_radius": (0.062, 0.1),
}
_OTHERS = {"hand_radius": (0.045, 0.12), "foot_radius": (0.045, 0.12), "thigh": (0.5, 0.03)}


def draw_bodies(rng: np.random.Generator, count: int, *, device: torch.device) -> Bodies:
    """Random bodies, from 1.4 to 2.05 m tall."""

    def spread(mean: float, deviation: float) -> np.ndarray:
        return mean * np.exp(np.clip(rng.normal(0, deviation, count), -2.5 * deviation, 2.5 * deviation))

    height = np.clip(rng.normal(1.72, 0.12, count), 1.4, 2.05)
    girth, limbs = spread(1.0, 0.16), spread(1.0, 0.15)
    values = {name: height * spread(*ratio) for name, ratio in _LENGTHS.items()}
    values |= {name: girth * spread(*size) for name, size in _TRUNK.items()}
    values |= {name: limbs * spread(*size) for name, size in _LIMBS.items()}
    values |= {name: spread(*size) for name, size in _OTHERS.items()}
    return Bodies(**{field.name: per_clip(values[field.name], device=device) for field in fields(Bodies)})


def per_clip(values: np.ndarray, *, device: torch.device) -> PerBody:
    """One number per clip as a tensor that broadcasts over moments."""
    return torch.from_numpy(values.astype(np.float32)).to(device)[:, None, None]
