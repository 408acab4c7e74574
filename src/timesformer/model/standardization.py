"""Standardization of the features that the head reads, for `head_norm="batch"`."""

from collections.abc import Callable
from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn


class Moments(NamedTuple):
    """Number of rows of a batch, and mean and variance (of the rows, without correction) of each feature."""

    count: int
    mean: Float[Tensor, " d"]
    variance: Float[Tensor, " d"]


class BatchStandardization(nn.BatchNorm1d):
    """Standardizes each feature: by the batch in training, by running statistics in eval mode or for a batch of one.

    It has no weights, so that a linear layer after it can absorb it: `timesformer.model.fast.folded_head`. If several
    processes divide a batch, `moments` computes those of the whole batch from the rows of this process.
    """

    def __init__(self, size: int) -> None:
        super().__init__(size, affine=False)
        self.moments: Callable[[Float[Tensor, "b d"]], Moments] | None = None

    def forward(self, input: Float[Tensor, "b d"]) -> Float[Tensor, "b d"]:
        """Standardized features; in training, each batch moves the running statistics a tenth of the way to its own."""
        shared = self.moments(input) if self.training and self.moments is not None else None
        if self.training and (len(input) if shared is None else shared.count) <= 1:
            return F.batch_norm(input, self.running_mean, self.running_var, eps=self.eps)
        return super().forward(input) if shared is None else self._standardize(input, shared)

    def _standardize(self, x: Float[Tensor, "b d"], moments: Moments) -> Float[Tensor, "b d"]:
        count, mean, variance = moments
        with torch.no_grad():
            cast(Tensor, self.num_batches_tracked).add_(1)
            cast(Tensor, self.running_mean).lerp_(mean, cast(float, self.momentum))
            cast(Tensor, self.running_var).lerp_(variance * (count / (count - 1)), cast(float, self.momentum))
        return ((x - mean) / (variance + self.eps).sqrt()).to(x.dtype)
