"""Lists of videos without labels, of any length: read line by line, and no video is looked up."""

import csv
import math
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from timesformer.data.manifest.listed_paths import refuse_non_local
from timesformer.data.video.segment import Segment
from timesformer.errors import DataError
from timesformer.files import printable

_PATH, _TIMES = "path", ("start", "end")
_BOM = "\ufeff"

ListedVideo = tuple[str, Segment | None]
"""Path of a video, and the segment of it; None for all of it."""


def read_path_list(path: Path) -> Iterator[ListedVideo]:
    """Read a list of videos: a path on each line, or CSV with a header that has `path` and, for segments, `start` and
    `end` in seconds. Other columns are ignored, and so are blank lines and, in a list without columns, comments: lines
    that start with `#` and a space.

    Relative paths start at the folder of the list. Names that are not UTF-8 are read as the file system has them.

    Raises:
        DataError: The list cannot be read, or a line is not a path on this machine or a segment; the message names the
            line.
    """
    try:
        with open(path, encoding="utf-8", errors="surrogateescape", newline="") as file:
            lines = enumerate(file, start=1)
            _, first = next(lines, (1, ""))
            first = first.removeprefix(_BOM)
            columns = [name.strip().lower() for name in next(csv.reader([first]), [])]
            if _PATH in columns:
                yield from _read_table(path, file, columns)
            else:
                yield from _read_lines(path, ((number, line) for number, line in _and_rest((1, first), lines)))
    except OSError as error:
        raise DataError(f"{printable(str(path))}: cannot be read: {error.strerror or error}") from error


def _and_rest(first: tuple[int, str], rest: Iterator[tuple[int, str]]) -> Iterator[tuple[int, str]]:
    yield first
    yield from rest


def _read_lines(path: Path, lines: Iterable[tuple[int, str]]) -> Iterator[ListedVideo]:
    for number, line in lines:
        text = line.rstrip("\r\n")
        if text.strip() and not _is_comment(text):
            yield _located(text, path=path, where=_where(path, number)), None


def _is_comment(text: str) -> bool:
    """Whether a line is a comment; `#` without a space starts the name of a file."""
    return text[0] == "#" and not text[1:2].strip()


def _read_table(path: Path, lines: Iterable[str], columns: Sequence[str]) -> Iterator[ListedVideo]:
    reader = csv.reader(lines)
    try:
        for fields in reader:
            if not any(map(str.strip, fields)):
                continue
            where = _where(path, reader.line_num + 1)
            if len(fields) != len(columns):
                raise DataError(f"{where}: has {len(fields)} fields, the header has {len(columns)}")
            values = dict(zip(columns, fields, strict=True))
            yield _located(values[_PATH], path=path, where=where), _segment(values, where=where)
    except csv.Error as error:
        raise DataError(f"{_where(path, reader.line_num + 1)}: is not CSV: {error}") from error


def _segment(values: dict[str, str], *, where: str) -> Segment | None:
    texts = [values.get(name, "").strip() for name in _TIMES]
    if not any(texts):
        return None
    try:
        start, end = map(float, texts)
    except ValueError:
        start, end = math.nan, math.nan
    if not 0 <= start < end < math.inf:
        raise DataError(f"{where}: start={texts[0]!r} and end={texts[1]!r} are not two rising times in seconds, from 0")
    return Segment(start, end)


def _located(text: str, *, path: Path, where: str) -> str:
    if "\0" in text or not text.strip():
        raise DataError(f"{where}: {printable(text)!r} is not a path")
    refuse_non_local(text, where=where)
    return os.path.join(path.parent, text)


def _where(path: Path, number: int) -> str:
    return f"{printable(str(path))}, line {number}"
