"""Choice of the videos held out for validation: a fraction of each class, or whole groups."""

from collections import Counter, defaultdict
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np

from timesformer.errors import DataError

Group = TypeVar("Group", bound=Hashable)


def hold_out(videos: Sequence[tuple[Path, int, str]], *, fraction: float, seed: int) -> frozenset[Path]:
    """Choose videos for validation: whole groups if any video has a group, otherwise videos of each class.

    Without groups, if a video has several classes, each video is a group: the choice for one class would else take the
    last videos of another.

    Args:
        videos: Path, class and group of each video or segment. If others have groups, a video without one (empty) is
            its own group.
        fraction: Fraction of each class to hold out, between 0 and 1.
        seed: Seed of the choice.

    Raises:
        DataError: No class has two videos, or no group can be held out.
    """
    named = {path: group for path, _, group in videos if group}
    by_class: dict[int, dict[Path, None]] = defaultdict(dict)
    for path, label, _ in videos:
        by_class[label][path] = None
    paths = dict.fromkeys(path for path, _, _ in videos)
    if not named and sum(map(len, by_class.values())) == len(paths):
        held = choose_videos({label: list(own) for label, own in by_class.items()}, fraction=fraction, seed=seed)
        if not held:
            raise DataError("no class has two videos: nothing can be held out; name validation videos (val)")
        return held
    counts: dict[Path | str, Counter[int]] = defaultdict(Counter)
    for path, label, _ in videos:
        counts[named.get(path, path)][label] += 1
    groups = choose_groups(counts, fraction=fraction, seed=seed)
    if not groups:
        raise DataError(_describe_failure(list(counts), what="group" if named else "video"))
    return frozenset(path for path in paths if named.get(path, path) in groups)


def _describe_failure(groups: Sequence[Path | str], *, what: str) -> str:
    if len(groups) == 1:
        all_of_one = "all segments belong to one video" if what == "video" else "all videos belong to one group"
        return f"{all_of_one} ({groups[0]}): nothing can be held out; name validation videos (val)"
    names = ", ".join(str(group) for group in groups[:3]) + (", ..." if len(groups) > 3 else "")
    parts = "segments" if what == "video" else "videos"
    return (
        f"each of {len(groups)} {what}s ({names}) contains all {parts} of a class: none can be held out for "
        "validation; name validation videos (val)"
    )


def choose_videos(by_class: Mapping[int, Sequence[Path]], *, fraction: float, seed: int) -> frozenset[Path]:
    """Choose a fraction of the videos of each class.

    A class of two or more videos gives at least one and keeps at least one; a class of one video keeps it. With equal
    seeds, the videos left by a larger fraction are among those left by a smaller one.

    Args:
        by_class: Videos of each class, each once.
        fraction: Fraction of each class to choose, between 0 and 1.
        seed: Seed of the choice.
    """
    rng = np.random.default_rng(seed)
    chosen: set[Path] = set()
    for label in sorted(by_class):
        videos = by_class[label]
        if len(videos) > 1:
            count = min(max(round(len(videos) * fraction), 1), len(videos) - 1)
            chosen.update(videos[k] for k in rng.permutation(len(videos))[:count])
    return frozenset(chosen)


def choose_groups(counts: Mapping[Group, Mapping[int, int]], *, fraction: float, seed: int) -> frozenset[Group]:
    """Choose whole groups that together hold about a fraction of each class.

    Every class keeps a video outside the chosen groups. In random order, each group is chosen that brings the fractions
    of the classes, equally weighted, closer to the target; then each class without a chosen video gives the group that
    hurts the other classes least. A class gives nothing if it lies in one group, or if each of its groups holds the
    last videos of another class.

    Args:
        counts: Videos of each class in each group.
        fraction: Fraction of each class to choose, between 0 and 1.
        seed: Seed of the order.
    """
    groups = list(counts)
    order = [groups[k] for k in np.random.default_rng(seed).permutation(len(groups))]
    with_class: dict[int, list[Group]] = {}
    for group in order:
        for label in counts[group]:
            with_class.setdefault(label, []).append(group)
    sizes = {label: sum(counts[group][label] for group in own) for label, own in with_class.items()}
    held: Counter[int] = Counter()
    chosen: set[Group] = set()

    def harm(group: Group) -> float:
        """Increase of the summed distance to the target; infinite if a class would keep nothing."""
        total = 0.0
        for label, count in counts[group].items():
            size, now = sizes[label], held[label]
            if now + count >= size:
                return np.inf
            total += (abs(now + count - fraction * size) - abs(now - fraction * size)) / size
        return total

    def take(group: Group) -> None:
        chosen.add(group)
        held.update(counts[group])

    for group in order:
        if harm(group) < 0:
            take(group)
    for label in sorted(with_class):
        if held[label] == 0:
            best = min(with_class[label], key=harm)
            if harm(best) < np.inf:
                take(best)
    return frozenset(chosen)
