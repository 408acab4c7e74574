"""Embeddings of position and time, fitted to clips of another size than the weights were trained with."""

from collections.abc import Sequence

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
