"""Groups of duplicate videos: identical files, and near-duplicates (`timesformer.data.check.near_duplicates`)."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from timesformer.data.check.fingerprint import Fingerprint
from timesformer.data.check.listing import ListedDataset, ListedVideo
from timesformer.data.check.near_duplicates import near_pairs
from timesformer.data.video.segment import span_text

Group = tuple[int, ...]
"""Ascending indices of videos with the same content; training comes first."""


class DuplicateFault(NamedTuple):
    """Fields of a finding about duplicates."""

    kind: str
    files: tuple[Path, ...]
    reason: str


def group_by_content(videos: Sequence[ListedVideo], fingerprints: Mapping[Path, Fingerprint]) -> tuple[Group, ...]:
    """All groups of two or more videos; videos with a wrong label or without a decodable frame are left out."""
    by_bytes: dict[str, list[int]] = defaultdict(list)
    for index, video in enumerate(videos):
        found = fingerprints.get(video.path)
        if found is not None and not found.error and video.label is not None:
            by_bytes[found.digest].append(index)
    contents = list(by_bytes.values())
    merged: dict[int, list[int]] = defaultdict(list)
    for content, root in zip(
        contents, _roots([fingerprints[videos[indices[0]].path] for indices in contents]), strict=True
    ):
        merged[root] += content
    return tuple(sorted(tuple(sorted(group)) for group in merged.values() if len(group) > 1))


def duplicate_faults(
    group: Group, listing: ListedDataset, fingerprints: Mapping[Path, Fingerprint]
) -> Iterator[DuplicateFault]:
    """Faults of one group: several classes, both splits, or several videos in one split."""
    videos = [listing.videos[index] for index in group]
    labels = {video.label: None for video in videos if video.segment is None}  # those of segments may differ
    if len(labels) > 1:
        names = ", ".join(listing.class_names[label] for label in labels if label is not None)
        yield DuplicateFault(
            "conflicting_label", _files(videos), f"{_how_alike(videos, fingerprints)} in classes {names}"
        )
        return
    splits = [[video for video in videos if video.split == split] for split in ("train", "val")]
    if all(splits):
        yield DuplicateFault("leak", _files(videos), f"{_how_alike(videos, fingerprints)} in train and in val")
    for split in splits:
        yield from _duplicates_in_split(split, fingerprints)


def _duplicates_in_split(
    videos: Sequence[ListedVideo], fingerprints: Mapping[Path, Fingerprint]
) -> Iterator[DuplicateFault]:
    by_bytes: dict[str, list[ListedVideo]] = defaultdict(list)
    for video in videos:
        by_bytes[fingerprints[video.path].digest].append(video)
    for same in by_bytes.values():
        files = _files(same)
        if len(files) > 1:
            yield DuplicateFault("duplicate", files, f"{len(files)} files with the same bytes in {same[0].split}")
            continue
        for segment, count in Counter(video.segment for video in same).items():
            if count > 1:
                what = "one file" if segment is None else f"one segment ({span_text(segment)})"
                yield DuplicateFault("duplicate", files, f"{what}, listed {count} times in {same[0].split}")
    if len(by_bytes) > 1:
        firsts = [same[0] for same in by_bytes.values()]
        yield DuplicateFault(
            "near_duplicate", _files(firsts), f"{len(firsts)} files of the same video in {firsts[0].split}"
        )


def _how_alike(videos: Sequence[ListedVideo], fingerprints: Mapping[Path, Fingerprint]) -> str:
    is_one = len({fingerprints[video.path].digest for video in videos}) == 1
    return "the same bytes" if is_one else "the same video"


def _files(videos: Sequence[ListedVideo]) -> tuple[Path, ...]:
    return tuple(dict.fromkeys(video.path for video in videos))


def _roots(contents: Sequence[Fingerprint]) -> list[int]:
    """Union-find root of each content, connected by near-duplicate pairs: the first of its component."""
    if not contents:
        return []
    pairs = near_pairs(
        np.stack([found.thumbnails for found in contents]),
        num_frames=np.array([found.num_frames for found in contents], dtype=np.int64),
    )
    roots = list(range(len(contents)))

    def root(content: int) -> int:
        while roots[content] != content:
            content = roots[content]
        return content

    for one, other in pairs:
        first, second = sorted((root(one), root(other)))
        roots[second] = first
    return [root(content) for content in range(len(contents))]
