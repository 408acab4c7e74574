"""`train`: run training from a config into a folder."""

import logging
import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack
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
from timesformer.evaluation.process_group import ProcessGroup
from timesformer.model.timesformer import TimeSformer
from timesformer.signals import EndRequest
from timesformer.training.callbacks import ProgressBar, Recorder, counting_bar, write_curve
from timesformer.training.dataloaders import DataLoaders, Split, load_data, make_loaders, with_num_classes
from timesformer.training.distillation import Teachers, load_teachers
from timesformer.training.failures import explaining_failures, telling_the_end
from timesformer.training.history import EpochRecord, best_epoch, format_metrics, is_over, read_metrics
from timesformer.training.init_weights import describe_head, initial_model
from timesformer.training.lightning_module import ClipClassifier
from timesformer.training.loggers import Tracker, check_trackers, open_trackers
from timesformer.training.memory import MOMENTS, free_memory, memory_advice
from timesformer.training.precision import check_precision, chosen_precision
from timesformer.training.ranks import Ranks, joined_ranks
from timesformer.training.restarts import check_can_restart, continues, find_jobs, marks_of
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
from timesformer.training.sharding import sharing_group
from timesformer.training.shares import check_same_task, check_shares
from timesformer.training.throughput import loading_advice
from timesformer.training.trainer import build_trainer, own_randomness, quiet_trainer

logger = logging.getLogger(__name__)

OnMessage = Callable[[str], None]

NO_GROUPS = "no groups: persons and places may be in both"


def train(
    run: RunConfig,
    *,
    overwrite: bool = False,
    resume: bool = False,
    on_message: OnMessage | None = None,
    group: ProcessGroup | None = None,
) -> Path:
    """Train a model and write the run folder:

        config.toml      the full config of the run, with the precision that `auto` was
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
        on_message: Called with a line for each event, in rank 0 only. By default a progress bar on stderr if that is a
            terminal, and log messages otherwise.
        group: The process group in which each process calls this once with equal arguments: they train together, and
            rank 0 writes the folder, which all can read. None trains in this process alone.

    Returns:
        The folder of the run.

    Raises:
        ConfigError: A value is invalid; the processes cannot divide a micro-batch equally; the folder holds a run and
            neither flag is set; the folder holds inputs of the run; or it cannot be written to.
        DataError: The videos cannot be used.
        DecodeError: A video cannot be decoded; the message names it.
        DependencyError: The package of a tracker is not installed.
        WeightsError: `run.init_from` or a teacher cannot be loaded, or the checkpoint to resume from is damaged.
        TimeSformerError: The loss is no longer finite, or the disk refused during the run.
        KeyboardInterrupt: The run was interrupted; the last checkpoint is kept.
        SystemExit: SIGTERM, SIGHUP or SIGUSR1 asked to end; a checkpoint after the present step is kept. In the main
            thread only.
    """
    if resume and overwrite:
        raise ConfigError("resume and overwrite exclude each other: pass one of them")
    if run.probe_views:
        raise ConfigError(
            f"probe_views={run.probe_views} fits a probe before the training: call timesformer.fine_tune(run), or set "
            "probe_views=0"
        )
    if group is not None:
        check_shares(run, num_ranks=group.process.num_processes)
    with joined_ranks(group, device=run.device) as (ranks, device), sharing_group(run, is_alone=ranks.is_alone):
        return _train_in_folder(run, ranks, device=device, overwrite=overwrite, resume=resume, on_message=on_message)


