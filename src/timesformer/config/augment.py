"""Augmentation settings of a training run, as a frozen dataclass."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from timesformer.config.checks import (
    check_choice,
    check_count,
    check_not_negative,
    check_positive,
    check_probability,
    check_range,
    refuse,
)

RandOperations = Literal["all", "geometric", "photometric"]

_RANGES: Mapping[str, tuple[float, float]] = MappingProxyType(
    {
        "aspect": (1, 4),
        "tempo": (1, 4),
        "rand_magnitude": (0, 10),
        "hue_jitter": (0, 0.5),
        "grayscale": (0, 1),
        "erase": (0, 1),
        "background_swap": (0, 1),
        "mix_probability": (0, 1),
    }
)
"""Smallest and largest value of fields without a unit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AugmentConfig:
    """Augmentation of training clips, in addition to scale, crop and flip (`DataConfig`). Everything is off by default,
    as in the paper. Random values are drawn once per clip and apply to all its frames.

    Raises:
        ConfigError: A value is out of range, or set without having an effect.
    """

    repeats: int = 1
    """Repeated augmentation: clips per video in one batch, all from one decoding of the video. `batch_size` counts
    clips, so a batch has `batch_size / repeats` videos. Hoffer et al. 2020."""
    temporal_jitter: float = 0.0
    """Random speed, j. With `uniform` and `segment` sampling, a clip covers a random span of the video, of 1 - j to 1
    of its length. With dense sampling, the span of the clip is multiplied by 1 - j to 1 + j."""
    tempo: float = 1.0
    """Random tempo: a clip is cut into four parts of equal length, each up to this factor faster or slower than the
    whole, which keeps its first and last frame. 1 changes nothing."""
    rotation: float = 0.0
    """Largest rotation in either direction, in degrees."""
    aspect: float = 1.0
    """Largest change of the aspect ratio, as a factor in either direction: 1 changes nothing."""
    rand_augment: int = 0
    """RandAugment: number of operations per clip. Cubuk et al. 2020."""
    rand_magnitude: float = 9.0
    """Magnitude of RandAugment's operations, from 0 to 10."""
    rand_operations: RandOperations = "all"
    """RandAugment's operations: `all`, `geometric` (shear, translate, rotate) or `photometric` (the others)."""
    color_jitter: float = 0.0
    """Color jitter, j: brightness, contrast and saturation are multiplied by 1 - j to 1 + j, in random order. With
    `clip.channel_order = "time"`, brightness and contrast only."""
    hue_jitter: float = 0.0
    """Largest rotation of the hue in either direction, as a fraction of the color circle, up to 0.5."""
    grayscale: float = 0.0
    """Probability of converting a clip to grayscale."""
    erase: float = 0.0
    """Random erasing: probability of filling a box of 2 to 33 % of the area with noise, the same box in all frames.
    Zhong et al. 2020."""
    background_swap: float = 0.0
    """Probability of another background behind what moves: that of another training video, or noise. Clips of a camera
    that moves keep theirs."""
    mixup: float = 0.0
    """MixUp: alpha of the beta distribution of the mixing weight; 0 is off. Zhang et al. 2018."""
    cutmix: float = 0.0
    """CutMix: alpha of the beta distribution of the area of the box that is copied from another clip, the same box in
    all frames; 0 is off. With `mixup` as well, each batch uses one of the two at random. Yun et al. 2019."""
    mix_probability: float = 1.0
    """Probability of mixing a batch, if `mixup` or `cutmix` is on."""

    def __post_init__(self) -> None:
        check_positive("repeats", self.repeats)
        check_choice("rand_operations", self.rand_operations, RandOperations)
        check_range("rotation", self.rotation, 0, 180, unit=" degrees")
        check_count("rand_augment", self.rand_augment, least=0, most=1000)
        for name, (least, most) in _RANGES.items():
            check_range(name, getattr(self, name), least, most)
        for name in ("temporal_jitter", "color_jitter"):
            check_probability(name, getattr(self, name))
        for name in ("mixup", "cutmix"):
            check_not_negative(name, getattr(self, name))
        self._refuse_values_without_effect()

    def _refuse_values_without_effect(self) -> None:
        refuse(
            self.rand_augment == 0 and (self.rand_magnitude, self.rand_operations) != (9.0, "all"),
            f"rand_magnitude={self.rand_magnitude}, rand_operations={self.rand_operations!r} have no effect with "
            f"rand_augment=0",
        )
        refuse(
            not self.mixup and not self.cutmix and self.mix_probability != 1,
            f"mix_probability={self.mix_probability} has no effect without mixup or cutmix",
        )
