"""Heads as values: tensors by name, and logits of features as a function of them."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from timesformer.errors import ConfigError, DataError
from timesformer.heads.kind import HeadKind

Tensors = Mapping[str, Tensor]
Forward = Callable[[Tensors, Tensor], Tensor]


@dataclass(frozen=True, slots=True, eq=False)
class Head:
    """A trained head for features as they are stored.

    A linear head has `weight` [classes, channels] and `bias` [classes]. An attentive one also has `query`
    [heads, channels] and `time_bias` [heads, frames].
    """

    kind: HeadKind
    tensors: Tensors

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.tensors["bias"])

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the features of a row: [channels], or [frames, channels] for an attentive head."""
        channels = self.tensors["weight"].shape[1]
        return (channels,) if self.kind == "linear" else (self.tensors["time_bias"].shape[1], channels)

    @property
    def num_parameters(self) -> int:
        """Number of parameters."""
        return sum(tensor.numel() for tensor in self.tensors.values())

    @torch.no_grad()
    def logits(self, features: Float[Tensor, "n ..."]) -> Float[Tensor, "n k"]:
        """Logits of rows, in the precision of the head.

        Args:
            features: Rows of the head's shape.
        """
        return FORWARD[self.kind](self.tensors, features.to(self.tensors["weight"].dtype))


def linear_logits(tensors: Tensors, features: Float[Tensor, "n d"]) -> Float[Tensor, "n k"]:
    """Logits of a linear head."""
    return torch.addmm(tensors["bias"], features, tensors["weight"].T)


def attentive_logits(tensors: Tensors, features: Float[Tensor, "n t d"]) -> Float[Tensor, "n k"]:
    """Logits of an attentive head: each query pools its share of the channels over the frames.

    The key projection of attention pooling is part of the query, and its value projection part of the weight.

    Source: Bardes et al. 2024, "Revisiting Feature Prediction for Learning Visual Representations from Video"
    (V-JEPA), attentive probing; Lee et al. 2019, "Set Transformer", section 3.2.
    """
    rows, frames, channels = features.shape
    queries = tensors["query"]
    scores = torch.einsum("ntd,hd->nht", features, queries) / math.sqrt(channels) + tensors["time_bias"]
    shares = features.view(rows, frames, len(queries), -1)
    pooled = torch.einsum("nht,nthc->nhc", scores.softmax(dim=2), shares).reshape(rows, channels)
    return linear_logits(tensors, pooled)


FORWARD: Mapping[HeadKind, Forward] = {"linear": linear_logits, "attentive": attentive_logits}
"""The logits of each kind of head."""


def zero_head(
    kind: HeadKind, shape: tuple[int, ...], *, num_classes: int, attention_heads: int, device: torch.device
) -> dict[str, Tensor]:
    """Tensors of a head before training, all zero: equal probabilities, and the mean over frames.

    Args:
        kind: The kind.
        shape: Shape of the features of a row.
        num_classes: Number of classes.
        attention_heads: Queries of an attentive head.
        device: Device of the tensors.

    Raises:
        DataError: The features do not have the shape that the head needs.
        ConfigError: The number of channels is not a multiple of the number of queries.
    """
    wanted = {"linear": 1, "attentive": 2}[kind]
    if len(shape) != wanted:
        cure = (
            "head='linear' needs one vector a row: train head='attentive' (--head attentive), or embed at level cls"
            if kind == "linear"
            else "head='attentive' needs rows of shape [frames, channels], as `embed --level frame` writes them"
        )
        raise DataError(f"the features of a row have the shape {list(shape)}: {cure}")
    tensors = {"weight": (num_classes, shape[-1]), "bias": (num_classes,)}
    if kind == "attentive":
        if shape[1] % attention_heads:
            raise ConfigError(f"attention_heads={attention_heads} does not divide the {shape[1]} channels of a frame")
        tensors |= {"query": (attention_heads, shape[1]), "time_bias": (attention_heads, shape[0])}
    return {name: torch.zeros(size, dtype=torch.float64, device=device) for name, size in tensors.items()}
