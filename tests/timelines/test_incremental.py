import numpy as np
from hypothesis import given

from drawn_curves import CLASSES, drawn
from timesformer.config.thresholds import Thresholds
from timesformer.timelines.decide import Piece, Run, exclusive, in_pieces, mean_and_peak, overlapping
from timesformer.timelines.incremental import ExclusiveDecider, decider_of
from timesformer.timelines.timeline import Curves


def decided(mode, curves, thresholds, pieces):
    """All runs with mean and peak, as they are decided, and the number of instants known by then."""
    for piece, times, probabilities in in_pieces(curves, pieces):
        decider = decider_of(mode, start=piece.start, classes=CLASSES, thresholds=thresholds)
        for number, (time, row) in enumerate(zip(times.tolist(), probabilities, strict=True)):
            for run, *known in decider.add(time, row):
                yield run, mean_and_peak(*known, run), number
        for run, *known in decider.finish(piece.end):
            yield run, mean_and_peak(*known, run), len(times)


def of_whole_pieces(decide, curves, thresholds, pieces):
    return [
        (run, mean_and_peak(times, probabilities[:, run.index], run))
        for piece, times, probabilities in in_pieces(curves, pieces)
        for run in decide(curves, classes=CLASSES, thresholds=thresholds, pieces=[piece])
    ]


@given(drawn())
def test_decisions_on_the_way_are_those_of_the_whole_bit_for_bit(case):
    for mode, decide in (("exclusive", exclusive), ("overlapping", overlapping)):
        found = [(run, values) for run, values, _ in decided(mode, *case)]
        assert sorted(found) == sorted(of_whole_pieces(decide, *case))
        if mode == "exclusive":
            assert found == sorted(found, key=lambda each: each[0].start)


def of(*labels, step=0.5):
    rows = 0.1 + 0.7 * np.eye(3)[[CLASSES.index(label) for label in labels]]
    return Curves(times=step * np.arange(len(labels)), probabilities=rows.astype(np.float32))


def test_a_run_is_decided_once_the_next_has_lasted_long_enough():
    curves = of(*["walk"] * 4, *["wave"] * 4, "walk", "wave")
    piece = Piece(0.0, 5.0)
    found = [*decided("exclusive", curves, Thresholds(min_on=1.0), [piece])]
    # wave begins at 1.75 s, so the instant 3.0 s tells that it lasts a second; the last two runs are too short
    assert [(run, number) for run, _, number in found] == [(Run(0, 0.0, 1.75), 6), (Run(2, 1.75, 5.0), 10)]


def test_an_overlapping_run_is_decided_once_its_pause_is_long_enough():
    curves = of(*["walk"] * 4, *["wave"] * 4)
    found = [*decided("overlapping", curves, Thresholds(min_off=1.0), [Piece(0.0, 4.0)])]
    assert [(run.index, number) for run, _, number in found] == [(0, 6), (2, 8)]


def test_memory_of_a_piece_without_end_holds_one_class():
    decider = ExclusiveDecider(0.0, classes=CLASSES, thresholds=Thresholds())
    for number in range(1000):
        assert not [*decider.add(number / 4, np.array([0.8, 0.1, 0.1]))]
    assert len(decider._rows) == 1
    assert len(decider._known.times) == 999
