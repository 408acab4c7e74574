"""Thresholds of timelines: their ranges, and one set for each class."""

import pytest

from timesformer.config.thresholds import ClassThresholds, Thresholds
from timesformer.errors import ConfigError


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"onset": 1.5}, "onset=1.5 must lie between 0 and 1"),
        ({"offset": -0.1}, "offset=-0.1 must lie between 0 and 1"),
        ({"onset": 0.3, "offset": 0.5}, "offset=0.5 must be at most onset=0.3"),
        ({"min_on": -1.0}, r"min_on=-1.0 must be finite and not negative"),
        ({"min_off": float("inf")}, r"min_off=inf must be finite and not negative"),
        ({"onset": float("nan")}, "onset=nan must lie between 0 and 1"),
    ],
)
def test_value_out_of_range_is_refused(changes: dict[str, float], message: str):
    with pytest.raises(ConfigError, match=message):
        Thresholds(**changes)


def test_thresholds_of_classes_are_given_back_one_by_one():
    rows = [Thresholds(onset=0.7, offset=0.2), Thresholds(), Thresholds(min_on=0.0, min_off=2.5)]
    columns = ClassThresholds.of(rows)
    assert [columns.of_class(index) for index in range(len(columns))] == rows
    assert columns.onset == (0.7, 0.6, 0.6)


def test_no_thresholds_are_false():
    assert not ClassThresholds()
    assert ClassThresholds.of([]) == ClassThresholds()


def test_tuples_of_different_lengths_are_refused():
    with pytest.raises(ConfigError, match="thresholds: 2 of onset, 1 of offset"):
        ClassThresholds(onset=(0.5, 0.5), offset=(0.5,), min_on=(0, 0), min_off=(0, 0))


def test_class_with_a_value_out_of_range_is_named():
    with pytest.raises(ConfigError, match=r"thresholds of class 1: offset=0\.9 must be at most onset=0.5"):
        ClassThresholds(onset=(0.5, 0.5), offset=(0.5, 0.9), min_on=(0, 0), min_off=(0, 0))
