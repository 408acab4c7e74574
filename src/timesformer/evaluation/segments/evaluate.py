"""Evaluation of the timelines of a model on annotated segments."""

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Unpack

from timesformer.config.compute import ComputeOptions
from timesformer.config.thresholds import Thresholds
from timesformer.data.manifest.manifest import Manifest
from timesformer.errors import DataError, DecodeError
from timesformer.evaluation.evaluate import open_both
from timesformer.evaluation.result import Skipped
from timesformer.evaluation.segments.metrics import Events
from timesformer.evaluation.segments.result import SegmentEvaluation
from timesformer.evaluation.segments.summary import ComparedVideo, summarize_segments
from timesformer.evaluation.segments.truth import AnnotatedVideo, annotated_videos, within
from timesformer.inference.onnx_model import Classifier
from timesformer.inference.options import ComputeKeywords, merge_options
from timesformer.outputs import writing
from timesformer.timelines.curves_file import read_curves, save_curves
from timesformer.timelines.decision import decide
from timesformer.timelines.run import Task, prepare, run_task
from timesformer.timelines.thresholds import default_thresholds
from timesformer.timelines.timeline import Timeline
from timesformer.timelines.windows import Windows

OnProgress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MeasuredVideo:
    """A video, its true segments within its length, and its timeline with curves."""

    path: Path
    group: str
    truth: Events
    timeline: Timeline


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MeasuredVideos:
    """All videos of an evaluation, with their curves: decided with any thresholds, without inference."""

    videos: tuple[MeasuredVideo, ...]
    class_names: tuple[str, ...]
    windows: Windows
    skipped: tuple[Skipped, ...] = ()

    def pairs(self) -> list[tuple[Events, Timeline]]:
        """True segments and timeline of each video."""
        return [(video.truth, video.timeline) for video in self.videos]


def evaluate_segments(
    model: Classifier | str | Path,
    videos: Manifest | str | Path,
    *,
    window: float | None = None,
    stride: float | None = None,
    thresholds: Thresholds | None = None,
    curves: str | Path | None = None,
    options: ComputeOptions | None = None,
    on_progress: OnProgress = lambda done, total: None,
    **keywords: Unpack[ComputeKeywords],
) -> SegmentEvaluation:
    """Evaluate the timelines of a model on videos with annotated segments.

    Args:
        model: As in `evaluate`.
        videos: Segments: a manifest, or anything that `load_manifest` reads. A video without a segment is one segment.
        window: Length of a window in seconds; as in `timeline`.
        stride: Distance of windows in seconds; as in `timeline`.
        thresholds: When a class begins and ends; None takes those of the model, or the defaults.
        curves: Folder for the curves of each video: read from there if they were computed from the same file with the
            same weights and windows, else computed and written there. None keeps none.
        options: Device, batch size and handling of unreadable videos; `num_workers` has no effect.
        on_progress: Progress callback, called after each video with the number done and their total.
        **keywords: Fields of `ComputeOptions` instead of `options`.

    Raises:
        DecodeError: A video cannot be decoded, and `on_error` is `raise`.
        DataError: The videos have classes that the model does not have, a segment starts after the end of its video, a
            video is shorter than a window, curves cannot be written, or no video can be decoded.
        ConfigError: An argument is out of its range, or the length of the windows is unknown.
        WeightsError: The weights cannot be loaded.
    """
    model, manifest = open_both(model, videos)
    measured = measure_videos(
        model,
        manifest,
        window=window,
        stride=stride,
        curves=None if curves is None else Path(curves),
        options=merge_options(options, keywords),
        on_progress=on_progress,
    )
    return evaluate_measured(measured, thresholds=thresholds or default_of(model, measured))


def default_of(model: Classifier, measured: MeasuredVideos) -> Thresholds:
    """The thresholds of a model, or the defaults for the windows of the videos."""
    return model.info.thresholds or default_thresholds(measured.windows.length)


