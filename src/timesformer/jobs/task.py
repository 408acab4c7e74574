"""What a job computes: the interface between a verb and the engines."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Protocol

from timesformer.jobs.item import Failure, Item, Row

if TYPE_CHECKING:
    import pyarrow as pa

Compute = Callable[[Sequence[Item]], Iterable[Row | Failure]]
"""The results of a chunk, in the order of its items. An attribute `waited_s`, if there is one, is the time in seconds
that it has waited for videos to be decoded, in all its calls. A method `ahead`, if there is one, is called instead,
with the items of the chunk and of the next one as far as it is known, whose videos it may begin to decode.

A result that takes longer than the limit for an item counts as a hang. The time begins anew with each result, and with
each call of `timesformer.isolation.progress.report_progress`: a task that computes several items together calls it."""


ErrorRow = Callable[[Item, str], Row]
"""The row of an item in quarantine, from the reason. Its column `error` is the reason, and null in all other rows."""


class Task(Protocol):
    """The work of one verb: a picklable description, opened once in each worker process.

    Results depend on the task, the item and the other items of its chunk only, never on the engine or the worker.

    A task with a method `error_row` has a row for each item in quarantine, too: see `error_row_of`.
    """

    @property
    def verb(self) -> str:
        """The verb, such as `predict`."""
        ...

    @property
    def model_sha256(self) -> str:
        """Hash of the model's weights, as `timesformer.inference.weights_hash`; empty without a model."""
        ...

    @property
    def settings(self) -> Mapping[str, Any]:
        """JSON values that, with the hash of the model, decide the rows; a job is resumed with equal ones only."""
        ...

    @property
    def schema(self) -> "pa.Schema":
        """Columns of a row, without `id`, `path`, `start` and `end`."""
        ...

    @property
    def chunk_size(self) -> int:
        """Items computed together, from 1; a worker that dies loses one chunk."""
        ...

    def open(self) -> AbstractContextManager[Compute]:
        """Load the model; called in the worker process."""
        ...


def error_row_of(task: Task) -> ErrorRow | None:
    """What makes the rows of items in quarantine; None if these have none."""
    return getattr(task, "error_row", None)
