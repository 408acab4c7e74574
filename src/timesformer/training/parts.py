"""Training and validation videos, from the videos that a run is given: validation split, hold-out, folds, fractions."""

import logging
from collections.abc import Sequence
from pathlib import Path

from timesformer.config.run import DataConfig
from timesformer.data.manifest.folds import split_fold, take_fraction
from timesformer.data.manifest.manifest import Manifest, holds_splits, split_manifest
from timesformer.data.manifest.model_classes import read_validation

logger = logging.getLogger(__name__)


def divide(train: Manifest, data: DataConfig, *, seed: int) -> tuple[Manifest, Manifest]:
    """Training and validation videos of a run.

    No group, and no video, is in both, unless `data.val` or the folder's own split says so; a fold that is kept out is
    in neither, or is validation.

    Args:
        train: The videos of `data.train`.
        data: What is held out of them, and the fraction of the rest to train on.
        seed: Seed of the choice.

    Raises:
        DataError: Nothing can be held out, there are too few groups for the folds, or validation cannot be read.
    """
    train, val = _divide(train, data, seed=seed)
    return take_fraction(train, fraction=data.train_fraction, seed=seed), val


def _divide(train: Manifest, data: DataConfig, *, seed: int) -> tuple[Manifest, Manifest]:
    if data.num_folds:
        train, held = split_fold(train, fold=data.fold, num_folds=data.num_folds, seed=seed)
        if data.val_from == "fold":
            return train, held
    elif data.val or holds_splits(Path(data.train)):
        return train, read_validation(data.val or Path(data.train), train=train)
    return split_manifest(train, fraction=data.val_fraction, seed=seed)


def warn_about_parts(train: Manifest, val: Manifest, data: DataConfig) -> None:
    """Warn about videos and groups that are in both parts, and about classes that could not be held out.

    Args:
        train: Training videos.
        val: Validation videos.
        data: What they were divided by.
    """
    _warn_about_overlap(train, val)
    if data.val_from == "training" and not data.val and (data.num_folds or not holds_splits(Path(data.train))):
        _warn_about_classes_without_validation(train, val)


def _warn_about_overlap(train: Manifest, val: Manifest) -> None:
    shared = {sample.path.resolve() for sample in train.samples} & {sample.path.resolve() for sample in val.samples}
    if shared:
        who = "1 video is" if len(shared) == 1 else f"{len(shared)} videos are"
        logger.warning("%s in both training and validation: validation accuracy will be too high", who)
    groups = sorted({*train.groups} & {*val.groups})
    if groups:
        who = "1 group is" if len(groups) == 1 else f"{len(groups)} groups are"
        message = "%s in both training and validation (%s): validation accuracy will be too high"
        logger.warning(message, who, _some(groups))


def _warn_about_classes_without_validation(train: Manifest, val: Manifest) -> None:
    """Warn about classes without a validation video when whole groups, or videos of several classes, are held out."""
    has_groups = bool(train.groups or val.groups)
    if not has_groups and not train.has_segments:
        return
    shown = {sample.label for sample in val.samples}
    absent = [name for label, name in enumerate(train.class_names) if label not in shown]
    if absent:
        message = "%d of %d classes have no validation video (%s): none of their %s can be held out"
        units = "groups" if has_groups else "videos"
        logger.warning(message, len(absent), len(train.class_names), _some(absent), units)


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
