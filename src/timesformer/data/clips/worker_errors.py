"""Errors of worker processes: those of a dataset as values, which leave the process unchanged, and its own death."""

import re
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, Protocol, runtime_checkable

from torch.utils.data import Dataset

from timesformer.errors import TimeSformerError


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
        except TimeSformerError as error:
            return error


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
    except RuntimeError as error:
        death = re.match(r"DataLoader worker \(.*?\) (is killed by signal: [\w ]+|exited unexpectedly)", str(error))
        if death is None:
            raise
        how = death[1].replace("is killed by signal: ", "was killed by a signal: ")
        raise TimeSformerError(
            f"a data loading process {how.lower()}; the usual reasons are too little memory, or shared memory in a "
            f"container (docker run --shm-size): free some, or lower {num_workers}"
        ) from error
