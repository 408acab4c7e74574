"""Curve of relevance per frame over seconds: its geometry, and an SVG of it."""

import math
from dataclasses import dataclass

import numpy as np

from timesformer.explanation.captions import details, headline
from timesformer.explanation.explanation import Explanation
from timesformer.html import escape

LINE, FILL, TEXT, MUTED, GRID = "#7e03a8", "#ead9f2", "#1b1f24", "#5c6570", "#dfe3e8"
"""Colors of the curve, the area beneath it, text, secondary text and grid lines."""

_WIDTH, _HEIGHT = 720, 260
_LEFT, _TOP, _RIGHT, _BOTTOM = 56, 54, 84, 46
X_LABEL = "time in the video; dots are the frames of the view"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plot:
    """Points of a curve inside a rectangle, in pixels."""

    points: list[tuple[float, float]]
    """Frames of the view by time."""
    equal: float
    """Height of the line at equal relevance of all frames."""
    x_ticks: list[tuple[float, str]]
    """Place and text of each mark of the time axis."""
    y_ticks: list[tuple[float, str]]
    """Place and text of each mark of the relevance axis."""


def plot(explanation: Explanation, *, left: float, top: float, right: float, bottom: float) -> Plot:
    """Lay out the curve of an explanation inside a rectangle.

    Relevance starts at 0. A view of one time is one point in the middle.
    """
    order = np.argsort(explanation.seconds, kind="stable")
    seconds, relevance = explanation.seconds[order], explanation.curve[order].astype(np.float64)
    first, last = float(seconds[0]), float(seconds[-1])
    equal = 1 / len(seconds)
    high = max(float(relevance.max()), equal) * 1.08

    def x(second: float) -> float:
        return left + (right - left) * ((second - first) / (last - first) if last > first else 0.5)

    def y(value: float) -> float:
        return bottom - (bottom - top) * value / high

    return Plot(
        points=[(x(second), y(value)) for second, value in zip(seconds.tolist(), relevance.tolist(), strict=True)],
        equal=y(equal),
        x_ticks=[(x(second), f"{second:g} s") for second in ticks(first, last, most=8)],
        y_ticks=[(y(value), f"{100 * value:g} %") for value in ticks(0, high, most=4)],
    )


def ticks(low: float, high: float, *, most: int) -> list[float]:
    """Multiples of 1, 2 or 5 times a power of ten from `low` to `high`, at most `most`; or `low` if both are equal."""
    if high <= low:
        return [float(f"{low:.3g}")]
    power = 10.0 ** math.floor(math.log10((high - low) / most))
    for step in (factor * power for factor in (1, 2, 5, 10, 20)):
        multiples = np.arange(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)
        if len(multiples) <= most:
            break
    return [float(f"{multiple * step:.12g}") for multiple in multiples]


def svg(explanation: Explanation) -> str:
    """The curve as a self-contained SVG, in UTF-8."""
    bottom, right = _HEIGHT - _BOTTOM, _WIDTH - _RIGHT
    shape = plot(explanation, left=_LEFT, top=_TOP, right=right, bottom=bottom)
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in shape.points)
    area = f"{shape.points[0][0]:.1f},{bottom} {line} {shape.points[-1][0]:.1f},{bottom}"
    dots = "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3"/>' for x, y in shape.points)
    name, about = escape(_cut(headline(explanation), 80)), escape(_cut(details(explanation), 104))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-label="relevance per frame: {name}" '
        f'width="{_WIDTH}" height="{_HEIGHT}" viewBox="0 0 {_WIDTH} {_HEIGHT}" '
        f'font-family="system-ui, sans-serif" font-size="12" fill="{MUTED}">'
        f'<rect width="100%" height="100%" fill="white"/>'
        f'<text x="{_LEFT}" y="22" font-size="15" fill="{TEXT}">{name}</text>'
        f'<text x="{_LEFT}" y="39">{about}</text>'
        f"{_axes(shape, right=right, bottom=bottom)}"
        f'<polygon points="{area}" fill="{FILL}"/>'
        f'<path d="M{_LEFT} {shape.equal:.1f}H{right}" stroke="{MUTED}" stroke-dasharray="4 4"/>'
        f'<polyline points="{line}" fill="none" stroke="{LINE}" stroke-width="2" stroke-linejoin="round"/>'
        f'<g fill="{LINE}">{dots}</g>'
        f'<text x="{right + 6}" y="{shape.equal + 4:.1f}">equal share</text></svg>\n'
    )


def _axes(shape: Plot, *, right: float, bottom: float) -> str:
    rows = "".join(
        f'<path d="M{_LEFT} {y:.1f}H{right}" stroke="{GRID}"/>'
        f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{text}</text>'
        for y, text in shape.y_ticks
    )
    columns = "".join(
        f'<path d="M{x:.1f} {bottom}v5" stroke="{MUTED}"/>'
        f'<text x="{x:.1f}" y="{bottom + 18}" text-anchor="middle">{text}</text>'
        for x, text in shape.x_ticks
    )
    middle = (_LEFT + right) / 2
    return f'{rows}{columns}<text x="{middle}" y="{_HEIGHT - 10}" text-anchor="middle">{X_LABEL}</text>'


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"
