"""`timeline`: what happens when in a long video."""

import logging
import os
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from types import MappingProxyType
from typing import Any, Unpack

import numpy as np
import torch
from jaxtyping import Float, Float32, Float64

from timesformer.config.checks import check_choice
from timesformer.config.compute import ComputeOptions
from timesformer.config.schema import Fusion
from timesformer.config.thresholds import NAMES, Thresholds
from timesformer.data.video.byte_source import Readable
from timesformer.data.video.feed import Described, Feed, FrameGap
from timesformer.data.video.sequential import open_feed
from timesformer.data.video.timing import MIN_GAP_S, frame_timing
from timesformer.errors import DataError
from timesformer.inference.fusion import check_finite, fuse
from timesformer.inference.onnx_model import Classifier, opened
from timesformer.inference.options import PredictorKeywords, split_keywords
from timesformer.inference.predictor import Predictor
from timesformer.inference.weights_hash import weights_sha256
from timesformer.timelines.decision import Mode, decide
from timesformer.timelines.reading import Read, WindowReader, WindowSource
from timesformer.timelines.scores import Scores
from timesformer.timelines.thresholds import Threshold, default_thresholds, merge_thresholds, refuse_without_effect
from timesformer.timelines.timeline import Curves, Gap, Source, Timeline
from timesformer.timelines.window_logits import logits_of_windows
from timesformer.timelines.windows import Windows, plan_windows

logger = logging.getLogger(__name__)

OnProgress = Callable[[float, float | None], None]
"""Called with the seconds of video that were computed, and its length in seconds, None if its header does not say."""


def timeline(
    model: Classifier | str | Path,
    video: str | os.PathLike[str] | Readable | Feed,
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
    on_progress: OnProgress = lambda done, length: None,
    **keywords: Unpack[PredictorKeywords],
) -> Timeline:
    """Find what happens when in a video of any length, in bounded memory; every frame is decoded once.

    Windows are centered on the instants 0, `stride`, 2 `stride` and so on; the score of an instant is the weighted mean
    of all windows that cover it. See `timesformer.timelines.windows`, `scores` and `decide`. Gaps of a second or more
    part the video: no window and no segment reaches over one.

    Args:
        model: As in `Predictor`.
        video: A video file, a folder of frames, a video in a tar file, the bytes of a video file (a pipe or an open
            file), or a `Feed`. The same bytes give the same timeline, from a file or a pipe.
        window: Length of a window in seconds; None takes the span of the model's dense clips, or the usual length of
            the clips that it was trained on.
        stride: Distance of windows in seconds, at most `window`; None takes a quarter of it.
        mode: `exclusive`, one label at a time, or `overlapping`, each class by itself.
        thresholds: When a class begins and ends; None takes those of the model, or the defaults.
        onset: Replaces that of `thresholds`: one value, or values of single classes by name. Overlapping mode only.
        offset: As `onset`.
        min_on: As `onset`, in seconds, in both modes.
        min_off: As `min_on`.
        options: How to compute; see `ComputeOptions`.
        on_progress: Called after each batch.
        **keywords: As in `Predictor`.

    Returns:
        The segments, with the curves that they were decided from in `curves`.

    Raises:
        DecodeError: The video cannot be decoded.
        DataError: The video is shorter than a window.
        ConfigError: A value is out of range, has no effect on the mode, or belongs to an unknown class.
        WeightsError: The weights cannot be loaded.
        TimeSformerError: The model outputs nan or inf.
    """
    given = dict(zip(NAMES, (onset, offset, min_on, min_off), strict=True))
    task = prepare(
        model, window=window, stride=stride, mode=mode, thresholds=thresholds, given=given, options=options,
        keywords=keywords,
    )  # fmt: skip
    return run_task(task, video, on_progress=on_progress)


