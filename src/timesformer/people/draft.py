"""A motion while it is put together: arrays that the families of arms and legs change in place."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from timesformer.people.curves import PHASES

SIDES = (-1.0, 1.0)
"""Left and right of the picture."""


@dataclass(frozen=True, slots=True, eq=False)
class Draft:
    """What the parts of a body do over the phases of a motion, free of the size of the body."""

    rests: Float[np.ndarray, "2 3"]
    """Where the wrists hang, as in `wrists`."""
    wrists: Float[np.ndarray, "2 phases 3"]
    """Relative to the shoulder, in arm lengths, in the frame of the trunk."""
    swivel: Float[np.ndarray, "2 phases"]
    """How far each elbow points away from the body, in radians."""
    trunk: Float[np.ndarray, "phases 3"]
    """Lean forward, bend sideways and twist, in radians."""
    pelvis: Float[np.ndarray, "phases 3"]
    """Displacement in leg lengths."""
    feet: Float[np.ndarray, "2 phases 3"]
    """Displacement of each foot in leg lengths."""
    whole: Float[np.ndarray, "phases 3"]
    """Turn of the whole body about the vertical, fall forward and fall to the right, in radians."""


def standing(rng: np.random.Generator) -> Draft:
    """A body that stands with its arms down."""
    rests = np.array([[s * rng.uniform(0.0, 0.13), -rng.uniform(0.96, 1.0), rng.uniform(0.0, 0.12)] for s in SIDES])
    return Draft(
        rests=rests,
        wrists=np.repeat(rests[:, None], PHASES, axis=1),
        swivel=np.full((2, PHASES), rng.uniform(0.0, 0.6)),
        trunk=np.zeros((PHASES, 3)),
        pelvis=np.zeros((PHASES, 3)),
        feet=np.zeros((2, PHASES, 3)),
        whole=np.zeros((PHASES, 3)),
    )
