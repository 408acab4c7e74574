"""Strip beneath an annotated video: segments and curves over the whole video, and where it is now."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw

from timesformer.timelines.colors import DARK, DARK_PAPER, color_number, to_rgb
from timesformer.timelines.curves import drawn_classes, thinned
from timesformer.timelines.fonts import font_for
from timesformer.timelines.time_axis import time_ticks
from timesformer.timelines.timeline import Curves, LabeledSegment, Timeline

_SCALE = 2
"""The strip is drawn larger and scaled down, which smooths its lines."""
_AXIS_FROM = 56
"""Least height for a time axis, in pixels."""
_LINE, _PALE = "#39414B", "#A5AEB8"


@dataclass(frozen=True, slots=True, kw_only=True)
class Strip:
    """The strip without its cursor, which is drawn into a copy for each frame."""

    picture: UInt8[np.ndarray, "h w 3"]
    duration: float
    """Seconds that the width shows."""

    def at(self, time: float) -> UInt8[np.ndarray, "h w 3"]:
        """The strip with the cursor at a time in seconds."""
        picture = self.picture.copy()
        height, width = picture.shape[:2]
        thickness = max(2, height // 40)
        center = round(min(max(time / self.duration, 0), 1) * (width - 1))
        left = min(max(center - thickness // 2, 0), width - thickness)
        picture[:, max(left - 1, 0) : left + thickness + 1] //= 3  # a dark edge, seen on any color
        picture[:, left : left + thickness] = 255
        return picture


def draw_strip(timeline: Timeline, *, curves: Curves | None, width: int, height: int, duration: float) -> Strip:
    """Draw segments, in as many rows as overlap, the curves beneath and, if there is room, a time axis.

    Args:
        timeline: The timeline.
        curves: Class probabilities; None leaves the whole height to the segments.
        width: Width in pixels.
        height: Height in pixels.
        duration: Seconds that the width shows.
    """
    image = Image.new("RGB", (width * _SCALE, height * _SCALE), DARK_PAPER)
    letters = min(max(height // 8, 10), 20) if height >= _AXIS_FROM else 0
    axis = round(1.4 * letters)
    drawn = drawn_classes(timeline, curves)
    band = round((height - axis) * (0.34 if drawn else 0.8))
    draw = ImageDraw.Draw(image)
    if letters:
        _draw_axis(draw, width=width, height=height, duration=duration, letters=letters)
    per_second = (width - 1) * _SCALE / duration
    _draw_segments(draw, timeline.segments, per_second=per_second, bottom=band * _SCALE)
    if curves is not None and drawn:
        plot = (band + 5) * _SCALE, (height - axis - 2) * _SCALE
        _draw_curves(draw, curves, drawn, per_second=per_second, top=plot[0], bottom=plot[1])
    picture = np.array(image.resize((width, height), Image.Resampling.BOX))
    for gap in timeline.gaps:
        left, right = (round(time * per_second / _SCALE) for time in (gap.start, gap.end))
        _hatch(picture[: height - axis, max(left, 0) : max(right, left + 1)])
    return Strip(picture=picture, duration=duration)


def _draw_axis(draw: ImageDraw.ImageDraw, *, width: int, height: int, duration: float, letters: int) -> None:
    font = font_for("0:00", size=letters * _SCALE)
    ticks = time_ticks(duration)
    every = max(1, round(len(ticks) * 5 * letters / width))
    for time, label in ticks[::every]:
        x = time / duration * (width - 1) * _SCALE
        draw.line((x, 0, x, (height - 1.2 * letters) * _SCALE), fill=_LINE, width=_SCALE)
        room = font.getlength(label) / 2 + 2 * _SCALE
        x = min(max(x, room), width * _SCALE - room)
        draw.text((x, (height - 2) * _SCALE), label, font=font, fill=_PALE, anchor="mb")


def _draw_segments(
    draw: ImageDraw.ImageDraw, segments: Sequence[LabeledSegment], *, per_second: float, bottom: float
) -> None:
    rows = _rows(segments)
    step = (bottom - 3 * _SCALE) / (max(rows, default=0) + 1)
    for row, segment in zip(rows, segments, strict=True):
        left = segment.start * per_second
        right = max(segment.end * per_second - 1, left + 1)  # a pixel apart from the next
        top = 3 * _SCALE + row * step
        color = DARK[color_number(segment.index)]
        draw.rectangle((left, top, right, max(top + step - _SCALE, top)), fill=color)


def _rows(segments: Sequence[LabeledSegment]) -> list[int]:
    """Row of each segment, from 0: the first that is free at its start."""
    ends: list[float] = []
    rows = []
    for segment in segments:
        row = next((i for i, end in enumerate(ends) if end <= segment.start), len(ends))
        ends[row : row + 1] = [segment.end]
        rows.append(row)
    return rows


def _draw_curves(
    draw: ImageDraw.ImageDraw, curves: Curves, drawn: Sequence[int], *, per_second: float, top: float, bottom: float
) -> None:
    draw.line((0, bottom, draw.im.size[0], bottom), fill=_LINE, width=1)
    line = round(_SCALE * max(1.5, (bottom - top) / _SCALE / 40))
    for index in drawn:
        values = curves.probabilities[:, index]
        kept = thinned(curves.times, values, max_points=4 * draw.im.size[0])
        points = [
            (time * per_second, bottom - (bottom - top) * value)
            for time, value in zip(curves.times[kept].tolist(), values[kept].tolist(), strict=True)
        ]
        draw.line(points, fill=DARK[color_number(index)], width=line, joint="curve")


def _hatch(part: UInt8[np.ndarray, "h w 3"]) -> None:
    rows, columns = np.indices(part.shape[:2])
    is_line = (rows + columns) % 6 < 2
    part[is_line] = to_rgb(_PALE)
    part[~is_line] = to_rgb(DARK_PAPER)
