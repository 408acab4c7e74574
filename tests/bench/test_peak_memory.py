"""Peaks of memory are those of the work alone, in a process of its own."""

import sys
from collections.abc import Callable

import pytest

from timesformer.bench.peak_memory import measure, peak_above
from timesformer.errors import TimeSformerError

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process its peak")
SIZE = 64_000_000


def hold(megabytes: int) -> Callable[[], object]:
    """Work that fills memory for a moment, on top of as much that is kept."""
    kept = bytearray(b"1") * (megabytes * 1_000_000)
    return lambda: len(bytearray(b"1") * (megabytes * 1_000_000)) + len(kept)


def fail() -> Callable[[], object]:
    raise ValueError("no such thing")


def test_peak_counts_what_was_freed_before_the_end_and_not_what_was_there():
    peak = measure(hold(64))
    assert peak.base > SIZE
    assert peak.above == pytest.approx(SIZE, rel=0.1)


def test_earlier_peaks_do_not_count():
    hold(256)()
    assert measure(hold(64)).above == pytest.approx(SIZE, rel=0.1)


def test_process_of_its_own_has_a_base_and_a_peak_of_its_own(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PYTHONPATH", __file__.rpartition("/")[0], prepend=":")
    peak = peak_above("test_peak_memory:hold", megabytes=64)
    assert peak.above == pytest.approx(SIZE, rel=0.1)


def test_work_that_fails_is_one_line_that_says_why(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PYTHONPATH", __file__.rpartition("/")[0], prepend=":")
    with pytest.raises(TimeSformerError, match=r"test_peak_memory:fail with {} failed .*: ValueError: no such thing"):
        peak_above("test_peak_memory:fail")
