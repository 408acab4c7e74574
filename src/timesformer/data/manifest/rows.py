"""Annotation rows, a path and a label before it becomes an index, and the files that all their readers share.

`timesformer.data.manifest.manifest` is the entry point: it checks the rows and turns them into a `Manifest`.
`timesformer.data.manifest.text_lists` reads lists and tables, `timesformer.data.manifest.datasets` the files of named
data sets.
"""

import codecs
import itertools
import json
import logging
import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from timesformer.bounds import MAX_LIST_BYTES, read_bounded
from timesformer.data.manifest.folders import is_hidden, list_folders, list_paths
from timesformer.data.manifest.splits import parse_split, refuse_non_classes
from timesformer.data.manifest.video_search import PassedOver, describe_passed_over, find_videos_below
from timesformer.data.video.paths import SUFFIXES_IN_SHORT, is_visible_video
from timesformer.data.video.segment import Segment
from timesformer.errors import DataError
from timesformer.files import is_utf8, printable
from timesformer.names import compose

logger = logging.getLogger(__name__)

SEPARATORS = {"tab": "\t", "comma": ",", "semicolon": ";", "space": " "}
"""Separators of path and label, in the order in which they are tried."""

_INTEGER = re.compile(r"[+-]?[0-9]+")
_NUMBERED = (
    (re.compile(r"([0-9]{1,9})(?:\s*[,;:\t]\s*|[.)]?\s+)(\S.*)"), 1, 2),
    (re.compile(r"(\S.*?)\s*[,;\t]\s*([0-9]{1,9})"), 2, 1),
)
"""Lines of a number and a name, with the groups of both in a match."""


@dataclass(frozen=True, slots=True)
class AnnotationRow:
    """One video as an annotation file names it."""

    path: Path
    label: str
    where: str
    """Position in the file, for messages."""
    group: str = ""
    """Person, camera or recording of the video; empty if the file does not say."""
    segment: Segment | None = None
    """The part of the video that has the label; None for all of it."""


def groups_of(rows: Sequence[AnnotationRow], *, source: Path) -> dict[Path, str]:
    """Group of each video that has one; a video that is listed several times needs it once.

    Raises:
        DataError: A video has two groups; the message names both lines.
    """
    given: dict[Path, AnnotationRow] = {}
    for row in rows:
        first = given.setdefault(row.path, row) if row.group else row
        if first.group != row.group:
            raise DataError(
                f"{source}, {row.where}: {row.path} has group {row.group!r} here and {first.group!r} in {first.where}"
            )
    return {path: row.group for path, row in given.items()}


def composed(rows: Sequence[AnnotationRow]) -> list[AnnotationRow]:
    """The rows with labels in NFC, so that labels that differ only in the form of accents are one."""
    return [row if row.label.isascii() else replace(row, label=compose(row.label)) for row in rows]


def is_integer(label: str) -> bool:
    """Whether a label is a whole number, with or without a sign."""
    return _INTEGER.fullmatch(label) is not None


def read_text(path: Path) -> str:
    """Read a text file with any line ends, with or without byte order marks.

    Raises:
        DataError: The file is not UTF-8 text, or has more than `timesformer.bounds.MAX_LIST_BYTES`.
    """
    data = read_bounded(path, most=MAX_LIST_BYTES, error=DataError)
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or 4 * data.count(b"\0") > len(data) > 0:
        raise DataError(f"{path} is not UTF-8 text but UTF-16, such as Excel's 'Unicode text': save it as UTF-8")
    if b"\0" in data:
        raise DataError(f"{path} is not UTF-8 text: it contains NUL bytes; save it as UTF-8")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text: {error}; save it as UTF-8") from error
    # concatenated files have byte order marks inside
    return text.replace("\ufeff", "").replace("\r\n", "\n").replace("\r", "\n")


def read_json(path: Path) -> object:
    """Read a JSON file.

    Raises:
        DataError: The file is not UTF-8 text, or not JSON.
    """
    try:
        return json.loads(read_text(path))
    except (ValueError, RecursionError) as error:  # also numbers of thousands of digits
        raise DataError(f"{path} is not JSON: {error}") from error


def read_classes_file(path: Path, *, used: Collection[str] = ()) -> tuple[str, ...]:
    """Read class names, one per line, the first being class 0; blank lines and comments are skipped.

    A name may be in double quotes. `#` and a space start a comment; `#` without a space starts a name if that name is
    used, and a comment if only the name without `#` is used. If all lines have a number (`0 wave` or `wave,0`) and none
    is used literally, the numbers 0, 1, 2, ... give the order.

    Args:
        path: The file.
        used: Labels that occur, if known.

    Raises:
        DataError: The file is not UTF-8 text, a line with `#` may be a name or a comment, or the numbers count from 1.
    """
    lines = [(number, line.strip()) for number, line in enumerate(read_text(path).split("\n"), start=1)]
    names = used or {line for _, line in lines}
    kept = [line for number, line in lines if line and not _is_comment(line, names, where=f"{path}, line {number}")]
    return tuple(map(unquote, kept if set(kept) & set(names) else _in_order(kept, path=path)))


def quote(name: str) -> str:
    """A name as a line of a class file: in double quotes if it could be read as something else."""
    is_numbered = any(pattern.fullmatch(name) for pattern, _, _ in _NUMBERED)
    return '"' + name.replace('"', '""') + '"' if name.startswith(("#", '"')) or is_numbered else name


