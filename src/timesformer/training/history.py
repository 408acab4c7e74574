"""Metrics of each epoch of a run, and their table `metrics.csv`."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, fields
from pathlib import Path
from typing import Any

from timesformer.errors import DataError

_DATA_BOUND = 0.1
"""Smallest `data_wait_fraction` of a run that would be faster with faster data loading."""
_OLD_NAMES: Mapping[str, str] = {"waiting_share": "data_wait_fraction"}
"""Current names of the fields of earlier versions' tables and checkpoints."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochRecord:
    """One row of `metrics.csv`. Accuracies are from 0 to 1."""

    epoch: int
    """Number of the epoch, from 1."""
    step: int
    """Optimizer steps since the start of the run."""
    lr: float
    """Learning rate of the epoch's last step."""
    train_loss: float
    """Mean loss of the augmented training clips, label smoothing included."""
    train_accuracy: float
    """Top-1 accuracy of the augmented training clips during the epoch."""
    val_loss: float
    """Mean cross entropy of the validation videos, one view each."""
    val_accuracy: float
    """Top-1 accuracy of the validation videos, one view each."""
    val_top5_accuracy: float
    """Top-5 accuracy of the validation videos, one view each."""
    seconds: float
    """Duration of the epoch, validation included; since the resumption, if it was resumed within the epoch."""
    train_skipped: int = 0
    """Training videos that could not be decoded and were skipped (`data.on_decode_error = "skip"`)."""
    val_skipped: int = 0
    """Validation videos that could not be decoded and were skipped."""
    data_wait_fraction: float = 0.0
    """Fraction of the training time spent waiting for data, from 0 to 1: see `DataWaitMeter`."""

    @property
    def is_data_bound(self) -> bool:
        """Whether training spent a tenth of its time or more waiting for data."""
        return self.data_wait_fraction >= _DATA_BOUND

    def __str__(self) -> str:
        line = (
            f"epoch {self.epoch}: loss {self.train_loss:.4f}, accuracy {self.train_accuracy:.1%}; validation loss "
            f"{self.val_loss:.4f}, accuracy {self.val_accuracy:.1%}; {self.seconds:.1f} s, "
            f"{self.data_wait_fraction:.0%} of the training time waiting for data"
        )
        if self.train_skipped or self.val_skipped:
            line += f"; skipped {self.train_skipped} training and {self.val_skipped} validation videos"
        return line


def best_epoch(history: Sequence[EpochRecord]) -> EpochRecord:
    """The epoch with the highest validation accuracy; the last one if several have it."""
    return max(history, key=lambda record: (record.val_accuracy, record.epoch))


def is_over(history: Sequence[EpochRecord], *, epochs: int, patience: int) -> bool:
    """Whether a run ends after these epochs: all are done, or its patience is exhausted.

    Patience counts from the first epoch with the best accuracy; reaching the same accuracy again does not reset it.

    Args:
        history: Completed epochs, in order.
        epochs: Epochs of the whole run.
        patience: Epochs to wait for a better validation accuracy; 0 disables early stopping.
    """
    if len(history) >= epochs:
        return True
    if not patience or not history:
        return False
    first_best = max(history, key=lambda record: (record.val_accuracy, -record.epoch))
    return history[-1].epoch - first_best.epoch >= patience


def read_record(values: Mapping[str, Any]) -> EpochRecord:
    """A record from its fields by name, which may be the names of earlier versions.

    Raises:
        TypeError: A field is missing or unknown.
    """
    return EpochRecord(**{_OLD_NAMES.get(name, name): value for name, value in values.items()})


def format_metrics(history: Sequence[EpochRecord]) -> str:
    """The text of `metrics.csv`: a header and one row per epoch."""
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=[field.name for field in fields(EpochRecord)], lineterminator="\n")
    writer.writeheader()
    for record in history:
        writer.writerow({key: _format(value) for key, value in asdict(record).items()})
    return text.getvalue()


def read_metrics(path: str | Path) -> list[EpochRecord]:
    """Read a `metrics.csv`, also of an earlier version; columns that it lacks have their defaults.

    Raises:
        DataError: The file cannot be read or is not a table of epochs.
    """
    try:
        with open(path, newline="", encoding="utf-8") as file:
            return [_parse(row) for row in csv.DictReader(file)]
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from error
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path} is not a table of epochs: {error}") from error


def _parse(row: Mapping[str, str]) -> EpochRecord:
    row = {_OLD_NAMES.get(name, name): text for name, text in row.items()}
    known = [field for field in fields(EpochRecord) if field.name in row or field.default is MISSING]
    values: dict[str, Any] = {field.name: (int if field.type is int else float)(row[field.name]) for field in known}
    return EpochRecord(**values)


def _format(value: int | float) -> str:
    return str(value) if isinstance(value, int) else f"{value:.7g}"
