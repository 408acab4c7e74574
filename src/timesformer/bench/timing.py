"""Interleaved timing: every round runs each candidate once, and ratios are taken within rounds, so noise cancels."""

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from timesformer.errors import ConfigError

Candidate = Callable[[], object]
"""One of the implementations that a benchmark compares; every call does the same work."""

OnProgress = Callable[[int, int], None]
"""Called with the number of runs done and the number of runs to do."""


@dataclass(frozen=True, slots=True)
class RunTimes:
    """Seconds of one candidate in each round, in order."""

    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        """The median, in seconds."""
        return statistics.median(self.seconds)

    def to_dict(self) -> dict[str, Any]:
        """Median, quartiles and number of rounds, ready for JSON."""
        low, middle, high = quartiles(self.seconds)
        return {"median_s": middle, "quartiles_s": [low, high], "rounds": len(self.seconds)}


def quartiles(values: tuple[float, ...]) -> tuple[float, float, float]:
    """First quartile, median and third quartile; of one value, that value three times."""
    if len(values) == 1:
        return values[0], values[0], values[0]
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, middle, high


def speedup(of: RunTimes, over: RunTimes) -> dict[str, Any]:
    """How many times as fast `of` is as `over`: median and quartiles of the ratio in each round."""
    low, middle, high = quartiles(tuple(b / a for a, b in zip(of.seconds, over.seconds, strict=True)))
    return {"median": middle, "quartiles": [low, high]}


def interleave(
    candidates: Mapping[str, Candidate],
    *,
    rounds: int,
    warmup: int = 1,
    on_progress: OnProgress = lambda done, total: None,
) -> dict[str, RunTimes]:
    """Time the candidates in interleaved rounds, reversing the order every other round.

    Args:
        candidates: What to time, by name.
        rounds: Timed rounds.
        warmup: Rounds before them that are not timed.
        on_progress: Called after each run, warm-up included.

    Raises:
        ConfigError: `rounds` is less than 1, or `warmup` is negative.
    """
    if rounds < 1 or warmup < 0:
        raise ConfigError(f"rounds={rounds} must be at least 1 and warmup={warmup} at least 0")
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    total = (warmup + rounds) * len(candidates)
    done = 0
    for number in range(warmup + rounds):
        for name in list(candidates) if number % 2 == 0 else reversed(list(candidates)):
            start = time.perf_counter()
            candidates[name]()
            elapsed = time.perf_counter() - start
            if number >= warmup:
                seconds[name].append(elapsed)
            done += 1
            on_progress(done, total)
    return {name: RunTimes(tuple(values)) for name, values in seconds.items()}
