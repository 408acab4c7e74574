"""Labels burnt into frames: a box with the class's color, its name and its probability."""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw

from timesformer.timelines.colors import DARK, color_number
from timesformer.timelines.fonts import font_for, shortened

_MAX_CAPTIONS = 4
_OPACITY = 0.72


class Caption(NamedTuple):
    """A class that a frame shows."""

    label: str
    index: int
    """Index of the class in the model."""
    probability: float


def burn_in(frame: UInt8[np.ndarray, "h w 3"], captions: list[Caption]) -> None:
    """Draw captions into the upper left corner of a frame, in place; at most four, one below the other."""
    height, width = frame.shape[:2]
    size = min(max(round(min(height, width) * 0.055), 10), 54)
    margin = top = size // 2
    for caption in captions[:_MAX_CAPTIONS]:
        text = f"{caption.probability:.0%}"
        box = _box(caption.label, text, caption.index, size=size, room=width - 2 * margin)
        part = frame[top : top + box.shape[0], margin : margin + box.shape[1]]
        box = box[: part.shape[0], : part.shape[1]]
        alpha = box[..., 3:].astype(np.uint16)
        part[:] = (box[..., :3] * alpha + part * (255 - alpha) + 127) // 255
        top += box.shape[0] + size // 4


@lru_cache(maxsize=64)
def _box(label: str, probability: str, index: int, *, size: int, room: int) -> UInt8[np.ndarray, "h w 4"]:
    """The box of a caption, with opacity; not wider than `room` pixels."""
    pad, chip = size // 2, round(size * 0.7)
    numbers = font_for(probability, size=size)
    number_width = round(numbers.getlength("100%"))
    label = shortened(label, width=room - 4 * pad - chip - number_width, size=size)
    font = font_for(label, size=size)
    label_width = round(font.getlength(label))
    width, height = 4 * pad + chip + label_width + number_width, round(size * 1.7)
    image = Image.new("RGBA", (max(width, 1), height))
    draw = ImageDraw.Draw(image)
    draw.rounded_rectangle((0, 0, width - 1, height - 1), size // 4, fill=(13, 17, 23, round(255 * _OPACITY)))
    middle = height / 2
    chip_box = (pad, round(middle - chip / 2), pad + chip - 1, round(middle + chip / 2) - 1)
    draw.rectangle(chip_box, fill=DARK[color_number(index)])
    draw.text((2 * pad + chip, middle), label, font=font, fill="#FFFFFF", anchor="lm")
    draw.text((width - pad, middle), probability, font=numbers, fill="#FFFFFF", anchor="rm")
    return np.asarray(image)
