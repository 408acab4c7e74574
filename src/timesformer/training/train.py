"""`train`: a run from its config to its folder."""

import logging
import warnings
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import LambdaCallback
from lightning.pytorch.plugins.environments import LightningEnvironment
from rich.console import Console

from timesformer.config.run import OptimConfig, RunConfig
from timesformer.config.schema import Precision
from timesformer.device import resolve_device
from timesformer.errors import ConfigError
from timesformer.model.timesformer import TimeSformer
from timesformer.training.callbacks import ProgressBar, Recorder, WholeCheckpoints, counting_bar, write_curve
from timesformer.training.dataloaders import DataLoaders, EpochOrder, Split, load_data, make_feed, with_num_classes
from timesformer.training.history import EpochRecord, best_epoch, format_metrics, is_over, read_metrics
from timesformer.training.init_weights import DataSize, Progress, initial_model, read_progress
from timesformer.training.lightning_module import ClipClassifier
from timesformer.training.loggers import check_trackers, open_trackers
from timesformer.training.memory import MOMENTS, memory_advice
from timesformer.training.run_folder import (
    RunFolder,
    alone_in,
    anchored,
    begin,
    check_can_write,
    check_is_free,
    check_keeps_inputs,
    check_same_run,
    differences,
    replace_text,
    tidy,
)
from timesformer.training.throughput import advice

logger = logging.getLogger(__name__)

OnMessage = Callable[[str], None]

_TRAINER_NOTICES = (
    ".*`training_step` returned `None`.*",  # all videos of a batch were left out
    ".*in eval mode at the start of training.*",  # what is frozen, and the average of the weights
    ".*does not have many workers.*",  # data.num_workers says how many
    ".*isinstance.treespec, LeafSpec.* is deprecated.*",  # Lightning 2.6 on torch 2.13
    ".*ended before the epoch ended and your dataloader is not resumable.*",  # `EpochOrder` knows where to go on
)
_PRECISIONS: Mapping[Precision, Literal["32-true", "bf16-mixed", "16-mixed"]] = {
    "fp32": "32-true",
    "bf16": "bf16-mixed",
    "fp16": "16-mixed",
}


def train(
    run: RunConfig, *, overwrite: bool = False, resume: bool = False, on_message: OnMessage | None = None
) -> Path:
    """Train a model and leave a folder that holds all there is to know of it.

        config.toml      the whole config of the run
        metrics.csv      a row for each epoch
        curve.png        loss, accuracy and learning rate over the epochs
        model/           model folder of the epoch with the best validation accuracy, the later of equals, or of the
                         last one (`run.keep`)
        checkpoints/     last.ckpt, to resume from, and best.ckpt
        tensorboard/     the measures for TensorBoard, where `run.trackers` names it

    Between epochs one view of each validation video is taken; `timesformer.evaluate` takes all. On one machine the same
    run gives the same weights, also where it was killed at any moment and resumed, as far as the device computes the
    same twice, which a CPU does. The number of classes comes from the data, whatever `run.model.num_classes` says.

    Args:
        run: The config; `run.output` is the folder.
        overwrite: Whether a run that the folder holds is removed; other files there are left alone.
        resume: Whether to go on from the last checkpoint of the run that the folder holds: from the last whole epoch,
            or within an epoch where `run.checkpoint_every` is set. Nothing that changes what is computed may differ;
            where there is no checkpoint yet, it starts anew.
        on_message: Called with a line for each event. Without it there is a progress bar on stderr where that is a
            terminal, and lines in the log elsewhere.

    Returns:
        The folder of the run.

    Raises:
        ConfigError: A value cannot work, the folder holds a run and neither flag is set or what this one reads, or it
            cannot be written to.
        DataError: The videos cannot be used.
        DecodeError: A video cannot be decoded; the message names it.
        DependencyError: The package of a tracker is missing.
        WeightsError: `run.init_from` cannot be loaded, or the checkpoint to resume from is damaged.
        TimeSformerError: The loss is no longer finite, or the disk refused during the run.
        KeyboardInterrupt: It was interrupted; the last checkpoint is kept.
    """
    folder = RunFolder(Path(run.output).expanduser())
    if resume and overwrite:
        raise ConfigError("resume and overwrite exclude each other: choose one")
    if not resume and not overwrite:
        check_is_free(folder)
    device = resolve_device(run.device)
    check_trackers(run)
    check_precision(run, device)
    split = load_data(run.data, seed=run.seed)
    run = with_num_classes(run, split)
    progress = _progress(folder, run, split) if resume else Progress()
    job = _Job(run, folder, device, split, progress)
    output = _Output(on_message)
    with alone_in(folder):
        if not resume and not overwrite:
            check_is_free(folder)  # another may have ended since
        _finish(job, output)
    return folder.root


