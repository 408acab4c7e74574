"""From curves to a `Timeline`; also with other thresholds, without the model and without the video."""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
from jaxtyping import Float64

from timesformer.config.checks import check_choice
from timesformer.config.thresholds import NAMES, Thresholds
from timesformer.errors import ConfigError
from timesformer.timelines.decide import Piece, Run, exclusive, in_pieces, mean_and_peak, overlapping
from timesformer.timelines.frame_rates import cuts
from timesformer.timelines.thresholds import Threshold, merge_thresholds, refuse_without_effect
from timesformer.timelines.timeline import Gap, LabeledSegment, Timeline

Mode = Literal["exclusive", "overlapping"]
"""One label at a time, or each class by itself."""


def decide(timeline: Timeline, *, mode: str, thresholds: Thresholds) -> Timeline:
    """The timeline with the segments that its curves give.

    Args:
        timeline: A timeline with curves.
        mode: See `Mode`.
        thresholds: When a class begins and ends.

    Raises:
        ConfigError: The timeline has no curves, or the mode is unknown.
    """
    check_choice("mode", mode, Mode)
    curves = timeline.curves
    if curves is None:
        raise ConfigError("the timeline has no curves, from which segments are decided")
    decide_runs = exclusive if mode == "exclusive" else overlapping
    segments = tuple(
        labeled(
            run, times, probabilities[:, run.index], label=timeline.classes[run.index], frame_times=curves.frame_times
        )
        for piece, times, probabilities in in_pieces(
            curves, pieces_between(timeline.gaps, duration=timeline.source.duration)
        )
        for run in decide_runs(curves, classes=timeline.classes, thresholds=thresholds, pieces=[piece])
    )
    return replace(timeline, segments=segments, settings=settings_of(mode, thresholds))


def settings_of(mode: str, thresholds: Thresholds) -> dict[str, Any]:
    """The `settings` of a timeline."""
    return {"mode": mode, **thresholds.to_dict()}


def decide_again(
    timeline: Timeline,
    *,
    mode: str | None = None,
    onset: Threshold = None,
    offset: Threshold = None,
    min_on: Threshold = None,
    min_off: Threshold = None,
) -> Timeline:
    """A timeline with other thresholds, from the same curves.

    Args:
        timeline: A timeline with curves.
        mode: See `Mode`; None keeps that of the timeline.
        onset: As in `timesformer.timelines.thresholds.merge_thresholds`; None keeps that of the timeline.
        offset: As `onset`.
        min_on: As `onset`.
        min_off: As `onset`.

    Raises:
        ConfigError: A value is out of range, has no effect on the mode, or belongs to an unknown class.
    """
    given = dict(zip(NAMES, (onset, offset, min_on, min_off), strict=True))
    mode = timeline.settings["mode"] if mode is None else mode
    check_choice("mode", mode, Mode)
    refuse_without_effect(mode, classes=timeline.classes, given=given)
    stored = Thresholds(**{name: value for name, value in timeline.settings.items() if name != "mode"})
    thresholds = merge_thresholds(stored, classes=timeline.classes, **given)
    return decide(timeline, mode=mode, thresholds=thresholds)


def pieces_between(gaps: Sequence[Gap], *, duration: float) -> list[Piece]:
    """The parts of a video between gaps of at least a second; shorter gaps do not part it."""
    long = [gap for gap in gaps if cuts(gap)]
    starts, ends = [0.0, *(gap.end for gap in long)], [*(gap.start for gap in long), duration]
    return [Piece(start, end) for start, end in zip(starts, ends, strict=True) if start < end]


def labeled(
    run: Run,
    times: Float64[np.ndarray, " n"],
    values: Float64[np.ndarray, " n"],
    *,
    label: str,
    frame_times: Sequence[float] | Float64[np.ndarray, " frames"],
) -> LabeledSegment:
    """The segment of a run.

    Args:
        run: The run.
        times: Instants of its piece, at least from the last one before the run to the first one after it.
        values: Probabilities of its class.
        label: Its class.
        frame_times: Times of all frames.
    """
    score, peak = mean_and_peak(times, values, run)
    first, end = (bisect_left(frame_times, time) for time in (run.start, run.end))
    return LabeledSegment(
        label=label,
        index=run.index,
        start=run.start,
        end=run.end,
        start_frame=first,
        end_frame=end,
        score=score,
        peak=peak,
    )
