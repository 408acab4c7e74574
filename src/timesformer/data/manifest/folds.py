"""Folds of a cross-validation and parts of the training videos: whole groups, alike in classes."""

import os
from collections import Counter, defaultdict
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
from jaxtyping import Int

from timesformer.data.manifest.manifest import Manifest, Sample
from timesformer.errors import DataError

MIN_GROUPS = 8
"""Least number of groups of which a part is taken as whole groups: a quarter of 8 is two."""

Label = TypeVar("Label", bound=Hashable)
Group = TypeVar("Group", str, Path)


def deal_groups(
    counts: Mapping[Group, Counter[Label]], *, folds: int, sizes: Mapping[Label, int], seed: int
) -> dict[Group, int]:
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


def deal_rows(keys: Sequence[str], labels: Sequence[Label], *, folds: int, seed: int) -> Int[np.ndarray, " n"]:
    """The fold of each row, from 0: rows with one key stay together, and folds are alike in classes.

    Args:
        keys: What each row must stay together with.
        labels: Class of each row.
        folds: Number of folds; as many as keys if these are fewer.
        seed: As in `deal_groups`.
    """
    counts: dict[str, Counter[Label]] = defaultdict(Counter)
    for key, label in zip(keys, labels, strict=True):
        counts[key][label] += 1
    dealt = deal_groups(counts, folds=min(folds, len(counts)), sizes=Counter(labels), seed=seed)
    return np.array([dealt[key] for key in keys])


def _cost(given: Counter[Label], fold: Counter[Label], sizes: Mapping[Label, int]) -> tuple[float, int]:
    """How much of the classes of a group a fold already has, then its number of samples."""
    return sum(fold[label] * count / sizes[label] for label, count in given.items()), fold.total()


def unit_names(manifest: Manifest) -> dict[Path, str]:
    """Name of what each video must stay together with: its group, or else its own absolute path.

    With relative paths, folds would depend on the working folder.
    """
    named = {sample.path: sample.group for sample in manifest.samples if sample.group}
    return {path: named.get(path) or os.path.abspath(path) for path in manifest.paths}


def split_fold(manifest: Manifest, *, fold: int, num_folds: int, seed: int) -> tuple[Manifest, Manifest]:
    """Deal videos to folds, and keep one fold out.

    Groups stay together, and so do all entries and segments of a video, which is its own group if it has none. Each
    video is in exactly one fold; both parts keep all class names and the order of the samples.

    Args:
        manifest: The videos.
        fold: The fold that is kept out, from 1.
        num_folds: Number of folds, at least 2.
        seed: Seed of the order in which groups of equal size are dealt.

    Returns:
        The videos of the other folds, and those of the fold.

    Raises:
        DataError: There are fewer groups, or fewer videos, than folds.
    """
    units = unit_names(manifest)
    names = sorted(set(units.values()))
    if len(names) < num_folds:
        what = "group" if manifest.groups else "video"
        raise DataError(
            f"num_folds={num_folds}: there {'is' if len(names) == 1 else 'are'} only {len(names)} "
            f"{what}{'s' * (len(names) != 1)} to deal ({_some(names)}); use at most {max(len(names), 2)} folds"
        )
    dealt = deal_groups(_counts(manifest, units), folds=num_folds, sizes=_sizes(manifest), seed=seed)
    held = {path for path, unit in units.items() if dealt[unit] == fold - 1}
    return _select(manifest, held, is_in=False), _select(manifest, held, is_in=True)


def take_fraction(manifest: Manifest, *, fraction: float, seed: int) -> Manifest:
    """A part of the videos, alike in classes; a larger fraction contains a smaller one with the same seed.

    With 8 or more groups the part is whole groups, about that fraction of the videos. With fewer groups, or none, it is
    that fraction of the videos of each class, at least one, from as many groups as possible.

    Args:
        manifest: The videos.
        fraction: Fraction of them, above 0 to 1.
        seed: Seed of the choice.
    """
    if fraction == 1:
        return manifest
    units = unit_names(manifest)
    if are_parts_groups(manifest):
        order = _order_of_units(manifest, units, seed=seed)
        sizes = Counter(units[path] for path in manifest.paths)
        ends = np.cumsum([sizes[unit] for unit in order])
        count = int(np.abs(ends - fraction * ends[-1]).argmin()) + 1
        chosen = set(order[:count])
        return _select(manifest, {path for path, unit in units.items() if unit in chosen}, is_in=True)
    return _select(manifest, _some_of_each_class(manifest, units, fraction=fraction, seed=seed), is_in=True)


def are_parts_groups(manifest: Manifest) -> bool:
    """Whether `take_fraction` takes whole groups."""
    return len(manifest.groups) >= MIN_GROUPS


def _order_of_units(manifest: Manifest, units: Mapping[Path, str], *, seed: int) -> list[str]:
    """Units in an order of which each quarter is alike in classes."""
    counts = _counts(manifest, units)
    dealt = deal_groups(counts, folds=4, sizes=_sizes(manifest), seed=seed)
    return sorted(dealt, key=dealt.__getitem__)  # within a quarter, in the order of dealing


def _some_of_each_class(manifest: Manifest, units: Mapping[Path, str], *, fraction: float, seed: int) -> set[Path]:
    """A fraction of the videos of each class, its groups taking turns."""
    by_class: dict[int, dict[Path, None]] = defaultdict(dict)
    for sample in manifest.samples:
        by_class[sample.label][sample.path] = None
    rng, chosen = np.random.default_rng(seed), set[Path]()
    for label in sorted(by_class):
        videos = list(by_class[label])
        videos = [videos[place] for place in rng.permutation(len(videos))]
        turns: Counter[str] = Counter()
        turn = {}
        for path in videos:
            turn[path] = turns[units[path]]
            turns[units[path]] += 1
        chosen.update(sorted(videos, key=turn.__getitem__)[: max(round(fraction * len(videos)), 1)])
    return chosen


def _counts(manifest: Manifest, units: Mapping[Path, str]) -> dict[str, Counter[int]]:
    """Samples of each class in each unit; a repeated line has no weight."""
    counts: dict[str, Counter[int]] = defaultdict(Counter)
    for sample in dict.fromkeys(manifest.samples):
        counts[units[sample.path]][sample.label] += 1
    return counts


def _sizes(manifest: Manifest) -> Counter[int]:
    return Counter(sample.label for sample in dict.fromkeys(manifest.samples))


def _select(manifest: Manifest, paths: set[Path], *, is_in: bool) -> Manifest:
    samples: tuple[Sample, ...] = tuple(sample for sample in manifest.samples if (sample.path in paths) is is_in)
    return Manifest(samples, manifest.class_names)


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
