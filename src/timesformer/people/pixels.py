"""Noise and softness of pictures."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

_FRAMES = 8


@dataclass(frozen=True, slots=True, eq=False)
class Grain:
    """Normal noise. Pictures read it from a table at random places: a number for each pixel would take longer."""

    generator: torch.Generator
    """Source of the noise, on the device of the pictures."""

    def of(self, shape: torch.Size) -> Float[Tensor, "n t h w"]:
        """Noise with mean 0 and standard deviation 1 for pictures of a shape."""
        size, device = math.prod(shape[2:]), self.generator.device
        table = torch.randn(_FRAMES * size, generator=self.generator, device=device)
        count = math.prod(shape[:2])
        starts = torch.randint((_FRAMES - 1) * size, (count,), generator=self.generator, device=device)
        return table.unfold(0, size, 1)[starts].view(shape)


def blurred(image: Float[Tensor, "n t h w"], share: float | Tensor) -> Float[Tensor, "n t h w"]:
    """Mix each pixel with its neighbors above and below, then left and right.

    Args:
        image: The pictures.
        share: Weight of each neighbor, from 0 to 1/3: a number, or a tensor that broadcasts. At the border a pixel is
            its own neighbor.
    """
    for axis in (2, 3):
        last = image.shape[axis] - 1
        part = image * share
        image = image.sub(part, alpha=2)
        image.narrow(axis, 1, last).add_(part.narrow(axis, 0, last))
        image.narrow(axis, 0, last).add_(part.narrow(axis, 1, last))
        for end in (0, last):
            image.narrow(axis, end, 1).add_(part.narrow(axis, end, 1))
    return image
