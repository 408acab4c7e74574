"""Patterns such as `videos/*.mp4`, in which what is there as it is written goes before what it could mean."""

from collections.abc import Iterable
from glob import escape, glob, has_magic
from pathlib import Path


def is_pattern(text: str) -> bool:
    """Whether a text has a character that means others in a pattern."""
    return has_magic(text)


def find_matches(pattern: Path) -> list[Path]:
    """All paths that a pattern matches, sorted; `**` stands for folders at any depth.

    A part of the pattern that is the name of something there stands for that alone: `day [1]/*.mp4` are files of
    `day [1]`, and those of `day 1` only where there is no such folder. So do brackets, within a part, if they can.
    """
    places = [Path(pattern.anchor)]
    for number, part in enumerate(pattern.relative_to(pattern.anchor).parts, start=1):
        is_last = number == len(pattern.parts) - bool(pattern.anchor)
        places = [path for path in _step(places, part) if is_last or path.is_dir()]
    return sorted(dict.fromkeys(places))


def _step(places: Iterable[Path], part: str) -> list[Path]:
    """What a part of a pattern matches in some folders, by the narrowest way of reading it that matches anything."""
    places = list(places)
    literal = [place / part for place in places if (place / part).exists()]
    if literal or not has_magic(part):
        return literal
    for text in (part.replace("[", "[[]"), part):
        matches = [Path(name) for place in places for name in glob(str(_escaped(place) / text), recursive=True)]
        if matches:
            return matches
    return []


def _escaped(place: Path) -> Path:
    return Path(escape(str(place)))
