"""Decisions while a piece of a video goes on: the runs of `timesformer.timelines.decide`, each as soon as it is final.

Runs, means and peaks equal those of the whole piece bit for bit. Kept are the instants that are not decided yet, and
the probabilities of the class of a run that goes on.
"""

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float64

from timesformer.config.thresholds import ClassThresholds, Thresholds
from timesformer.data.manifest.background import BACKGROUND
from timesformer.timelines.decide import (
    Piece,
    Run,
    is_short,
    log_scores,
    most_probable,
    shortest_runs,
    without_short,
)


class Column(NamedTuple):
    """Probabilities of one class at instants."""

    times: array
    values: array

    @classmethod
    def empty(cls) -> "Column":
        """A column without instants."""
        return cls(array("d"), array("d"))

    def add(self, time: float, value: float) -> None:
        """Add an instant."""
        self.times.append(time)
        self.values.append(value)

    def clear(self) -> None:
        """Forget all instants."""
        del self.times[:], self.values[:]

    def arrays(self) -> tuple[Float64[np.ndarray, " n"], Float64[np.ndarray, " n"]]:
        """Times and values."""
        return np.array(self.times), np.array(self.values)


class Decided(NamedTuple):
    """A run that nothing to come changes."""

    run: Run
    times: Float64[np.ndarray, " n"]
    """Instants from the last one before the run to the first one after it, or more."""
    values: Float64[np.ndarray, " n"]
    """Probabilities of its class."""


@runtime_checkable
class Decider(Protocol):
    """Decides one piece."""

    def add(self, time: float, probabilities: Float64[np.ndarray, " k"]) -> Iterator[Decided]:
        """Take the next instant; gives the runs that are final by it."""

    def finish(self, end: float) -> Iterator[Decided]:
        """The remaining runs, once the end of the piece is known."""


def decider_of(mode: str, *, start: float, classes: Sequence[str], thresholds: Thresholds) -> Decider:
    """A decider for the piece that starts at `start`."""
    if mode == "exclusive":
        return ExclusiveDecider(start, classes=classes, thresholds=thresholds)
    return OverlappingDecider(start, classes=classes, thresholds=thresholds)


class ExclusiveDecider:
    """One class at a time.

    A run that is long enough parts the time: what lies before it does not depend on what follows. So its start and all
    before it are final once it has lasted `min_on`, or `min_off` if it is background.
    """

    def __init__(self, start: float, *, classes: Sequence[str], thresholds: Thresholds) -> None:
        self._start = start
        self._classes = classes
        self._shortest = shortest_runs(classes, thresholds)
        self._head: int | None = None
        """Class of the run that goes on, which is long enough."""
        self._known = Column.empty()
        """Its probabilities, from before its start to the first row."""
        self._times: list[float] = []
        self._rows: list[Float64[np.ndarray, " k"]] = []
        """Instants whose class is open."""

    def add(self, time: float, probabilities: Float64[np.ndarray, " k"]) -> Iterator[Decided]:
        """See `Decider`."""
        self._times.append(time)
        self._rows.append(probabilities)
        if self._head is not None and all(int(row.argmax()) == self._head for row in self._rows):
            self._drop(len(self._rows) - 1)
            return
        runs = self._runs(end=time)
        first = 0 if self._head is None else 1
        parts = [i for i in range(first, len(runs)) if not is_short(runs[i], self._shortest)]
        if parts:
            yield from self._part(runs, parts[-1])

    def finish(self, end: float) -> Iterator[Decided]:
        """See `Decider`."""
        if self._rows:
            yield from self._decided(self._resolved(self._runs(end=end)))

    def _runs(self, *, end: float) -> list[Run]:
        return most_probable(np.array(self._times), self._scores(), Piece(self._start, end))

    def _scores(self) -> Float64[np.ndarray, "n k"]:
        return log_scores(np.stack(self._rows))

    def _resolved(self, runs: list[Run]) -> list[Run]:
        return without_short(runs, np.array(self._times), self._scores(), shortest=self._shortest)

    def _part(self, runs: list[Run], i: int) -> Iterator[Decided]:
        """Decide all before the long run `i`, which becomes the one that goes on."""
        *before, last = self._resolved(runs[: i + 1])
        yield from self._decided(before)
        shown = max(
            n
            for n, (time, row) in enumerate(zip(self._times, self._rows, strict=True))
            if time <= runs[i].end and int(row.argmax()) == last.index
        )
        if before or self._head is None:
            first = max((n for n, time in enumerate(self._times) if time <= last.start), default=0)
            self._known.clear()
            self._start, self._head = last.start, last.index
            del self._times[:first], self._rows[:first]
            shown -= first
        self._drop(shown)

    def _drop(self, count: int) -> None:
        """Forget rows, except the probabilities of the run that goes on."""
        if self._head is not None:
            for time, row in zip(self._times[:count], self._rows[:count], strict=True):
                self._known.add(time, float(row[self._head]))
        del self._times[:count], self._rows[:count]

    def _decided(self, runs: Sequence[Run]) -> Iterator[Decided]:
        for number, run in enumerate(runs):
            times, values = np.array(self._times), np.stack(self._rows)[:, run.index]
            if number == 0 and run.index == self._head:
                known = self._known.arrays()
                times, values = np.concatenate([known[0], times]), np.concatenate([known[1], values])
            if self._classes[run.index] != BACKGROUND:
                yield Decided(run, times, values)


