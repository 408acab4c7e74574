"""Embeddings in two dimensions: principal components, and t-SNE by exact gradient descent.

t-SNE keeps neighbors together: points that lie next to each other are similar, while the distance between far points
and the size of clusters mean nothing. All pairs of points enter each step, so time and memory grow quadratically: a
few thousand points are practical.

Source: van der Maaten and Hinton 2008, "Visualizing Data using t-SNE"; the start from principal components and the
step size are those of Kobak and Berens 2019, "The art of using t-SNE for single-cell transcriptomics".
"""

import math
from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor

from timesformer.config.checks import check_count, check_positive

OnProgress = Callable[[int, int], None]

_EXAGGERATION = 12.0
_EXAGGERATED_STEPS = 250
_SEARCH_STEPS = 50
_LEAST_GAIN = 0.01
_TINY = 1e-12
_START = 1e-4
"""Standard deviation of the first coordinate at the start."""


def principal_components(
    rows: Float[np.ndarray, "n d"], *, count: int = 2
) -> tuple[Float[np.ndarray, "n c"], Float[np.ndarray, " c"]]:
    """Coordinates of each row along the directions of largest variance, and their fractions of the variance.

    The sign of a direction is such that its largest weight is positive, so that equal rows give equal pictures.
    Directions beyond those that the rows have are 0.

    Args:
        rows: The rows.
        count: Number of directions.
    """
    centered = torch.from_numpy(np.asarray(rows, dtype=np.float64))
    centered = centered - centered.mean(dim=0)
    _, values, directions = torch.linalg.svd(centered, full_matrices=False)
    found = directions[:count]
    strongest = found.abs().argmax(dim=1, keepdim=True)
    coordinates = centered @ (found * torch.take_along_dim(found, strongest, dim=1).sign()).T
    variances = values.square()
    fractions = variances[:count] / variances.sum().clamp_min(_TINY)
    missing = count - len(found)
    return np.pad(coordinates.numpy(), ((0, 0), (0, missing))), np.pad(fractions.numpy(), (0, missing))


def tsne(
    rows: Float[np.ndarray, "n d"],
    *,
    perplexity: float = 30.0,
    num_steps: int = 1000,
    on_progress: OnProgress = lambda done, total: None,
) -> Float[np.ndarray, "n 2"]:
    """Coordinates in which neighbors stay neighbors; the same rows give the same ones on the same machine.

    Args:
        rows: The rows; distances between them are Euclidean.
        perplexity: About how many neighbors a point has; at most a third of the other points.
        num_steps: Steps of the descent, of which the first 250 are exaggerated.
        on_progress: Called with the steps done and in total.

    Raises:
        ConfigError: `perplexity` is not greater than 0, or `num_steps` is less than 1.
    """
    check_positive("perplexity", perplexity)
    check_count("num_steps", num_steps)
    if len(rows) < 4:
        return principal_components(rows)[0]
    targets = joint_probabilities(
        torch.from_numpy(np.asarray(rows, dtype=np.float32)), perplexity=min(perplexity, (len(rows) - 1) / 3)
    )
    first = principal_components(rows)[0]
    points = torch.from_numpy(first / max(first[:, 0].std(), _TINY) * _START).float()
    return _descend(points, targets, num_steps=num_steps, on_progress=on_progress).numpy().astype(np.float64)


def joint_probabilities(rows: Float32[Tensor, "n d"], *, perplexity: float) -> Float32[Tensor, "n n"]:
    """How much of a neighbor each pair of rows is: symmetric, with sum 1.

    A row's neighbors follow a Gaussian whose width is such that the distribution has the given perplexity.
    """
    squares = torch.cdist(rows, rows).square()
    squares.fill_diagonal_(math.inf)
    squares -= squares.min(dim=1, keepdim=True).values  # the nearest has weight 1, so that no row is without weights
    low, high = torch.zeros(len(rows), 1), torch.full((len(rows), 1), math.inf)
    precision = 1 / squares.where(squares.isfinite(), 0).mean(dim=1, keepdim=True).clamp_min(_TINY)
    for _ in range(_SEARCH_STEPS):
        is_wide = _entropy(squares, precision) > math.log(perplexity)
        low, high = precision.where(is_wide, low), high.where(is_wide, precision)
        precision = torch.where(high.isinf(), 2 * precision, (low + high) / 2)
    weights = torch.softmax(-squares * precision, dim=1)
    return (weights + weights.T) / (2 * len(rows))


def _entropy(squares: Float32[Tensor, "n n"], precision: Float32[Tensor, "n 1"]) -> Float32[Tensor, "n 1"]:
    return torch.special.entr(torch.softmax(-squares * precision, dim=1)).sum(dim=1, keepdim=True)


def gradient(points: Float[Tensor, "n 2"], targets: Float[Tensor, "n n"]) -> Float[Tensor, "n 2"]:
    """Gradient of the Kullback-Leibler divergence of the points' similarities from the targets."""
    closeness = 1 / (1 + torch.cdist(points, points).square())
    closeness.fill_diagonal_(0)
    pulls = (targets - closeness / closeness.sum()) * closeness
    return 4 * (pulls.sum(dim=1, keepdim=True) * points - pulls @ points)


def _descend(
    points: Float32[Tensor, "n 2"], targets: Float32[Tensor, "n n"], *, num_steps: int, on_progress: OnProgress
) -> Float32[Tensor, "n 2"]:
    """Gradient descent with momentum and a gain for each coordinate."""
    rate = max(len(points) / _EXAGGERATION, 50.0)
    velocity, gains = torch.zeros_like(points), torch.ones_like(points)
    for step in range(num_steps):
        is_exaggerated = step < _EXAGGERATED_STEPS
        slope = gradient(points, targets * _EXAGGERATION if is_exaggerated else targets)
        gains = torch.where(slope.sign() == velocity.sign(), gains * 0.8, gains + 0.2).clamp_min(_LEAST_GAIN)
        velocity = (0.5 if is_exaggerated else 0.8) * velocity - rate * gains * slope
        points = points + velocity
        points = points - points.mean(dim=0)
        on_progress(step + 1, num_steps)
    return points
