import itertools
import statistics

import pytest

from timesformer.bench import timing
from timesformer.bench.timing import RunTimes, interleave, quartiles, speedup
from timesformer.errors import ConfigError


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> itertools.count:
    """A clock that advances by one second at each reading."""
    ticks = itertools.count()
    monkeypatch.setattr(timing.time, "perf_counter", lambda: float(next(ticks)))
    return ticks


def test_every_round_runs_each_candidate_once_and_every_other_round_backwards():
    seen: list[str] = []
    interleave({name: lambda name=name: seen.append(name) for name in "abc"}, rounds=3, warmup=1)
    assert "".join(seen) == "abc" + "cba" + "abc" + "cba"


def test_the_warm_up_does_not_count(clock: itertools.count):
    times = interleave({"a": lambda: None, "b": lambda: next(clock)}, rounds=2, warmup=3)
    assert {name: each.seconds for name, each in times.items()} == {"a": (1.0, 1.0), "b": (2.0, 2.0)}


def test_progress_counts_all_runs():
    heard: list[tuple[int, int]] = []
    interleave(
        dict.fromkeys("ab", lambda: None), rounds=2, warmup=1, on_progress=lambda *numbers: heard.append(numbers)
    )
    assert heard == [(done, 6) for done in range(1, 7)]


@pytest.mark.parametrize(("count", "warmup"), [(0, 1), (1, -1)])
def test_zero_rounds_and_a_negative_warm_up_are_refused(count: int, warmup: int):
    with pytest.raises(ConfigError, match=f"rounds={count}"):
        interleave({}, rounds=count, warmup=warmup)


def test_speedup_is_the_ratio_within_each_round():
    """A machine at half speed for one round slows both candidates and changes no ratio."""
    slow, fast = RunTimes((3.0, 6.0, 3.0)), RunTimes((1.0, 2.0, 1.0))
    assert speedup(fast, slow) == {"median": 3.0, "quartiles": [3.0, 3.0]}


def test_quartiles_by_hand():
    assert quartiles((5.0, 1.0, 2.0, 4.0, 3.0)) == (2.0, 3.0, 4.0)
    assert quartiles((7.0,)) == (7.0, 7.0, 7.0)
    assert RunTimes((2.0, 1.0, 6.0)).median == statistics.median((2.0, 1.0, 6.0))
