"""Errors of a dataset as values, so that they leave a worker process unchanged."""

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
