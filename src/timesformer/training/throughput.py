"""What limits the speed of training: the model, or the videos that it waits for."""

import os
import time

from timesformer.config.run import DataConfig


class WaitMeter:
    """Measures which share of an epoch's training went into waiting for the next batch.

    Waiting is from the end of one step to the start of the next; the move of a batch to its device is part of it. A GPU
    may still compute when the wait begins, so there the share is an upper bound.
    """

    def __init__(self) -> None:
        self.start()

    @property
    def share(self) -> float:
        """Waiting over waiting and working, from 0 to 1, since the start; 0 before anything was measured."""
        total_s = self._waited_s + self._worked_s
        return self._waited_s / total_s if total_s else 0.0

    def start(self) -> None:
        """An epoch begins, and with it the wait for its first batch."""
        self._waited_s = self._worked_s = 0.0
        self._last = time.monotonic()

    def begin_step(self) -> None:
        """A batch is there: the wait ends."""
        self._waited_s += self._lap()

    def end_step(self) -> None:
        """The step is done: the next wait begins."""
        self._worked_s += self._lap()

    def pause(self) -> None:
        """What took place since the last call counts as neither, such as the writing of a checkpoint."""
        self._lap()

    def _lap(self) -> float:
        now = time.monotonic()
        elapsed_s, self._last = now - self._last, now
        return elapsed_s


def advice(data: DataConfig, *, share: float) -> str:
    """What to change where training waits for videos, in one line.

    Args:
        data: How the videos are fed.
        share: Share of the training that waited, from 0 to 1.
    """
    workers, cores = data.num_workers, os.cpu_count() or 1
    head = f"{share:.0%} of the last epoch's training waited for videos"
    if data.cache:
        return f"{head}, which are in memory already: cutting and augmenting them takes that long"
    if workers < cores:
        return f"{head}: raise data.num_workers ({workers} now, {cores} cores here)"
    return (
        f"{head}, and data.num_workers={workers} fills the {cores} cores here: smaller copies of the videos, or a key "
        f"frame every 12 frames, decode faster"
    )
