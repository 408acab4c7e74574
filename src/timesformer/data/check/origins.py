"""Faults of groups: persons, cameras or recordings that the data set lists.

Groups of duplicate videos are in `timesformer.data.check.duplicates`.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from timesformer.data.check.fingerprint import Fingerprint
from timesformer.data.check.listing import ListedVideo


class GroupFault(NamedTuple):
    """Fields of a finding about groups."""

    kind: str
    files: tuple[Path, ...]
    reason: str


def group_faults(videos: Sequence[ListedVideo], fingerprints: Mapping[Path, Fingerprint]) -> Iterator[GroupFault]:
    """Videos in several groups, by path or bytes, and groups in both training and validation."""
    by_content: dict[Path | str, list[ListedVideo]] = defaultdict(list)
    by_group: dict[str, list[ListedVideo]] = defaultdict(list)
    for video in videos:
        if video.group:
            by_content[_content(video, fingerprints)].append(video)
            by_group[video.group].append(video)
    for same in by_content.values():
        groups = dict.fromkeys(video.group for video in same)
        if len(groups) > 1:
            files = _files(same)
            what = "the same bytes" if len(files) > 1 else "one video"
            yield GroupFault("conflicting_group", files, f"{what} in groups {', '.join(groups)}")
    for group, members in by_group.items():
        counts = [len(_files([video for video in members if video.split == split])) for split in ("train", "val")]
        if all(counts):
            reason = f"group {group}: {counts[0]} videos in train and {counts[1]} in val"
            yield GroupFault("group_leak", _files(members), reason)


def leaking_groups(videos: Sequence[ListedVideo]) -> set[str]:
    """Groups with videos in both training and validation."""
    train, val = ({video.group for video in videos if video.split == split} for split in ("train", "val"))
    return (train & val) - {""}


def _content(video: ListedVideo, fingerprints: Mapping[Path, Fingerprint]) -> Path | str:
    found = fingerprints.get(video.path)
    return video.path if found is None or found.error else found.digest


def _files(videos: Sequence[ListedVideo]) -> tuple[Path, ...]:
    return tuple(dict.fromkeys(video.path for video in videos))
