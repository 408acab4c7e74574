"""Texts on the pictures of an explanation."""

from pathlib import Path

from timesformer.explanation.explanation import Explanation
from timesformer.files import printable

_METHODS = {
    "rollout": "attention rollout, for no class in particular",
    "class": "gradient times attention, for this class",
    "contribution": "contribution to this class",
    "occlusion": "occlusion, for this class",
}


def headline(explanation: Explanation) -> str:
    """Class and its probability: `wave, 93.1 %`."""
    name = f"{explanation.label}, {100 * explanation.probability:.1f} %"
    return _visible(f"predicted: {name}" if explanation.target is None else name)


def details(explanation: Explanation) -> str:
    """Method, relevance that stays in the class token, and file name."""
    parts = [_METHODS[explanation.method]]
    if explanation.cls_fraction is not None:
        parts.append(f"{100 * explanation.cls_fraction:.0f} % stays in the class token")
    if explanation.path:
        parts.append(Path(explanation.path).name)
    return _visible("  |  ".join(parts))


def percent(fraction: float) -> str:
    """A fraction as a percentage of two significant digits: `1.3 %`."""
    return f"{float(f'{100 * fraction:.2g}'):g} %"


def _visible(text: str) -> str:
    """A text in one line: bytes that are not UTF-8 escaped, control characters replaced."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in printable(text))