def run_task(
    task: "Task",
    video: str | os.PathLike[str] | Readable | Feed,
    *,
    on_progress: OnProgress = lambda done, length: None,
) -> Timeline:
    """The timeline of one of several videos, whose model is prepared once; arguments and errors as for `timeline`."""
    feed = video if isinstance(video, Feed) else open_feed(video, allow_codecs=task.codecs)
    with feed:
        model = task.predictor.model
        reader = WindowReader(feed, task.windows, config=model.config, clip=model.info.clip)
        return run_windows(task, reader, feed, on_progress=on_progress)


def run_windows(
    task: "Task",
    reader: WindowSource,
    video: Described,
    *,
    on_progress: OnProgress = lambda done, length: None,
) -> Timeline:
    """The timeline of a video whose windows are read elsewhere, such as in another process.

    Args:
        task: The model and how its timelines are made.
        reader: The windows of the video, of the length and stride of the task.
        video: The video.
        on_progress: As for `timeline`.

    Raises:
        DecodeError, DataError, TimeSformerError: As `timeline`.
    """
    scored = _score(task.predictor, reader, video, windows=task.windows, on_progress=on_progress)
    undecided = task.undecided(video, scored.read, gaps=scored.read.gaps, curves=scored.curves)
    _warn_if_cut(video, end=scored.read.end)
    return decide(undecided, mode=task.mode, thresholds=task.thresholds)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Task:
    """A model and how its timelines are made."""

    model: Classifier
    predictor: Predictor
    classes: tuple[str, ...]
    windows: Windows
    mode: str
    thresholds: Thresholds
    codecs: Collection[str]
    """Codecs to decode besides the default ones."""
    sha256: str
    """`weights_sha256` of the model."""

    def undecided(self, feed: Described, read: Read, *, gaps: Iterable[FrameGap], curves: Curves | None) -> Timeline:
        """The timeline of a feed that was read, without segments.

        Raises:
            DataError: The video is shorter than a window.
        """
        source, length = _source(feed, read), self.windows.length
        if length > source.duration + 1e-6:
            raise DataError(
                f"{source.path}: lasts {source.duration:.4g} s, less than one window of {length:.4g} s: "
                "pass a shorter window=... (--window)"
            )
        return Timeline(
            source=source,
            model={"sha256": self.sha256, "scheme": self.model.config.scheme_text},
            window=length,
            stride=self.windows.stride,
            settings={},
            classes=self.classes,
            segments=(),
            gaps=tuple(Gap(start=gap.start, end=gap.end, reason=gap.reason) for gap in gaps),
            curves=curves,
        )


def prepare(
    model: Classifier | str | Path,
    *,
    window: float | None,
    stride: float | None,
    mode: str = "exclusive",
    thresholds: Thresholds | None = None,
    given: Mapping[str, Threshold] = MappingProxyType({}),
    options: ComputeOptions | None,
    keywords: Mapping[str, Any] = MappingProxyType({}),
) -> Task:
    """Load the model and check the settings; see `timeline`."""
    check_choice("mode", mode, Mode)
    compute, overrides = split_keywords(keywords)
    model = opened(model, overrides)
    refuse_without_effect(mode, classes=_classes(model), given=given)
    plan_windows(model.config, model.info, window=window, stride=stride)  # whose errors come before the work
    return task_of(
        model,
        Predictor(model, options=options, **compute),
        window=window,
        stride=stride,
        mode=mode,
        thresholds=thresholds,
        given=given,
        codecs=compute.get("allow_codecs", () if options is None else options.allow_codecs),
        sha256=weights_sha256(model),
    )


