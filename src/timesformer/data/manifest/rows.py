"""What readers of annotation share: rows of a path and a label, before labels become numbers, and where videos lie.

`timesformer.data.manifest.manifest` is the way in; it checks the rows and turns them into a `Manifest`. Lists and
tables are read by `timesformer.data.manifest.text_lists`, the files of named data sets by
`timesformer.data.manifest.datasets`.
"""

import codecs
import itertools
import json
import logging
import os
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from timesformer.data.manifest.folders import is_hidden, list_folders, list_paths, unreadable
from timesformer.data.manifest.splits import parse_split, refuse_parts
from timesformer.data.manifest.video_search import PassedOver, describe_passed_over, find_videos_below
from timesformer.data.video.paths import SUFFIXES_IN_SHORT, is_visible_video
from timesformer.errors import DataError
from timesformer.files import is_utf8, printable
from timesformer.names import as_stored, compose

logger = logging.getLogger(__name__)

SEPARATORS = {"tab": "\t", "comma": ",", "semicolon": ";", "space": " "}
"""What may stand between path and label, in the order in which it is looked for."""

_INTEGER = re.compile(r"[+-]?[0-9]+")
_NUMBERED = (
    (re.compile(r"([0-9]{1,9})(?:\s*[,;:\t]\s*|[.)]?\s+)(\S.*)"), 1, 2),
    (re.compile(r"(\S.*?)\s*[,;\t]\s*([0-9]{1,9})"), 2, 1),
)
"""Lines of a number and a name, and the places of both in a match."""
_VIDEO_FOLDERS = ("videos", "20bn-something-something-v2", "frames", "rgb", ".")


@dataclass(frozen=True, slots=True)
class AnnotationRow:
    """One video as an annotation file names it."""

    path: Path
    label: str
    where: str
    """Its place in the file, for messages."""
    group: str = ""
    """Person, camera or recording that the video comes from; empty if the file does not say."""


