"""Thresholds of each class, chosen on the curves of annotated videos without inference.

Each class is decided by itself, so its four thresholds are tried together: the onset from 0.05 to 0.95, the offset as a
share of it, and the shortest segment and pause as shares of the median true segment of the class. Those with the
highest F1 at an overlap of 0.5 win; of equal ones, those nearest to the defaults. A class without true segments keeps
the defaults.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
from jaxtyping import Float32, Float64

from timesformer.config.thresholds import NAMES, ClassThresholds, Thresholds
from timesformer.data.manifest.background import BACKGROUND
from timesformer.evaluation.segments.metrics import Events, match_segments, merge_touching
from timesformer.timelines.decide import Piece, overlapping
from timesformer.timelines.decision import pieces_between
from timesformer.timelines.timeline import Curves, Timeline

ONSETS = (0.05, *(round(0.1 * tenth, 1) for tenth in range(1, 10)), 0.95)
OFFSET_SHARES = (1.0, 0.75, 0.5, 0.25)
LENGTH_SHARES = (0.0, 0.1, 0.25, 0.5)
_TIOU = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Thresholds of a class and its F1 with them and with the defaults, on the videos that they were chosen on."""

    label: str
    support: int
    """Number of true segments."""
    thresholds: ClassThresholds
    f1: float
    f1_before: float
    """F1 with the default thresholds."""


@dataclass(frozen=True, slots=True, eq=False)
class ClassCurve:
    """The curve of one class over a video, and its true segments."""

    truth: Events
    times: Float64[np.ndarray, " n"]
    probabilities: Float32[np.ndarray, "n 1"]
    pieces: tuple[Piece, ...]
    """The parts of the video without gaps."""


def choose_thresholds(
    videos: Sequence[tuple[Events, Timeline]], *, class_names: Sequence[str], defaults: Thresholds | None = None
) -> tuple[Thresholds, tuple[Choice, ...]]:
    """Choose thresholds for each class that has true segments.

    Args:
        videos: True segments, and a timeline with curves, of each video.
        class_names: Names of the model's classes.
        defaults: Thresholds of a model that has none; those of `Thresholds` by default.

    Returns:
        The thresholds, and the choice for each class with true segments.
    """
    defaults, choices = defaults or Thresholds(), []
    for index, label in enumerate(class_names):
        own = [class_curve(truth, timeline, index) for truth, timeline in videos]
        if label != BACKGROUND and any(len(curve.truth) for curve in own):
            choices.append(_choose(own, label, defaults=defaults.of(label)))
    per_class = {choice.label: dict(zip(NAMES, choice.thresholds, strict=True)) for choice in choices}
    return replace(defaults, per_class=per_class), tuple(choices)


def class_curve(truth: Events, timeline: Timeline, index: int) -> ClassCurve:
    """The curve of a class in a timeline with curves, and its true segments."""
    curves = timeline.curves
    assert curves is not None
    return ClassCurve(
        merge_touching(truth.of_class(index)),
        curves.times,
        curves.probabilities[:, [index]],
        tuple(pieces_between(timeline.gaps, duration=timeline.source.duration)),
    )


def _choose(videos: Sequence[ClassCurve], label: str, *, defaults: ClassThresholds) -> Choice:
    truths = [video.truth for video in videos]
    lengths = np.concatenate([truth.end - truth.start for truth in truths])
    usual = float(np.median(lengths))
    durations = sorted({_rounded(share * usual) for share in LENGTH_SHARES})
    before = _f1(truths, [spans_of(video, defaults) for video in videos])
    best = (before, 0.0, defaults)
    for onset, share in product(ONSETS, OFFSET_SHARES):
        # `min_off` and `min_on` only join and remove segments, so the curves are gone through once for all of them
        raw = ClassThresholds(onset, _rounded(onset * share), 0.0, 0.0)
        found = [spans_of(video, raw) for video in videos]
        for min_off, min_on in product(durations, durations):
            tried = raw._replace(min_off=min_off, min_on=min_on)
            f1 = _f1(truths, [join_and_drop(spans, min_on=min_on, min_off=min_off) for spans in found])
            best = max(best, (f1, -_distance(tried, defaults, usual), tried))
    after = _f1(truths, [spans_of(video, best[2]) for video in videos])
    return Choice(label=label, support=len(lengths), thresholds=best[2], f1=after, f1_before=before)


def spans_of(video: ClassCurve, thresholds: ClassThresholds) -> Float64[np.ndarray, "n 2"]:
    """Starts and ends of the segments that the thresholds detect."""
    curves = Curves(times=video.times, probabilities=video.probabilities, frame_times=np.zeros(0))
    found = overlapping(curves, classes=("",), thresholds=Thresholds(**thresholds._asdict()), pieces=video.pieces)
    return np.array([(run.start, run.end) for run in found], dtype=np.float64).reshape(len(found), 2)


def join_and_drop(spans: Float64[np.ndarray, "n 2"], *, min_on: float, min_off: float) -> Float64[np.ndarray, "m 2"]:
    """Segments with pauses shorter than `min_off` filled, then without those shorter than `min_on`."""
    if not len(spans):
        return spans
    is_pause = spans[1:, 0] - spans[:-1, 1] >= min_off - 1e-9
    starts = spans[np.concatenate([[True], is_pause]), 0]
    ends = spans[np.concatenate([is_pause, [True]]), 1]
    is_long = ends - starts >= min_on - 1e-9
    return np.stack([starts[is_long], ends[is_long]], axis=1)


def _f1(truths: Sequence[Events], spans: Sequence[Float64[np.ndarray, "_ 2"]]) -> float:
    hits = found = 0
    for truth, own in zip(truths, spans, strict=True):
        found += len(own)
        if len(own) and len(truth):
            label = np.full(len(own), truth.label[0])
            predicted = Events(start=own[:, 0], end=own[:, 1], label=label, score=np.ones(len(own)))
            hits += len(match_segments(truth, predicted, tiou=_TIOU))
    return 2 * hits / (found + sum(map(len, truths)))


def _distance(tried: ClassThresholds, defaults: ClassThresholds, usual: float) -> float:
    """Distance from the defaults; durations in units of the usual length."""
    units = {"onset": 1.0, "offset": 1.0, "min_on": usual, "min_off": usual}
    return sum(abs(getattr(tried, name) - getattr(defaults, name)) / units[name] for name in NAMES)


def _rounded(value: float) -> float:
    """Two significant digits."""
    return float(f"{value:.2g}")