def _finish(job: "_Job", output: "_Output") -> None:
    run, progress = job.run, job.progress
    if is_over(progress.history, epochs=run.epochs, patience=run.patience):
        _write_what_is_missing(job, output)
    else:
        _train(job, output)


def is_finished(run: RunConfig) -> bool:
    """Whether the folder of a run holds this very run with all its epochs, so that training would change nothing.

    Raises:
        ConfigError: The config in the folder is damaged.
        DataError: The table of epochs in the folder is damaged.
    """
    folder = RunFolder(Path(run.output).expanduser())
    if not (folder.config.exists() and folder.metrics.exists() and folder.model.exists()):
        return False
    is_same = not differences(folder, run, besides=("model.num_classes",))
    return is_same and is_over(read_metrics(folder.metrics), epochs=run.epochs, patience=run.patience)


@dataclass(frozen=True, slots=True)
class _Job:
    """A run with all that was found out about it before its first step."""

    run: RunConfig
    folder: RunFolder
    device: torch.device
    split: Split
    progress: Progress

    @property
    def size(self) -> DataSize:
        return self.split.size


class _Output:
    """Where lines and epochs go: to the caller's function, above a progress bar, or to the log."""

    def __init__(self, on_message: OnMessage | None) -> None:
        is_quiet = on_message is not None or not logger.isEnabledFor(logging.WARNING)
        self.console = Console(stderr=True, quiet=is_quiet, markup=False, highlight=False)
        self.bar = ProgressBar(self.console) if self.console.is_terminal and not is_quiet else None
        self.say = on_message or (self.console.print if self.bar else logger.info)

    @property
    def callbacks(self) -> list[Callback]:
        """What the trainer must call to keep the bar moving."""
        return [self.bar] if self.bar else []


def _progress(folder: RunFolder, run: RunConfig, split: Split) -> Progress:
    check_same_run(folder, run)
    tidy(folder)
    return read_progress(folder.last, size=split.size) if folder.last.exists() else Progress()


def _train(job: _Job, output: _Output) -> None:
    run, split, first_epoch = job.run, job.split, job.progress.epochs
    model = initial_model(run, labels=split.train.class_names)
    check_keeps_inputs(job.folder, run)
    check_can_write(job.folder, num_bytes=_bytes_needed(model, run.optim))
    _warn_of_memory(job, output)
    with _own_randomness(job.device), _quiet_trainer():
        with counting_bar(output.console, "decoding") as on_progress:
            feed = make_feed(split, run=run, device=job.device, first_epoch=first_epoch, on_progress=on_progress)
        _skip(feed, batches=job.progress.batches)
        _fit(model, feed, job, output)


def _skip(feed: DataLoaders, *, batches: int) -> None:
    """Leave out what an epoch that is resumed has behind it."""
    order, size = feed.train.sampler, feed.train.batch_size
    if batches:
        assert isinstance(order, EpochOrder)
        assert size is not None
        order.skip(batches * size)


