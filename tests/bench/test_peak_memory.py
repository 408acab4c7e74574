"""Peak memory is that of the work alone, in a separate process."""

import sys
from collections.abc import Callable

import pytest

from timesformer.bench.peak_memory import measure_peak, peak_above
from timesformer.errors import TimeSformerError

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux reports a process its peak")
SIZE = 64_000_000


def hold(megabytes: int) -> Callable[[], object]:
    """Work that allocates memory for a moment, on top of as much that stays allocated."""
    kept = bytearray(b"1") * (megabytes * 1_000_000)
    return lambda: len(bytearray(b"1") * (megabytes * 1_000_000)) + len(kept)


def fail() -> Callable[[], object]:
    raise ValueError("no such thing")


def test_peak_counts_memory_freed_before_the_end_but_not_earlier_memory():
    peak = measure_peak(hold(64))
    assert peak.base > SIZE
    assert peak.above == pytest.approx(SIZE, rel=0.1)


def test_earlier_peaks_do_not_count():
    hold(256)()
    assert measure_peak(hold(64)).above == pytest.approx(SIZE, rel=0.1)


def test_a_separate_process_has_its_own_base_and_peak(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PYTHONPATH", __file__.rpartition("/")[0], prepend=":")
    peak = peak_above("test_peak_memory:hold", megabytes=64)
    assert peak.above == pytest.approx(SIZE, rel=0.1)


def test_failing_work_gives_one_line_with_the_reason(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PYTHONPATH", __file__.rpartition("/")[0], prepend=":")
    with pytest.raises(TimeSformerError, match=r"test_peak_memory:fail with {} failed .*: ValueError: no such thing"):
        peak_above("test_peak_memory:fail")
