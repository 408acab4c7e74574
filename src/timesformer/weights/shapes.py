"""Inferring a config from tensor shapes, for files that do not store one."""

import math
from collections.abc import Callable, Mapping

from torch import Tensor

from timesformer.config.schema import ModelConfig, PositionEmbedding, SchemeName
from timesformer.errors import ConfigError, WeightsError
from timesformer.model.schemes import SCHEMES


def config_from_shapes(
    stored: Callable[[str], Tensor | None], *, origin: str, num_heads: int | None, scheme: SchemeName, num_frames: int
) -> ModelConfig:
    """Infer the config from the shapes of a file's tensors.

    Args:
        stored: Returns the file's tensor for one of our names, or None.
        origin: The file, for messages.
        num_heads: Attention heads; None: one per 64 of `embed_dim`.
        scheme: The scheme, known from the tensor names.
        num_frames: Frames of a clip if there is no time embedding.

    Raises:
        WeightsError: The embedding or the first block is missing, or a shape fits no such model.
        ConfigError: The number of heads is unknown.
    """
    patch, hidden = _patch_and_hidden(stored, origin)
    position, time, head = stored("embedding.position"), stored("embedding.time"), stored("head.weight")
    _check_dimensions({"position": (position, 3), "time": (time, 3), "head": (head, 2)}, origin)
    width = patch.shape[0]
    depth = next(i for i in range(10_000) if stored(f"blocks.{i}.mlp_norm.weight") is None)
    main = SCHEMES[scheme].image_step
    side = _square_side(position, origin) * patch.shape[-1] if position is not None else 224
    return ModelConfig(
        scheme=scheme,
        num_frames=num_frames if time is None else time.shape[1],
        image_size=(side, side),
        patch_size=patch.shape[-1],
        in_channels=patch.shape[1],
        embed_dim=width,
        depth=depth,
        num_heads=num_heads or _heads_of(width, origin),
        mlp_ratio=hidden.shape[0] / width,
        qkv_bias=stored(f"blocks.0.steps.{main}.attention.qkv.bias") is not None,
        position_embedding=_position_embedding(position, time, scheme),
        num_classes=400 if head is None else head.shape[0],
    )


def _patch_and_hidden(stored: Callable[[str], Tensor | None], origin: str) -> tuple[Tensor, Tensor]:
    """Weights of the patch embedding and of the first block's hidden layer."""
    patch, hidden = stored("embedding.patch.weight"), stored("blocks.0.mlp.fc1.weight")
    if patch is not None and patch.numel() == 0:
        raise WeightsError(
            f"{origin}: its tensors are empty, as in one shard of a sharded checkpoint: gather the shards first"
        )
    if patch is None or patch.ndim != 4 or hidden is None or hidden.ndim != 2:
        raise WeightsError(f"{origin}: has no patch embedding or no first block")
    return patch, hidden


def _check_dimensions(tensors: Mapping[str, tuple[Tensor | None, int]], origin: str) -> None:
    for name, (tensor, dimensions) in tensors.items():
        if tensor is not None and tensor.ndim != dimensions:
            raise WeightsError(
                f"{origin}: its {name} tensor is {tuple(tensor.shape)}, expected {dimensions} dimensions"
            )


def _position_embedding(position: Tensor | None, time: Tensor | None, scheme: SchemeName) -> PositionEmbedding:
    if position is None:
        return "none"
    return "space_time" if time is not None or scheme == "space_only" else "space"


def _square_side(position: Tensor, origin: str) -> int:
    patches = position.shape[1] - 1
    side = math.isqrt(max(patches, 0))
    if patches < 1 or side * side != patches:
        raise WeightsError(f"{origin}: its position embedding has {patches} patches, expected a square grid")
    return side


def _heads_of(width: int, origin: str) -> int:
    if width % 64:
        raise ConfigError(
            f"{origin}: width {width} is not a multiple of 64 and the file does not store the number of heads: "
            f"pass num_heads"
        )
    return width // 64
