"""What is planted into the ranks of a training before it starts: listeners, and faults of one rank."""

import errno
import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

import recorded_training
from timesformer.cli import train as cli_train
from timesformer.config.run import DataConfig, RunConfig
from timesformer.data.clips.dataset import TrainClips
from timesformer.errors import ConfigError, DataError
from timesformer.model.timesformer import TimeSformer
from timesformer.processes import read_process_info
from timesformer.training import shards
from timesformer.training import train as training
from timesformer.training.callbacks import DirectCheckpointIO, Recorder
from timesformer.training.dataloaders import Split
from timesformer.training.lightning_module import ClipClassifier


def nothing() -> None:
    """Change nothing."""


def list_samples(folder: str) -> None:
    """Append the index of each training video that is read to a file per rank and epoch."""
    read = TrainClips.__getitem__

    def listed(self: TrainClips, index: int) -> Any:
        epoch = int(self._epoch)
        with open(Path(folder) / f"epoch{epoch}_rank{read_process_info(os.environ).rank}.txt", "a") as file:
            print(index, file=file)
        return read(self, index)

    TrainClips.__getitem__ = listed


def recorded(folder: str, *, start: int = 0, kill: str = "never", job: str = "", restarts: int = 0) -> None:
    """List the steps of this rank as in `recorded_training`, perhaps in a job of torchrun."""
    os.environ["RECORDED_START"] = str(start)
    if job:
        os.environ |= {"TORCHELASTIC_RUN_ID": job, "TORCHELASTIC_RESTART_COUNT": str(restarts)}
    Path(folder).mkdir(exist_ok=True)
    recorded_training.record(Path(folder), kill=kill)


def amid_shards(checkpoint: int, rank: int, act: Callable[..., Any]) -> None:
    """Do something in one rank instead of writing its tensors of a checkpoint, counted from 0."""
    write, count = shards.dcp.save, iter(range(1000))

    def counted(tensors: Any, *, storage_writer: Any) -> Any:
        if next(count) == checkpoint and is_rank(rank):
            storage_writer.write_data = act
        return write(tensors, storage_writer=storage_writer)

    shards.dcp.save = counted


def list_draws(folder: str) -> None:
    """Append the seed of the dropout of each micro-batch to a file per rank."""
    forward = TimeSformer.forward

    def drawn(self: TimeSformer, clips: torch.Tensor) -> torch.Tensor:
        if self.training:
            with open(Path(folder) / f"draws_rank{read_process_info(os.environ).rank}.txt", "a") as file:
                print(torch.initial_seed(), file=file)
        return forward(self, clips)

    TimeSformer.forward = drawn


def is_rank(rank: int) -> bool:
    """Whether this process is a rank."""
    return read_process_info(os.environ).rank == rank


def at_step(step: int, rank: int, act: Callable[[ClipClassifier], None]) -> None:
    """Do something in one rank before the first micro-batch of a step, counted from 0."""
    if not is_rank(rank):
        return
    train = ClipClassifier.training_step

    def stepped(self: ClipClassifier, batch: Any, batch_index: int) -> Any:
        if self.global_step == step:
            act(self)
        return train(self, batch, batch_index)

    ClipClassifier.training_step = stepped


def die(*arguments: Any) -> None:
    """End as `kill -9` does."""
    os.kill(os.getpid(), signal.SIGKILL)


def run_out_of_memory(module: ClipClassifier) -> None:
    """Fail as an allocation does."""
    raise MemoryError


def interrupt(module: ClipClassifier) -> None:
    """Stop as Ctrl-C does."""
    raise KeyboardInterrupt


def terminate(module: ClipClassifier) -> None:
    """Get the signal of a scheduler."""
    os.kill(os.getpid(), signal.SIGTERM)


def spoil_loss(module: ClipClassifier) -> None:
    """Make the next loss NaN, in this rank alone."""
    module.model.head.register_forward_hook(lambda head, inputs, output: output * torch.nan)


def spoil_gradient(module: ClipClassifier) -> None:
    """Make the gradients infinite, in this rank alone, with a loss that is finite."""
    # that of the output, because the gradients of shards run no hooks
    module.model.head.register_forward_hook(lambda head, inputs, output: _with_infinite_gradient(output))


def find_no_videos(rank: int) -> None:
    """Let a rank find no videos, as on a machine without the disk that holds them."""

    def missing(data: DataConfig, *, seed: int) -> Split:
        raise DataError(f"{data.train}: no such folder")

    if is_rank(rank):
        training.load_data = missing


def find_other_videos(rank: int) -> None:
    """Let a rank find one video less."""
    load = training.load_data

    def changed(data: DataConfig, *, seed: int) -> Split:
        train, val = load(data, seed=seed)
        return Split(replace(train, samples=train.samples[1:]), val)

    if is_rank(rank):
        training.load_data = changed


def find_no_config(rank: int) -> None:
    """Let the command line of a rank fail before it meets the others."""

    def missing(*arguments: Any, **options: Any) -> RunConfig:
        raise ConfigError("run.toml: No such file or directory")

    if is_rank(rank):
        cli_train.requested_run = missing


def fail_to_write(epochs: int) -> None:
    """Let the disk refuse the checkpoint of an epoch, in rank 0."""
    write = Recorder._write_checkpoints

    def refused(self: Recorder, held: DirectCheckpointIO, *, is_best: bool) -> None:
        if len(self.history) == epochs:
            held.write = refuse
        write(self, held, is_best=is_best)

    Recorder._write_checkpoints = refused


def refuse(*arguments: Any) -> None:
    """Be a full disk."""
    raise OSError(errno.ENOSPC, "No space left on device")


def _with_infinite_gradient(output: torch.Tensor) -> torch.Tensor:
    output.register_hook(lambda gradient: gradient + torch.inf)
    return output
