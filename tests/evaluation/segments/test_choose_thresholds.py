"""Thresholds chosen on curves: never worse than the defaults, and equal to a search by the decision itself."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from timesformer.config.thresholds import ClassThresholds, Thresholds
from timesformer.evaluation.segments.evaluate import events_of
from timesformer.evaluation.segments.metrics import Events, f1_counts
from timesformer.evaluation.segments.thresholds import choose_thresholds, class_curve, join_and_drop, spans_of
from timesformer.timelines.decision import decide
from timesformer.timelines.timeline import Curves, Source, Timeline

NAMES = ("wave", "clap", "background")


def curves(*columns: list[float]) -> Timeline:
    """A timeline whose classes have these curves, a value a second."""
    probabilities = np.array(columns, dtype=np.float32).T
    duration = float(len(probabilities))
    times = np.arange(duration)
    source = Source(
        path="a.mp4",
        sha256="",
        duration=duration,
        num_frames=len(times),
        fps=1.0,
        is_variable=False,
        height=4,
        width=6,
    )
    return Timeline(
        source=source,
        model={},
        window=2.0,
        stride=1.0,
        settings={},
        classes=NAMES[: len(columns)],
        segments=(),
        curves=Curves(times=times, probabilities=probabilities, frame_times=times),
    )


def detected(video: Timeline, thresholds: Thresholds) -> Events:
    return events_of(decide(video, mode="overlapping", thresholds=thresholds))


def events(*rows: tuple[float, float, int]) -> Events:
    return Events.of([(*row, 1.0) for row in rows])


def f1_of(truth: Events, found: Events) -> float:
    hits, extra, lost = f1_counts(truth, found, tiou=0.5)
    return 2 * hits / (2 * hits + extra + lost)


def test_low_curve_gets_a_low_onset():
    low = [0.0, 0.0, 0.25, 0.25, 0.25, 0.25, 0.0, 0.0, 0.0, 0.0]
    video, truth = curves(low, [0.0] * 10, [0.5] * 10), events((2, 6, 0))
    thresholds, (choice,) = choose_thresholds([(truth, video)], class_names=NAMES)
    assert (choice.label, choice.support, choice.f1_before, choice.f1) == ("wave", 1, 0.0, 1.0)
    assert choice.thresholds.onset == 0.2  # the nearest to the default that finds it
    assert thresholds.per_class == {"wave": choice.thresholds._asdict()}
    assert thresholds.of("clap") == Thresholds().of("clap")
    assert f1_of(truth, detected(video, thresholds)) == 1


def test_short_pause_inside_a_true_segment_is_filled():
    torn = [0.0, 0.9, 0.9, 0.9, 0.0, 0.9, 0.9, 0.9, 0.9, 0.0, 0.0, 0.0]
    video, truth = curves(torn, [0.0] * 12, [0.1] * 12), events((0.5, 8.5, 0))
    _, (choice,) = choose_thresholds([(truth, video)], class_names=NAMES)
    assert choice.f1_before == 0  # neither half overlaps the whole by 50 %
    assert choice.f1 == 1
    assert choice.thresholds.min_off == 2.0


def test_defaults_stay_where_nothing_is_better():
    video, truth = curves([0.0, 0.0, 0.9, 0.9, 0.9, 0.0, 0.0], [0.1] * 7, [0.0] * 7), events((1.5, 4.5, 0))
    _, (choice,) = choose_thresholds([(truth, video)], class_names=NAMES)
    assert choice.thresholds == Thresholds().of("wave")
    assert choice.f1 == choice.f1_before == 1


def test_background_and_classes_without_true_segments_are_not_chosen():
    video = curves([0.9] * 5, [0.9] * 5, [0.9] * 5)
    thresholds, choices = choose_thresholds([(events((0, 5, 2)), video)], class_names=NAMES)
    assert choices == ()
    assert thresholds == Thresholds()


# none equals an onset: a curve that only touches it gives a segment without length, which is dropped before joining
levels = st.lists(st.sampled_from([0.02, 0.13, 0.34, 0.53, 0.74, 0.96]), min_size=3, max_size=16)


@given(levels, st.sampled_from([0.3, 0.5, 0.7]), st.sampled_from([1.0, 0.5]), *[st.sampled_from([0.0, 0.4, 1.5])] * 2)
def test_spans_are_those_of_the_decision(values: list[float], onset: float, share: float, on: float, off: float):
    video = class_curve(events(), curves(values), 0)
    full = ClassThresholds(onset, onset * share, on, off)
    raw = spans_of(video, full._replace(min_on=0.0, min_off=0.0))
    np.testing.assert_allclose(join_and_drop(raw, min_on=on, min_off=off), spans_of(video, full))


@settings(max_examples=15)
@given(levels, st.integers(0, 2), st.integers(2, 9))
def test_choice_is_never_worse_than_the_defaults_and_is_what_the_timeline_gives(
    values: list[float], start: int, length: int
):
    video, truth = curves(values), events((start, start + length, 0))
    thresholds, (choice,) = choose_thresholds([(truth, video)], class_names=("wave",))
    assert choice.f1 >= choice.f1_before
    assert f1_of(truth, detected(video, thresholds)) == pytest.approx(choice.f1)


def test_classes_without_true_segments_keep_the_given_defaults():
    video, truth = curves([0.0, 0.9, 0.9, 0.0], [0.1] * 4), events((0.5, 2.5, 0))
    defaults = Thresholds(min_on=1.5, min_off=1.5)
    thresholds, _ = choose_thresholds([(truth, video)], class_names=NAMES[:2], defaults=defaults)
    assert thresholds.of("clap") == defaults.of("clap")
