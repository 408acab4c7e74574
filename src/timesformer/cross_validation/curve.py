"""Accuracy over the number of training videos: what more videos would give."""

import logging
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from timesformer.config.run import RunConfig
from timesformer.cross_validation.curve_page import write_curve_page
from timesformer.cross_validation.curve_result import CurvePoint, VideoCurve, compare
from timesformer.cross_validation.folder import State, Study, alone_in, hash_videos, prepare, study_in
from timesformer.cross_validation.held_out import (
    HeldOut,
    TrainRun,
    chooses_by_validation,
    continue_training,
    read_held_out,
    train_and_evaluate,
)
from timesformer.cross_validation.picture import draw_video_curve
from timesformer.cross_validation.run import OnMessage, cross_validate, load_training_videos
from timesformer.data.manifest.folds import are_parts_groups
from timesformer.data.manifest.manifest import Manifest
from timesformer.errors import ConfigError
from timesformer.evaluation.evaluate import OnProgress
from timesformer.evaluation.result import Evaluation
from timesformer.evaluation.summary import summarize
from timesformer.files import replacing
from timesformer.outputs import writing
from timesformer.training.dataloaders import Split, load_data
from timesformer.training.run_folder import anchored

logger = logging.getLogger(__name__)

PERCENTAGES = (25, 50, 100)
"""Percentages of the training videos of the points, the smallest first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Request:
    """What all points have in common."""

    run: RunConfig
    study: Study
    num_folds: int
    train: TrainRun
    chooses: bool
    say: OnMessage
    on_progress: OnProgress


def draw_curve(
    run: RunConfig,
    *,
    num_folds: int = 0,
    train: TrainRun = continue_training,
    chooses: bool | None = None,
    resume: bool = False,
    overwrite: bool = False,
    on_message: OnMessage | None = None,
    on_progress: OnProgress = lambda done, total: None,
) -> VideoCurve:
    """Train on a quarter, on half and on all of the training videos, and evaluate on the same videos with all views.

    With 8 or more groups the parts are whole groups; with fewer, or none, the same fraction of the videos of each
    class, from all groups. A part contains the smaller ones; both are a function of `run.seed`. The videos of the
    evaluation are the validation videos of the run, or, with `num_folds`, all videos, each by a model of a fold
    without it.

    Writes into `run.output`: `curve/25`, `curve/50` and `curve/100`, each the folder of a run or of a cross-validation;
    `curve.png`; `report.html`.

    Args:
        run: The run.
        num_folds: Folds of a cross-validation for each point; 0 for one run each.
        train, chooses, resume, overwrite, on_message, on_progress: As in `cross_validate`.

    Raises:
        ConfigError: A value is invalid, or the folder holds something else.
        DataError: The videos cannot be used.
        TimeSformerError: As `train` and `timesformer.evaluate`.
    """
    if resume and overwrite:
        raise ConfigError("resume and overwrite exclude each other: pass one of them")
    if run.data.train_fraction != 1:
        raise ConfigError(f"data.train_fraction={run.data.train_fraction:g} has no effect on a curve over fractions")
    study, run = Study(Path(run.output).expanduser(), "curve"), replace(run, data=anchored(run).data)
    request = _Request(
        run=run,
        study=study,
        num_folds=num_folds,
        train=train,
        chooses=chooses_by_validation(run) if chooses is None else chooses,
        say=on_message or logger.info,
        on_progress=on_progress,
    )
    if num_folds:
        split, videos = None, load_training_videos(run)
        unit, known = _unit(videos), hash_videos(videos)
    else:
        split = load_data(run.data, seed=run.seed)
        unit, known = _unit(split.train), hash_videos(*split)
    state = State(run=run, num_folds=num_folds, chooses=request.chooses, videos=known)
    with alone_in(study):
        prepare(study, state, resume=resume, overwrite=overwrite)
        points = []
        for percentage in PERCENTAGES:
            found = _point_by_folds(request, percentage) if split is None else _point(request, percentage, split)
            points.append(found)
        curve = compare(points, folder=study.root, unit=unit, num_folds=num_folds, chooses=request.chooses)
        with writing(study.picture), replacing(study.picture) as partial:
            draw_video_curve(curve, partial)
        write_curve_page(curve, study, run=run)
    return curve


def _unit(videos: Manifest) -> str:
    """What the parts consist of."""
    if are_parts_groups(videos):
        return "groups"
    return "videos of the same groups" if videos.groups else "videos"


def _point(request: _Request, percentage: int, split: Split) -> CurvePoint:
    """A point of the curve by one run, evaluated on the validation videos of the run."""
    data = replace(request.run.data, train_fraction=percentage / 100)
    run = replace(request.run, data=data, output=str(request.study.run(percentage)))
    part = load_data(data, seed=run.seed).train
    stored = request.study.outcomes(percentage)
    if not stored.exists():
        request.say(f"{percentage} %: {part.describe_size()} for training, {split.val.describe_size()} for evaluation")
        train_and_evaluate(run, split.val, stored, train=request.train, on_progress=request.on_progress)
    held = read_held_out(stored, split.val, part=percentage, own=part, num_val=0)
    return _as_point(_summarize(held), percentage, num_train=held.num_train, groups=len(part.groups), s=held.seconds)


def _summarize(held: HeldOut) -> Evaluation:
    return summarize(held.manifest, held.outcomes, protocol=held.protocol, top_k=(1, 5))


def _point_by_folds(request: _Request, percentage: int) -> CurvePoint:
    """A point of the curve by a cross-validation with a part of the training videos of each fold."""
    data = replace(request.run.data, train_fraction=percentage / 100)
    run = replace(request.run, data=data, output=str(request.study.run(percentage)))
    request.say(f"{percentage} % of the training videos of each fold")
    found = cross_validate(
        run,
        num_folds=request.num_folds,
        train=request.train,
        chooses=request.chooses,
        resume=study_in(run.output) is not None,
        on_message=request.say,
        on_progress=request.on_progress,
    )
    num_train = round(float(np.mean([fold.num_train for fold in found.folds])))
    groups = round(float(np.mean([fold.num_train_groups for fold in found.folds])))
    return _as_point(found.evaluation, percentage, num_train=num_train, groups=groups, s=found.seconds)


def _as_point(evaluation: Evaluation, percentage: int, *, num_train: int, groups: int, s: float) -> CurvePoint:
    return CurvePoint(percentage=percentage, num_train=num_train, num_groups=groups, evaluation=evaluation, seconds=s)
