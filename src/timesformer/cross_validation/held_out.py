"""A run and the videos that it is evaluated on: trained, evaluated and stored once."""

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from timesformer.config.compute import ComputeOptions
from timesformer.config.run import RunConfig
from timesformer.cross_validation.folder import damaged, read_json, write_json
from timesformer.data.manifest.manifest import Manifest
from timesformer.errors import DataError
from timesformer.evaluation.evaluate import OnProgress, open_both, run_batches
from timesformer.evaluation.partition import merge, plan_batches
from timesformer.evaluation.predictions import Outcome
from timesformer.evaluation.process_group import from_text, to_text
from timesformer.evaluation.protocol import describe_protocol
from timesformer.fine_tuning.folder import ProbeFolder
from timesformer.inference.options import precision_of
from timesformer.training.history import read_metrics
from timesformer.training.run_folder import RunFolder
from timesformer.training.train import train as train_run

TrainRun = Callable[[RunConfig], Path]
"""Trains a run into its folder, or goes on with what the folder holds, and gives back a folder that `load` reads."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldOut:
    """The outcomes of videos by a model that was trained without them."""

    part: int
    """Number of the fold, from 1, or percentage of the training videos."""
    manifest: Manifest
    """The videos."""
    outcomes: tuple[Outcome, ...]
    """The outcome of each of them."""
    num_train: int
    """Videos or segments that the model was trained on."""
    num_train_groups: int
    """Groups among them; 0 if they have none."""
    num_val: int
    """Videos that its epoch, or anything else, was chosen by; 0 if nothing was chosen."""
    seconds: float
    """Time for training and evaluation."""
    protocol: str
    """Views of a video and their fusion."""


def continue_training(run: RunConfig) -> Path:
    """Train a run, or resume it if its folder holds it.

    Raises:
        TimeSformerError: As `timesformer.train`.
    """
    return train_run(run, resume=RunFolder(Path(run.output).expanduser()).config.exists())


def chooses_by_validation(run: RunConfig) -> bool:
    """Whether a plain run chooses its epoch, or its end, by the accuracy on its validation videos."""
    return run.keep == "best" or run.patience > 0


def train_and_evaluate(
    run: RunConfig, videos: Manifest, stored: Path, *, train: TrainRun, on_progress: OnProgress
) -> None:
    """Train a run, evaluate its model with all views, and store the outcomes; then its part is finished.

    The checkpoints of the run are removed: nothing resumes it any more.

    Raises:
        TimeSformerError: As `train` and `timesformer.evaluate`.
    """
    start = time.monotonic()
    trained = train(run)
    before = time.monotonic()
    options = ComputeOptions(
        device=run.device,
        num_workers=run.data.num_workers,
        on_error=run.data.on_decode_error,
        precision=run.precision,
        allow_codecs=run.data.allow_codecs,
    )
    model, manifest = open_both(trained, videos)
    batches = plan_batches(len(manifest.samples), clip=model.info.clip, batch_size=options.batch_size)
    outcomes = run_batches(model, manifest, batches, options=options, on_progress=on_progress)
    protocol = describe_protocol(model.config, model.info.clip, precision=precision_of(options, model))
    now = time.monotonic()
    seconds = max(now - start, _seconds_of_epochs(trained) + now - before)  # longer if it was interrupted
    write_json(stored, {"seconds": seconds, "protocol": protocol, "outcomes": to_text(outcomes)})
    root = Path(run.output).expanduser()
    for folder in (RunFolder(root), ProbeFolder(root).fine_tuning):
        _drop_checkpoints(folder)


def _seconds_of_epochs(folder: Path) -> float:
    metrics = RunFolder(folder).metrics
    return sum(epoch.seconds for epoch in read_metrics(metrics)) if metrics.exists() else 0.0


def _drop_checkpoints(folder: RunFolder) -> None:
    for path in (folder.best, folder.last):
        with suppress(OSError):
            path.unlink(missing_ok=True)


def read_held_out(stored: Path, videos: Manifest, *, part: int, own: Manifest, num_val: int) -> HeldOut:
    """Read the outcomes of a finished part.

    Args:
        stored: The file.
        videos: The videos.
        part, num_val: As in `HeldOut`.
        own: The training videos.

    Raises:
        ConfigError: The file is damaged.
    """
    table = read_json(stored)
    try:
        outcomes = merge(from_text(table["outcomes"]), num_videos=len(videos.samples))
        seconds, protocol = float(table["seconds"]), str(table["protocol"])
    except (KeyError, TypeError, ValueError, AttributeError, DataError) as error:
        raise damaged(stored, error) from error
    return HeldOut(
        part=part,
        manifest=videos,
        outcomes=tuple(outcomes),
        num_train=len(own.samples),
        num_train_groups=len(own.groups),
        num_val=num_val,
        seconds=seconds,
        protocol=protocol,
    )
