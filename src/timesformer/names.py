"""Comparison of names as people type them: equal, similar, and visually alike."""

import os
import re
import unicodedata
from collections.abc import Iterable
from pathlib import Path

_CONFUSABLE = str.maketrans(
    "АВЕЅІЈКМНОРСТУХаеѕіјорсухԁһԛԝ" + "ΑΒΕΖΗΙΚΜΝΟΡΤΥΧονρ" + "‘’‚′`´“”„″" + "‐‑‒–—−",
    "ABESIJKMHOPCTYXaesijopcyxdhqw" + "ABEZHIKMNOPTYXovp" + "''''''" + '""""' + "------",
)
"""Cyrillic and Greek letters, quotes and dashes, by the character that they look like."""
_DIGITS = str.maketrans("01I|", "Olll")
_GAPS = re.compile(r"(?<![0-9])[\s_\-.\"']+|[\s_\-.\"']+(?![0-9])")
_ZEROS = re.compile(r"(?<![0-9])0+(?=[0-9])")


def compose(name: str) -> str:
    """A name with each accented letter as one character (NFC), as keyboards type it; macOS file names use NFD."""
    return unicodedata.normalize("NFC", name)


def as_stored(path: Path) -> Path:
    """The path in the form in which it exists on disk: unchanged, NFC or NFD; unchanged if it does not exist."""
    if str(path).isascii() or os.path.lexists(path):
        return path
    forms = (Path(unicodedata.normalize(form, str(path))) for form in ("NFC", "NFD"))
    return next((form for form in forms if os.path.lexists(form)), path)


def are_alike(name: str, other: str) -> bool:
    """Whether two names look alike, or differ only in case, spacing, `_`, `-`, `.`, quotes or leading zeros."""
    return not look(name).isdisjoint(look(other))


def look(name: str) -> frozenset[str]:
    """Keys of a name; names that look alike have a key in common."""
    return frozenset((f"print {printed(name)}", f"loose {_loose(name)}"))


def printed(name: str) -> str:
    """A name as it looks in print: equal if only code points differ, or 0 and O, or 1, l and I."""
    return _visible(name).translate(_DIGITS)


def tell_apart(name: str, other: str) -> tuple[str, str]:
    """Both names in quotes for a message; with code points instead of letters if they look alike."""
    quote = ascii if name != other and _visible(name) == _visible(other) else repr
    return quote(name), quote(other)


def quoted(names: Iterable[str]) -> list[str]:
    """Names in quotes for a message; those that look like another one are shown with code points."""
    names = list(names)
    return [
        ascii(name) if any(name != other and _visible(name) == _visible(other) for other in names) else repr(name)
        for name in names
    ]


def _visible(name: str) -> str:
    composed = unicodedata.normalize("NFKC", name).translate(_CONFUSABLE)
    shown = "".join(letter for letter in composed if unicodedata.category(letter) != "Cf")
    return " ".join(shown.split())


def _loose(name: str) -> str:
    joined = _GAPS.sub("", _visible(name).casefold())
    return _ZEROS.sub("", re.sub(r"[\s_\-.\"']+", " ", joined))
