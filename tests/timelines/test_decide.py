import itertools

import numpy as np
import pytest
from hypothesis import given

from drawn_curves import CLASSES, drawn
from timesformer.config.thresholds import Thresholds
from timesformer.timelines.decide import Piece, Run, exclusive, mean_and_peak, overlapping
from timesformer.timelines.timeline import Curves


def curves_of(*rows, step=0.5, start=0.0):
    probabilities = np.array(rows, dtype=np.float32)
    return Curves(times=start + step * np.arange(len(rows)), probabilities=probabilities)


@given(drawn())
def test_exclusive_segments_are_ordered_apart_long_enough_and_inside(case):
    curves, thresholds, pieces = case
    runs = exclusive(curves, classes=CLASSES, thresholds=thresholds, pieces=pieces)
    assert all(before.end <= after.start for before, after in itertools.pairwise(runs))
    for run in runs:
        (piece,) = [piece for piece in pieces if piece.start <= run.start and run.end <= piece.end]
        assert run.start < run.end
        assert run.length >= min(thresholds.min_on, piece.end - piece.start) - 1e-9
        assert CLASSES[run.index] != "background"


@given(drawn())
def test_without_shortest_lengths_the_most_probable_class_of_each_instant_is_the_answer(case):
    curves, _, pieces = case
    thresholds = Thresholds(min_on=0, min_off=0)
    runs = exclusive(curves, classes=CLASSES, thresholds=thresholds, pieces=pieces)
    best = curves.probabilities.astype(np.float64).argmax(axis=1)
    for time, label in zip(curves.times, best, strict=True):
        found = {run.index for run in runs if run.start < time < run.end}
        assert found <= {int(label)}
        if label == 1:
            assert not found


@given(drawn())
def test_hysteresis_is_that_of_a_loop_over_a_fine_grid(case):
    curves, thresholds, pieces = case
    runs = overlapping(curves, classes=CLASSES, thresholds=thresholds, pieces=pieces)
    expected = [
        run
        for piece in pieces
        for index, label in enumerate(CLASSES)
        if label != "background"
        for run in by_loop(curves, piece, index, thresholds)
    ]
    fine = 1e-3
    borderline = any(abs(run.length - thresholds.min_on) < 3 * fine for run in [*runs, *expected]) or any_pause_near(
        curves, pieces, thresholds
    )
    if not borderline and len(runs) == len(expected):
        for run, other in zip(runs, sorted(expected, key=lambda run: (run.start, run.index)), strict=True):
            assert run.start == pytest.approx(other.start, abs=2 * fine)
            assert run.end == pytest.approx(other.end, abs=2 * fine)
    elif not borderline:
        missing = [run for run in [*runs, *expected] if run.length > 3 * fine]
        assert len([run for run in runs if run in missing]) == len([run for run in expected if run in missing])


def any_pause_near(curves, pieces, thresholds):
    open_ = Thresholds(onset=thresholds.onset, offset=thresholds.offset, min_on=0, min_off=0)
    runs = overlapping(curves, classes=CLASSES, thresholds=open_, pieces=pieces)
    lengths = [run.length for run in runs]
    pauses = [
        after.start - before.end
        for before in runs
        for after in runs
        if before.index == after.index and after.start > before.end
    ]
    return any(
        abs(each - limit) < 5e-3 for each in lengths + pauses for limit in (thresholds.min_on, thresholds.min_off, 0)
    )


def by_loop(curves, piece, index, thresholds, *, fine=1e-3):
    inside = (curves.times >= piece.start - 1e-9) & (curves.times < piece.end)
    times, values = curves.times[inside], curves.probabilities[inside, index].astype(np.float64)
    grid = np.arange(piece.start, piece.end, fine)
    grid = np.sort(np.concatenate([grid, times]))
    is_on, start, runs = False, 0.0, []
    for time, value in zip(grid, np.interp(grid, times, values), strict=True):
        if not is_on and value >= thresholds.onset:
            is_on, start = True, time
        elif is_on and value < thresholds.offset:
            is_on = False
            runs.append(Run(index, start, time))
    if is_on:
        runs.append(Run(index, start, piece.end))
    filled: list[Run] = []
    for run in runs:
        if filled and run.start - filled[-1].end < thresholds.min_off:
            filled[-1] = Run(index, filled[-1].start, run.end)
        else:
            filled.append(run)
    return [run for run in filled if run.length >= thresholds.min_on and run.length > 0]


def test_a_boundary_lies_where_the_curves_cross_not_at_an_instant():
    # odds of 4:1 to 1:2; the logarithms meet after 2/3 of the step
    curves = curves_of((0.8, 0.0, 0.2), (0.8, 0.0, 0.2), (1 / 3, 0.0, 2 / 3), (0.2, 0.0, 0.8))
    first, second = exclusive(curves, classes=CLASSES, thresholds=Thresholds(min_on=0), pieces=[Piece(0.0, 2.0)])
    assert (first.index, second.index) == (0, 2)
    assert first.end == second.start == pytest.approx(0.5 + 0.5 * 2 / 3)
    assert (first.start, second.end) == (0.0, 2.0)


