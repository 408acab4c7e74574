"""`Explanation`: the relevance of each patch and frame of one view, and where the view lies in the video."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float32, Float64, Int64, UInt8

Method = Literal["rollout", "class", "occlusion"]
"""Attention rollout (no class in particular), rollout of gradient times attention, or occlusion of tubelets."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Explanation:
    """Relevance of each patch of one view of a video.

    One view is explained: the first clip and its center crop.
    """

    path: str
    """Path of the video; empty for frames in memory."""
    method: Method
    target: int | None
    """Index of the explained class; None for `rollout`, which explains no class in particular."""
    label: str
    """Name of the explained class, or of the predicted class for `rollout`."""
    probability: float
    """Probability of that class for the view."""
    map: Float32[np.ndarray, "t h w"]
    """Relevance of each patch in each frame of the view, 0 or more; it sums to 1."""
    cls_fraction: float | None
    """Fraction of the relevance that stays in the class token; None for `occlusion`, which has none."""
    frames: Int64[np.ndarray, " t"]
    """Number of each frame of the view in the video, counted from 0."""
    seconds: Float64[np.ndarray, " t"]
    """Presentation time of each frame of the view, in seconds from the first frame of the video."""
    box: tuple[float, float, float, float]
    """Top, left, height and width of the view's crop in the upright frames of the video, in their pixels."""
    pixels: UInt8[np.ndarray, "t height width 3"]
    """The whole upright frames of the view, RGB, in their original size."""

    @property
    def curve(self) -> Float32[np.ndarray, " t"]:
        """Relevance of each frame of the view; it sums to 1."""
        return self.map.sum(axis=(1, 2))

    @property
    def name(self) -> str:
        """Stem of the video's name, for output files; `frames` for frames in memory."""
        return Path(self.path).stem if self.path else "frames"
