"""`train`: a run from its config to its folder."""

import logging
import warnings
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import LambdaCallback
from lightning.pytorch.plugins.environments import LightningEnvironment
from rich.console import Console

from timesformer.config.run import OptimConfig, RunConfig
from timesformer.errors import ConfigError
from timesformer.inference.views import resolve_device
from timesformer.model.timesformer import TimeSformer
from timesformer.training.callbacks import ProgressBar, Recorder, counting_bar
from timesformer.training.history import best_epoch, read_metrics
from timesformer.training.module import ClipClassifier
from timesformer.training.run_folder import (
    RunFolder,
    begin,
    check_can_write,
    check_is_free,
    check_same_run,
    differences,
)
from timesformer.training.sources import Feed, Split, load_data, make_feed, with_num_classes
from timesformer.training.start import DataSize, finished_epochs, initial_model

logger = logging.getLogger(__name__)

OnMessage = Callable[[str], None]

_TRAINER_NOTICES = (
    ".*does not have many workers.*",  # data.num_workers says how many
    ".*isinstance.treespec, LeafSpec.* is deprecated.*",  # Lightning 2.6 on torch 2.13
)


def train(
    run: RunConfig, *, overwrite: bool = False, resume: bool = False, on_message: OnMessage | None = None
) -> Path:
    """Train a model and leave a folder that holds all there is to know of it.

        config.toml      the whole config of the run
        metrics.csv      a row for each epoch
        curve.png        loss, accuracy and learning rate over the epochs
        model/           model folder of the epoch with the best validation accuracy, the later of equals
        checkpoints/     last.ckpt, to resume from, and best.ckpt

    Between epochs one view of each validation video is taken; `timesformer.evaluate` takes all. On one machine the same
    run gives the same weights, also where it was interrupted and resumed, as far as the device computes the same twice,
    which a CPU does. The number of classes comes from the data, whatever `run.model.num_classes` says.

    Args:
        run: The config; `run.output` is the folder.
        overwrite: Whether a run that the folder holds is removed; other files there are left alone.
        resume: Whether to go on after the last whole epoch of the run that the folder holds. Nothing that changes what
            is computed may differ; where no epoch was finished yet, it starts anew.
        on_message: Called with a line for each event. Without it there is a progress bar on stderr where that is a
            terminal, and lines in the log elsewhere.

    Returns:
        The folder of the run.

    Raises:
        ConfigError: A value cannot work, the folder holds a run and neither flag is set, or it cannot be written to.
        DataError: The videos cannot be used.
        DecodeError: A video cannot be decoded; the message names it.
        WeightsError: `run.init_from` cannot be loaded, or the checkpoint to resume from is damaged.
        TimeSformerError: The loss is no longer finite, or the disk refused during the run.
        KeyboardInterrupt: It was interrupted; the last whole epoch is kept.
    """
    folder = RunFolder(Path(run.output).expanduser())
    if resume and overwrite:
        raise ConfigError("resume and overwrite exclude each other: choose one")
    if not resume and not overwrite:
        check_is_free(folder)
    device = resolve_device(run.device)
    split = load_data(run.data, seed=run.seed)
    run = with_num_classes(run, split)
    first_epoch = _first_epoch(folder, run, split) if resume else 0
    model = initial_model(run, labels=split.train.class_names)
    check_can_write(folder, num_bytes=_bytes_needed(model, run.optim))
    job = _Job(run, folder, device, split.size, first_epoch)
    output = _Output(on_message)
    with _own_randomness(device), _quiet_trainer():
        with counting_bar(output.console, "decoding") as on_progress:
            feed = make_feed(split, run=run, device=device, first_epoch=first_epoch, on_progress=on_progress)
        _fit(model, feed, job, output)
    return folder.root


def is_finished(run: RunConfig) -> bool:
    """Whether the folder of a run holds this very run with all its epochs, so that training would change nothing.

    Raises:
        ConfigError: The config in the folder is damaged.
        DataError: The table of epochs in the folder is damaged.
    """
    folder = RunFolder(Path(run.output).expanduser())
    if not (folder.config.exists() and folder.metrics.exists() and folder.model.exists()):
        return False
    return (
        not differences(folder, run, besides=("model.num_classes",)) and len(read_metrics(folder.metrics)) == run.epochs
    )


