"""The Lightning trainer: settings, and silence about what does not apply to our runs."""

import logging
import warnings
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.plugins.environments import ClusterEnvironment, LightningEnvironment
from lightning.pytorch.strategies import DDPStrategy

from timesformer.config.run import RunConfig
from timesformer.training.callbacks import DirectCheckpointIO
from timesformer.training.ranks import ALONE, Ranks
from timesformer.training.sharding import ShardedStrategy

_NOTICES = (
    ".*`training_step` returned `None`.*",  # all videos of a batch were skipped
    ".*in eval mode at the start of training.*",  # frozen modules and the moving average
    ".*does not have many workers.*",  # data.num_workers sets the number
    ".*isinstance.treespec, LeafSpec.* is deprecated.*",  # Lightning 2.6 on torch 2.13
    ".*when logging on epoch level in distributed setting.*",  # values are sums over all ranks already
    ".*ended before the epoch ended and your dataloader is not resumable.*",  # `EpochOrder.skip` resumes it
)
_PRECISIONS: Mapping[str, Literal["32-true", "bf16-mixed", "16-mixed"]] = {
    "fp32": "32-true",
    "bf16": "bf16-mixed",
    "fp16": "16-mixed",
}


class RankEnvironment(ClusterEnvironment):
    """Ranks for the trainer, each of which appears as a machine with one device."""

    def __init__(self, ranks: Ranks) -> None:
        super().__init__()
        self._ranks = ranks

    @property
    def creates_processes_externally(self) -> bool:
        """A launcher has started them."""
        return True

    @property
    def main_address(self) -> str:
        """Not needed: the ranks are connected."""
        return ""

    @property
    def main_port(self) -> int:
        """Not needed: the ranks are connected."""
        return 0

    @staticmethod
    def detect() -> bool:
        """Never chosen by the trainer itself."""
        return False

    def world_size(self) -> int:
        """Number of ranks."""
        return self._ranks.size

    def set_world_size(self, size: int) -> None:
        """Number of machines times devices, which is the number of ranks."""
        assert size == self._ranks.size

    def global_rank(self) -> int:
        """The rank."""
        return self._ranks.rank

    def set_global_rank(self, rank: int) -> None:
        """Number of the machine, which is the rank."""
        assert rank == self._ranks.rank

    def local_rank(self) -> int:
        """Number of the device within the machine."""
        return 0

    def node_rank(self) -> int:
        """Number of the machine."""
        return self._ranks.rank


def build_trainer(
    run: RunConfig, *, device: torch.device, root: Path, callbacks: list[Callback], ranks: Ranks = ALONE
) -> Trainer:
    """The Lightning trainer of a run: no logger, no progress bar, no checkpoints but those of `callbacks`.

    Args:
        run: The run.
        device: The device to train on.
        root: Folder for whatever the trainer writes itself.
        callbacks: Callbacks, in the order of their calls.
        ranks: The ranks that train together.
    """
    return Trainer(
        strategy=_strategy(run, ranks),
        num_nodes=ranks.size,
        accelerator=device.type,
        devices=[device.index] if device.index is not None else 1,
        precision=_PRECISIONS[run.precision],
        max_epochs=run.epochs,
        accumulate_grad_batches=run.accumulate,
        callbacks=callbacks,
        default_root_dir=root,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        # one process, even inside a cluster job, unless ranks were joined
        plugins=[
            LightningEnvironment() if ranks.is_alone and run.strategy != "fsdp" else RankEnvironment(ranks),
            DirectCheckpointIO(),
        ],
    )


def _strategy(run: RunConfig, ranks: Ranks) -> DDPStrategy | Literal["auto"]:
    if run.strategy == "fsdp":
        return ShardedStrategy()
    return "auto" if ranks.is_alone else DDPStrategy()


@contextmanager
def own_randomness(device: torch.device) -> Generator[None]:
    """Restore the caller's random state afterwards."""
    devices = [device.index or 0] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        yield


@contextmanager
def quiet_trainer() -> Generator[None]:
    """Silence the trainer's notices and those of its warnings that do not apply here."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [log.level for log in loggers]
    for log in loggers:
        log.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            for notice in _NOTICES:
                warnings.filterwarnings("ignore", message=notice)
            yield
    finally:
        for log, level in zip(loggers, levels, strict=True):
            log.setLevel(level)
