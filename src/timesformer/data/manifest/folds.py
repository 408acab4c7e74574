"""Folds of a cross-validation: groups dealt so that folds are alike in classes."""

from collections import Counter
from collections.abc import Hashable, Mapping
from typing import TypeVar

import numpy as np

Label = TypeVar("Label", bound=Hashable)


def deal_groups(
    counts: Mapping[str, Counter[Label]], *, folds: int, sizes: Mapping[Label, int], seed: int
) -> dict[str, int]:
    """Deal groups to folds, largest first, each to the fold that has the least of its classes.

    Args:
        counts: Samples of each class in each group.
        folds: Number of folds; at most the number of groups.
        sizes: Samples of each class in all groups.
        seed: Seed of the order of groups of equal size.

    Returns:
        The fold of each group, from 0.
    """
    names = sorted(counts)
    drawn = np.random.default_rng(seed).permutation(len(names))
    order = sorted((names[number] for number in drawn), key=lambda name: -counts[name].total())
    held = [Counter[Label]() for _ in range(folds)]
    dealt = {}
    for name in order:
        costs = [_cost(counts[name], fold, sizes) for fold in held]
        dealt[name] = costs.index(min(costs))
        held[dealt[name]].update(counts[name])
    return dealt


def _cost(given: Counter[Label], fold: Counter[Label], sizes: Mapping[Label, int]) -> tuple[float, int]:
    """How much of the classes of a group a fold already has, then its number of samples."""
    return sum(fold[label] * count / sizes[label] for label, count in given.items()), fold.total()