def task_of(
    model: Classifier,
    predictor: Predictor,
    *,
    window: float | None,
    stride: float | None,
    sha256: str,
    mode: str = "exclusive",
    thresholds: Thresholds | None = None,
    given: Mapping[str, Threshold] = MappingProxyType({}),
    codecs: Collection[str] = (),
) -> Task:
    """A task of a model that is loaded and has a predictor; see `timeline`.

    Args:
        model: The model.
        predictor: Its predictor.
        window: See `timeline`.
        stride: See `timeline`.
        sha256: `weights_sha256` of the model.
        mode: See `timeline`.
        thresholds: See `timeline`.
        given: What replaces single thresholds.
        codecs: Codecs to decode besides the default ones.

    Raises:
        ConfigError: A value is out of range, has no effect on the mode, or belongs to an unknown class.
    """
    check_choice("mode", mode, Mode)
    classes = _classes(model)
    refuse_without_effect(mode, classes=classes, given=given)
    windows = plan_windows(model.config, model.info, window=window, stride=stride)
    stored = thresholds or model.info.thresholds or default_thresholds(windows.length)
    return Task(
        model=model,
        predictor=predictor,
        classes=classes,
        windows=windows,
        mode=mode,
        thresholds=merge_thresholds(stored, classes=classes, **given),
        codecs=codecs,
        sha256=sha256,
    )


def _classes(model: Classifier) -> tuple[str, ...]:
    return tuple(model.info.label(index) for index in range(model.config.num_classes))


@dataclass(frozen=True, slots=True, eq=False)
class _Scored:
    read: Read
    curves: Curves


def _score(
    predictor: Predictor, reader: WindowSource, feed: Described, *, windows: Windows, on_progress: OnProgress
) -> _Scored:
    """Curves over all of a video."""
    info = predictor.model.info
    compute = logits_of_windows(predictor)
    centers: list[float] = []
    rows: list[Float32[np.ndarray, " k"]] = []
    piece, scores = -1, Scores(windows)
    with closing(reader.each()) as each:
        while batch := [*islice(each, max(1, predictor.batch_size // info.clip.num_crops))]:
            for read, logits in zip(batch, compute(batch), strict=True):
                check_finite(logits, feed.path)
                if read.piece != piece:
                    rows += scores.finish()
                    piece, scores = read.piece, Scores(windows)
                centers.append(read.window.center)
                rows += scores.add(log_probabilities(logits, info.clip.fusion))
            on_progress(centers[-1], feed.clock().length_s)
    rows += scores.finish()
    curves = Curves(times=np.array(centers), probabilities=np.stack(rows), frame_times=reader.read.frame_times())
    return _Scored(reader.read, curves)


def log_probabilities(logits: Float[torch.Tensor, "crops k"], fusion: Fusion) -> Float64[np.ndarray, " k"]:
    """Log-probabilities of a window from the logits of its crops."""
    return fuse(logits.double(), fusion).clamp(min=1e-30).log().numpy()


def _warn_if_cut(feed: Described, *, end: float) -> None:
    stated = feed.clock().length_s
    if stated is not None and stated - end >= MIN_GAP_S:
        message = "%s: the frames end at %.5g s, its header says %.5g s: the file may be cut off"
        logger.warning(message, feed.path, end, stated)


def _source(feed: Described, read: Read) -> Source:
    times, clock = read.frame_times(), feed.clock()
    ticks = np.rint(times * clock.time_base.denominator / clock.time_base.numerator).astype(np.int64).tolist()
    timing = frame_timing(ticks, time_base=clock.time_base, average=clock.average, guessed=clock.guessed)
    height, width = feed.size()
    return Source(
        path=feed.path,
        sha256=feed.sha256(),
        duration=read.end,
        num_frames=len(times),
        fps=timing.fps,
        is_variable=_is_variable(times, fps=timing.fps, tick=float(clock.time_base)),
        height=height,
        width=width,
    )


def _is_variable(times: Float64[np.ndarray, " n"], *, fps: float, tick: float) -> bool:
    """Whether an interval, gaps left out, differs from the usual one by more than rounding."""
    intervals = np.diff(times)
    usual = intervals[intervals < 10 / fps]
    return bool(np.any(np.abs(usual - 1 / fps) > 1.001 * tick + 0.01 / fps))
