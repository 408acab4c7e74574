import itertools
import statistics

import pytest

from timesformer.bench import timing
from timesformer.bench.timing import Timing, interleave, quartiles, speedup
from timesformer.errors import ConfigError


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> itertools.count:
    """A clock that advances by one second each time somebody looks."""
    ticks = itertools.count()
    monkeypatch.setattr(timing.time, "perf_counter", lambda: float(next(ticks)))
    return ticks


def test_every_round_runs_each_way_once_and_every_other_round_backwards():
    seen: list[str] = []
    interleave({name: lambda name=name: seen.append(name) for name in "abc"}, rounds=3, warmup=1)
    assert "".join(seen) == "abc" + "cba" + "abc" + "cba"


def test_the_warm_up_does_not_count(clock: itertools.count):
    timings = interleave({"a": lambda: None, "b": lambda: next(clock)}, rounds=2, warmup=3)
    assert {name: timing.seconds for name, timing in timings.items()} == {"a": (1.0, 1.0), "b": (2.0, 2.0)}


def test_progress_counts_all_runs():
    heard: list[tuple[int, int]] = []
    interleave(dict.fromkeys("ab", lambda: None), rounds=2, warmup=1, on_round=lambda *numbers: heard.append(numbers))
    assert heard == [(done, 6) for done in range(1, 7)]


@pytest.mark.parametrize(("count", "warmup"), [(0, 1), (1, -1)])
def test_no_rounds_are_refused(count: int, warmup: int):
    with pytest.raises(ConfigError, match=f"rounds={count}"):
        interleave({}, rounds=count, warmup=warmup)


def test_speedup_is_taken_inside_rounds():
    """A machine that halves its speed for one round slows both ways, and no ratio."""
    slow, fast = Timing((3.0, 6.0, 3.0)), Timing((1.0, 2.0, 1.0))
    assert speedup(fast, slow) == {"median": 3.0, "quartiles": [3.0, 3.0]}


def test_quartiles_by_hand():
    assert quartiles((5.0, 1.0, 2.0, 4.0, 3.0)) == (2.0, 3.0, 4.0)
    assert quartiles((7.0,)) == (7.0, 7.0, 7.0)
    assert Timing((2.0, 1.0, 6.0)).median == statistics.median((2.0, 1.0, 6.0))
