"""Fitting a head: L2-penalized cross-entropy, minimized over all rows at once in double precision."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float64, Int64
from torch import Tensor
from torch.nn.functional import cross_entropy

from timesformer.errors import DataError
from timesformer.heads.head import FORWARD, Head, Tensors
from timesformer.heads.kind import HeadKind

MOST_STEPS = 2000
"""Limit of the optimizer's iterations for one strength."""
PRECISE = 1e-7
"""Largest entry of the gradient at the optimum of the final head."""
_SMALLEST_SPREAD = 1e-6
"""Standard deviation, relative to the largest, below which a channel counts as constant."""
_PENALIZED = ("weight", "query", "time_bias")


@dataclass(frozen=True, slots=True, eq=False)
class Scale:
    """Mean and standard deviation of each channel of the training rows; 1 for a constant channel."""

    mean: Float64[Tensor, " d"]
    std: Float64[Tensor, " d"]

    @classmethod
    def of(cls, features: Tensor) -> "Scale":
        """The scale of rows, over all their frames."""
        flat = features.flatten(0, -2)
        std = flat.std(dim=0, correction=0)
        return cls(flat.mean(dim=0), torch.where(std > _SMALLEST_SPREAD * std.max(), std, torch.ones_like(std)))

    def standardize(self, features: Tensor) -> Tensor:
        """Features with mean 0 and standard deviation 1 in each channel."""
        return (features - self.mean) / self.std

    def unfold(self, tensors: Tensors) -> dict[str, Tensor]:
        """Tensors of a head for features as they are, from those for standardized ones.

        The attention weights of a row sum to 1, so pooled features scale as features do, and a constant added to all
        scores of a query has no effect.
        """
        weight = tensors["weight"] / self.std
        found = {**tensors, "weight": weight, "bias": tensors["bias"] - weight @ self.mean}
        if "query" in tensors:
            found["query"] = tensors["query"] / self.std
        return found


@dataclass(frozen=True, slots=True, eq=False)
class Fit:
    """A minimum of the objective."""

    strength: float
    head: Head
    """For features as they are stored, in double precision."""
    gradient: float
    """Largest entry of the gradient."""


def objective(
    kind: HeadKind, tensors: Tensors, features: Tensor, labels: Int64[Tensor, " n"], *, strength: float
) -> Tensor:
    """Mean cross-entropy, plus half the strength times the squared norm of all tensors but the bias.

    Args:
        kind: Kind of the head.
        tensors: Its tensors.
        features: Standardized rows.
        labels: Class index of each row.
        strength: Strength of the penalty.
    """
    penalty = sum((tensors[name].square().sum() for name in _PENALIZED if name in tensors), torch.zeros(()))
    return cross_entropy(FORWARD[kind](tensors, features), labels) + strength / 2 * penalty


def fit_path(
    kind: HeadKind,
    start: Tensors,
    features: Tensor,
    labels: Int64[Tensor, " n"],
    *,
    strengths: Sequence[float],
    tolerance: float = PRECISE,
) -> Iterator[Fit]:
    """Fit a head for each strength, from the strongest penalty to the weakest, each from the one before.

    Args:
        kind: Kind of the head.
        start: Tensors to start from, as `zero_head` makes them; float64.
        features: Rows as they are stored, float64, on the device of `start`.
        labels: Class index of each row.
        strengths: Strengths of the penalty, in any order.
        tolerance: Largest entry of the gradient at the end of each.
    """
    scale = Scale.of(features)
    standardized = scale.standardize(features)
    tensors = {name: tensor.clone() for name, tensor in start.items()}
    for strength in sorted(strengths, reverse=True):
        gradient = _minimize(kind, tensors, standardized, labels, strength=strength, tolerance=tolerance)
        found = {name: tensor.detach().clone() for name, tensor in tensors.items()}
        yield Fit(strength, Head(kind, scale.unfold(found)), gradient)


def _minimize(
    kind: HeadKind, tensors: dict[str, Tensor], features: Tensor, labels: Tensor, *, strength: float, tolerance: float
) -> float:
    """Minimize the objective in place; the largest entry of the gradient at the end.

    Source: Liu and Nocedal 1989, "On the limited memory BFGS method for large scale optimization".
    """
    parameters = [tensor.requires_grad_() for tensor in tensors.values()]
    optimizer = torch.optim.LBFGS(
        parameters,
        max_iter=MOST_STEPS,
        max_eval=2 * MOST_STEPS,
        tolerance_grad=tolerance,
        tolerance_change=0.0,
        history_size=20,
        line_search_fn="strong_wolfe",
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = objective(kind, tensors, features, labels, strength=strength)
        loss.backward()
        return loss

    optimizer.step(closure)
    closure()
    return max(float(parameter.grad.abs().max()) for parameter in parameters if parameter.grad is not None)


def refuse_empty_classes(labels: Int64[Tensor, " n"], class_names: Sequence[str]) -> None:
    """Refuse classes without a training row.

    Raises:
        DataError: A class has none; the message names it.
    """
    counts = torch.bincount(labels, minlength=len(class_names)).tolist()
    empty = [name for name, count in zip(class_names, counts, strict=True) if not count]
    if empty:
        names = ", ".join(map(repr, empty[:5])) + (", ..." if len(empty) > 5 else "")
        which = f"{len(empty)} classes have" if len(empty) > 1 else "1 class has"
        raise DataError(f"{which} no training rows: {names}")
