"""How far a driver is."""

import time
from dataclasses import dataclass

from timesformer.jobs.engine import ChunkResult
from timesformer.jobs.item import Failure


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a driver is."""

    done: int
    """Items with a result, those of earlier starts included."""
    total: int
    """Items of this driver."""
    quarantined: int
    """Items in quarantine, those of earlier starts included."""
    per_second: float = 0.0
    """Items a second of this start."""
    waiting: float = 0.0
    """Share of the workers' time in which they waited for videos to be decoded, from 0 to 1."""

    @property
    def left_s(self) -> float | None:
        """Time left in seconds at this rate; None without a rate."""
        return (self.total - self.done) / self.per_second if self.per_second else None


class Meter:
    """Counts results.

    Args:
        done: Items with a result at the start.
        total: Items of this driver.
        quarantined: Items in quarantine at the start.
    """

    def __init__(self, *, done: int, total: int, quarantined: int) -> None:
        self._done, self._total, self._quarantined = done, total, quarantined
        self._computed = 0
        self._busy_s = self._waited_s = 0.0
        self._start = time.monotonic()

    def add(self, result: ChunkResult) -> None:
        """Count the results of a chunk."""
        self._computed += len(result.results)
        self._quarantined += sum(isinstance(each, Failure) for each in result.results)
        self._busy_s += result.busy_s
        self._waited_s += result.waited_s

    def progress(self) -> Progress:
        """How far it is now."""
        passed = time.monotonic() - self._start
        return Progress(
            done=self._done + self._computed,
            total=self._total,
            quarantined=self._quarantined,
            per_second=self._computed / passed if passed else 0.0,
            waiting=self._waited_s / self._busy_s if self._busy_s else 0.0,
        )
