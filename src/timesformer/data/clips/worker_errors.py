"""Errors of worker processes: those of a dataset as values, which leave the process unchanged, and its own death."""

import errno
import os
import re
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, Protocol, runtime_checkable

from torch.utils.data import Dataset

from timesformer.errors import DataError, DecodeError, TimeSformerError

_LOST = {errno.ESTALE, errno.ENOTCONN, errno.ETIMEDOUT, errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ENODEV, errno.ENXIO}


@runtime_checkable
class Items(Protocol):
    """A dataset indexed from 0 to its length."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Any: ...


class ErrorsAsValues(Dataset[Any]):
    """A dataset that returns the error of an item instead of raising it.

    An error raised in a worker process would reach the caller with the traceback of the worker as its message.
    """

    def __init__(self, dataset: Items) -> None:
        self._dataset = dataset

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, index: int) -> Any:
        try:
            return self._dataset[index]
        except DecodeError as error:
            return _lost_storage(error) or error
        except TimeSformerError as error:
            return error


def _lost_storage(error: DecodeError) -> DataError | None:
    """The error of a disk or a network share that has gone, which must not pass for a damaged video; None for others."""
    cause = error.__cause__
    if not isinstance(cause, OSError):
        return None
    folder = os.path.dirname(os.path.abspath(cause.filename)) if isinstance(cause.filename, str) else ""
    if cause.errno in _LOST or (cause.errno == errno.ENOENT and folder and not os.path.isdir(folder)):
        return DataError(f"{error}; the storage of the videos has failed or gone: mount it and start again")
    return None


@contextmanager
def naming_dead_workers(num_workers: str) -> Generator[None]:
    """Turn the error of a loader whose process died, which may come at any time, into one line.

    Args:
        num_workers: Name of the parameter with the number of processes.

    Raises:
        TimeSformerError: A process died.
    """
    try:
        yield
    except (RuntimeError, ConnectionError, EOFError) as error:  # the last two: its pipe ends before its death is known
        if isinstance(error, RuntimeError) and not re.match(r"DataLoader worker \(.*\) (is killed|exited)", str(error)):
            raise
        raise TimeSformerError(
            f"a data loading process was killed or crashed; the usual reasons are too little memory, or shared memory in a "
            f"container (docker run --shm-size): free some, or lower {num_workers}"
        ) from error