def groups_of(rows: Sequence[AnnotationRow], *, source: Path) -> dict[Path, str]:
    """The group of each video that has one; a video that is listed several times needs it once.

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
    """Rows whose labels have their accents in one form, so that labels that print alike are one."""
    return [row if row.label.isascii() else replace(row, label=compose(row.label)) for row in rows]


def is_integer(label: str) -> bool:
    """Whether a label is a whole number, with or without a sign."""
    return _INTEGER.fullmatch(label) is not None


def read_text(path: Path) -> str:
    """Read a text file, whatever its line ends, with or without byte order marks.

    Raises:
        DataError: The file is not UTF-8 text.
    """
    data = path.read_bytes()
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or 4 * data.count(b"\0") > len(data) > 0:
        raise DataError(f"{path} is not UTF-8 text but UTF-16, as Excel's 'Unicode text' is: save it as UTF-8")
    if b"\0" in data:
        raise DataError(f"{path} is not UTF-8 text: it holds NUL bytes")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text: {error}; save it as UTF-8") from error
    # files that were joined have marks inside, where nobody sees them
    return text.replace("\ufeff", "").replace("\r\n", "\n").replace("\r", "\n")


def read_json(path: Path) -> object:
    """Read a JSON file.

    Raises:
        DataError: The file is not UTF-8 text, or not JSON.
    """
    try:
        return json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise DataError(f"{path} is not JSON: {error}") from error


def read_class_names(path: Path, *, used: Collection[str] = ()) -> tuple[str, ...]:
    """Read names of classes, one a line, the first being class 0; blank lines and comments are passed over.

    A name may stand in double quotes. A line from `#` is a comment if a space follows; otherwise it is a name if that
    is used, and a comment if only the name without `#` is. Where all lines have a number (`0 wave` or `wave,0`) and
    none is used as it stands, the numbers 0, 1, 2, ... give the order.

    Args:
        path: The file.
        used: Labels that are names of the classes, as far as they are known.

    Raises:
        DataError: The file is not UTF-8 text, a line from `#` can be a name or a comment, or the numbers count from 1.
    """
    lines = [(number, line.strip()) for number, line in enumerate(read_text(path).split("\n"), start=1)]
    names = used or {line for _, line in lines}
    kept = [line for number, line in lines if line and not _is_comment(line, names, where=f"{path}, line {number}")]
    return tuple(map(unquote, kept if set(kept) & set(names) else _in_order(kept, path=path)))


def quote(name: str) -> str:
    """A name as a line of a file of classes: in double quotes where it could be taken for something else."""
    is_numbered = any(pattern.fullmatch(name) for pattern, _, _ in _NUMBERED)
    return '"' + name.replace('"', '""') + '"' if name.startswith(("#", '"')) or is_numbered else name


def _in_order(lines: Sequence[str], *, path: Path) -> Sequence[str]:
    """Names by the numbers that all lines have, or the lines where they have none."""
    for pattern, number, name in _NUMBERED:
        found = [match for match in map(pattern.fullmatch, lines) if match is not None]
        by_number = {int(match[number]): match[name] for match in found}
        if len(found) < len(lines) or len(found) < 2 or len(by_number) < len(found):
            continue
        if max(by_number) == len(lines) - 1:
            return [by_number[place] for place in range(len(lines))]
        if (min(by_number), max(by_number)) == (1, len(lines)):
            raise DataError(
                f"{path}: numbers the classes from 1 to {len(lines)}, but labels count from 0: leave the numbers out, "
                "or put the names in double quotes if the numbers belong to them"
            )
    return lines


def unquote(name: str) -> str:
    """A name without the double quotes around it, in which quotes are doubled."""
    return name[1:-1].replace('""', '"') if re.fullmatch(r'"([^"]|"")+"', name) else name


def _is_comment(line: str, used: Collection[str], *, where: str) -> bool:
    without = line.lstrip("#").strip()
    if not line.startswith("#") or line in used:
        return False
    if not without or line[1].isspace() or line[1] == "#" or without in used:
        return True
    raise DataError(
        f"{where}: {line!r} is the name of a class or a comment: put the name in double quotes, or a space behind '#'"
    )


def read_label_map(path: Path) -> tuple[str, ...]:
    """Read the names of `{"name": "index"}`, in the order of the indices.

    Raises:
        DataError: The file is no such map, or the indices are not 0, 1, 2, ...
    """
    labels = read_json(path)
    if not isinstance(labels, dict) or not all(is_integer(str(index)) for index in labels.values()):
        raise DataError(f"{path} holds no map of class names to numbers")
    by_index = {int(index): name for name, index in labels.items()}
    if sorted(by_index) != list(range(len(labels))):
        raise DataError(f"{path}: the numbers of {len(labels)} classes must be 0 to {len(labels) - 1}, each once")
    return tuple(by_index[index] for index in range(len(labels)))


@dataclass(frozen=True, slots=True)
class ClassFolders:
    """What lies below the class folders of a folder."""

    videos: Mapping[str, Sequence[Path]]
    """The videos of each class, by its name; of some, there may be none."""
    passed_over: tuple[PassedOver, ...]
    """What could be a video and is not read."""
    others: Counter[str]
    """Number of other files, as in `Found`."""


def check_class_name(name: str, *, where: str) -> None:
    """Refuse a name of a class that no file of a model can hold, before anybody trains on it.

    Raises:
        DataError: It is blank, has a line break, or is not UTF-8.
    """
    if not is_utf8(name):
        raise DataError(f"{where}: the class '{printable(name)}' is not UTF-8: rename it")
    if not name.strip() or "\n" in name or "\r" in name:
        raise DataError(f"{where}: the class {name!r} is not one line of text: rename it")


def find_class_videos(folder: Path) -> ClassFolders:
    """Find the videos anywhere below each class folder of a folder.

    Raises:
        DataError: The folder holds splits or no folders, a name cannot be that of a class, or a folder cannot be read.
    """
    classes = _list_class_folders(folder)
    above = [path for path in classes if path.resolve() in (folder.resolve(), *folder.resolve().parents)]
    found = {path.name: find_videos_below(path) for path in classes if path not in above}
    videos = {name: own.videos for name, own in found.items()}
    notes = [name for name, own in found.items() if own.others and not own.videos and not own.passed_over]
    refuse_parts(folder, videos, notes=notes)
    beside = [PassedOver(path, "no_class") for path in list_paths(folder) if path.is_file() and is_visible_video(path)]
    beside += (PassedOver(path, "link") for path in above)
    passed_over = (*beside, *itertools.chain.from_iterable(own.passed_over for own in found.values()))
    return ClassFolders(videos, passed_over, sum((own.others for own in found.values()), Counter()))


def _list_class_folders(folder: Path) -> list[Path]:
    broken = [path.name for path in list_paths(folder) if not path.exists() and not is_hidden(path.name)]
    if broken:
        raise DataError(f"{folder}: links that lead nowhere: {', '.join(broken[:5])}")
    classes = list_folders(folder)
    if not classes:
        hint = f"; if {folder.name} is a class, name the videos in a list" if parse_split(folder.name) else ""
        raise DataError(f"{folder} holds no folders: allowed are one folder a class, or an annotation file{hint}")
    for path in classes:
        check_class_name(path.name, where=f"{folder}, class folder")
    return classes


def read_folder(folder: Path) -> list[AnnotationRow]:
    """Rows of a folder of class folders: their names are the labels, the videos lie anywhere below.

    What is passed over there goes to the log.

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
    """Rows of the videos of class folders, by the names of these."""
    return [AnnotationRow(path=path, label=name, where=name) for name, own in videos.items() for path in own]


