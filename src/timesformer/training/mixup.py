"""MixUp and CutMix: blended clips of a batch and their soft targets."""

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
    partners: Int[Tensor, " b"] | None = None,
) -> tuple[Float[Tensor, "b 3 t h w"], Float[Tensor, "b k"]]:
    """Mix each clip of a batch with its partner, with one weight for the whole batch.

    Nothing is drawn if mixing is off.

    Args:
        clips: Normalized clips; not modified.
        labels: The class of each clip.
        augment: Settings of MixUp and CutMix.
        num_classes: Number of classes, k.
        label_smoothing: Weight of each target that is spread over all classes.
        generator: Source of all random numbers.
        partners: Index of the partner of each clip, its own if it stays unmixed; by default the first and the last clip
            are partners, the second and the last but one, and so on.

    Returns:
        The mixed clips and their soft targets, which sum to 1.

    Source: Zhang et al. 2018, "mixup"; Yun et al. 2019, "CutMix".
    """
    targets = smooth_targets(labels, num_classes=num_classes, label_smoothing=label_smoothing)
    if not (augment.mixup or augment.cutmix) or generator.random() >= augment.mix_probability:
        return clips, targets
    partners = torch.arange(len(clips) - 1, -1, -1, device=clips.device) if partners is None else partners
    others = clips[partners]
    cuts = augment.cutmix > 0 and (augment.mixup == 0 or generator.random() < 0.5)
    alpha = augment.cutmix if cuts else augment.mixup
    weight = float(generator.beta(alpha, alpha))  # of the clip itself; its partner has 1 - weight
    if cuts:
        height, width = clips.shape[3:]
        box = draw_box(height, width, area=1 - weight, generator=generator)
        mixed = cut_mix(clips, others, box)
        weight = 1 - box.height * box.width / (height * width)
    else:
        mixed = torch.lerp(others, clips, weight)
    return mixed, torch.lerp(targets[partners], targets, weight)


def smooth_targets(labels: Int[Tensor, " b"], *, num_classes: int, label_smoothing: float) -> Float[Tensor, "b k"]:
    """Soft targets of labels: `label_smoothing` is spread evenly over all classes, the rest is on the label."""
    return F.one_hot(labels, num_classes) * (1 - label_smoothing) + label_smoothing / num_classes


def draw_box(height: int, width: int, *, area: float, generator: np.random.Generator) -> Box:
    """Draw a box with the frame's aspect ratio and `area` times its area, centered anywhere, clipped to the frame."""
    side = math.sqrt(area)
    top, bottom = _draw_span(height, side, generator)
    left, right = _draw_span(width, side, generator)
    return Box(top, left, bottom - top, right - left)


def cut_mix(
    clips: Float[Tensor, "b 3 t h w"], others: Float[Tensor, "b 3 t h w"], box: Box
) -> Float[Tensor, "b 3 t h w"]:
    """Copy a box from each clip's partner into the clip, in all frames."""
    rows, columns = slice(box.top, box.top + box.height), slice(box.left, box.left + box.width)
    mixed = clips.clone()
    mixed[..., rows, columns] = others[..., rows, columns]
    return mixed


def _draw_span(length: int, fraction: float, generator: np.random.Generator) -> tuple[int, int]:
    span, center = round(length * fraction), int(generator.integers(0, length))
    first = center - span // 2
    return max(first, 0), min(first + span, length)
