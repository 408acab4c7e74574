"""Picture of an explanation: the frames of the view with their heat maps, the color scale and the curve."""

import math
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from timesformer.explanation.captions import details, headline, percent
from timesformer.explanation.curve import FILL, GRID, LINE, MUTED, TEXT, X_LABEL, Plot, plot
from timesformer.explanation.explanation import Explanation
from timesformer.explanation.overlay import MAX_OPACITY, colors_of, hatched, overlay

_MARGIN, _GAP, _STAMP = 20, 10, 20
"""Around the picture, between frames, and height of the text beneath a frame."""
_HEADER, _CURVE = 78, 190
_MIN_WIDTH, _MAX_WIDTH = 760, 1260
"""Width of the content."""
_LONG_SIDES = ((8, 280), (16, 200), (32, 148), (math.inf, 112))
"""Most frames of a view, and the longer side of each in the strip."""
_BAR_WIDTH, _BAR_HEIGHT = 170, 10
_SMOOTH = 3
"""Lines are drawn this many times larger, then reduced."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Layout:
    """Places of the frames in the strip, in pixels."""

    width: int
    """Width of the content, without the margins."""
    frame: tuple[int, int]
    """Width and height of a frame."""
    num_columns: int
    num_rows: int

    @property
    def frames_bottom(self) -> int:
        return _MARGIN + _HEADER + self.num_rows * (self.frame[1] + _STAMP + _GAP)

    @property
    def size(self) -> tuple[int, int]:
        return self.width + 2 * _MARGIN, self.frames_bottom + _CURVE + _MARGIN

    def corner(self, index: int) -> tuple[int, int]:
        """Left and top of a frame."""
        row, column = divmod(index, self.num_columns)
        return (
            _MARGIN + column * (self.frame[0] + _GAP),
            _MARGIN + _HEADER + row * (self.frame[1] + _STAMP + _GAP),
        )


def draw_strip(explanation: Explanation) -> Image.Image:
    """The strip, of a size that depends on the number of frames and their proportions."""
    layout = _lay_out(*explanation.pixels.shape[:3])
    image = Image.new("RGB", layout.size, "white")
    scale = float(explanation.map.max())
    _draw_curve(image, explanation, layout)
    _draw_header(image, explanation, layout, scale=scale)
    _draw_frames(image, explanation, layout, scale=scale)
    return image


def _lay_out(num_frames: int, height: int, width: int) -> _Layout:
    long_side = next(side for most, side in _LONG_SIDES if num_frames <= most)
    factor = long_side / max(height, width)
    frame = max(1, round(factor * width)), max(1, round(factor * height))
    most = max(1, (_MAX_WIDTH + _GAP) // (frame[0] + _GAP))
    num_rows = math.ceil(num_frames / most)
    num_columns = math.ceil(num_frames / num_rows)
    content = num_columns * (frame[0] + _GAP) - _GAP
    return _Layout(width=max(content, _MIN_WIDTH), frame=frame, num_columns=num_columns, num_rows=num_rows)


def _draw_frames(image: Image.Image, explanation: Explanation, layout: _Layout, *, scale: float) -> None:
    draw, font = ImageDraw.Draw(image), _font(12)
    (height, width), (new_width, new_height) = explanation.pixels.shape[1:3], layout.frame
    down, right = new_height / height, new_width / width
    top, left, crop_height, crop_width = explanation.box
    box = top * down, left * right, crop_height * down, crop_width * right
    each = zip(explanation.pixels, explanation.map, explanation.seconds, explanation.curve, strict=True)
    for index, (pixels, relevance, second, share) in enumerate(each):
        x, y = layout.corner(index)
        frame = Image.fromarray(pixels).resize(layout.frame, Image.Resampling.LANCZOS)
        image.paste(Image.fromarray(overlay(np.asarray(frame), relevance, scale=scale, box=box)), (x, y))
        stamp = f"{second:.2f} s"
        draw.text((x, y + new_height + 4), stamp, fill=TEXT, font=font)
        draw.text((x + font.getlength(stamp) + 8, y + new_height + 4), percent(float(share)), fill=MUTED, font=font)


def _draw_header(image: Image.Image, explanation: Explanation, layout: _Layout, *, scale: float) -> None:
    draw, small = ImageDraw.Draw(image), _font(12)
    right = _MARGIN + layout.width
    left = right - _BAR_WIDTH
    room = left - 2 * _MARGIN
    draw.text((_MARGIN, _MARGIN - 4), shortened(headline(explanation), room, _font(22)), fill=TEXT, font=_font(22))
    draw.text((_MARGIN, _MARGIN + 28), shortened(details(explanation), room, _font(13)), fill=MUTED, font=_font(13))
    draw.text((left, _MARGIN - 6), "relevance of a patch", fill=TEXT, font=small)
    image.paste(_color_bar(), (left, _MARGIN + 11))
    draw.text((left, _MARGIN + 24), "0", fill=MUTED, font=small)
    draw.text((right, _MARGIN + 24), percent(scale), fill=MUTED, font=small, anchor="ra")
    image.paste(_swatch(), (left, _MARGIN + 46))
    draw.text((left + 26, _MARGIN + 44), "outside the crop: not seen", fill=MUTED, font=small)


def _color_bar() -> Image.Image:
    """The colors in their opacity over middle gray."""
    strength = np.linspace(0, 1, _BAR_WIDTH, dtype=np.float32)
    opacity = MAX_OPACITY * strength[:, None]
    row = (1 - opacity) * 128 + opacity * colors_of(strength)
    return Image.fromarray(np.repeat(np.rint(row)[None], _BAR_HEIGHT, axis=0).astype(np.uint8))


def _swatch() -> Image.Image:
    gray = hatched(np.full((72, 108, 3), 128, dtype=np.uint8))
    return Image.fromarray(gray[:12, :20].astype(np.uint8))


def _draw_curve(image: Image.Image, explanation: Explanation, layout: _Layout) -> None:
    left, right = _MARGIN + 48, _MARGIN + layout.width - 76
    top, bottom = layout.frames_bottom + 34, layout.frames_bottom + _CURVE - 34
    shape = plot(explanation, left=left, top=top, right=right, bottom=bottom)
    panel = Image.new("RGB", (_SMOOTH * image.width, _SMOOTH * (_CURVE + _MARGIN)), "white")
    _draw_lines(ImageDraw.Draw(panel), shape, left=left, right=right, bottom=bottom, shift=layout.frames_bottom)
    image.paste(panel.reduce(_SMOOTH), (0, layout.frames_bottom))
    draw, small = ImageDraw.Draw(image), _font(12)
    draw.text((_MARGIN, layout.frames_bottom + 4), "relevance of a frame", fill=TEXT, font=small)
    for y, text in shape.y_ticks:
        draw.text((left - 8, y), text, fill=MUTED, font=small, anchor="rm")
    for x, text in shape.x_ticks:
        draw.text((x, bottom + 8), text, fill=MUTED, font=small, anchor="ma")
    draw.text((right + 8, shape.equal), "equal share", fill=MUTED, font=small, anchor="lm")
    draw.text(((left + right) / 2, bottom + 28), X_LABEL, fill=MUTED, font=small, anchor="ma")


def _draw_lines(
    draw: ImageDraw.ImageDraw, shape: Plot, *, left: float, right: float, bottom: float, shift: int
) -> None:
    """Grid, area, curve and dots, enlarged; `shift` is the height of the strip above the panel."""

    def at(x: float, y: float) -> tuple[float, float]:
        return _SMOOTH * x, _SMOOTH * (y - shift)

    for y, _ in shape.y_ticks:
        draw.line([at(left, y), at(right, y)], fill=GRID, width=_SMOOTH)
    for x, _ in shape.x_ticks:
        draw.line([at(x, bottom), at(x, bottom + 5)], fill=MUTED, width=_SMOOTH)
    points = [at(x, y) for x, y in shape.points]
    if len(points) > 1:
        draw.polygon([at(shape.points[0][0], bottom), *points, at(shape.points[-1][0], bottom)], fill=FILL)
        draw.line(points, fill=LINE, width=2 * _SMOOTH, joint="curve")
    for x in range(int(left), int(right), 8):
        draw.line([at(x, shape.equal), at(min(x + 4, right), shape.equal)], fill=MUTED, width=_SMOOTH)
    for x, y in points:
        radius = 3 * _SMOOTH
        draw.ellipse([x - radius, y - radius, x + radius, y + radius], fill=LINE)


def shortened(text: str, width: int, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    """A text that is at most `width` pixels wide, cut with an ellipsis."""
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "…") > width:
        text = text[:-1]
    return text + "…"


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size=size)
