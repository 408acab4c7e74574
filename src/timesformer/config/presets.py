"""The paper's models as data, with the clip configuration of each.

Source: Bertasius et al. 2021, section 4 (the three models) and section 4.7 (the backbones).
"""

from collections.abc import Mapping
from types import MappingProxyType

from timesformer.config.schema import ClipConfig, ModelConfig
from timesformer.errors import ConfigError, did_you_mean

PRESETS: Mapping[str, ModelConfig] = MappingProxyType(
    {
        "base": ModelConfig(),
        "hr": ModelConfig(num_frames=16, image_size=(448, 448)),
        "large": ModelConfig(num_frames=96),
        "vit_s": ModelConfig(embed_dim=384, depth=12, num_heads=6),
        "vit_b": ModelConfig(embed_dim=768, depth=12, num_heads=12),
        "vit_l": ModelConfig(embed_dim=1024, depth=24, num_heads=16),
        "small": ModelConfig(
            image_size=(112, 112),
            embed_dim=192,
            depth=6,
            num_heads=6,
            drop_path=0.1,
            head_norm="batch",
            initialization="scratch",
        ),
        "tiny": ModelConfig(
            image_size=(32, 32),
            patch_size=8,
            embed_dim=96,
            depth=3,
            num_heads=4,
            drop_path=0.0,
            head_norm="batch",
            num_classes=12,
            initialization="scratch",
        ),
    }
)
"""Architectures by name: the paper's `base`, `hr` and `large` for Kinetics-400, its other backbones, and two that
train from scratch on short videos on a CPU: `small` (4 M parameters) in an hour, `tiny` (0.5 M) in minutes."""

CLIP_PRESETS: Mapping[str, ClipConfig] = MappingProxyType(
    {
        "base": ClipConfig(frame_stride=32),
        "hr": ClipConfig(frame_stride=16),
        "large": ClipConfig(frame_stride=4),
        "vit_s": ClipConfig(frame_stride=32),
        "vit_b": ClipConfig(frame_stride=32),
        "vit_l": ClipConfig(frame_stride=32),
        "small": ClipConfig(sampling="uniform", num_crops=1),
        "tiny": ClipConfig(sampling="uniform", num_crops=1),
    }
)
"""Clip configuration of the preset of the same name."""


def preset(name: str) -> ModelConfig:
    """Look up an architecture in `PRESETS`.

    Raises:
        ConfigError: There is no preset of this name; the message suggests one.
    """
    _check_name(name)
    return PRESETS[name]


def clip_preset(name: str) -> ClipConfig:
    """Look up a preset's clip configuration in `CLIP_PRESETS`.

    Raises:
        ConfigError: There is no preset of this name; the message suggests one.
    """
    _check_name(name)
    return CLIP_PRESETS[name]


def _check_name(name: str) -> None:
    if name in PRESETS:
        return
    raise ConfigError(f"preset {name!r} is not one of {', '.join(map(repr, PRESETS))}{did_you_mean(name, PRESETS)}")