def _train_in_folder(
    run: RunConfig, ranks: Ranks, *, device: str, overwrite: bool, resume: bool, on_message: OnMessage | None
) -> Path:
    folder = RunFolder(Path(run.output).expanduser())
    jobs = find_jobs(os.environ)
    check_can_restart(os.environ, overwrite=overwrite)
    if ranks.first(lambda: continues(jobs, folder)):
        resume, overwrite = True, False
    is_new = not resume and not overwrite
    if is_new:
        ranks.first(lambda: check_is_free(folder))
    with ranks.agreed():
        checked_device = resolve_device(device)
    resumed = folder.config if resume else None
    precision = ranks.first(lambda: chosen_precision(run, checked_device, resumed=resumed))
    run = replace(run, precision=precision)
    with ranks.agreed():
        check_trackers(run)
        check_precision(run, checked_device)
        split = load_data(run.data, seed=run.seed)
        run = with_num_classes(run, split)
    check_same_task(run, split, ranks)
    checkpoint, state = ranks.first(lambda: _state_to_resume(folder, run, split)) if resume else (None, ResumeState())
    job = _Job(run, folder, checked_device, split, state, checkpoint, free_memory(checked_device), ranks)
    output = _Output(on_message, is_silent=not ranks.is_first)
    with ExitStack() as stack:
        ranks.first(lambda: stack.enter_context(alone_in(folder)))
        if is_new:
            ranks.first(lambda: check_is_free(folder))  # another process may have finished since
        _finish(job, output)
    return folder.root


