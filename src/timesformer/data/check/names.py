"""Faults of class names: names that look alike, and names that stand for a missing value."""

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from timesformer.data.check.listing import ListedDataset
from timesformer.names import look, quoted

_PLACEHOLDERS = (
    "nan|none|null|nil|undefined|undef|na|n/a|<na>|n\\.a\\.|tbd|todo|fixme|missing|empty|unlabell?ed|no[ _-]?label|"
    "#n/a|#na|#name|#null|#num|#ref|#value|#div/0"
)
_PLACEHOLDER = re.compile(rf"[\s\"'<(\[]*({_PLACEHOLDERS})[\s\"'>)\]!?]*", re.IGNORECASE)


class NameFault(NamedTuple):
    """Fields of a finding about class names."""

    kind: str
    files: tuple[Path, ...]
    reason: str


def name_faults(listing: ListedDataset) -> Iterator[NameFault]:
    """Classes that look alike, and placeholder names, in the order of the classes."""
    names = listing.class_names
    counts = Counter(video.label for video in listing.videos if video.split == "train")
    for group in _alike(names):
        shown = quoted(names[label] for label in group)
        each = ", ".join(f"{name} ({counts[label]})" for name, label in zip(shown, group, strict=True))
        yield NameFault("similar_classes", (), f"{len(group)} classes, with their numbers of training videos: {each}")
    for label, name in enumerate(names):
        if is_placeholder(name):
            files = tuple(dict.fromkeys(video.path for video in listing.videos if video.label == label))
            yield NameFault("placeholder_label", files, f"class {name!r}, videos: {len(files)}")


def is_placeholder(name: str) -> bool:
    """Whether programs write a name for a missing value: `nan`, `None`, `N/A`, `?`, `-`, or nothing."""
    has_text = any(unicodedata.category(letter)[0] not in "PZC" for letter in name)
    return not has_text or _PLACEHOLDER.fullmatch(name) is not None


def _alike(names: tuple[str, ...]) -> list[list[int]]:
    """Groups of two or more classes that look alike, directly or through others."""
    by_look: dict[str, list[int]] = defaultdict(list)
    for label, name in enumerate(names):
        for key in look(name):
            by_look[key].append(label)
    group_of = {label: [label] for label in range(len(names))}
    for labels in by_look.values():
        merged = sorted({other for label in labels for other in group_of[label]})
        group_of |= dict.fromkeys(merged, merged)
    unique = {tuple(group) for group in group_of.values() if len(group) > 1}
    return [list(group) for group in sorted(unique)]
