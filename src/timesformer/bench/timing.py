"""Timing that noise hits evenly: every round runs each way once, and ratios are taken inside rounds."""

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from timesformer.errors import ConfigError

Way = Callable[[], object]
"""One way to do the work that all ways of a benchmark do."""

OnRound = Callable[[int, int], None]
"""Called with the number of runs done and the number of runs to do."""


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds of one way, a number for each round, in order."""

    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        """The middle one, in seconds."""
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


def speedup(of: Timing, over: Timing) -> dict[str, Any]:
    """How many times as fast `of` is as `over`: median and quartiles of the ratio in each round."""
    low, middle, high = quartiles(tuple(b / a for a, b in zip(of.seconds, over.seconds, strict=True)))
    return {"median": middle, "quartiles": [low, high]}


def interleave(
    ways: Mapping[str, Way], *, rounds: int, warmup: int = 1, on_round: OnRound = lambda done, total: None
) -> dict[str, Timing]:
    """Run all ways in turn, round after round; every other round backwards, so that no way always follows the same.

    Args:
        ways: What to time, by name.
        rounds: Rounds that count.
        warmup: Rounds before them that do not.
        on_round: Hears of every run, those of the warm-up included.

    Raises:
        ConfigError: `rounds` is less than 1, or `warmup` negative.
    """
    if rounds < 1 or warmup < 0:
        raise ConfigError(f"rounds={rounds} must be at least 1 and warmup={warmup} at least 0")
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    total = (warmup + rounds) * len(ways)
    done = 0
    for number in range(warmup + rounds):
        for name in list(ways) if number % 2 == 0 else reversed(list(ways)):
            start = time.perf_counter()
            ways[name]()
            elapsed = time.perf_counter() - start
            if number >= warmup:
                seconds[name].append(elapsed)
            done += 1
            on_round(done, total)
    return {name: Timing(tuple(values)) for name, values in seconds.items()}
