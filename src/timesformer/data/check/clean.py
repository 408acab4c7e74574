"""Manifests of the videos in which a check found no error."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from timesformer.data.check.data_check import DataCheck
from timesformer.data.check.listing import ListedVideo
from timesformer.data.check.origins import leaking_groups
from timesformer.data.manifest.manifest import Manifest, Sample
from timesformer.data.manifest.save import check_list_name, fits_a_line, save_manifest
from timesformer.data.video.segment import Segment
from timesformer.errors import ConfigError, DataError
from timesformer.outputs import refuse_existing

_FAULTS = ("missing", "unreadable", "truncated", "too_short", "conflicting_label", "conflicting_group")
"""Findings that remove a file from all lists."""


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A listed video or segment that the clean manifests leave out."""

    path: Path
    split: str
    reason: str
    """Kind of finding, or `bad_name`: a list cannot contain the path."""
    segment: Segment | None = None
    """The segment; None for a whole video."""


@dataclass(frozen=True, slots=True)
class CleanData:
    """Clean manifests of a data set, and the videos and classes left out."""

    train: Manifest
    val: Manifest | None
    """None if the data set has no validation videos."""
    left_out: tuple[LeftOut, ...]
    """Listed videos that are left out, in the order of the data set."""
    dropped_classes: tuple[str, ...]
    """Classes left without a training video; dropping them renumbers the others."""


def clean(check: DataCheck) -> CleanData:
    """Leave out videos with errors, segments with errors, duplicates and leaks.

    Of segments that overlap with another class, none is kept; of those of one class, all but repetitions are. Of
    duplicates, the first in a split is kept; a training video that is also in validation is left out, and so is one
    whose group is in validation. Classes left without a training video are dropped with their validation videos.

    Raises:
        DataError: No training video is left.
    """
    reasons = _reasons(check)
    videos, names = check.listing.videos, check.listing.class_names
    kept = [video for index, video in enumerate(videos) if index not in reasons]
    labels = sorted({video.label for video in kept if video.split == "train" and video.label is not None})
    if not labels:
        why = ", ".join(f"{count} {kind}" for kind, count in Counter(reasons.values()).most_common())
        raise DataError(f"{check.source}: no training video is left: all are left out ({why}); repair these first")
    new_label = {label: number for number, label in enumerate(labels)}
    for index, video in enumerate(videos):
        if index not in reasons and video.label not in new_label:
            reasons[index] = "empty_class"
    train, val = (
        Manifest(
            tuple(
                Sample(v.path, new_label[v.label], v.group, v.segment)
                for v in kept
                if v.split == split and v.label in new_label
            ),
            tuple(names[label] for label in labels),
        )
        for split in ("train", "val")
    )
    return CleanData(
        train=train,
        val=val if check.num_videos("val") else None,
        left_out=tuple(
            LeftOut(videos[index].path, videos[index].split, reasons[index], videos[index].segment)
            for index in sorted(reasons)
        ),
        dropped_classes=tuple(name for label, name in enumerate(names) if label not in new_label),
    )


def save_clean(data: CleanData, target: str | Path, *, overwrite: bool = False) -> tuple[Path, ...]:
    """Write clean manifests, with a `classes.txt` next to them.

    Args:
        data: Manifests to write.
        target: A list such as `clean.csv`; with validation videos, a folder for `train.csv` and `val.csv`.
        overwrite: Replace existing lists.

    Returns:
        The written lists.

    Raises:
        ConfigError: `target` is a file instead of a folder or vice versa, is not named like a list, or a list already
            exists and `overwrite` is off.
        DataError: `classes.txt` has other classes, or a name cannot be written.
    """
    check_target(target, has_val=data.val is not None, overwrite=overwrite)
    target = Path(target)
    if data.val is None:
        target.parent.mkdir(parents=True, exist_ok=True)
        save_manifest(data.train, target)
        return (target,)
    target.mkdir(parents=True, exist_ok=True)
    for split, manifest in (("train", data.train), ("val", data.val)):
        save_manifest(manifest, target / f"{split}.csv")
    return tuple(target / f"{split}.csv" for split in ("train", "val"))


def check_target(target: str | Path, *, has_val: bool, overwrite: bool) -> None:
    """Refuse a target that `save_clean` cannot write, before the check starts.

    Raises:
        ConfigError: As `save_clean`.
    """
    target = Path(target)
    if has_val and target.suffix:
        raise ConfigError(f"{target}: names a file, but the data has validation videos: name a folder for both lists")
    if not has_val and (target.is_dir() or not target.suffix):
        raise ConfigError(
            f"{target}: names a folder, but the data has no validation videos: name a list, such as "
            f"{target / 'clean.csv'}"
        )
    lists = [target / f"{split}.csv" for split in ("train", "val")] if has_val else [target]
    check_list_name(lists[0])
    refuse_existing(*lists, overwrite=overwrite)


def _reasons(check: DataCheck) -> dict[int, str]:
    """Reasons why videos are left out, by their indices."""
    faults = {
        path: finding.kind
        for finding in check.findings
        if finding.kind in _FAULTS and not finding.segments
        for path in finding.files
    }
    videos = check.listing.videos
    reasons = {
        index: "bad_label" if video.label is None else faults[video.path]
        for index, video in enumerate(videos)
        if video.label is None or video.path in faults
    }
    for fault in check.segment_faults:
        if fault.kind != "overlapping_segment":
            reasons = dict.fromkeys(fault.indices, fault.kind) | reasons
    for index, video in enumerate(videos):
        if index not in reasons and not fits_a_line(str(video.path)):
            reasons[index] = "bad_name"
    reasons |= _group_leaks(videos, reasons)
    for group in check.groups:
        good = [index for index in group if index not in reasons]
        train, val = ([index for index in good if videos[index].split == split] for split in ("train", "val"))
        if val:
            reasons |= dict.fromkeys(train, "leak")
        for first, *others in filter(None, (val, [] if val else train)):
            digest, seen = check.fingerprints[videos[first].path].digest, {videos[first].segment}
            for index in others:
                if videos[index].path == videos[first].path and videos[index].segment not in seen:
                    seen.add(videos[index].segment)  # another segment of the video that is kept
                    continue
                is_equal = check.fingerprints[videos[index].path].digest == digest
                reasons[index] = "duplicate" if is_equal else "near_duplicate"
    return reasons


def _group_leaks(videos: Sequence[ListedVideo], reasons: Mapping[int, str]) -> dict[int, str]:
    """`group_leak` for training videos whose group is kept in validation, by their indices."""
    leaking = leaking_groups([video for index, video in enumerate(videos) if index not in reasons])
    return {
        index: "group_leak"
        for index, video in enumerate(videos)
        if index not in reasons and video.split == "train" and video.group in leaking
    }
