"""Tiny models for tests: sizes that differ on every axis, and no weight that is zero or one by chance."""

from typing import Any

import torch
from torch import Tensor

from timesformer.config.info import ModelInfo
from timesformer.config.schema import ModelConfig
from timesformer.model import SCHEMES, TimeSformer

SCHEME_NAMES = tuple(SCHEMES)
RELEASED_SCHEMES = ("divided_space_time", "joint_space_time", "space_only")


def tiny_config(scheme: str = "divided_space_time", **changes: Any) -> ModelConfig:
    """A config of 3 frames of 2 x 5 patches, without stochastic depth."""
    sizes: dict[str, Any] = {
        "num_frames": 3,
        "image_size": (8, 20),
        "patch_size": 4,
        "embed_dim": 24,
        "depth": 2,
        "num_heads": 3,
        "mlp_ratio": 2.5,
        "num_classes": 7,
        "drop_path": 0.0,
    }
    return ModelConfig(scheme=scheme, **sizes | changes)


def square_config(scheme: str = "divided_space_time", **changes: Any) -> ModelConfig:
    """As `tiny_config`, but in what other projects can store: 2 frames of 3 x 3 patches."""
    return tiny_config(scheme, **{"num_frames": 2, "image_size": (12, 12)} | changes)


def random_model(config: ModelConfig, *, seed: int = 0, info: ModelInfo | None = None) -> TimeSformer:
    """A model in eval mode whose every parameter and statistic is random, so that no exchange goes unnoticed."""
    return random_weights(TimeSformer(config, info=info or ModelInfo()), seed=seed)


@torch.no_grad()
def random_weights(model: TimeSformer, *, seed: int = 0) -> TimeSformer:
    """The same for a model that exists: its weights, in place, and eval mode."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        center = 1.0 if "norm" in name and name.endswith("weight") else 0.0
        parameter.copy_(center + 0.2 * torch.randn(parameter.shape, generator=generator))
    for name, buffer in model.named_buffers():
        if name in ("head_norm.running_mean", "head_norm.running_var"):
            buffer.copy_(0.5 + torch.rand(buffer.shape, generator=generator))
    return model.eval()


def random_clips(config: ModelConfig, *, batch: int = 2, seed: int = 1, **changes: Any) -> Tensor:
    """Clips of the sizes of a config, or of other `num_frames` and `image_size`."""
    frames = changes.get("num_frames", config.num_frames)
    height, width = changes.get("image_size", config.image_size)
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, config.in_channels, frames, height, width, generator=generator)