def measure_videos(
    model: Classifier,
    manifest: Manifest,
    *,
    window: float | None,
    stride: float | None,
    curves: Path | None,
    options: ComputeOptions,
    on_progress: OnProgress = lambda done, total: None,
) -> MeasuredVideos:
    """Compute or read the curves of all videos; arguments and errors are those of `evaluate_segments`.

    Args:
        manifest: The videos, with the classes of the model.
        model, window, stride, curves, options, on_progress: As in `evaluate_segments`.
    """
    task = prepare(model, window=window, stride=stride, options=options.for_predictor())
    annotated = annotated_videos(manifest)
    store = None if curves is None else _Store(folder=curves, weights=_identity(task), windows=task.windows)
    found: list[MeasuredVideo] = []
    skipped: list[Skipped] = []
    for done, video in enumerate(annotated, 1):
        try:
            found.append(_measure(task, video, store=store))
        except DecodeError as error:
            if options.on_error == "raise":
                raise
            skipped.append(Skipped(path=str(video.path), reason=str(error)))
        on_progress(done, len(annotated))
    if not found:
        reason = f"; the first: {skipped[0].reason}" if skipped else ""
        raise DataError(f"none of {len(annotated)} videos could be decoded{reason}")
    return MeasuredVideos(videos=tuple(found), class_names=task.classes, windows=task.windows, skipped=tuple(skipped))


def evaluate_measured(measured: MeasuredVideos, *, thresholds: Thresholds) -> SegmentEvaluation:
    """All measures of videos with curves, decided with the given thresholds."""
    return summarize_segments(
        [_compared(video, thresholds) for video in measured.videos],
        class_names=measured.class_names,
        window=measured.windows.length,
        stride=measured.windows.stride,
        thresholds=thresholds,
        skipped=measured.skipped,
    )


def events_of(found: Timeline) -> Events:
    """The segments of a timeline."""
    return Events.of([(one.start, one.end, one.index, one.score) for one in found.segments])


def _compared(video: MeasuredVideo, thresholds: Thresholds) -> ComparedVideo:
    curves = video.timeline.curves
    assert curves is not None
    return ComparedVideo(
        path=str(video.path),
        group=video.group,
        times=curves.frame_times,
        duration=video.timeline.source.duration,
        truth=video.truth,
        exclusive=events_of(decide(video.timeline, mode="exclusive", thresholds=thresholds)),
        overlapping=events_of(decide(video.timeline, mode="overlapping", thresholds=thresholds)),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Store:
    """Folder of curves, named by all that they depend on."""

    folder: Path
    weights: str
    windows: Windows

    def path(self, video: Path) -> Path:
        """File of the curves of a video; another one if the video is replaced."""
        state = os.stat(video)
        key = f"{video.resolve()} {state.st_size} {state.st_mtime_ns} {self.weights} {tuple(self.windows)}"
        stem = video.stem.encode("utf-8", "replace").decode()[:80]
        return self.folder / f"{stem}-{hashlib.sha256(key.encode('utf-8', 'surrogateescape')).hexdigest()[:12]}.npz"


def _identity(task: Task) -> str:
    """What the curves depend on, besides video and windows: weights, how clips are read, and another precision."""
    model, precision = task.model, task.predictor.precision
    rounded = "" if precision == "fp32" else f" {precision}"
    return f"{task.sha256} {model.config} {model.info.clip} {model.info.labels}{rounded}"


def _measure(task: Task, video: AnnotatedVideo, *, store: _Store | None) -> MeasuredVideo:
    found = _timeline(task, video.path, store=store)
    truth = within(video.truth, duration=found.source.duration, path=video.path)
    return MeasuredVideo(path=video.path, group=video.group, truth=truth, timeline=found)


def _timeline(task: Task, path: Path, *, store: _Store | None) -> Timeline:
    file = store.path(path) if store is not None and path.is_file() else None
    if file is not None and file.is_file():
        return read_curves(file)
    found = run_task(task, path)
    if file is not None:
        with writing(file.parent, error=DataError):
            file.parent.mkdir(parents=True, exist_ok=True)
        save_curves(replace(found, source=replace(found.source, path=str(path))), file)
    return found
