"""A linear head of frozen features as the head of the model that computes them."""

from typing import cast

import torch
from torch import Tensor

from timesformer.heads.head import Head
from timesformer.model.standardization import BatchStandardization
from timesformer.model.timesformer import TimeSformer


@torch.no_grad()
def attach(model: TimeSformer, head: Head, *, mean: Tensor, variance: Tensor) -> None:
    """Replace the head of a model, in place, by a linear head fitted to `TimeSformer.features`.

    A model with `head_norm` gets the statistics of the features as its running statistics, and the head for features
    that they standardize, so that its logits are those of the head.

    Args:
        model: The model, with as many classes as the head.
        head: The head, for features as they are.
        mean: Mean of each feature.
        variance: Variance of each feature.
    """
    weight, bias = head.tensors["weight"].double().cpu(), head.tensors["bias"].double().cpu()
    norm = model.head_norm
    if isinstance(norm, BatchStandardization):
        mean, variance = mean.double().cpu(), variance.double().cpu()
        cast(Tensor, norm.running_mean).copy_(mean)
        cast(Tensor, norm.running_var).copy_(variance)
        bias = bias + weight @ mean
        weight = weight * (variance + norm.eps).sqrt()
    model.head.weight.copy_(weight)
    model.head.bias.copy_(bias)
