"""Timelines of the report: the true segments of a video above the predicted ones, as SVG."""

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from timesformer.evaluation.segments.metrics import Events
from timesformer.evaluation.segments.result import VideoTimeline
from timesformer.html import escape

_WIDTH, _LEFT, _BAR, _GAP, _AXIS = 1000, 64, 22, 3, 18
"""Pixels: width of a line, room for its captions, height of a bar, gap between bars, height of the axis."""
_SEGMENTS_IN_A_LINE = 16
_MAX_LINES = 5
_LETTER = 6.4  # pixels
_TICKS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600)
_COLORS = ("#8cb8e8", "#f2b36b", "#8fce9d", "#e59aa4", "#c3a6dd", "#d6c069", "#7fcfcf", "#d3a98b", "#b4bac4", "#e4a3d0")
_AGREES, _DIFFERS = "#1a7f4b", "#c0392b"


def timeline_figure(video: VideoTimeline, class_names: Sequence[str]) -> str:
    """A figure of a video: truth, prediction, and below them green where they agree and red where they differ.

    Long videos take several lines, at most five; what is left out is told.
    """
    length = _line_length(video)
    count = min(_MAX_LINES, max(1, math.ceil(video.duration / length - 1e-9)))
    lines = "".join(_line(video, class_names, start=length * at, length=length) for at in range(count))
    shown = length * count
    rest = f" Shown: the first {_clock(shown)} of {_clock(video.duration)}." if shown < video.duration - 1e-6 else ""
    f1 = "" if math.isnan(video.f1) else f", F1@50 {video.f1:.1%}"
    return (
        f"<figure class=timeline><figcaption><span class=name>{escape(video.path)}</span><br>"
        f"frame accuracy {video.frame_accuracy:.1%}, Edit {video.edit:.1%}{f1}.{rest}</figcaption>{lines}</figure>"
    )


def _line_length(video: VideoTimeline) -> float:
    """Seconds in a line: about sixteen segments, at most all of the video."""
    lengths = video.truth.end - video.truth.start
    usual = float(np.median(lengths)) if len(lengths) else video.duration
    wanted = usual * _SEGMENTS_IN_A_LINE
    return video.duration if wanted >= 0.75 * video.duration else wanted


def _line(video: VideoTimeline, class_names: Sequence[str], *, start: float, length: float) -> str:
    end, scale = min(start + length, video.duration), (_WIDTH - _LEFT) / length
    height = 2 * _BAR + 3 * _GAP + _AXIS + 4
    bars = "".join(
        _caption(name, row=row) + _bars(events, class_names, row=row, start=start, end=end, scale=scale)
        for row, (name, events) in enumerate((("truth", video.truth), ("predicted", video.predicted)))
    )
    return (
        f'<svg role="img" aria-label="timeline" viewBox="0 0 {_WIDTH} {height}" width="100%" font-size="11" '
        f'fill="#1b1f24">{bars}{_agreement(video, start=start, end=end, scale=scale)}'
        f"{_axis(start=start, end=end, scale=scale)}</svg>"
    )


def _caption(name: str, *, row: int) -> str:
    y = row * (_BAR + _GAP) + _BAR / 2 + 4
    return f'<text x="{_LEFT - 8}" y="{y:g}" text-anchor="end" fill="#667080">{name}</text>'


def _bars(events: Events, class_names: Sequence[str], *, row: int, start: float, end: float, scale: float) -> str:
    y, parts = row * (_BAR + _GAP), [_rectangle(start, end, start, scale, y=row * (_BAR + _GAP), fill="#f3f4f6")]
    for first, last, label, _ in events.rows():
        left, right = max(first, start), min(last, end)
        if left >= right:
            continue
        name, room = class_names[label], (right - left) * scale - 6
        letters = int(room / _LETTER)
        text = name if len(name) <= letters else f"{name[: letters - 1]}…" if letters > 3 else ""
        x = _LEFT + (left - start) * scale + 4
        parts.append(
            f"<g><title>{escape(name)}, {first:.2f} to {last:.2f} s</title>"
            f"{_rectangle(left, right, start, scale, y=y, fill=_COLORS[label % len(_COLORS)])}"
            + (f'<text x="{x:.1f}" y="{y + _BAR / 2 + 4:g}">{escape(text)}</text>' if text else "")
            + "</g>"
        )
    return "".join(parts)


def _agreement(video: VideoTimeline, *, start: float, end: float, scale: float) -> str:
    """A thin bar, green where a true label equals the predicted one, or neither has one, and red elsewhere."""
    edges = sorted({start, end, *_inside(video.truth, start, end), *_inside(video.predicted, start, end)})
    y, parts = 2 * (_BAR + _GAP), []
    for left, right in pairwise(edges):
        middle = (left + right) / 2
        true, found = (_labels_at(events, middle) for events in (video.truth, video.predicted))
        agrees = true == found or bool(true & found)
        parts.append(_rectangle(left, right, start, scale, y=y, height=4, fill=_AGREES if agrees else _DIFFERS))
    return "".join(parts)


def _inside(events: Events, start: float, end: float) -> list[float]:
    return [edge for edge in (*events.start.tolist(), *events.end.tolist()) if start < edge < end]


def _labels_at(events: Events, second: float) -> set[int]:
    return set(events.label[(events.start <= second) & (second < events.end)].tolist())


def _rectangle(
    left: float, right: float, start: float, scale: float, *, y: float, fill: str, height: float = _BAR
) -> str:
    x, width = _LEFT + (left - start) * scale, (right - left) * scale
    width = width - 0.6 if width > 2 else width  # so that two segments of one class can be told apart
    return f'<rect x="{x:.2f}" y="{y:g}" width="{width:.2f}" height="{height:g}" fill="{fill}"/>'


def _axis(*, start: float, end: float, scale: float) -> str:
    step = next((tick for tick in _TICKS if tick * scale >= 70), _TICKS[-1])
    y = 2 * (_BAR + _GAP) + 4 + _AXIS - 4
    first = math.ceil(start / step - 1e-9)
    marks = [tick * step for tick in range(first, math.floor(end / step + 1e-9) + 1)]
    places = [min(_LEFT + (mark - start) * scale, _WIDTH - 14) for mark in marks]
    return "".join(
        f'<text x="{x:.1f}" y="{y:g}" text-anchor="middle" fill="#667080">{_clock(mark)}</text>'
        for x, mark in zip(places, marks, strict=True)
    )


def _clock(seconds: float) -> str:
    """`12 s`, `1:05` or `1:01:05`."""
    if seconds < 60:
        return f"{seconds:.3g} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