def _finish(job: "_Job", output: "_Output") -> None:
    run = job.run
    if is_over(job.state.history, epochs=run.epochs, patience=run.patience):
        job.ranks.first(lambda: _write_missing_files(job, output))
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
    ranks: Ranks

    @property
    def share(self) -> RunConfig:
        """The run with the batch that one rank computes, which may be one clip."""
        model = replace(self.run.model, head_norm="none")  # with which one clip would be refused
        return replace(self.run, batch_size=self.run.batch_size // self.ranks.size, model=model)

    @property
    def size(self) -> DataSize:
        return self.split.size


class _Output:
    """Destination of messages: the caller's function, the terminal above a progress bar, or the log."""

    def __init__(self, on_message: OnMessage | None, *, is_silent: bool) -> None:
        on_message = _ignore if is_silent else on_message
        is_quiet = on_message is not None or not logger.isEnabledFor(logging.WARNING)
        self.console = Console(stderr=True, quiet=is_quiet, markup=False, highlight=False)
        self.bar = ProgressBar(self.console) if self.console.is_terminal and not is_quiet else None
        self.say = on_message or (self.console.print if self.bar else logger.info)

    @property
    def callbacks(self) -> list[Callback]:
        """Callbacks that update the progress bar."""
        return [self.bar] if self.bar else []


def _ignore(line: str) -> None:
    """The messages of other ranks than the first."""


def _state_to_resume(folder: RunFolder, run: RunConfig, split: Split) -> tuple[Path | None, ResumeState]:
    """The last checkpoint of the run in a folder, or its best one, of an earlier epoch, and its state; None if it has
    none."""
    check_same_run(folder, run)
    tidy(folder)
    checkpoint = next((path for path in (folder.last, folder.best) if path.exists()), None)
    return checkpoint, ResumeState() if checkpoint is None else read_resume_state(checkpoint, size=split.size)


def _train(job: _Job, output: _Output) -> None:
    run, split, first_epoch = job.run, job.split, job.state.epochs
    with job.ranks.agreed():
        model = initial_model(run, labels=split.train.class_names)
        teachers = load_teachers(run, labels=split.train.class_names, device=job.device)
    if job.ranks.is_first:
        seconds = median_seconds(split.train.samples, allow_codecs=run.data.allow_codecs)
        model.info = replace(model.info, clip_seconds=seconds)
    job.ranks.first(lambda: _check_output(model, job))
    _warn_about_memory(job, output)
    with own_randomness(job.device), quiet_trainer():
        with job.ranks.agreed(), counting_bar(output.console, "decoding") as on_progress:
            loaders = make_loaders(
                split, run=run, device=job.device, first_epoch=first_epoch, on_progress=on_progress, ranks=job.ranks
            )
        # a resumed epoch skips the micro-batches that it has already done
        loaders.order.skip(job.state.batches * run.videos_per_micro_batch)
        _fit(model, teachers, loaders, job, output)


def _check_output(model: TimeSformer, job: _Job) -> None:
    check_keeps_inputs(job.folder, job.run)
    check_can_write(job.folder, num_bytes=_bytes_needed(model, job.run.optim))


def _fit(model: TimeSformer, teachers: Teachers | None, loaders: DataLoaders, job: _Job, output: _Output) -> None:
    run, folder, ranks = job.run, job.folder, job.ranks
    steps = run.steps_per_epoch(job.size.train)
    with ranks.agreed():
        total_steps = steps * run.epochs
        module = ClipClassifier(model, run=run, total_steps=total_steps, ranks=ranks, teachers=teachers)
    if not job.state.has_begun:
        ranks.first(lambda: begin(folder, anchored(run), marks=marks_of(find_jobs(os.environ))))
    output.say(_describe(job, steps=steps, head=describe_head(model, run)))
    show = output.bar.show if output.bar else lambda record: output.say(str(record))
    with ExitStack() as stack:
        trackers: tuple[Tracker, ...] = ()
        with ranks.agreed():
            if ranks.is_first:
                trackers = stack.enter_context(open_trackers(run, folder, history=job.state.history))
        on_epoch = [show, *(tracker.log for tracker in trackers)]
        end = EndRequest()
        recorder = Recorder(folder, run=run, size=job.size, on_epoch=on_epoch, end=end, ranks=ranks)
        clips = loaders.clips
        set_epoch = LambdaCallback(on_train_epoch_start=lambda trainer, _: clips.set_epoch(trainer.current_epoch))
        callbacks = [set_epoch, recorder, *output.callbacks]
        trainer = build_trainer(run, device=job.device, root=folder.checkpoints, callbacks=callbacks, ranks=ranks)
        with (
            telling_the_end(run, root=folder.root, recorder=recorder, end=end, say=output.say),
            explaining_failures(job.share, device=job.device, available=job.free_memory),
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


def _describe(job: _Job, *, steps: int, head: str) -> str:
    run, split, state = job.run, job.split, job.state
    groups = f"{len(split.val.groups)} of {split.num_groups} groups" if split.num_groups else NO_GROUPS
    start = f"resuming after epoch {state.epochs}" if state.has_begun else "training"
    if state.batches:
        start = f"resuming in epoch {state.epochs + 1} after {state.batches // run.accumulate} of {steps} steps"
    of = "in" if split.train.has_segments else "of"
    held = split.val.describe_size() if split.val.has_segments else job.size.val
    return (
        f"{start}: {split.train.describe_size()} {of} {run.model.num_classes} classes, {held} for validation "
        f"({groups}); {run.epochs} epochs of {steps} steps on {job.device}{_others(job.ranks)}{_teachers(run)}"
        f"{f'; {head}' if head else ''}"
    )


def _teachers(run: RunConfig) -> str:
    count = len(run.distill_from)
    return f"; distilled from {count} model{'s' * (count > 1)}" if count else ""


def _others(ranks: Ranks) -> str:
    return "" if ranks.is_alone else f", {ranks.size} processes"


def _conclude(job: _Job, history: Sequence[EpochRecord]) -> str:
    best, run = best_epoch(history), job.run
    line = f"best validation accuracy: {best.val_accuracy:.1%} in epoch {best.epoch}; "
    if len(history) < run.epochs:
        line = f"stopped early: no better epoch among the last {run.patience}; {line}"
    kept = "its model is" if run.keep == "best" else f"the model of epoch {history[-1].epoch} is"
    return f"{line}{kept} {job.folder.model}"


def _warn_about_memory(job: _Job, output: _Output) -> None:
    advice = memory_advice(job.share, job.device, sharing=job.ranks.num_sharing(job.device))
    if advice:
        output.say(f"warning: {advice}")


def _bytes_needed(model: TimeSformer, optim: OptimConfig) -> int:
    """Space for two model folders and four checkpoints: a new one is complete before the old one is removed."""
    weights = sum(4 * parameter.numel() for parameter in model.parameters())
    moments = MOMENTS[optim.optimizer] + (optim.ema_decay > 0)
    return 2 * weights + 4 * (1 + moments) * weights
