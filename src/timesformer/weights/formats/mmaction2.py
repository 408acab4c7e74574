"""mmaction2 TimeSformer files: reading."""

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from timesformer.config.info import ModelInfo
from timesformer.config.schema import ClipConfig, SchemeName
from timesformer.weights.checkpoint import Checkpoint, StoredFile, match_shapes


def read_mmaction2(tensors: Mapping[str, Tensor], file: StoredFile, num_heads: int | None) -> Checkpoint:
    """Read the tensors of an mmaction2 file."""
    scheme = _scheme(tensors)
    return match_shapes("mmaction2", tensors, _info(file.path), file.origin, num_heads, scheme=scheme)


def _scheme(tensors: Mapping[str, Tensor]) -> SchemeName:
    if "backbone.transformer_layers.layers.0.attentions.1.attn.in_proj_weight" in tensors:
        return "divided_space_time"
    return "joint_space_time" if "backbone.time_embed" in tensors else "space_only"


def _info(path: Path) -> ModelInfo:
    clip = ClipConfig(sampling="center", mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    return ModelInfo(clip=clip, license="Apache-2.0", source=f"mmaction2 checkpoint {path.name}")
