"""Discrete-event simulation of a pipeline: stages in a row, each with servers and room for a few waiting items.

There is always a next item. A server whose item finds no room at the next stage keeps it and waits: this is how a slow
stage slows those before it.
"""

import heapq
import random
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """Equal servers that handle one item at a time each."""

    name: str
    servers: int
    seconds: float
    """Mean time for an item on a server."""
    room: int = 4
    """Items that can wait in front of the servers, from 0."""

    def __post_init__(self) -> None:
        if self.servers < 1 or self.room < 0 or self.seconds < 0:
            raise ValueError(f"{self.name}: servers={self.servers} must be 1 or more, room and seconds 0 or more")

    @property
    def rate(self) -> float:
        """Items a second if the stage never waits."""
        return self.servers / self.seconds if self.seconds else float("inf")


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What happened to `num_items` items in `seconds`."""

    num_items: int
    seconds: float
    busy: dict[str, float]
    """Fraction of the servers' time in which they worked, by stage."""
    blocked: dict[str, float]
    """Fraction of the servers' time in which they waited for room at the next stage, by stage."""

    @property
    def rate(self) -> float:
        """Items a second."""
        return self.num_items / self.seconds if self.seconds else float("inf")


def bottleneck(stages: Sequence[Stage]) -> Stage:
    """The stage with the lowest rate: the closed form of what the pipeline can do at most."""
    return min(stages, key=lambda stage: stage.rate)


def simulate(stages: Sequence[Stage], *, num_items: int, variation: float = 0.0, seed: int = 0) -> Outcome:
    """Send items through the stages, first come, first served.

    Args:
        stages: The stages, in order.
        num_items: Number of items, 1 or more.
        variation: Standard deviation of an item's time at a stage, relative to its mean: 0 for equal items, 1 for
            exponential times.
        seed: For the times. An item's time at a stage depends on seed, item and stage alone, so that runs with other
            servers or room compare the same items.
    """
    if num_items < 1 or variation < 0:
        raise ValueError(f"num_items={num_items} must be 1 or more, variation={variation} 0 or more")
    return _Run(stages, num_items, variation, seed).outcome()


class _Run:
    """State of one simulation."""

    def __init__(self, stages: Sequence[Stage], num_items: int, variation: float, seed: int) -> None:
        self._stages, self._num_items, self._now, self._done = stages, num_items, 0.0, 0
        self._times = [list(_times(stage, num_items, variation, f"{seed} {k}")) for k, stage in enumerate(stages)]
        self._free = [stage.servers for stage in stages]
        self._waiting: list[deque[int]] = [deque() for _ in stages]
        self._held: list[deque[tuple[int, float]]] = [deque() for _ in stages]  # item, since when
        self._blocked = [0.0 for _ in stages]
        self._next_item = 0
        self._events: list[tuple[float, int, int]] = []  # time, stage, item

    def outcome(self) -> Outcome:
        self._start(0)
        while self._events:
            self._now, stage, item = heapq.heappop(self._events)
            self._finish(stage, item)
        assert self._done == self._num_items
        total = {stage.name: (self._now or 1.0) * stage.servers for stage in self._stages}
        busy = {
            stage.name: sum(times) / total[stage.name] for stage, times in zip(self._stages, self._times, strict=True)
        }
        names = [stage.name for stage in self._stages]
        blocked = {name: lost / total[name] for name, lost in zip(names, self._blocked, strict=True)}
        return Outcome(num_items=self._num_items, seconds=self._now, busy=busy, blocked=blocked)

    def _finish(self, stage: int, item: int) -> None:
        following = stage + 1
        if following == len(self._stages):
            self._done += 1
            self._free[stage] += 1
        elif self._has_room(following):
            self._free[stage] += 1
            self._waiting[following].append(item)
            self._start(following)
        else:
            self._held[stage].append((item, self._now))
        self._start(stage)

    def _has_room(self, stage: int) -> bool:
        return len(self._waiting[stage]) < self._stages[stage].room + self._free[stage]

    def _start(self, stage: int) -> None:
        """Give waiting items to free servers, and their room to items that were held back."""
        self._admit(stage)
        while self._free[stage] and (item := self._take(stage)) is not None:
            self._free[stage] -= 1
            heapq.heappush(self._events, (self._now + self._times[stage][item], stage, item))
            self._admit(stage)

    def _take(self, stage: int) -> int | None:
        if self._waiting[stage]:
            return self._waiting[stage].popleft()
        if stage == 0 and self._next_item < self._num_items:
            self._next_item += 1
            return self._next_item - 1
        return None

    def _admit(self, stage: int) -> None:
        before = stage - 1
        while before >= 0 and self._held[before] and self._has_room(stage):
            item, since = self._held[before].popleft()
            self._blocked[before] += self._now - since
            self._waiting[stage].append(item)
            self._free[before] += 1
            self._start(before)


def _times(stage: Stage, num_items: int, variation: float, seed: str) -> Iterator[float]:
    generator = random.Random(seed)
    for _ in range(num_items):
        factor = generator.gammavariate(variation**-2, variation**2) if variation else 1.0
        yield stage.seconds * factor
