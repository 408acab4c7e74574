"""Cross-validation: a run for each fold, evaluated on the videos that it has not seen."""

import logging
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from timesformer.config.compute import ComputeOptions
from timesformer.config.run import RunConfig
from timesformer.cross_validation.folder import (
    FoldsFolder,
    State,
    alone_in,
    hash_videos,
    prepare,
    read_json,
    write_json,
)
from timesformer.cross_validation.page import write_page
from timesformer.cross_validation.result import CrossValidation, HeldOut, pool, write_table
from timesformer.data.manifest.background import with_background
from timesformer.data.manifest.folds import split_fold, unit_names
from timesformer.data.manifest.manifest import Manifest, load_training
from timesformer.errors import ConfigError
from timesformer.evaluation.evaluate import OnProgress, open_both, run_batches
from timesformer.evaluation.partition import plan_batches
from timesformer.evaluation.process_group import from_text, to_text
from timesformer.evaluation.protocol import describe_protocol
from timesformer.inference.options import precision_of
from timesformer.training.history import read_metrics
from timesformer.training.parts import divide
from timesformer.training.run_folder import RunFolder
from timesformer.training.train import train as train_run
from timesformer.weights.load import load

logger = logging.getLogger(__name__)

TrainRun = Callable[[RunConfig], Path]
"""Trains a run into its folder, or goes on with what the folder holds, and gives back a folder that `load` reads."""
OnMessage = Callable[[str], None]


def continue_training(run: RunConfig) -> Path:
    """Train a run, or resume it if its folder holds it.

    Raises:
        TimeSformerError: As `timesformer.train`.
    """
    return train_run(run, resume=RunFolder(Path(run.output).expanduser()).config.exists())


def chooses_by_validation(run: RunConfig) -> bool:
    """Whether a plain run chooses its epoch, or its end, by the accuracy on its validation videos."""
    return run.keep == "best" or run.patience > 0


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
    run = replace(run, data=replace(run.data, val="", num_folds=0, fold=0, val_from="training"))
    if not run.data.train:
        raise ConfigError("data.train is empty: name a folder with one subfolder per class, or a manifest file")
    manifest = load_training(Path(run.data.train))
    folder = FoldsFolder(Path(run.output).expanduser())
    for fold in range(1, num_folds + 1):
        divide(manifest, fold_config(run, folder, fold=fold, num_folds=num_folds, chooses=chooses).data, seed=run.seed)
    state = State(run=run, num_folds=num_folds, chooses=chooses, videos=hash_videos(manifest))
    _warn_about_lonely_classes(manifest)
    with alone_in(folder):
        prepare(folder, state, resume=resume, overwrite=overwrite)
        held = []
        for fold in range(1, num_folds + 1):
            fold_run = fold_config(run, folder, fold=fold, num_folds=num_folds, chooses=chooses)
            held.append(
                _measure(fold_run, folder, manifest, train=train, chooses=chooses, say=say, progress=on_progress)
            )
        result = pool(held, manifest=manifest, folder=folder.root, chooses=chooses)
        write_table(result, folder.predictions)
        write_page(result, folder.page, run=run, model=load(folder.run(1)))
    return result


def fold_config(run: RunConfig, folder: FoldsFolder, *, fold: int, num_folds: int, chooses: bool) -> RunConfig:
    """The run of a fold."""
    val_from = "training" if chooses else "fold"
    data = replace(run.data, num_folds=num_folds, fold=fold, val_from=val_from)
    return replace(run, data=data, output=str(folder.run(fold)))


def _measure(
    run: RunConfig,
    folder: FoldsFolder,
    manifest: Manifest,
    *,
    train: TrainRun,
    chooses: bool,
    say: OnMessage,
    progress: OnProgress,
) -> HeldOut:
    """The outcomes of a fold: those of its file, or those of a model that is trained now."""
    fold, of = run.data.fold, run.data.num_folds
    _, held = split_fold(manifest, fold=fold, num_folds=of, seed=run.seed)
    parts = divide(manifest, run.data, seed=run.seed)
    videos = _with_background(held, run)
    sizes = len(parts[0].samples), len(parts[1].samples) if chooses else 0
    path = folder.outcomes(fold)
    if not path.exists():
        say(f"fold {fold} of {of}: {_describe(held)} held out, {parts[0].describe_size()} for training{_inner(sizes)}")
        start = time.monotonic()
        trained = train(run)
        _evaluate(trained, videos, run, path, start=start, progress=progress)
    table = read_json(path)
    return HeldOut(
        fold=fold,
        manifest=videos,
        outcomes=tuple(from_text(table["outcomes"])),
        num_train=sizes[0],
        num_val=sizes[1],
        seconds=table["seconds"],
        protocol=table["protocol"],
    )


def _inner(sizes: tuple[int, int]) -> str:
    return f", {sizes[1]} to choose by" if sizes[1] else ""


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


def _evaluate(
    trained: Path, videos: Manifest, run: RunConfig, path: Path, *, start: float, progress: OnProgress
) -> None:
    """Evaluate the model of a fold, and write its outcomes: then the fold is finished."""
    options = ComputeOptions(
        device=run.device,
        num_workers=run.data.num_workers,
        on_error=run.data.on_decode_error,
        precision=run.precision,
        allow_codecs=run.data.allow_codecs,
    )
    before = time.monotonic()
    model, manifest = open_both(trained, videos)
    batches = plan_batches(len(manifest.samples), clip=model.info.clip, batch_size=options.batch_size)
    outcomes = run_batches(model, manifest, batches, options=options, on_progress=progress)
    now = time.monotonic()
    protocol = describe_protocol(model.config, model.info.clip, precision=precision_of(options, model))
    seconds = max(now - start, _seconds_of_epochs(trained) + now - before)  # longer if it was interrupted
    write_json(path, {"seconds": seconds, "protocol": protocol, "outcomes": to_text(outcomes)})


def _seconds_of_epochs(folder: Path) -> float:
    metrics = RunFolder(folder).metrics
    return sum(epoch.seconds for epoch in read_metrics(metrics)) if metrics.exists() else 0.0


def _warn_about_lonely_classes(manifest: Manifest) -> None:
    """Warn about classes that lie in one group: the fold without it cannot learn them."""
    units = unit_names(manifest)
    of_class: dict[int, set[str]] = {}
    for sample in manifest.samples:
        of_class.setdefault(sample.label, set()).add(units[sample.path])
    lonely = [manifest.class_names[label] for label, found in sorted(of_class.items()) if len(found) == 1]
    if lonely:
        names = ", ".join(lonely[:5]) + (", ..." if len(lonely) > 5 else "")
        what = "group" if manifest.groups else "video"
        logger.warning("%d of %d classes lie in one %s (%s): the fold without it cannot learn them and has them wrong",
            len(lonely), len(manifest.class_names), what, names)  # fmt: skip
