"""Glob patterns such as `videos/*.mp4`, in which existing literal names win."""

from collections.abc import Iterable
from glob import escape, glob, has_magic
from pathlib import Path


def is_pattern(text: str) -> bool:
    """Whether a text has a glob character."""
    return has_magic(text)


def find_matches(pattern: Path) -> list[Path]:
    """All paths that a pattern matches, sorted; `**` stands for folders at any depth.

    A component that names an existing file or folder matches only that: `day [1]/*.mp4` matches files of `day [1]`, and
    files of `day 1` only if `day [1]` does not exist. Within a component, brackets are literal if that matches.
    """
    paths = [Path(pattern.anchor)]
    for number, component in enumerate(pattern.relative_to(pattern.anchor).parts, start=1):
        is_last = number == len(pattern.parts) - bool(pattern.anchor)
        paths = [path for path in _match_component(paths, component) if is_last or path.is_dir()]
    return sorted(dict.fromkeys(paths))


def _match_component(folders: Iterable[Path], component: str) -> list[Path]:
    """Matches of one path component in some folders, by its most literal reading that matches anything."""
    folders = list(folders)
    literal = [folder / component for folder in folders if (folder / component).exists()]
    if literal or not has_magic(component):
        return literal
    for text in (component.replace("[", "[[]"), component):
        matches = [Path(name) for folder in folders for name in glob(str(_escaped(folder) / text), recursive=True)]
        if matches:
            return matches
    return []


def _escaped(folder: Path) -> Path:
    return Path(escape(str(folder)))
