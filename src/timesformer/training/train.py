"""`train`: run training from a config into a folder."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import LambdaCallback
from rich.console import Console

from timesformer.config.run import OptimConfig, RunConfig
from timesformer.data.manifest.durations import median_seconds
from timesformer.device import resolve_device
from timesformer.errors import ConfigError
from timesformer.model.timesformer import TimeSformer
from timesformer.signals import EndRequest
from timesformer.training.callbacks import ProgressBar, Recorder, counting_bar, write_curve
from timesformer.training.dataloaders import DataLoaders, EpochOrder, Split, load_data, make_loaders, with_num_classes
from timesformer.training.failures import explaining_failures, telling_the_end
from timesformer.training.history import EpochRecord, best_epoch, format_metrics, is_over, read_metrics
from timesformer.training.init_weights import initial_model
from timesformer.training.lightning_module import ClipClassifier
from timesformer.training.loggers import check_trackers, open_trackers
from timesformer.training.memory import MOMENTS, free_memory, memory_advice
from timesformer.training.resume import DataSize, ResumeState, read_resume_state
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
from timesformer.training.throughput import loading_advice
from timesformer.training.trainer import build_trainer, check_precision, own_randomness, quiet_trainer

logger = logging.getLogger(__name__)

OnMessage = Callable[[str], None]


def train(
    run: RunConfig, *, overwrite: bool = False, resume: bool = False, on_message: OnMessage | None = None
) -> Path:
    """Train a model and write the run folder:

        config.toml      the full config of the run
        metrics.csv      one row per epoch
        curve.png        loss, accuracy and learning rate over the epochs
        model/           model folder of the epoch with the best validation accuracy (the last one if several have it),
                         or of the last epoch (`run.keep`)
        checkpoints/     last.ckpt, to resume from, and best.ckpt
        tensorboard/     metrics for TensorBoard, if `run.trackers` names it

    Validation between epochs uses one view of each video; `timesformer.evaluate` uses all. On one machine, equal runs
    give equal weights, even if killed at any moment and resumed, provided that the device is deterministic, as a CPU
    is. The number of classes comes from the data; `run.model.num_classes` is ignored.

    Args:
        run: The config; `run.output` is the folder.
        overwrite: Whether to replace an existing run in the folder; other files in it are kept.
        resume: Whether to continue the run in the folder from its last checkpoint: from the last completed epoch, or
            within an epoch if `run.checkpoint_every` is set. Keys that change the result must be those of that run.
            Without a checkpoint it starts from the beginning.
        on_message: Called with a line for each event. By default a progress bar on stderr if that is a terminal, and
            log messages otherwise.

    Returns:
        The folder of the run.

    Raises:
        ConfigError: A value is invalid; the folder holds a run and neither flag is set; the folder holds inputs of the
            run; or it cannot be written to.
        DataError: The videos cannot be used.
        DecodeError: A video cannot be decoded; the message names it.
        DependencyError: The package of a tracker is not installed.
        WeightsError: `run.init_from` cannot be loaded, or the checkpoint to resume from is damaged.
        TimeSformerError: The loss is no longer finite, or the disk refused during the run.
        KeyboardInterrupt: The run was interrupted; the last checkpoint is kept.
        SystemExit: SIGTERM, SIGHUP or SIGUSR1 asked to end; a checkpoint after the present step is kept. In the main
            thread only.
    """
    folder = RunFolder(Path(run.output).expanduser())
    if resume and overwrite:
        raise ConfigError("resume and overwrite exclude each other: pass one of them")
    if not resume and not overwrite:
        check_is_free(folder)
    device = resolve_device(run.device)
    check_trackers(run)
    check_precision(run, device)
    split = load_data(run.data, seed=run.seed)
    run = with_num_classes(run, split)
    checkpoint = _checkpoint_to_resume(folder, run) if resume else None
    state = ResumeState() if checkpoint is None else read_resume_state(checkpoint, size=split.size)
    job = _Job(run, folder, device, split, state, checkpoint, free_memory(device))
    output = _Output(on_message)
    with alone_in(folder):
        if not resume and not overwrite:
            check_is_free(folder)  # another process may have finished since
        _finish(job, output)
    return folder.root


def _finish(job: "_Job", output: "_Output") -> None:
    run = job.run
    if is_over(job.state.history, epochs=run.epochs, patience=run.patience):
        _write_missing_files(job, output)
    else:
        _train(job, output)


def is_finished(run: RunConfig) -> bool:
    """Whether the folder of a run already holds this run with all its epochs, so that training would change nothing.

    Raises:
        ConfigError: The config in the folder is damaged.
        DataError: The table of epochs in the folder is damaged.
    """
    folder = RunFolder(Path(run.output).expanduser())
    if not (folder.config.exists() and folder.metrics.exists() and folder.model.exists()):
        return False
    is_same = not differences(folder, run, ignored=("model.num_classes",))
    return is_same and is_over(read_metrics(folder.metrics), epochs=run.epochs, patience=run.patience)


@dataclass(frozen=True, slots=True)
class _Job:
    """A run with everything known before its first step."""

    run: RunConfig
    folder: RunFolder
    device: torch.device
    split: Split
    state: ResumeState
    checkpoint: Path | None
    """The checkpoint that `state` comes from."""
    free_memory: int | None
    """Free bytes of the device before the run; None if unknown."""

    @property
    def size(self) -> DataSize:
        return self.split.size


class _Output:
    """Destination of messages: the caller's function, the terminal above a progress bar, or the log."""

    def __init__(self, on_message: OnMessage | None) -> None:
        is_quiet = on_message is not None or not logger.isEnabledFor(logging.WARNING)
        self.console = Console(stderr=True, quiet=is_quiet, markup=False, highlight=False)
        self.bar = ProgressBar(self.console) if self.console.is_terminal and not is_quiet else None
        self.say = on_message or (self.console.print if self.bar else logger.info)

    @property
    def callbacks(self) -> list[Callback]:
        """Callbacks that update the progress bar."""
        return [self.bar] if self.bar else []