def test_boundaries_are_not_biased():
    generator = np.random.default_rng(0)
    errors = []
    for _ in range(200):
        boundary = generator.uniform(4, 6)
        times = np.arange(0, 10, 0.5)
        score = 8 * np.clip((boundary - times) / 2, -1, 1)  # a window of 4 s that passes the boundary
        walk = 1 / (1 + np.exp(-score))
        curves = Curves(times=times, probabilities=np.stack([walk, 0 * walk, 1 - walk], axis=1).astype(np.float32))
        first, _ = exclusive(curves, classes=CLASSES, thresholds=Thresholds(), pieces=[Piece(0.0, 10.0)])
        errors.append(first.end - boundary)
    assert abs(np.mean(errors)) < 1e-3
    assert np.abs(errors).max() < 0.01


def test_a_short_run_goes_to_its_neighbors():
    rows = [(0.9, 0.05, 0.05)] * 6 + [(0.2, 0.1, 0.7)] + [(0.9, 0.05, 0.05)] * 6
    piece = Piece(0.0, 6.5)
    assert len(exclusive(curves_of(*rows), classes=CLASSES, thresholds=Thresholds(min_on=0), pieces=[piece])) == 3
    assert exclusive(curves_of(*rows), classes=CLASSES, thresholds=Thresholds(min_on=1), pieces=[piece]) == [
        Run(0, 0.0, 6.5)
    ]
    rows[7:] = [(0.05, 0.9, 0.05)] * 6
    (only,) = exclusive(curves_of(*rows), classes=CLASSES, thresholds=Thresholds(min_on=1), pieces=[piece])
    assert only.index == 0
    assert 2.5 < only.end < 3.5


def test_background_gives_no_segment_and_has_its_own_shortest_length():
    rows = [(0.9, 0.05, 0.05)] * 6 + [(0.1, 0.8, 0.1)] * 2 + [(0.9, 0.05, 0.05)] * 6
    piece = Piece(0.0, 7.0)
    pause = exclusive(curves_of(*rows), classes=CLASSES, thresholds=Thresholds(min_off=0.5), pieces=[piece])
    assert [run.index for run in pause] == [0, 0]
    assert pause[1].start - pause[0].end == pytest.approx(1.0, abs=0.1)
    assert exclusive(curves_of(*rows), classes=CLASSES, thresholds=Thresholds(min_off=2), pieces=[piece]) == [
        Run(0, 0.0, 7.0)
    ]
    only = curves_of((0.1, 0.8, 0.1))
    assert exclusive(only, classes=CLASSES, thresholds=Thresholds(), pieces=[Piece(0.0, 0.5)]) == []


def test_a_piece_shorter_than_the_shortest_segment_is_one_segment():
    curves = curves_of((0.9, 0.05, 0.05), (0.05, 0.05, 0.9), step=0.1)
    (run,) = exclusive(curves, classes=CLASSES, thresholds=Thresholds(min_on=5), pieces=[Piece(0.0, 0.2)])
    assert (run.start, run.end) == (0.0, 0.2)


def test_classes_overlap_and_thresholds_differ_by_class():
    rows = [(0.0, 0.0, 0.0), (0.5, 0.0, 0.45), (0.5, 0.0, 0.5), (0.1, 0.9, 0.45), (0.0, 1.0, 0.0)]
    common = {"min_on": 0.0, "min_off": 0.0}
    thresholds = Thresholds(onset=0.4, offset=0.2, per_class={"wave": {"onset": 0.48, "offset": 0.47}}, **common)
    runs = overlapping(curves_of(*rows, step=1.0), classes=CLASSES, thresholds=thresholds, pieces=[Piece(0.0, 5.0)])
    assert [run.index for run in runs] == [0, 2]
    np.testing.assert_allclose(runs[0][1:], [0.8, 2.75], atol=1e-6)
    np.testing.assert_allclose(runs[1][1:], [1.6, 2.6], atol=1e-6)


def test_segments_end_at_gaps():
    curves = Curves(times=np.array([0.0, 1.0, 10.0, 11.0]), probabilities=np.array([[0.9, 0, 0.1]] * 4, np.float32))
    pieces = [Piece(0.0, 1.5), Piece(10.0, 12.0)]
    for decide in (exclusive, overlapping):
        runs = decide(curves, classes=CLASSES, thresholds=Thresholds(), pieces=pieces)
        assert runs == [Run(0, 0.0, 1.5), Run(0, 10.0, 12.0)]


def test_score_and_peak_are_those_of_the_straight_lines():
    curves = curves_of((0.0, 0, 1), (1.0, 0, 0), (0.0, 0, 1), step=1.0)
    times, (first, _, last) = curves.times, curves.probabilities.T.astype(float)
    assert mean_and_peak(times, first, Run(0, 0.5, 1.5)) == pytest.approx((0.75, 1.0))
    assert mean_and_peak(times, first, Run(0, 0.0, 0.5)) == pytest.approx((0.25, 0.5))
    assert mean_and_peak(times, last, Run(2, 2.0, 3.0)) == pytest.approx((1.0, 1.0))
