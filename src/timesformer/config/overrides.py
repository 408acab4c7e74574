"""Keywords that change fields of a model's config, typed for editors."""

from typing import TypedDict

from timesformer.config.schema import (
    HeadNorm,
    Initialization,
    PositionEmbedding,
    PositionInterpolation,
    SchemeName,
    Stages,
)


class ModelOverrides(TypedDict, total=False):
    """The fields of `ModelConfig` as keywords, such as `num_frames=16`; a test holds the two equal."""

    scheme: SchemeName | Stages
    num_frames: int
    image_size: int | tuple[int, int]
    patch_size: int
    in_channels: int
    embed_dim: int
    depth: int
    num_heads: int
    mlp_ratio: float
    qkv_bias: bool
    norm_eps: float
    position_embedding: PositionEmbedding
    position_interpolation: PositionInterpolation
    cls_in_time: bool
    dropout: float
    attention_dropout: float
    head_norm: HeadNorm
    head_dropout: float
    drop_path: float
    num_classes: int
    initialization: Initialization