def _fit(model: TimeSformer, feed: DataLoaders, job: _Job, output: _Output) -> None:
    run, folder = job.run, job.folder
    steps = run.steps_per_epoch(job.size.train)
    module = ClipClassifier(model, run=run, total_steps=steps * run.epochs)
    if not job.progress.has_begun:
        begin(folder, anchored(run))
    output.say(_describe(job, steps=steps))
    show = output.bar.show if output.bar else lambda record: output.say(str(record))
    with open_trackers(run, folder, history=job.progress.history) as trackers:
        listeners = [show, *(tracker.log for tracker in trackers)]
        recorder = Recorder(folder, run=run, size=job.size, on_epoch=listeners)
        set_epoch = LambdaCallback(on_train_epoch_start=lambda trainer, _: feed.clips.set_epoch(trainer.current_epoch))
        trainer = _build_trainer(job, callbacks=[set_epoch, recorder, *output.callbacks])
        with _interruptible(job, recorder=recorder, say=output.say):
            checkpoint = folder.last if job.progress.has_begun else None
            trainer.fit(module, feed.train, feed.val, ckpt_path=checkpoint, weights_only=True)
    if recorder.history[-1].limit == "videos":
        output.say(advice(run.data, share=recorder.history[-1].waiting_share))
    output.say(_conclude(job, recorder.history))


def _build_trainer(job: _Job, *, callbacks: list[Callback]) -> Trainer:
    run = job.run
    return Trainer(
        accelerator=job.device.type,
        devices=[job.device.index] if job.device.index is not None else 1,
        precision=_PRECISIONS[run.precision],
        max_epochs=run.epochs,
        accumulate_grad_batches=run.accumulate,
        gradient_clip_val=run.optim.clip_grad_norm or None,
        callbacks=callbacks,
        default_root_dir=job.folder.checkpoints,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        # one process, also inside a cluster's job
        plugins=[LightningEnvironment(), WholeCheckpoints()],
    )


def check_precision(run: RunConfig, device: torch.device) -> None:
    """Refuse a precision that the device lacks, and warn of one that is slow there.

    Raises:
        ConfigError: fp16 on a CPU.
    """
    if device.type != "cpu" or run.precision == "fp32":
        return
    if run.precision == "fp16":
        raise ConfigError("precision='fp16' needs a GPU; on the CPU take 'fp32'")
    # older releases of torch do not tell
    features = getattr(torch.cpu, "get_capabilities", dict)()
    if features and not any(has for name, has in features.items() if "bf16" in name):
        logger.warning("precision='bf16': this CPU computes it several times slower than 'fp32'")


def _write_what_is_missing(job: _Job, output: _Output) -> None:
    """Finish the folder of a run that was killed after its last checkpoint and before its table."""
    history = job.progress.history
    output.say(f"nothing left to do: {len(history)} of {job.run.epochs} epochs are done")
    text = format_metrics(history)
    if not job.folder.metrics.exists() or job.folder.metrics.read_text("utf-8") != text:
        replace_text(job.folder.metrics, text)
        write_curve(job.folder, history)
    output.say(_conclude(job, history))


def _describe(job: _Job, *, steps: int) -> str:
    run, split, progress = job.run, job.split, job.progress
    groups = f" ({len(split.val.groups)} of {split.num_groups} groups)" if split.num_groups else ""
    start = f"going on after epoch {progress.epochs}" if progress.has_begun else "training"
    if progress.batches:
        start = f"going on in epoch {progress.epochs + 1} after {progress.batches // run.accumulate} of {steps} steps"
    return (
        f"{start}: {job.size.train} videos of {run.model.num_classes} classes, {job.size.val} for validation{groups}; "
        f"{run.epochs} epochs of {steps} steps on {job.device}"
    )


def _conclude(job: _Job, history: Sequence[EpochRecord]) -> str:
    best, run = best_epoch(history), job.run
    line = f"best validation accuracy: {best.val_accuracy:.1%} in epoch {best.epoch}; "
    if len(history) < run.epochs:
        line = f"stopped early: no better epoch among the last {run.patience}; {line}"
    whose = "its model is" if run.keep == "best" else f"the model of epoch {history[-1].epoch} is"
    return f"{line}{whose} {job.folder.model}"


def _warn_of_memory(job: _Job, output: _Output) -> None:
    advice = memory_advice(job.run, job.device)
    if advice:
        output.say(f"warning: {advice}")


def _bytes_needed(model: TimeSformer, optim: OptimConfig) -> int:
    """Room for two model folders and twice two checkpoints, since a new one is whole before an old one goes."""
    weights = sum(4 * parameter.numel() for parameter in model.parameters())
    moments = MOMENTS[optim.optimizer] + (optim.ema_decay > 0)
    return 2 * weights + 4 * (1 + moments) * weights


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
