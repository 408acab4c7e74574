"""Image ViTs under timm's names: read as a `space_only` model of one frame."""

from collections.abc import Mapping

from torch import Tensor

from timesformer.config.info import ModelInfo
from timesformer.weights.checkpoint import Checkpoint, StoredFile, match_shapes


def read_image_vit(tensors: Mapping[str, Tensor], file: StoredFile, num_heads: int | None) -> Checkpoint:
    """Read the tensors of an image ViT; the head may be missing."""
    info = ModelInfo(source=f"image ViT {file.path.name}")
    optional = ("head.weight", "head.bias")
    return match_shapes(
        "image ViT", tensors, info, file.origin, num_heads, scheme="space_only", num_frames=1, optional=optional
    )
