"""Where the measures of a run are sent beside its `metrics.csv`."""

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
from timesformer.training.history import EpochRecord
from timesformer.training.run_folder import RunFolder, writing


class TensorBoard:
    """Curves for TensorBoard, in files in a folder.

    The epochs of a resumed run are written again, so that the curves are those of `metrics.csv`, each epoch once.

    Args:
        folder: Where to write; files of TensorBoard that are there are removed.
        history: Epochs that the run has behind it.
    """

    def __init__(self, folder: Path, *, history: Sequence[EpochRecord]) -> None:
        from torch.utils.tensorboard import SummaryWriter  # here: it needs a package that most do without

        self._folder = folder
        with writing(folder):
            for path in folder.glob("events.out.tfevents.*"):
                path.unlink()
            self._writer = SummaryWriter(str(folder))
        for record in history:
            self.log(record)

    def log(self, record: EpochRecord) -> None:
        """Add a point to each curve, at the number of the epoch.

        Raises:
            TimeSformerError: The disk refused.
        """
        with writing(self._folder):
            for tag, value in _measures(record).items():
                self._writer.add_scalar(tag, value, record.epoch)
            self._writer.flush()

    def close(self) -> None:
        """Write what is not written yet."""
        self._writer.close()


class WandB:
    """A run at Weights & Biases: sent where an account is known, else kept in the run folder for `wandb sync`.

    Args:
        folder: The folder of the run; a run resumed in the same folder goes on with the same curves.
        run: The config to show beside the curves.
    """

    def __init__(self, folder: RunFolder, *, run: RunConfig) -> None:
        wandb: Any = import_module("wandb")  # here: most do without it
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
        """Send the measures of an epoch, at its number."""
        self._run.log(_measures(record), step=record.epoch)

    def close(self) -> None:
        """Send what is not sent yet."""
        self._run.finish()


Tracker = TensorBoard | WandB
"""What takes the measures of each epoch: `log(record)`, and `close()` at the end."""


def check_trackers(run: RunConfig) -> None:
    """Refuse trackers whose packages are missing.

    Raises:
        DependencyError: A package is not installed; the message says how to get it.
    """
    for name in run.trackers:
        if find_spec(name) is None:
            raise DependencyError(f"trackers={name!r} needs {name}: pip install {name}")


@contextmanager
def open_trackers(
    run: RunConfig, folder: RunFolder, *, history: Sequence[EpochRecord]
) -> Generator[tuple[Tracker, ...]]:
    """Open the trackers that a run names, and close them at the end, however it comes.

    Args:
        run: The run; `run.trackers` names them.
        folder: Its folder.
        history: Epochs that it has behind it.

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


def _measures(record: EpochRecord) -> dict[str, Any]:
    return {key: value for key, value in asdict(record).items() if key != "epoch"}