def _in_order(lines: Sequence[str], *, path: Path) -> Sequence[str]:
    """Names in the order of their numbers; the lines unchanged if not all have one."""
    for pattern, number, name in _NUMBERED:
        found = [match for match in map(pattern.fullmatch, lines) if match is not None]
        by_number = {int(match[number]): match[name] for match in found}
        if len(found) < len(lines) or len(found) < 2 or len(by_number) < len(found):
            continue
        if max(by_number) == len(lines) - 1:
            return [by_number[index] for index in range(len(lines))]
        if (min(by_number), max(by_number)) == (1, len(lines)):
            raise DataError(
                f"{path}: numbers the classes from 1 to {len(lines)}, but labels count from 0: leave out the numbers, "
                "or put the names in double quotes if the numbers are part of them"
            )
    return lines


def unquote(name: str) -> str:
    """A name without enclosing double quotes, and with doubled quotes as one."""
    return name[1:-1].replace('""', '"') if re.fullmatch(r'"([^"]|"")+"', name) else name


def _is_comment(line: str, used: Collection[str], *, where: str) -> bool:
    without = line.lstrip("#").strip()
    if not line.startswith("#") or line in used:
        return False
    if not without or line[1].isspace() or line[1] == "#" or without in used:
        return True
    raise DataError(
        f"{where}: {line!r} is the name of a class or a comment: put the name in double quotes, or a space after '#'"
    )


def read_label_map(path: Path) -> tuple[str, ...]:
    """Read class names from a JSON map `{"name": "index"}`, in index order.

    Raises:
        DataError: The file is not such a map, or the indices are not 0, 1, 2, ...
    """
    labels = read_json(path)
    if not isinstance(labels, dict) or not all(is_integer(str(index)) for index in labels.values()):
        raise DataError(f'{path} is not a map of class names to numbers, such as {{"wave": "0", "clap": "1"}}')
    by_index = {int(index): name for name, index in labels.items()}
    if sorted(by_index) != list(range(len(labels))):
        raise DataError(f"{path}: the numbers of {len(labels)} classes must be 0 to {len(labels) - 1}, each once")
    return tuple(by_index[index] for index in range(len(labels)))


@dataclass(frozen=True, slots=True)
class ClassFolders:
    """Videos and other files below the class folders of a folder."""

    videos: Mapping[str, Sequence[Path]]
    """Videos of each class, by its name; a class may have none."""
    passed_over: tuple[PassedOver, ...]
    """Files and folders that look like a video, but are not read."""
    others: Counter[str]
    """Number of other files, as in `Found`."""


def check_class_name(name: str, *, where: str) -> None:
    """Refuse a class name that cannot be stored in a model's files, before training.

    Raises:
        DataError: It is blank, has a line break, or is not UTF-8.
    """
    if not is_utf8(name):
        raise DataError(f"{where}: the class '{printable(name)}' is not UTF-8: rename it")
    if not name.strip() or "\n" in name or "\r" in name:
        raise DataError(f"{where}: the class {name!r} is not one line of text: rename it")


def find_class_videos(folder: Path) -> ClassFolders:
    """Find the videos at any depth below each class folder of a folder.

    Raises:
        DataError: The folder contains splits or no folders, a folder's name cannot be a class name, or a folder cannot
            be read.
    """
    classes = _list_class_folders(folder)
    above = [path for path in classes if path.resolve() in (folder.resolve(), *folder.resolve().parents)]
    found = {path.name: find_videos_below(path) for path in classes if path not in above}
    videos = {name: own.videos for name, own in found.items()}
    notes = [name for name, own in found.items() if own.others and not own.videos and not own.passed_over]
    refuse_non_classes(folder, videos, notes=notes)
    loose = [PassedOver(path, "no_class") for path in list_paths(folder) if path.is_file() and is_visible_video(path)]
    loose += (PassedOver(path, "link") for path in above)
    passed_over = (*loose, *itertools.chain.from_iterable(own.passed_over for own in found.values()))
    return ClassFolders(videos, passed_over, sum((own.others for own in found.values()), Counter()))


def _list_class_folders(folder: Path) -> list[Path]:
    broken = [path.name for path in list_paths(folder) if not path.exists() and not is_hidden(path.name)]
    if broken:
        raise DataError(f"{folder}: broken links: {', '.join(broken[:5])}: repair or remove them")
    classes = list_folders(folder)
    if not classes:
        hint = f"; if {folder.name} is a class, list the videos in a file" if parse_split(folder.name) else ""
        raise DataError(f"{folder} contains no folders: allowed are one folder per class, or an annotation file{hint}")
    for path in classes:
        check_class_name(path.name, where=f"{folder}, class folder")
    return classes


def read_class_folders(folder: Path) -> list[AnnotationRow]:
    """Rows of the videos at any depth below class folders, whose names are the labels.

    Files that look like a video, but are not read, are logged.

    Raises:
        DataError: As `find_class_videos`, or a class has no video.
    """
    found = find_class_videos(folder)
    passed_over = describe_passed_over(found.passed_over, found.others, root=folder)
    empty = [name for name, own in found.videos.items() if not own]
    if empty:
        raise DataError(
            f"{folder}: no video in {len(empty)} of {len(found.videos)} class folders ({', '.join(empty[:5])}); "
            f"a video ends with one of {SUFFIXES_IN_SHORT}, or is a folder of frames such as 00001.jpg"
            + (f"; {passed_over}" if passed_over else "")
        )
    if passed_over:
        logger.warning("%s: %s", folder, passed_over)
    return folder_rows(found.videos)


def folder_rows(videos: Mapping[str, Sequence[Path]]) -> list[AnnotationRow]:
    """Rows of videos by class folder."""
    return [AnnotationRow(path=path, label=name, where=name) for name, own in videos.items() for path in own]
