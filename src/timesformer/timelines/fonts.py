"""Fonts for labels that are drawn into pixels."""

from functools import lru_cache

from PIL import Image, ImageDraw, ImageFont

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

_OTHERS = ("DejaVuSans.ttf", "NotoSansCJK-Regular.ttc", "NotoSans-Regular.ttf", "Arial Unicode.ttf", "msyh.ttc")
"""Fonts of Linux, macOS and Windows with more scripts than Pillow's own."""
_NO_GLYPH = "\U0010ffff"


@lru_cache(maxsize=64)
def font_for(text: str, *, size: int) -> Font:
    """The font that can draw the most letters of a text: Pillow's own, or an installed one.

    Letters that it does not have are drawn as boxes.

    Args:
        text: The text.
        size: Height in pixels.
    """
    own = ImageFont.load_default(size)
    fonts = [own]
    for name in () if _num_missing(own, text) == 0 else _OTHERS:
        try:
            fonts.append(ImageFont.truetype(name, size))
        except OSError:  # not installed
            continue
    return min(fonts, key=lambda font: _num_missing(font, text))


def shortened(text: str, *, width: float, size: int) -> str:
    """A text of at most `width` pixels, with an ellipsis if something is left out."""
    font = font_for(text, size=size)
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(f"{text}…") > width:
        text = text[:-1].rstrip()
    return f"{text}…"


def _num_missing(font: Font, text: str) -> int:
    box = _drawn(font, _NO_GLYPH)
    return sum(not letter.isspace() and _drawn(font, letter) == box for letter in text)


def _drawn(font: Font, letter: str) -> bytes:
    image = Image.new("L", (64, 64))
    ImageDraw.Draw(image).text((0, 0), letter, font=font, fill=255)
    return image.tobytes()
