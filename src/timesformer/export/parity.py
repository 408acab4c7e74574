"""Comparison of an exported model with the model that it was made from, at several sizes of batch and frames."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from timesformer.config.schema import ModelConfig
from timesformer.errors import TimeSformerError
from timesformer.model.timesformer import TimeSformer

Logits = Callable[[Tensor], Tensor]
"""Maps clips to logits."""


class Size(NamedTuple):
    """Clips of an input, and frames of each."""

    batch: int
    frames: int


class Deviation(NamedTuple):
    """Deviation of logits from the wanted ones."""

    difference: float
    """Largest of any logit, in standard deviations of the wanted logits."""
    cosine: float
    """Lowest similarity of any clip."""


def checked_sizes(config: ModelConfig, least_frames: int | None) -> tuple[Size, ...]:
    """Sizes at which an export is compared: its own number of frames and, if that is free, one more and the fewest."""
    own = Size(3, config.num_frames)
    if least_frames is None:
        return own, Size(1, config.num_frames)
    return own, Size(1, config.num_frames + 1), Size(2, least_frames)


def random_clips(config: ModelConfig, size: Size) -> Float[Tensor, "b c t h w"]:
    """Normally distributed clips, the same at every call."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(size.batch, config.in_channels, size.frames, *config.image_size, generator=generator)


def check_parity(found: Logits, model: TimeSformer, sizes: Sequence[Size], *, tolerance: float) -> Deviation:
    """Compare an exported model with torch, on random clips.

    Args:
        found: The exported model.
        model: The model that it was made from.
        sizes: Sizes of the inputs.
        tolerance: Largest difference that is accepted.

    Returns:
        The largest difference and the lowest similarity of any input.

    Raises:
        TimeSformerError: The difference exceeds the tolerance, or is not a number.
    """
    deviations = []
    for size in sizes:
        clips = random_clips(model.config, size)
        deviation = compare(found(clips), eager_logits(model, clips))
        if not deviation.difference <= tolerance:
            raise TimeSformerError(
                f"the exported model differs from torch by {deviation.difference:.2g} standard deviations of the "
                f"logits on {size.batch} x {size.frames} frames, more than {tolerance:g}: nothing is written"
            )
        deviations.append(deviation)
    return Deviation(max(each.difference for each in deviations), min(each.cosine for each in deviations))


@torch.no_grad()
def eager_logits(model: TimeSformer, clips: Float[Tensor, "b c t h w"]) -> Float[Tensor, "b k"]:
    """Logits in eval mode; the model's mode is restored."""
    was_training = model.training
    try:
        return model.eval()(clips)
    finally:
        model.train(was_training)


def compare(found: Float[Tensor, "b k"], wanted: Float[Tensor, "b k"]) -> Deviation:
    """Deviation of logits from the wanted ones."""
    spread = wanted.std(correction=0).clamp_min(torch.finfo(wanted.dtype).tiny)
    cosine = torch.nn.functional.cosine_similarity(found, wanted, dim=-1).min()
    return Deviation(((found - wanted).abs().max() / spread).item(), cosine.item())
