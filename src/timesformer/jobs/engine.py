"""What an engine does: it has chunks of items computed by workers, and gives their results as they are ready."""

from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import Protocol

from timesformer.config.checks import check_count, check_positive
from timesformer.jobs.item import Failure, Item, Row
from timesformer.jobs.task import Task
from timesformer.jobs.workers import Workers


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """Items of one chunk of the manifest that have no result yet, in its order."""

    number: int
    """Number of the chunk in the manifest, from 0."""
    items: tuple[Item, ...]
    """At least one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkResult:
    """The results of a chunk."""

    number: int
    """Number of the chunk."""
    results: tuple[Row | Failure, ...]
    """One for each of its items, in the same order."""
    busy_s: float = 0.0
    """Time of the worker, in seconds."""
    waited_s: float = 0.0
    """Part of `busy_s` in which the worker waited for videos to be decoded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Limits of a worker process, which is replaced when it exceeds one.

    Raises:
        ConfigError: A value is out of its range.
    """

    seconds_per_item: float = 300.0
    """Longest time without a result or a report of progress; see `Compute`."""
    seconds_to_start: float = 1800.0
    """Time limit for loading the model."""
    memory: int = 0
    """Bytes that a worker may allocate beyond those that it starts with; 0 for no limit."""

    def __post_init__(self) -> None:
        check_positive("seconds_per_item", self.seconds_per_item)
        check_positive("seconds_to_start", self.seconds_to_start)
        check_count("memory", self.memory, least=0)


class Engine(Protocol):
    """A generator function: closing its generator ends the workers."""

    def __call__(
        self, task: Task, chunks: Iterator[Chunk], *, workers: Workers, limits: Limits
    ) -> Generator[ChunkResult]:
        """Compute chunks, and give their results in any order.

        Args:
            task: What to compute.
            chunks: The chunks, drawn as workers become free: few are in memory at a time.
            workers: Number of workers, and what each may use.
            limits: Limits of each worker.

        Raises:
            TimeSformerError: The task cannot be opened in a worker.
        """
        ...