def _checkpoint_to_resume(folder: RunFolder, run: RunConfig) -> Path | None:
    """The last checkpoint of the run in a folder, or its best one, of an earlier epoch; None if it has none."""
    check_same_run(folder, run)
    tidy(folder)
    return next((path for path in (folder.last, folder.best) if path.exists()), None)


def _train(job: _Job, output: _Output) -> None:
    run, split, first_epoch = job.run, job.split, job.state.epochs
    model = initial_model(run, labels=split.train.class_names)
    seconds = median_seconds(split.train.samples, allow_codecs=run.data.allow_codecs)
    model.info = replace(model.info, clip_seconds=seconds)
    check_keeps_inputs(job.folder, run)
    check_can_write(job.folder, num_bytes=_bytes_needed(model, run.optim))
    _warn_about_memory(job, output)
    with own_randomness(job.device), quiet_trainer():
        with counting_bar(output.console, "decoding") as on_progress:
            loaders = make_loaders(split, run=run, device=job.device, first_epoch=first_epoch, on_progress=on_progress)
        _skip(loaders, batches=job.state.batches)
        _fit(model, loaders, job, output)


def _skip(loaders: DataLoaders, *, batches: int) -> None:
    """Skip the micro-batches that a resumed epoch has already done."""
    order, size = loaders.train.sampler, loaders.train.batch_size
    if batches:
        assert isinstance(order, EpochOrder)
        assert size is not None
        order.skip(batches * size)


def _fit(model: TimeSformer, loaders: DataLoaders, job: _Job, output: _Output) -> None:
    run, folder = job.run, job.folder
    steps = run.steps_per_epoch(job.size.train)
    module = ClipClassifier(model, run=run, total_steps=steps * run.epochs)
    if not job.state.has_begun:
        begin(folder, anchored(run))
    output.say(_describe(job, steps=steps))
    show = output.bar.show if output.bar else lambda record: output.say(str(record))
    with open_trackers(run, folder, history=job.state.history) as trackers:
        on_epoch = [show, *(tracker.log for tracker in trackers)]
        end = EndRequest()
        recorder = Recorder(folder, run=run, size=job.size, on_epoch=on_epoch, end=end)
        clips = loaders.clips
        set_epoch = LambdaCallback(on_train_epoch_start=lambda trainer, _: clips.set_epoch(trainer.current_epoch))
        callbacks = [set_epoch, recorder, *output.callbacks]
        trainer = build_trainer(run, device=job.device, root=folder.checkpoints, callbacks=callbacks)
        with (
            telling_the_end(run, root=folder.root, recorder=recorder, end=end, say=output.say),
            explaining_failures(run, device=job.device, available=job.free_memory),
            end.listening(),
        ):
            trainer.fit(module, loaders.train, loaders.val, ckpt_path=job.checkpoint, weights_only=True)
    last = recorder.history[-1]
    if last.is_data_bound:
        output.say(loading_advice(run.data, wait_fraction=last.data_wait_fraction))
    output.say(_conclude(job, recorder.history))


def _write_missing_files(job: _Job, output: _Output) -> None:
    """Complete the folder of a run that was killed between its last checkpoint and its table."""
    history = job.state.history
    output.say(f"nothing left to do: {len(history)} of {job.run.epochs} epochs are done")
    text = format_metrics(history)
    if not job.folder.metrics.exists() or job.folder.metrics.read_text("utf-8") != text:
        replace_text(job.folder.metrics, text)
        write_curve(job.folder, history)
    output.say(_conclude(job, history))


def _describe(job: _Job, *, steps: int) -> str:
    run, split, state = job.run, job.split, job.state
    groups = f" ({len(split.val.groups)} of {split.num_groups} groups)" if split.num_groups else ""
    start = f"resuming after epoch {state.epochs}" if state.has_begun else "training"
    if state.batches:
        start = f"resuming in epoch {state.epochs + 1} after {state.batches // run.accumulate} of {steps} steps"
    of = "in" if split.train.has_segments else "of"
    held = split.val.describe_size() if split.val.has_segments else job.size.val
    return (
        f"{start}: {split.train.describe_size()} {of} {run.model.num_classes} classes, {held} for validation{groups}; "
        f"{run.epochs} epochs of {steps} steps on {job.device}"
    )


def _conclude(job: _Job, history: Sequence[EpochRecord]) -> str:
    best, run = best_epoch(history), job.run
    line = f"best validation accuracy: {best.val_accuracy:.1%} in epoch {best.epoch}; "
    if len(history) < run.epochs:
        line = f"stopped early: no better epoch among the last {run.patience}; {line}"
    kept = "its model is" if run.keep == "best" else f"the model of epoch {history[-1].epoch} is"
    return f"{line}{kept} {job.folder.model}"


def _warn_about_memory(job: _Job, output: _Output) -> None:
    advice = memory_advice(job.run, job.device)
    if advice:
        output.say(f"warning: {advice}")


def _bytes_needed(model: TimeSformer, optim: OptimConfig) -> int:
    """Space for two model folders and four checkpoints: a new one is complete before the old one is removed."""
    weights = sum(4 * parameter.numel() for parameter in model.parameters())
    moments = MOMENTS[optim.optimizer] + (optim.ema_decay > 0)
    return 2 * weights + 4 * (1 + moments) * weights