@dataclass(frozen=True, slots=True)
class _Job:
    """A run with all that was found out about it before its first step."""

    run: RunConfig
    folder: RunFolder
    device: torch.device
    size: DataSize
    first_epoch: int


class _Output:
    """Where lines and epochs go: to the caller's function, above a progress bar, or to the log."""

    def __init__(self, on_message: OnMessage | None) -> None:
        self.console = Console(stderr=True, quiet=on_message is not None, markup=False, highlight=False)
        self.bar = ProgressBar(self.console) if on_message is None and self.console.is_terminal else None
        self.say = on_message or (self.console.print if self.bar else logger.info)

    @property
    def callbacks(self) -> list[Callback]:
        """What the trainer must call to keep the bar moving."""
        return [self.bar] if self.bar else []


def _first_epoch(folder: RunFolder, run: RunConfig, split: Split) -> int:
    check_same_run(folder, run)
    return finished_epochs(folder.last, size=split.size) if folder.last.exists() else 0


def _fit(model: TimeSformer, feed: Feed, job: _Job, output: _Output) -> None:
    run, folder = job.run, job.folder
    module = ClipClassifier(model, optim=run.optim, total_steps=len(feed.train) * run.epochs, seed=run.seed)
    on_epoch = output.bar.show if output.bar else lambda record: output.say(str(record))
    recorder = Recorder(folder, model=model, size=job.size, on_epoch=on_epoch)
    set_epoch = LambdaCallback(on_train_epoch_start=lambda trainer, _: feed.clips.set_epoch(trainer.current_epoch))
    trainer = _build_trainer(job, callbacks=[set_epoch, recorder, *output.callbacks])
    if job.first_epoch == 0:
        begin(folder, run)
    output.say(_describe(job, steps=len(feed.train)))
    with _interruptible(job, recorder=recorder, say=output.say):
        checkpoint = folder.last if job.first_epoch else None
        trainer.fit(module, feed.train, feed.val, ckpt_path=checkpoint, weights_only=True)
    best = best_epoch(recorder.history)
    output.say(f"best validation accuracy: {best.val_accuracy:.1%} in epoch {best.epoch}; its model is {folder.model}")


def _build_trainer(job: _Job, *, callbacks: list[Callback]) -> Trainer:
    return Trainer(
        accelerator=job.device.type,
        devices=[job.device.index] if job.device.index is not None else 1,
        max_epochs=job.run.epochs,
        gradient_clip_val=job.run.optim.clip_grad_norm or None,
        callbacks=callbacks,
        default_root_dir=job.folder.checkpoints,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        # one process, also inside a cluster's job
        plugins=[LightningEnvironment()],
    )


def _describe(job: _Job, *, steps: int) -> str:
    start = f"going on after epoch {job.first_epoch}" if job.first_epoch else "training"
    return (
        f"{start}: {job.size.train} videos of {job.run.model.num_classes} classes, {job.size.val} for validation; "
        f"{job.run.epochs} epochs of {steps} steps on {job.device}"
    )


def _bytes_needed(model: TimeSformer, optim: OptimConfig) -> int:
    """Room for two model folders and three checkpoints, since a new one is whole before an old one goes."""
    weights = sum(4 * parameter.numel() for parameter in model.parameters())
    moments = {"adamw": 2, "sgd": 1}[optim.optimizer]
    return 2 * weights + 3 * (1 + moments) * weights


@contextmanager
def _own_randomness(device: torch.device) -> Generator[None]:
    """Leave the caller's random state as it was."""
    devices = [device.index or 0] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        yield


@contextmanager
def _quiet_trainer() -> Generator[None]:
    """Keep the trainer's own notices off the log; its warnings stay, but for those that nobody here can heed."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [log.level for log in loggers]
    for log in loggers:
        log.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            for notice in _TRAINER_NOTICES:
                warnings.filterwarnings("ignore", message=notice)
            yield
    finally:
        for log, level in zip(loggers, levels, strict=True):
            log.setLevel(level)


@contextmanager
def _interruptible(job: _Job, *, recorder: Recorder, say: OnMessage) -> Generator[None]:
    """Turn what the trainer makes of Ctrl-C, an exit, back into Ctrl-C."""
    try:
        yield
    except SystemExit as stop:
        message = (
            f"interrupted after {len(recorder.history)} of {job.run.epochs} epochs; {job.folder.root} keeps them: "
            f"resume the run to go on from there"
        )
        say(message)
        raise KeyboardInterrupt(message) from stop
