"""`timesformer evaluate --timeline`: timelines of a model on annotated segments."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from timesformer.cli.console import note, print_json, progress
from timesformer.cli.options import DATA, FLAG, MODEL, OUTPUT
from timesformer.config.compute import ComputeOptions
from timesformer.config.thresholds import Thresholds
from timesformer.data.manifest.inputs import list_files, video_files
from timesformer.data.manifest.model_classes import match_classes, read_manifest
from timesformer.errors import ConfigError
from timesformer.evaluation.report.segments import write_segment_report
from timesformer.evaluation.segments.evaluate import MeasuredVideos, default_of, evaluate_measured, measure_videos
from timesformer.evaluation.segments.result import SegmentEvaluation
from timesformer.evaluation.segments.thresholds import Choice, choose_thresholds
from timesformer.inference.onnx_model import Classifier
from timesformer.outputs import check_files, check_folder, refuse_inputs
from timesformer.timelines.thresholds import default_thresholds
from timesformer.weights.load import model_files
from timesformer.weights.model_folder import store_thresholds, threshold_file


@Parameter(name="*", group=MODEL)
@dataclass(frozen=True, slots=True, kw_only=True)
class TimelineOptions:
    """Evaluation of timelines."""

    timeline: Annotated[bool, FLAG, Parameter(group=DATA)] = False
    """Compare the timeline of each video with its annotated segments, instead of classifying the segments."""
    window: Annotated[float | None, Parameter(metavar="SECONDS")] = None
    """Length of a window, with `--timeline` (default: of the clips that the model was trained on)."""
    stride: Annotated[float | None, Parameter(metavar="SECONDS")] = None
    """Distance of windows, with `--timeline` (default: a quarter of the window)."""
    curves: Annotated[Path | None, Parameter(group=OUTPUT)] = None
    """Folder that keeps the curves of each video; the next evaluation reads them instead of computing them again."""
    choose_thresholds: Annotated[bool, FLAG, Parameter(group=OUTPUT)] = False
    """Choose the thresholds of each class on these videos, and store them in the model folder."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What to evaluate, and what to write."""

    data: str
    model: str
    timelines: TimelineOptions
    options: ComputeOptions
    page: Path | None
    overwrite: bool
    json: bool


def refuse_idle(timelines: TimelineOptions) -> None:
    """Refuse options of timelines without `--timeline`.

    Raises:
        ConfigError: One is given.
    """
    given = [field.name for field in fields(timelines) if getattr(timelines, field.name) != field.default]
    if given and not timelines.timeline:
        raise ConfigError(f"--{given[0].replace('_', '-')} has no effect without --timeline")


def refuse_without_effect(given: Sequence[str]) -> None:
    """Refuse options that a timeline does not use.

    Args:
        given: Names of such options on the command line.

    Raises:
        ConfigError: There are any.
    """
    if given:
        raise ConfigError(f"{given[0]} has no effect with --timeline")


def check_request(request: Request) -> None:
    """Refuse, before the model is loaded, what could not be written after the work.

    Raises:
        ConfigError: A file or folder cannot be written.
        WeightsError: The model is not in a folder that can keep thresholds.
    """
    reads = (*list_files(request.data), *model_files(request.model))
    if request.page is not None:
        check_files(request.page, overwrite=request.overwrite, reads=reads)
    elif request.overwrite:
        raise ConfigError("--overwrite has no effect with --timeline without --page")
    if request.timelines.curves is not None:
        check_folder(request.timelines.curves)
    if request.timelines.choose_thresholds:
        check_files(threshold_file(request.model), overwrite=True)


def run_timelines(model: Classifier, request: Request) -> None:
    """Evaluate timelines, store thresholds if asked to, write the page and print the measures."""
    videos = read_manifest(request.data, labels=model.info.labels)
    if request.page is not None:
        refuse_inputs([request.page], video_files(videos))
    given = request.timelines
    with progress("evaluating") as on_progress:
        measured = measure_videos(
            model,
            match_classes(videos, labels=model.info.labels, num_classes=model.config.num_classes),
            window=given.window,
            stride=given.stride,
            curves=given.curves,
            options=request.options,
            on_progress=on_progress,
        )
    thresholds, choices = default_of(model, measured), ()
    if given.choose_thresholds:
        thresholds, choices = _choose(measured, request.model)
    result = evaluate_measured(measured, thresholds=thresholds)
    try:
        if request.page is not None:
            title = f"{request.model} on {request.data}"
            write_segment_report(result, request.page, title=title, overwrite=request.overwrite)
    finally:
        _show(result, choices, as_json=request.json)


def _choose(measured: MeasuredVideos, model: str) -> tuple[Thresholds, tuple[Choice, ...]]:
    """Choose thresholds and store them."""
    thresholds, choices = choose_thresholds(
        measured.pairs(),
        class_names=measured.class_names,
        defaults=default_thresholds(measured.windows.length),
    )
    if not choices:
        raise ConfigError("--choose-thresholds: the videos have no segments to choose thresholds on")
    written = store_thresholds(model, thresholds)
    count = len(choices)
    note(f"thresholds of {count} class{'es' * (count > 1)} stored in {written}, chosen on the videos that follow")
    return thresholds, choices


def _show(result: SegmentEvaluation, choices: Sequence[Choice], *, as_json: bool) -> None:
    for video in result.skipped:
        note(f"skipped {video.path}: {video.reason}")
    if as_json:
        print_json({**result.to_dict(), **({"chosen": [_to_dict(choice) for choice in choices]} if choices else {})})
        return
    print(result.to_text())
    if choices:
        print("\n" + choices_text(choices))


def choices_text(choices: Sequence[Choice]) -> str:
    """Thresholds of each class as a table, with F1 at an overlap of 0.5 before and after."""
    width = max(5, *(len(choice.label) for choice in choices))
    head = f"{'class':<{width}}  segments  onset  offset  min-on  min-off  F1@50 before  after"
    rows = [_row(choice, width=width) for choice in choices]
    return "\n".join((head, *rows))


def _row(choice: Choice, *, width: int) -> str:
    onset, offset, min_on, min_off = choice.thresholds
    values = f"{onset:>5.2f}  {offset:>6.2f}  {min_on:>4.2f} s  {min_off:>5.2f} s"
    return f"{choice.label:<{width}}  {choice.support:>8}  {values}  {choice.f1_before:>12.1%}  {choice.f1:>5.1%}"


def _to_dict(choice: Choice) -> dict[str, Any]:
    return {
        "label": choice.label,
        "segments": choice.support,
        **choice.thresholds._asdict(),
        "f1": choice.f1,
        "f1_before": choice.f1_before,
    }
