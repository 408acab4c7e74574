"""HTML report of an evaluation on segments: measures, timelines and classes."""

import math
from collections.abc import Sequence
from pathlib import Path

from timesformer.evaluation.report.page import STYLE, skipped_section, write_page
from timesformer.evaluation.report.timelines import timeline_figure
from timesformer.evaluation.segments.result import Measure, SegmentEvaluation, VideoTimeline
from timesformer.html import document, escape

_STYLE = ".timeline { margin:0 0 26px } .timeline svg { display:block; margin:6px 0 }"


def write_segment_report(
    evaluation: SegmentEvaluation, path: str | Path, *, title: str, num_videos: int = 6, overwrite: bool = False
) -> Path:
    """Write a self-contained HTML page.

    Args:
        evaluation: The evaluation.
        path: The HTML file.
        title: Heading of the page.
        num_videos: Videos whose timelines to show: the lowest frame accuracies, and the highest.
        overwrite: Replace an existing file.

    Raises:
        ConfigError: The file already exists and `overwrite` is False.
        DataError: The file cannot be written.
    """
    body = f"{_headline(evaluation, title=title)}{_timelines(evaluation, num_videos)}{_classes(evaluation)}"
    page = document(title, style=STYLE + _STYLE, body=body + skipped_section(evaluation.skipped))
    return write_page(page, Path(path), overwrite=overwrite)


def choose_videos(videos: Sequence[VideoTimeline], *, count: int) -> list[VideoTimeline]:
    """Videos to show, by frame accuracy: the lowest half of `count`, then the highest; all if there are few."""
    ranked = sorted(videos, key=lambda video: video.frame_accuracy)
    low = (count + 1) // 2
    return ranked if len(ranked) <= count else [*ranked[:low], *ranked[len(ranked) - (count - low) :]]


def _headline(evaluation: SegmentEvaluation, *, title: str) -> str:
    numbers = {
        "frame accuracy": _percent(evaluation.frame_accuracy),
        "inside segments": _percent(evaluation.frame_accuracy_inside),
        "Edit": _percent(evaluation.edit),
        **{f"F1@{overlap}": _percent(measure) for overlap, measure in evaluation.f1.items()},
        "mAP 0.5 to 0.95": _percent(evaluation.mean_ap),
        "boundary distance": _seconds(evaluation.boundary_median, "{:.2f} s"),
        "boundary bias": _seconds(evaluation.boundary_mean, "{:+.2f} s"),
        "videos": f"{evaluation.num_videos}",
        "segments": f"{evaluation.num_segments}",
    }
    cells = "".join(f"<div><b>{value}</b><span class=soft>{name}</span></div>" for name, value in numbers.items())
    intervals = {
        "frame accuracy": evaluation.frame_accuracy,
        "Edit": evaluation.edit,
        "F1@50": evaluation.f1[50],
        "mAP": evaluation.mean_ap,
    }
    texts = [
        f"{name} {measure.low:.1%} to {measure.high:.1%}"
        for name, measure in intervals.items()
        if not math.isnan(measure.low)
    ]
    over = f"{evaluation.num_groups} groups of videos" if evaluation.has_groups else "whole videos"
    told = f"95 % intervals over {over}: {'; '.join(texts)}. " if texts else ""
    return (
        f"<h1>{escape(title)}</h1><div class=numbers>{cells}</div><p class=protocol>Windows of "
        f"{evaluation.window:g} s every {evaluation.stride:g} s.<br><span class=soft>{told}"
        f"Boundaries are those of {evaluation.num_matched} matched segments; a negative bias is "
        f"early.</span></p>"
    )


def _timelines(evaluation: SegmentEvaluation, count: int) -> str:
    names = [found.name for found in evaluation.classes]
    videos = choose_videos(evaluation.videos, count=count)
    figures = "".join(timeline_figure(video, names) for video in videos)
    which = "All videos" if len(videos) == evaluation.num_videos else "The lowest and the highest frame accuracies"
    return (
        f"<h2>Timelines</h2><p class=soft>{which}. Below truth and prediction, green marks agreement and red a "
        f"difference; gray is background.</p>{figures}"
    )


def _classes(evaluation: SegmentEvaluation) -> str:
    found = sorted((one for one in evaluation.classes if one.support), key=lambda one: one.f1)
    rows = "".join(
        f'<tr><td>{escape(one.name)}<td><span class=bar><i style="width:{100 * one.f1:.1f}%"></i></span>{one.f1:.0%}'
        f"<td class=number>{one.ap:.0%}<td class=number>{one.support}</tr>"
        for one in found
    )
    return (
        "<h2>Classes</h2><p class=soft>Lowest F1 first. F1: of segments that overlap the truth by half. AP: average "
        "precision, mean over overlaps of 0.5 to 0.95. Classes without true segments are left out.</p>"
        f"<div class=scroll><table class=lines><tr><th>class<th>F1@50<th>AP<th>segments</tr>{rows}</table></div>"
    )


def _percent(measure: Measure) -> str:
    return "–" if math.isnan(measure.value) else f"{measure.value:.1%}"


def _seconds(measure: Measure, form: str) -> str:
    return "–" if math.isnan(measure.value) else form.format(measure.value)
