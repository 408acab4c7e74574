"""Cross-validation: a run for each fold, evaluated on the videos that it has not seen."""

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from timesformer.config.run import RunConfig
from timesformer.cross_validation.folder import State, Study, alone_in, hash_videos, prepare
from timesformer.cross_validation.held_out import (
    HeldOut,
    TrainRun,
    chooses_by_validation,
    continue_training,
    read_held_out,
    train_and_evaluate,
)
from timesformer.cross_validation.page import write_page
from timesformer.cross_validation.result import CrossValidation, pool, write_table
from timesformer.data.manifest.background import with_background
from timesformer.data.manifest.folds import split_fold, unit_names
from timesformer.data.manifest.manifest import Manifest, load_training
from timesformer.errors import ConfigError
from timesformer.evaluation.evaluate import OnProgress
from timesformer.training.parts import divide
from timesformer.training.run_folder import anchored
from timesformer.weights.load import load

logger = logging.getLogger(__name__)

OnMessage = Callable[[str], None]


def cross_validate(
    run: RunConfig,
    *,
    num_folds: int,
    train: TrainRun = continue_training,
    chooses: bool | None = None,
    resume: bool = False,
    overwrite: bool = False,
    on_message: OnMessage | None = None,
    on_progress: OnProgress = lambda done, total: None,
) -> CrossValidation:
    """Train a run for each fold of the training videos, and evaluate it on the fold, with all views of its clip.

    Groups stay together; a video without a group is its own. The videos of a fold never choose anything of its run: a
    run that chooses by validation holds out `data.val_fraction` of its training part, by groups; one that does not
    trains on all other folds. Validation videos of the run, or of a folder with splits, are not used.

    Writes into `run.output`: `folds/1`, `folds/2`, ..., each the folder of a run; `predictions.csv`; `report.html`.

    Args:
        run: The run; `data.train` are the videos.
        num_folds: Number of folds, at least 2.
        train: Trains the run of a fold; it is called again for a run that was interrupted.
        chooses: Whether `train` chooses by validation videos; None for what `run.keep` and `run.patience` say.
        resume: Go on with the cross-validation in the folder: finished folds are kept.
        overwrite: Replace a cross-validation in the folder.
        on_message: Called with a line for each fold; log messages by default.
        on_progress: Progress callback of each evaluation.

    Raises:
        ConfigError: A value is invalid, or the folder holds something else.
        DataError: The videos cannot be used, or have fewer groups than folds.
        TimeSformerError: As `train` and `timesformer.evaluate`.
    """
    if resume and overwrite:
        raise ConfigError("resume and overwrite exclude each other: pass one of them")
    say = on_message or logger.info
    chooses = chooses_by_validation(run) if chooses is None else chooses
    run = replace(run, data=replace(anchored(run).data, val="", num_folds=0, fold=0, val_from="training"))
    study = Study(Path(run.output).expanduser(), "folds")
    manifest = load_training_videos(run)
    runs = [
        fold_run(run, study.run(fold), fold=fold, num_folds=num_folds, chooses=chooses)
        for fold in range(1, num_folds + 1)
    ]
    parts = [
        divide(manifest, each.data, seed=run.seed) for each in runs
    ]  # all are possible, before the first is trained
    _warn_about_lonely_classes(manifest)
    state = State(run=run, num_folds=num_folds, chooses=chooses, videos=hash_videos(manifest))
    with alone_in(study):
        prepare(study, state, resume=resume, overwrite=overwrite)
        held = []
        for each, (own, val) in zip(runs, parts, strict=True):
            num_val = len(val.samples) if chooses else 0
            found = _measure(
                each, study, manifest, own=own, num_val=num_val, train=train, say=say, on_progress=on_progress
            )
            held.append(found)
        result = pool(held, manifest=manifest, folder=study.root, chooses=chooses)
        write_table(result, study.predictions)
        write_page(result, study.page, run=run, model=load(study.run(1)))
    return result


def load_training_videos(run: RunConfig) -> Manifest:
    """The training videos of a run, before anything is held out.

    Raises:
        ConfigError: `data.train` is empty.
        DataError: The videos cannot be read.
    """
    if not run.data.train:
        raise ConfigError("data.train is empty: name a folder with one subfolder per class, or a manifest file")
    return load_training(Path(run.data.train))


def fold_run(run: RunConfig, output: Path, *, fold: int, num_folds: int, chooses: bool) -> RunConfig:
    """The run of a fold.

    Raises:
        ConfigError: A number is out of range.
    """
    val_from = "training" if chooses else "fold"
    data = replace(run.data, num_folds=num_folds, fold=fold, val_from=val_from)
    return replace(run, data=data, output=str(output))


def _measure(
    run: RunConfig,
    study: Study,
    manifest: Manifest,
    *,
    own: Manifest,
    num_val: int,
    train: TrainRun,
    say: OnMessage,
    on_progress: OnProgress,
) -> HeldOut:
    """The outcomes of a fold: those of its file, or those of a model that is trained now."""
    fold, of = run.data.fold, run.data.num_folds
    _, held = split_fold(manifest, fold=fold, num_folds=of, seed=run.seed)
    videos, stored = _with_background(held, run), study.outcomes(fold)
    if not stored.exists():
        inner = f", {num_val} to choose by" if num_val else ""
        say(f"fold {fold} of {of}: {_describe(held)} held out, {own.describe_size()} for training{inner}")
        train_and_evaluate(run, videos, stored, train=train, on_progress=on_progress)
    return read_held_out(stored, videos, part=fold, own=own, num_val=num_val)


def _describe(held: Manifest) -> str:
    if not held.groups:
        return held.describe_size()
    names = ", ".join(held.groups[:4]) + (", ..." if len(held.groups) > 4 else "")
    return f"{held.describe_size()} of {len(held.groups)} group{'s' * (len(held.groups) > 1)} ({names})"


def _with_background(held: Manifest, run: RunConfig) -> Manifest:
    if run.data.background == 0:
        return held
    return with_background(
        held,
        ratio=run.data.background,
        source=f"data.background, fold {run.data.fold}",
        seed=run.seed,
        allow_codecs=run.data.allow_codecs,
        skips_unreadable=run.data.on_decode_error == "skip",
    )


def _warn_about_lonely_classes(manifest: Manifest) -> None:
    """Warn about classes that lie in one group: the fold without it cannot learn them."""
    units, of_class = unit_names(manifest), dict[int, set[str]]()
    for sample in manifest.samples:
        of_class.setdefault(sample.label, set()).add(units[sample.path])
    lonely = [manifest.class_names[label] for label, found in sorted(of_class.items()) if len(found) == 1]
    if lonely:
        names = ", ".join(lonely[:5]) + (", ..." if len(lonely) > 5 else "")
        what = "group" if manifest.groups else "video"
        message = "%d of %d classes lie in one %s (%s): the fold that holds it out cannot learn them"
        logger.warning(message, len(lonely), len(manifest.class_names), what, names)
