"""Time that training spends waiting for data, and advice if it is much."""

import os
import time

from timesformer.config.run import DataConfig


class DataWaitMeter:
    """Fraction of an epoch's training time spent waiting for the next batch.

    A wait lasts from the end of one step to the start of the next, the copy of the batch to the device included. On a
    GPU, which may still be computing when the wait begins, the fraction is an upper bound.
    """

    def __init__(self) -> None:
        self.start()

    @property
    def fraction(self) -> float:
        """Waiting time over waiting and step time since the start, from 0 to 1; 0 before the first measurement."""
        total_s = self._waited_s + self._worked_s
        return self._waited_s / total_s if total_s else 0.0

    def start(self) -> None:
        """Start an epoch, and the wait for its first batch."""
        self._waited_s = self._worked_s = 0.0
        self._last = time.monotonic()

    def begin_step(self) -> None:
        """End the wait: the batch has arrived."""
        self._waited_s += self._lap()

    def end_step(self) -> None:
        """End the step, and start the next wait."""
        self._worked_s += self._lap()

    def pause(self) -> None:
        """Exclude the time since the last call, such as the writing of a checkpoint."""
        self._lap()

    def _lap(self) -> float:
        now = time.monotonic()
        elapsed_s, self._last = now - self._last, now
        return elapsed_s


def loading_advice(data: DataConfig, *, wait_fraction: float) -> str:
    """One line of advice for a run that waits for its data.

    Args:
        data: How the videos are loaded.
        wait_fraction: Fraction of the training time spent waiting, from 0 to 1.
    """
    workers, cores = data.num_workers, os.cpu_count() or 1
    head = f"{wait_fraction:.0%} of the training time of the last epoch was spent waiting for data"
    if data.cache:
        return f"{head}: the videos are already in memory, so this is the cost of cropping and augmenting them"
    if workers < cores:
        return f"{head}: raise data.num_workers (now {workers}; this machine has {cores} cores)"
    return (
        f"{head}, and data.num_workers={workers} already uses the {cores} cores of this machine: smaller copies of the "
        f"videos, or a key frame every 12 frames, decode faster"
    )
