"""Explanations made by hand, of sizes that differ on every axis."""

from typing import Any

import numpy as np

from timesformer.explanation.explanation import Explanation


def explanation(
    *, peak: tuple[int, int, int] = (1, 0, 2), size: tuple[int, int] = (40, 62), **changes: Any
) -> Explanation:
    """Three frames of a gray video with 25 frames a second and 2 x 4 patches; one patch has half the relevance.

    Args:
        peak: Frame, row and column of that patch.
        size: Height and width of the frames.
        changes: Other fields, or another `map`.
    """
    relevance = np.linspace(1, 2, 24, dtype=np.float32).reshape(3, 2, 4)
    relevance[peak] = 0
    relevance[peak] = relevance.sum()
    frames = np.array([2, 5, 11])
    fields: dict[str, Any] = {
        "path": "clips/wave.mp4",
        "method": "class",
        "target": 1,
        "label": "wave",
        "probability": 0.931,
        "map": relevance / relevance.sum(),
        "cls_fraction": 0.125,
        "frames": frames,
        "seconds": frames / 25,
        "box": (4.0, 10.0, 32.0, 40.0),
        "pixels": np.full((3, *size, 3), 128, dtype=np.uint8),
    }
    return Explanation(**fields | changes)
