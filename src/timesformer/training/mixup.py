"""MixUp and CutMix: clips of a batch that are blended with others, and targets that say by how much."""

import math

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from timesformer.config.run import AugmentConfig
from timesformer.data.clips.sampling import Box


def mix_batch(
    clips: Float[Tensor, "b 3 t h w"],
    labels: Int[Tensor, " b"],
    augment: AugmentConfig,
    *,
    num_classes: int,
    label_smoothing: float,
    generator: np.random.Generator,
) -> tuple[Float[Tensor, "b 3 t h w"], Float[Tensor, "b k"]]:
    """Mix each clip of a batch with its partner, by one share for the whole batch.

    The first clip and the last are partners, the second and the last but one, and on; the middle one of an odd number
    stays as it is. With mixing off nothing is drawn.

    Args:
        clips: Normalized clips; they are left as they are.
        labels: The class of each clip.
        augment: What is on, how the share is drawn, and how often.
        num_classes: Number of classes, k.
        label_smoothing: Share of each target that is spread over all classes.
        generator: Source of all draws.

    Returns:
        Clips, and the share of each class in each of them; shares sum to 1.

    Source: Zhang et al. 2018, "mixup"; Yun et al. 2019, "CutMix".
    """
    targets = smooth_targets(labels, num_classes=num_classes, label_smoothing=label_smoothing)
    if not (augment.mixup or augment.cutmix) or generator.random() >= augment.mix_probability:
        return clips, targets
    cuts = augment.cutmix > 0 and (augment.mixup == 0 or generator.random() < 0.5)
    alpha = augment.cutmix if cuts else augment.mixup
    share = float(generator.beta(alpha, alpha))
    if cuts:
        height, width = clips.shape[3:]
        box = draw_box(height, width, share=1 - share, generator=generator)
        mixed = cut_mix(clips, box)
        share = 1 - box.height * box.width / (height * width)
    else:
        mixed = torch.lerp(clips.flip(0), clips, share)
    return mixed, torch.lerp(targets.flip(0), targets, share)


def smooth_targets(labels: Int[Tensor, " b"], *, num_classes: int, label_smoothing: float) -> Float[Tensor, "b k"]:
    """Write labels as shares of classes, `label_smoothing` of which is spread over all of them."""
    return F.one_hot(labels, num_classes) * (1 - label_smoothing) + label_smoothing / num_classes


def draw_box(height: int, width: int, *, share: float, generator: np.random.Generator) -> Box:
    """Draw a box of the picture's shape and a share of its area, its center anywhere; what sticks out is cut off."""
    side = math.sqrt(share)
    top, bottom = _draw_span(height, side, generator)
    left, right = _draw_span(width, side, generator)
    return Box(top, left, bottom - top, right - left)


def cut_mix(clips: Float[Tensor, "b 3 t h w"], box: Box) -> Float[Tensor, "b 3 t h w"]:
    """Put a box of each clip's partner into the clip, in all frames."""
    rows, columns = slice(box.top, box.top + box.height), slice(box.left, box.left + box.width)
    mixed = clips.clone()
    mixed[..., rows, columns] = clips.flip(0)[..., rows, columns]
    return mixed


def _draw_span(length: int, share: float, generator: np.random.Generator) -> tuple[int, int]:
    span, center = round(length * share), int(generator.integers(0, length))
    first = center - span // 2
    return max(first, 0), min(first + span, length)
