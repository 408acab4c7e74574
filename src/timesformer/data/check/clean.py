"""The part of a data set in which a check found nothing wrong, as manifests to train with."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from timesformer.data.check.data_check import DataCheck
from timesformer.data.check.listing import ListedVideo
from timesformer.data.check.origins import leaking_groups
from timesformer.data.manifest.manifest import Manifest, Sample
from timesformer.data.manifest.save import check_list_name, fits_a_line, save_manifest
from timesformer.errors import ConfigError, DataError
from timesformer.outputs import refuse_existing

_FAULTS = ("missing", "unreadable", "truncated", "too_short", "conflicting_label", "conflicting_group")
"""Findings about a file wherever it is listed; such files are left out."""


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A listed video that is not in the clean manifests."""

    path: Path
    split: str
    reason: str
    """A kind of finding, or `bad_name`: no list can hold its path."""


@dataclass(frozen=True, slots=True)
class CleanData:
    """What is left of a data set, and what is not."""

    train: Manifest
    val: Manifest | None
    """None where nothing was listed for validation."""
    left_out: tuple[LeftOut, ...]
    """Videos that were listed and are left out, in the order of the listing."""
    dropped_classes: tuple[str, ...]
    """Classes without a training video; other classes got new numbers where some were dropped."""


def clean(check: DataCheck) -> CleanData:
    """Leave out what is wrong.

    Files with errors go. Of videos that are the same, the first of a split stays, unless validation has one too: then
    training keeps none; nor does it keep videos of a group that validation has. Classes that have no training video
    then go with their validation videos.

    Raises:
        DataError: No training video is left.
    """
    reasons = _reasons(check)
    videos, names = check.listing.videos, check.listing.class_names
    kept = [video for place, video in enumerate(videos) if place not in reasons]
    labels = sorted({video.label for video in kept if video.split == "train" and video.label is not None})
    if not labels:
        why = ", ".join(f"{count} {kind}" for kind, count in Counter(reasons.values()).most_common())
        raise DataError(f"{check.source}: no training video is left when all with errors are left out ({why})")
    index = {label: number for number, label in enumerate(labels)}
    for place, video in enumerate(videos):
        if place not in reasons and video.label not in index:
            reasons[place] = "empty_class"
    train, val = (
        Manifest(
            tuple(Sample(v.path, index[v.label], v.group) for v in kept if v.split == split and v.label in index),
            tuple(names[label] for label in labels),
        )
        for split in ("train", "val")
    )
    return CleanData(
        train=train,
        val=val if check.num_videos("val") else None,
        left_out=tuple(LeftOut(videos[place].path, videos[place].split, reasons[place]) for place in sorted(reasons)),
        dropped_classes=tuple(name for label, name in enumerate(names) if label not in index),
    )


def save_clean(data: CleanData, target: str | Path, *, overwrite: bool = False) -> tuple[Path, ...]:
    """Write the manifests, with the names of their classes in `classes.txt` beside them.

    Args:
        data: What to write.
        target: A list such as `clean.csv`; or, where there is validation, a folder for `train.csv` and `val.csv`.
        overwrite: Whether lists that are there are replaced.

    Returns:
        The lists that were written.

    Raises:
        ConfigError: A file where a folder is needed or the other way round, a list already exists and must not be
            replaced, or its name is that of no list.
        DataError: Other classes lie beside the lists, or a name cannot be written.
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
    """Refuse what `save_clean` cannot write to, so that nobody waits for a check first.

    Raises:
        ConfigError: As `save_clean`.
    """
    target = Path(target)
    if has_val and target.suffix:
        raise ConfigError(f"{target}: there are training and validation videos: name a folder for both lists")
    if not has_val and (target.is_dir() or not target.suffix):
        raise ConfigError(
            f"{target}: a folder, but there is no validation: name a list, such as {target / 'clean.csv'}"
        )
    lists = [target / f"{split}.csv" for split in ("train", "val")] if has_val else [target]
    check_list_name(lists[0])
    refuse_existing(*lists, overwrite=overwrite)


def _reasons(check: DataCheck) -> dict[int, str]:
    """Why listed videos are left out, by their places in the listing."""
    faults = {path: finding.kind for finding in check.findings if finding.kind in _FAULTS for path in finding.files}
    videos = check.listing.videos
    reasons = {
        place: "bad_label" if video.label is None else faults[video.path]
        for place, video in enumerate(videos)
        if video.label is None or video.path in faults
    }
    for place, video in enumerate(videos):
        if place not in reasons and not fits_a_line(str(video.path)):
            reasons[place] = "bad_name"
    reasons |= _group_leaks(videos, reasons)
    for group in check.groups:
        good = [place for place in group if place not in reasons]
        train, val = ([place for place in good if videos[place].split == split] for split in ("train", "val"))
        if val:
            reasons |= dict.fromkeys(train, "leak")
        for first, *others in filter(None, (val, [] if val else train)):
            digest = check.fingerprints[videos[first].path].digest
            for place in others:
                is_equal = check.fingerprints[videos[place].path].digest == digest
                reasons[place] = "duplicate" if is_equal else "near_duplicate"
    return reasons


def _group_leaks(videos: Sequence[ListedVideo], reasons: Mapping[int, str]) -> dict[int, str]:
    """The training videos of groups that validation keeps, by their places in the listing."""
    leaking = leaking_groups([video for place, video in enumerate(videos) if place not in reasons])
    return {
        place: "group_leak"
        for place, video in enumerate(videos)
        if place not in reasons and video.split == "train" and video.group in leaking
    }