@dataclass(slots=True)
class _Hysteresis:
    """State of one class."""

    index: int
    limits: ClassThresholds
    is_on: bool = False
    start: float | None = None
    """Start of the run that is on, or that a pause may still join to the next; None if there is none."""
    end: float | None = None
    """Its end, if it is not on."""
    known: Column = field(default_factory=Column.empty)


class OverlappingDecider:
    """Each class by itself: a run is final once a pause of `min_off` has passed."""

    def __init__(self, start: float, *, classes: Sequence[str], thresholds: Thresholds) -> None:
        self._start = start
        self._states = [
            _Hysteresis(index, thresholds.of(label)) for index, label in enumerate(classes) if label != BACKGROUND
        ]

    def add(self, time: float, probabilities: Float64[np.ndarray, " k"]) -> Iterator[Decided]:
        """See `Decider`."""
        for state in self._states:
            yield from self._advance(state, time, float(probabilities[state.index]))

    def finish(self, end: float) -> Iterator[Decided]:
        """See `Decider`."""
        for state in self._states:
            if state.start is not None:
                yield from _closed(state, end if state.end is None else state.end)

    def _advance(self, state: _Hysteresis, time: float, value: float) -> Iterator[Decided]:
        was_on, known = state.is_on, state.known
        onset, offset, _, min_off = state.limits
        state.is_on = value >= onset or (value >= offset and was_on)
        at = self._start if not known.times else _reached(known, time, value, onset if state.is_on else offset)
        known.add(time, value)
        if state.is_on and not was_on:
            if state.end is not None and at - state.end >= min_off - 1e-9:
                yield from _closed(state, state.end)
                _forget(state, keep=2)
            state.start, state.end = at if state.start is None else state.start, None
        elif was_on and not state.is_on:
            state.end = at
        if state.end is not None and time - state.end >= min_off - 1e-9:
            yield from _closed(state, state.end)
            _forget(state, keep=1)
        elif state.start is None:
            _forget(state, keep=1)


def _reached(known: Column, time: float, value: float, limit: float) -> float:
    """Where the line from the last instant to this one reaches a limit."""
    before, rise = known.values[-1], value - known.values[-1]
    return known.times[-1] + (limit - before) / rise * (time - known.times[-1]) if rise else time


def _closed(state: _Hysteresis, end: float) -> Iterator[Decided]:
    assert state.start is not None  # a run has a start
    run = Run(state.index, state.start, end)
    if run.length >= max(state.limits.min_on - 1e-9, 1e-12):
        yield Decided(run, *state.known.arrays())


def _forget(state: _Hysteresis, *, keep: int) -> None:
    state.start = state.end = None
    del state.known.times[:-keep], state.known.values[:-keep]
