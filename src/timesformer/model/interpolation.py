"""Embeddings of position and time, and patch projections, fitted to clips or patches of another size than the weights
were trained with."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def resize(
    embedding: Float[Tensor, "1 n d"], *, old: Sequence[int], new: Sequence[int], mode: str
) -> Float[Tensor, "1 m d"]:
    """Fit an embedding to another grid of patches, or to another number of frames.

    Args:
        embedding: One row per patch, row by row and without the class token, or one per frame.
        old: Rows and columns of the embedding, or its number of frames.
        new: The same of the result.
        mode: `bicubic` (for frames: linear), or `nearest` as the released code.
    """
    if tuple(old) == tuple(new):
        return embedding
    image = embedding.mT.unflatten(-1, tuple(old))
    if mode == "nearest":
        return F.interpolate(image, size=tuple(new), mode="nearest").flatten(2).mT
    mode = "bicubic" if len(old) == 2 else "linear"
    return F.interpolate(image, size=tuple(new), mode=mode, align_corners=False).flatten(2).mT


def resize_patches(weight: Float[Tensor, "d c h w"], size: int) -> Float[Tensor, "d c h2 w2"]:
    """Fit a patch projection to patches of another size.

    Its outputs for patches equal those of `weight` for the same patches enlarged or, if the new patches are larger,
    before they were enlarged.

    Args:
        weight: The projection.
        size: Height and width of the new patches, in pixels.

    Source: larger patches as Beyer et al. 2023, "FlexiViT: One Model for All Patch Sizes", section 3.3.
    """
    old = weight.shape[-1]
    small, large = sorted((old, size))
    pixels = torch.eye(small**2, dtype=torch.float64).unflatten(1, (1, small, small))
    enlarged = F.interpolate(pixels, size=(large, large), mode="bilinear", align_corners=False).flatten(1)
    change = enlarged.mT if size <= old else torch.linalg.pinv(enlarged).mT
    return (weight.double().flatten(2) @ change).unflatten(2, (size, size)).to(weight.dtype)
