"""Training and validation rows, and the folds of a cross-validation: groups and videos stay together."""

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Int

from timesformer.data.manifest.folds import deal_rows
from timesformer.data.manifest.holdout import hold_out
from timesformer.errors import DataError
from timesformer.retrieval.heads.rows import Rows, refuse_other_origin, refuse_unknown_groups
from timesformer.retrieval.heads.run import HeadRun

logger = logging.getLogger(__name__)


def split_rows(rows: Rows, val: Rows | None, run: HeadRun) -> tuple[Rows, Rows]:
    """Training and validation rows, each in the order of its table.

    Args:
        rows: The rows of `run.features`.
        val: The rows of `run.val`; None without it.
        run: The rule.

    Raises:
        ConfigError: A group of `run.val_groups` is unknown.
        DataError: No rows are left for training or validation, a group is in both, or their features differ in origin.
    """
    if not rows.has_groups:
        logger.warning(
            "%s has no groups (column %r): rows of one person, camera or recording may lie in both training and "
            "validation, and accuracy on new ones is then lower than measured here",
            rows.source,
            run.group_column,
        )
    if val is not None:
        refuse_other_origin(val, origin=rows.origin, shape=rows.shape, of=rows.source)
        _refuse_overlap(rows, val)
        return rows, val
    if run.val_groups:
        refuse_unknown_groups(rows, run.val_groups)
        held = [group in run.val_groups for group in rows.groups]
    else:
        held = _hold_out(rows, fraction=run.val_fraction, seed=run.seed)
    sides = tuple(
        rows.select([index for index, is_held in enumerate(held) if is_held is side]) for side in (False, True)
    )
    if not sides[0].labels:
        raise DataError(f"{rows.source}: all rows are in the groups held out for validation: hold out fewer")
    _warn_of_same_videos(*sides)
    return sides[0], sides[1]


def _hold_out(rows: Rows, *, fraction: float, seed: int) -> list[bool]:
    ordered, names = rows.canonical(), sorted(set(rows.labels))
    index = {name: number for number, name in enumerate(names)}
    videos = [(Path(unit), index[label], group) for unit, label, group in _identities(ordered)]
    held = hold_out(videos, fraction=fraction, seed=seed)
    return [Path(unit) in held for unit, _, _ in _identities(rows)]


def _identities(rows: Rows) -> list[tuple[str, str, str]]:
    """Unit, label and group of each row; a video that is in several groups is one unit in each."""
    return [
        (f"{group}\0{unit}" if group else unit, label, group)
        for unit, label, group in zip(rows.units, rows.labels, rows.groups, strict=True)
    ]


def _refuse_overlap(train: Rows, val: Rows) -> None:
    groups = sorted(({*train.groups} & {*val.groups}) - {""})
    if groups:
        some = ", ".join(groups[:5]) + (", ..." if len(groups) > 5 else "")
        which = "1 group is" if len(groups) == 1 else f"{len(groups)} groups are"
        raise DataError(
            f"{which} in both {train.source} and {val.source} ({some}): a group belongs to training or to validation"
        )
    _warn_of_same_videos(train, val)


def _warn_of_same_videos(train: Rows, val: Rows) -> None:
    shared = {*train.units} & {*val.units}
    if shared:
        which = "1 video is" if len(shared) == 1 else f"{len(shared)} videos are"
        logger.warning("%s in both training and validation: validation accuracy will be too high", which)


def fold_numbers(rows: Rows, *, folds: int, seed: int) -> Int[np.ndarray, " n"]:
    """The fold of each row: groups, or videos of rows without groups, stay together, and folds are alike in classes.

    Args:
        rows: The rows, in canonical order.
        folds: Number of folds; as many as groups if these are fewer.
        seed: Seed of the order in which groups are dealt.

    Raises:
        DataError: All rows are of one video.
    """
    keys = [group or unit for unit, group in zip(rows.units, rows.groups, strict=True)]
    if len(set(keys)) < 2 <= len(set(rows.units)):
        logger.warning("all training rows are in the group %r: the cross-validation is over its videos", keys[0])
        keys = list(rows.units)
    if len(set(keys)) < 2:
        raise DataError(
            f"{rows.source}: all training rows are of one video: there is nothing to choose a strength by; give one: "
            "strengths=[0.01]"
        )
    return deal_rows(keys, rows.labels, folds=folds, seed=seed)


def describe_folds(rows: Sequence[int] | Int[np.ndarray, " n"], *, has_groups: bool) -> str:
    """The folds as text: `5 folds over groups`."""
    return f"{len(set(map(int, rows)))} folds over {'groups' if has_groups else 'videos'}"