@dataclass(slots=True)
class Finder:
    """Finds videos, files or folders of frames, that are named without extension; lists every folder once."""

    root: Path
    suffix: str
    home: str = "videos"
    """Folder, and `suffix`, of the path that is given where no video is found."""
    _listings: dict[Path, dict[str, Path]] = field(default_factory=dict)

    def find(self, stems: Sequence[str], *, label: str) -> Path:
        """The first video of one of these names, in the usual folders or one below, named after the label."""
        return self.search(stems, label=label) or self.root / self.home / f"{stems[0]}{self.suffix}"

    def search(self, stems: Sequence[str], *, label: str = "") -> Path | None:
        """The same; None where no video is found. A name may begin with folders."""
        for name in _VIDEO_FOLDERS:
            for folder in (self.root / name, as_stored(self.root / name / label)):
                for stem in map(compose, stems):
                    place = (folder / stem).parent if "/" in stem else folder
                    found = self._list(place).get(stem.rpartition("/")[2])
                    if found is not None:
                        return found
        return None

    def find_bare(self, name: str, *, label: str) -> Path | None:
        """The folder of this path, or the video that is called so without its extension; None where there is none."""
        return self.root / name if (self.root / name).is_dir() else self.search([name], label=label)

    def has(self, name: str) -> bool:
        """Whether there is a file or folder of this path, or a video that is called so without its extension."""
        return os.path.lexists(self.root / name) or self.search([name]) is not None

    def _list(self, folder: Path) -> dict[str, Path]:
        if folder not in self._listings:
            self._listings[folder] = dict(_named(folder)) if folder.is_dir() else {}
        return self._listings[folder]


def _named(folder: Path) -> Iterator[tuple[str, Path]]:
    """What a name can mean in a folder, files last, since these win."""
    try:
        with os.scandir(folder) as entries:
            found = sorted((not entry.is_dir(), entry.name) for entry in entries)
    except OSError as error:
        raise unreadable(folder, error) from error
    for is_file, name in found:
        path = folder / name
        if not is_file:
            yield compose(name), path
        elif is_visible_video(path):
            yield compose(path.stem), path
