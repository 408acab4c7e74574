"""What each epoch of a run measured, and its table."""

import csv
import io
from collections.abc import Sequence
from dataclasses import MISSING, asdict, dataclass, fields
from pathlib import Path
from typing import Any

from timesformer.errors import DataError

_WAITING = 0.1
"""Share of waiting from which the videos are what limits training."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochRecord:
    """One row of `metrics.csv`. Accuracies are shares from 0 to 1."""

    epoch: int
    """Number of the epoch, from 1."""
    step: int
    """Steps taken since the start of the run."""
    lr: float
    """Learning rate of the epoch's last step."""
    train_loss: float
    """Mean loss of the training clips as they were seen, label smoothing included."""
    train_accuracy: float
    """Share of the training clips that were right when they were seen."""
    val_loss: float
    """Mean cross entropy of the validation videos, one view each."""
    val_accuracy: float
    """Share of the validation videos whose class is predicted from one view."""
    val_top5_accuracy: float
    """Share of the validation videos whose class is among the best five."""
    seconds: float
    """Duration of the epoch, validation included; of an epoch that was resumed within, since then."""
    train_skipped: int = 0
    """Training videos that could not be decoded and were left out (`data.on_decode_error = "skip"`)."""
    val_skipped: int = 0
    """Validation videos that were left out likewise."""
    waiting_share: float = 0.0
    """Share of the training steps' time that went into waiting for videos, from 0 to 1: see `WaitMeter`."""

    @property
    def limit(self) -> str:
        """What sets the speed of training: `videos` where a tenth of its time or more waits for them, else `model`."""
        return "videos" if self.waiting_share >= _WAITING else "model"

    def __str__(self) -> str:
        line = (
            f"epoch {self.epoch}: loss {self.train_loss:.4f}, accuracy {self.train_accuracy:.1%}; validation loss "
            f"{self.val_loss:.4f}, accuracy {self.val_accuracy:.1%}; {self.seconds:.1f} s, limited by "
            f"the {self.limit} ({self.waiting_share:.0%} waiting for videos)"
        )
        if self.train_skipped or self.val_skipped:
            line += f"; left out {self.train_skipped} training and {self.val_skipped} validation videos"
        return line


def best_epoch(history: Sequence[EpochRecord]) -> EpochRecord:
    """The epoch of highest validation accuracy, the later one of equals."""
    return max(history, key=lambda record: (record.val_accuracy, record.epoch))


def is_over(history: Sequence[EpochRecord], *, epochs: int, patience: int) -> bool:
    """Whether a run with these epochs behind it takes no more: all are done, or patience is at its end.

    An equal accuracy is no better one: patience counts from the first epoch of the best accuracy.

    Args:
        history: The epochs so far, in order.
        epochs: Epochs of the whole run.
        patience: Epochs to wait for a better validation accuracy; 0 waits for ever.
    """
    if len(history) >= epochs:
        return True
    if not patience or not history:
        return False
    first_best = max(history, key=lambda record: (record.val_accuracy, -record.epoch))
    return history[-1].epoch - first_best.epoch >= patience


def format_metrics(history: Sequence[EpochRecord]) -> str:
    """The text of `metrics.csv`: a header and one row an epoch."""
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=[field.name for field in fields(EpochRecord)], lineterminator="\n")
    writer.writeheader()
    for record in history:
        writer.writerow({key: _format(value) for key, value in asdict(record).items()})
    return text.getvalue()


def read_metrics(path: str | Path) -> list[EpochRecord]:
    """Read a `metrics.csv` back; a column that its writer did not know has its default.

    Raises:
        DataError: The file cannot be read, or is no table of epochs.
    """
    try:
        with open(path, newline="", encoding="utf-8") as file:
            return [_parse(row) for row in csv.DictReader(file)]
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from error
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path} is no table of epochs: {error}") from error


def _parse(row: dict[str, str]) -> EpochRecord:
    known = [field for field in fields(EpochRecord) if field.name in row or field.default is MISSING]
    values: dict[str, Any] = {field.name: (int if field.type is int else float)(row[field.name]) for field in known}
    return EpochRecord(**values)


def _format(value: int | float) -> str:
    return str(value) if isinstance(value, int) else f"{value:.7g}"
