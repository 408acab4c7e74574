"""Picture of the card: accuracy of each class with its interval. It shows nobody's videos."""

from PIL import Image, ImageDraw

from timesformer.publishing.card import weakest_classes
from timesformer.publishing.measured import ClassAccuracy, Measured
from timesformer.timelines.fonts import font_for, shortened

_SCALE = 2
"""Pixels per unit, for sharp text on dense screens."""
_MOST_ROWS = 40
_ROW, _SIZE, _MARGIN, _HEADER, _FOOTER = 20, 12, 20, 56, 34
_LABEL, _BAR, _SUPPORT = 180, 460, 60
_TEXT, _MUTED, _GRID, _FILL, _LINE = "#1b1f24", "#667080", "#e3e6ea", "#7aa6d6", "#1f4e85"


def accuracy_picture(measured: Measured) -> Image.Image:
    """Draw the recall of each class, the weakest first; of more than 40 classes, the 40 weakest.

    Args:
        measured: The evaluation; at least one class has videos.
    """
    ranked = weakest_classes(measured.classes)
    rows = ranked[:_MOST_ROWS]
    width = 2 * _MARGIN + _LABEL + _BAR + _SUPPORT
    height = _HEADER + len(rows) * _ROW + _FOOTER + _MARGIN
    image = Image.new("RGB", (width * _SCALE, height * _SCALE), "white")
    canvas = _Canvas(ImageDraw.Draw(image))
    which = f"the {len(rows)} least accurate of {len(ranked)} classes" if len(ranked) > len(rows) else "all classes"
    canvas.text(_MARGIN, 14, "Accuracy of each class", size=16)
    canvas.text(_MARGIN, 35, f"{measured.data}: {which}, with 95 % intervals (Wilson)", size=11, color=_MUTED)
    bottom = _HEADER + len(rows) * _ROW
    for quarter in range(5):
        x = _x(quarter / 4)
        canvas.line(x, _HEADER, x, bottom, color=_GRID)
        canvas.text(x, bottom + 6, f"{quarter / 4:.0%}", size=11, color=_MUTED, center=True)
    for number, each in enumerate(rows):
        _draw_row(canvas, each, top=_HEADER + number * _ROW)
    x = _x(measured.top1)
    canvas.line(x, _HEADER - 2, x, bottom, color=_TEXT)
    canvas.text(x, bottom + 20, f"all videos {measured.top1:.1%}", size=11, center=True)
    return image


class _Canvas:
    """Draws in units of a `_SCALE`-th of the pixels."""

    def __init__(self, draw: ImageDraw.ImageDraw) -> None:
        self._draw = draw

    def text(
        self, x: float, y: float, text: str, *, size: int, color: str = _TEXT, most: float = 700, center: bool = False
    ) -> None:
        text = shortened(text, width=most * _SCALE, size=size * _SCALE)
        font = font_for(text, size=size * _SCALE)
        left = x * _SCALE - font.getlength(text) / 2 if center else x * _SCALE
        self._draw.text((left, y * _SCALE), text, font=font, fill=color)

    def line(self, x0: float, y0: float, x1: float, y1: float, *, color: str) -> None:
        self._draw.line([x0 * _SCALE, y0 * _SCALE, x1 * _SCALE, y1 * _SCALE], fill=color, width=_SCALE)

    def box(self, x0: float, y0: float, x1: float, y1: float, *, color: str) -> None:
        if x1 > x0:
            self._draw.rectangle([x0 * _SCALE, y0 * _SCALE, x1 * _SCALE, y1 * _SCALE], fill=color)


def _draw_row(canvas: _Canvas, each: ClassAccuracy, *, top: int) -> None:
    low, high = map(_x, each.interval)
    middle = top + _ROW / 2
    canvas.text(_MARGIN, top + 3, each.name, size=_SIZE, most=_LABEL - 10)
    canvas.box(_x(0), top + 4, _x(each.recall), top + _ROW - 4, color=_FILL)
    canvas.line(low, middle, high, middle, color=_LINE)
    for end in (low, high):
        canvas.line(end, middle - 3, end, middle + 3, color=_LINE)
    canvas.text(_x(1) + 12, top + 3, f"n = {each.support}", size=11, color=_MUTED)


def _x(fraction: float) -> float:
    return _MARGIN + _LABEL + _BAR * fraction
