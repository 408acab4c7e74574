"""Colors of classes, the same in every picture of a model."""

LIGHT = ("#1F22E6", "#A79310", "#299EBC", "#B668FE", "#005347", "#6B4403", "#7C9B70", "#5D1D86")
"""On white: contrast of 3 or more. Any two differ by 33 or more in CIELAB, also as people without red or green cones
see them (Machado et al. 2009), and by 23 without blue cones."""
DARK = ("#4C4DFD", "#E0CB1A", "#297F8A", "#CCB6FE", "#5FC9A5", "#997303", "#AFEF8D", "#7855BB")
"""On `DARK_PAPER`: the same hues, lighter."""
LIGHT_PAPER, DARK_PAPER = "#FFFFFF", "#161B22"
DASHES = ("none", "7 3", "2 2", "9 3 2 3")
"""Dashes of the curves of the first 8 classes, the next 8, and so on."""


def color_number(index: int) -> int:
    """Position of a class's color in `LIGHT` and `DARK`, by its index in the model."""
    return index % len(LIGHT)


def dash_number(index: int) -> int:
    """Position of a class's dashes in `DASHES`, by its index in the model."""
    return index // len(LIGHT) % len(DASHES)


def to_rgb(color: str) -> tuple[int, int, int]:
    """Red, green and blue from 0 to 255 of a color such as `#1F22E6`."""
    red, green, blue = bytes.fromhex(color.removeprefix("#"))
    return red, green, blue
