"""TensorBoard and Weights & Biases loggers (`run.trackers`), in addition to `metrics.csv`."""

import hashlib
import os
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from timesformer.config.io import to_dict
from timesformer.config.run import RunConfig
from timesformer.errors import DependencyError
from timesformer.outputs import writing
from timesformer.training.history import EpochRecord
from timesformer.training.run_folder import RunFolder


class TensorBoard:
    """Metrics for TensorBoard.

    The completed epochs of a resumed run are written again, so that each epoch of `metrics.csv` appears once.

    Args:
        folder: The folder to write to; existing TensorBoard files are removed.
        history: Completed epochs.
    """

    def __init__(self, folder: Path, *, history: Sequence[EpochRecord]) -> None:
        from torch.utils.tensorboard import SummaryWriter  # optional dependency

        self._folder = folder
        with writing(folder):
            for path in folder.glob("events.out.tfevents.*"):
                path.unlink()
            self._writer = SummaryWriter(str(folder))
        for record in history:
            self.log(record)

    def log(self, record: EpochRecord) -> None:
        """Log the metrics of an epoch, with its number as the step.

        Raises:
            TimeSformerError: The disk refused.
        """
        with writing(self._folder):
            for tag, value in _metrics(record).items():
                self._writer.add_scalar(tag, value, record.epoch)
            self._writer.flush()

    def close(self) -> None:
        """Flush and close the file."""
        self._writer.close()


class WandB:
    """A run at Weights & Biases: online if logged in, else stored in the run folder for `wandb sync`.

    Args:
        folder: The folder of the run; a run resumed in the same folder continues the same W&B run.
        run: The config to log.
    """

    def __init__(self, folder: RunFolder, *, run: RunConfig) -> None:
        wandb: Any = import_module("wandb")  # optional dependency
        key = hashlib.sha256(str(folder.root.resolve()).encode()).hexdigest()[:16]
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", "timesformer"),
            name=folder.root.name,
            id=key,
            resume="allow",
            dir=str(folder.root),
            config=to_dict(run),
            mode=os.environ.get("WANDB_MODE") or ("online" if wandb.api.api_key else "offline"),
        )

    def log(self, record: EpochRecord) -> None:
        """Log the metrics of an epoch, with its number as the step."""
        self._run.log(_metrics(record), step=record.epoch)

    def close(self) -> None:
        """Upload the rest and finish the W&B run."""
        self._run.finish()


Tracker = TensorBoard | WandB
"""A logger: `log(record)` after each epoch, `close()` at the end."""


def check_trackers(run: RunConfig) -> None:
    """Refuse trackers whose packages are not installed.

    Raises:
        DependencyError: A package is not installed; the message says how to install it.
    """
    for name in run.trackers:
        if find_spec(name) is None:
            raise DependencyError(f"trackers={name!r} needs {name}: pip install {name}")


@contextmanager
def open_trackers(
    run: RunConfig, folder: RunFolder, *, history: Sequence[EpochRecord]
) -> Generator[tuple[Tracker, ...]]:
    """Open the trackers of a run, and close them when the context ends or fails.

    Args:
        run: The run; `run.trackers` names them.
        folder: Its folder.
        history: Completed epochs.

    Raises:
        TimeSformerError: The disk refused.
    """
    opened: list[Tracker] = []
    try:
        for name in run.trackers:
            opened.append(_open(name, run=run, folder=folder, history=history))
        yield tuple(opened)
    finally:
        for tracker in opened:
            tracker.close()


def _open(name: str, *, run: RunConfig, folder: RunFolder, history: Sequence[EpochRecord]) -> Tracker:
    if name == "tensorboard":
        return TensorBoard(folder.tensorboard, history=history)
    return WandB(folder, run=run)


def _metrics(record: EpochRecord) -> dict[str, Any]:
    return {key: value for key, value in asdict(record).items() if key != "epoch"}
