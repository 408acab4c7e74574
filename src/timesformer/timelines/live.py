"""`live_timeline`: segments of a stream while it goes on."""

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Unpack

from timesformer.config.compute import ComputeOptions
from timesformer.config.thresholds import NAMES, Thresholds
from timesformer.data.video.feed import Feed, FrameGap
from timesformer.data.video.live_feed import LiveFeed
from timesformer.errors import DataError
from timesformer.inference.fusion import check_finite
from timesformer.inference.onnx_model import Classifier
from timesformer.inference.options import PredictorKeywords
from timesformer.timelines.decision import settings_of
from timesformer.timelines.live_pieces import LivePieces
from timesformer.timelines.newest import NewestWindows, in_batches
from timesformer.timelines.reading import WindowReader
from timesformer.timelines.run import Task, log_probabilities, prepare
from timesformer.timelines.thresholds import Threshold
from timesformer.timelines.timeline import Gap, LabeledSegment, Timeline
from timesformer.timelines.window_logits import logits_of_windows

_LEAST_CAPACITY = 8
"""Windows that may wait: so many come at once when a stream is cut, or starts with a burst."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveTimeline:
    """The timeline of a stream that has ended."""

    timeline: Timeline
    num_windows: int
    """Windows that the stream had."""
    num_skipped: int
    """Windows that were not computed, because the model was slower than the stream."""


def live_timeline(
    model: Classifier | str | Path,
    feed: Feed,
    *,
    window: float | None = None,
    stride: float | None = None,
    mode: str = "exclusive",
    thresholds: Thresholds | None = None,
    onset: Threshold = None,
    offset: Threshold = None,
    min_on: Threshold = None,
    min_off: Threshold = None,
    options: ComputeOptions | None = None,
    on_segment: Callable[[LabeledSegment], None] = lambda segment: None,
    on_gap: Callable[[Gap], None] = lambda gap: None,
    keep_curves: bool = True,
    **keywords: Unpack[PredictorKeywords],
) -> LiveTimeline:
    """Find what happens in a stream, and tell each segment as soon as nothing to come can change it.

    If the model is slower than a live stream, the oldest of the windows that wait are skipped, as a whole; time that no
    window shows is a gap. Other feeds wait for the model, and give the segments of `timeline`.

    Args:
        model: As in `timesformer.timelines.run.timeline`, as are all arguments up to `options`.
        feed: The stream; see `timesformer.data.video.live.open_live`. It ends when its `stop` is called.
        window: Length of a window in seconds.
        stride: Distance of windows in seconds.
        mode: `exclusive` or `overlapping`.
        thresholds: When a class begins and ends.
        onset: Replaces that of `thresholds`.
        offset: As `onset`.
        min_on: As `onset`.
        min_off: As `onset`.
        options: How to compute.
        on_segment: Called with each segment.
        on_gap: Called with each gap, once it is over.
        keep_curves: Whether the timeline gets its curves, which grow by a row of float32 a stride.
        **keywords: As in `timesformer.inference.predictor.Predictor`.

    Returns:
        All segments, in order of their start.

    Raises:
        DecodeError: Nothing can be opened, or the stream gives no frame.
        DataError: The stream ended before its first frame, or lasted less than a window.
        ConfigError: As in `timesformer.timelines.run.timeline`, as are `WeightsError` and `TimeSformerError`.
    """
    given = dict(zip(NAMES, (onset, offset, min_on, min_off), strict=True))
    task = prepare(
        model, window=window, stride=stride, mode=mode, thresholds=thresholds, given=given, options=options,
        keywords=keywords,
    )  # fmt: skip

    def tell_gap(gap: FrameGap) -> None:
        on_gap(Gap(start=gap.start, end=gap.end, reason=gap.reason))

    with feed:
        reader = WindowReader(feed, task.windows, config=task.model.config, clip=task.model.info.clip)
        pieces = LivePieces(
            reader.read, windows=task.windows, mode=mode, classes=task.classes, thresholds=task.thresholds,
            keep_curves=keep_curves, on_segment=on_segment, on_gap=tell_gap,
        )  # fmt: skip
        queue = _compute(task, feed, reader, pieces)
        if not reader.read.times:
            raise DataError(f"{feed.path}: ended before its first frame")
        pieces.finish()
        undecided = task.undecided(feed, reader.read, gaps=pieces.gaps, curves=pieces.curves())
    found = replace(undecided, segments=tuple(pieces.segments), settings=settings_of(mode, task.thresholds))
    return LiveTimeline(timeline=found, num_windows=queue.num_put, num_skipped=queue.num_skipped)


def _compute(task: Task, feed: Feed, reader: WindowReader, pieces: LivePieces) -> NewestWindows:
    """Compute windows until the stream ends."""
    live = feed if isinstance(feed, LiveFeed) else None
    clip, predictor = task.model.info.clip, task.predictor
    most = max(1, predictor.batch_size // clip.num_crops)
    queue = NewestWindows(max(_LEAST_CAPACITY, most), keep_all=live is None or live.is_recording)
    compute = logits_of_windows(predictor)
    stop = live.stop if live is not None else lambda: None
    with closing(in_batches(reader.windows(), queue, most=most, stop=stop)) as batches:
        for batch in batches:
            for read, logits in zip(batch, compute(batch), strict=True):
                check_finite(logits, feed.path)
                pieces.add(read, log_probabilities(logits, clip.fusion))
    return queue
