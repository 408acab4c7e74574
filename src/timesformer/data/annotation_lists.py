"""Readers of lists and tables: text files with a path and a label a line, with or without a header."""

import csv
import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from timesformer.data.annotations import SEPARATORS, Finder, Row, is_integer, read_text
from timesformer.data.video_paths import FRAME_SUFFIXES, VIDEO_SUFFIXES, is_video
from timesformer.errors import DataError

_PATH_COLUMNS = ("path", "video_path", "file_path", "filepath", "video", "file", "file_name", "filename", "folder")
_ID_COLUMNS = ("youtube_id", "video_id", "id")
_LABEL_COLUMNS = ("class_name", "label_name", "class", "label", "action", "category")
_GROUP_COLUMN = "group"

_SUFFIX = "|".join(re.escape(suffix) for suffix in VIDEO_SUFFIXES)
_LINES = {
    name: re.compile(rf"(.*\S(?:{_SUFFIX}))\s*{separator}\s*(\S.*)", re.IGNORECASE)
    for name, separator in {**SEPARATORS, "space": r"\s"}.items()
}
_COUNT_AND_LABEL = re.compile(r"[0-9]+\s*[\s,;]\s*(\S.*)")


def read_list(path: Path) -> list[Row]:
    """Read a text file of videos and labels: `path label` lines, or a table with a header that names its columns.

    Lines are separated into path and label by a tab, a comma, a semicolon or spaces: by the first of these that
    fits all lines, preferring one that leaves whole numbers as labels. A path ends with the last extension of a
    video that has the separator behind it, so that both path and label may hold separators; either may also stand
    in double quotes. Blank lines and lines from `#` are passed over.

    Where no separator fits so, lines may also name folders of frames: `folder label` or `folder num_frames label`,
    with a number as label or a folder that is there. The number of frames is not needed; those in the folder count.

    Raises:
        DataError: The file is not text, or a line cannot be read; the message names the line.
    """
    raw = read_text(path).split("\n")
    lines = [(number, line.strip()) for number, line in enumerate(raw, start=1)]
    lines = [(number, line) for number, line in lines if line and not line.startswith("#")]
    if not lines:
        return []
    header = _find_header(lines[0][1])
    if header is None:
        return _read_lines(path, lines)
    if header.columns == [header.video, header.label] and header.video in _PATH_COLUMNS:
        return _read_lines(path, lines[1:])
    # tabs at an end of a line separate cells that are empty
    return _read_table(path, [(number, raw[number - 1].strip(" \r")) for number, _ in lines[1:]], header)


def _fields(line: str, separator: str) -> list[str]:
    """Separate a line as CSV does; quotes that do not pair up leave the line whole."""
    try:
        return [
            text.strip() for text in next(csv.reader([line], delimiter=separator, skipinitialspace=True, strict=True))
        ]
    except csv.Error:
        return [line]


def _split(line: str, name: str) -> tuple[str, str] | None:
    if '"' in line:
        fields = _fields(line, SEPARATORS[name])
        if len(fields) == 2 and is_video(Path(fields[0])) and fields[1]:
            return fields[0], fields[1]
    match = _LINES[name].fullmatch(line)
    return (match[1], match[2]) if match else None


def _read_lines(path: Path, lines: list[tuple[int, str]]) -> list[Row]:
    readings = [_read_while_fitting(lines, name, _split) for name in SEPARATORS]
    if not any(len(pairs) == len(lines) for pairs in readings):
        split = partial(_split_or_folder, root=path.parent)
        readings = [_read_while_fitting(lines, name, split) for name in SEPARATORS]
    whole = [pairs for pairs in readings if len(pairs) == len(lines)]
    if not whole:
        number, line = lines[max(map(len, readings))]
        raise DataError(
            f"{path}, line {number}: {line!r} is not the path of a video and a label, separated by a tab, a comma, "
            f"a semicolon or spaces, the same in all lines; a path ends with one of {' '.join(VIDEO_SUFFIXES)} or is a "
            f"folder of frames, and a header has one of {', '.join(_PATH_COLUMNS + _ID_COLUMNS)} and one of "
            f"{', '.join(_LABEL_COLUMNS)}"
        )
    pairs = next((pairs for pairs in whole if all(is_integer(label) for _, label in pairs)), whole[0])
    return [
        Row(path=path.parent / video, label=_without_count(label, path.parent / video), where=f"line {number}")
        for (number, _), (video, label) in zip(lines, pairs, strict=True)
    ]


def _split_or_folder(line: str, name: str, *, root: Path) -> tuple[str, str] | None:
    """The same, or a folder of frames and a label, with or without the number of frames between."""
    pair = _split(line, name)
    if pair is not None:
        return pair
    fields = [field for field in _fields(line, SEPARATORS[name]) if field]
    if len(fields) < 2:
        return None
    folder, *counts, label = fields
    is_folder = Path(folder).suffix.lower() not in FRAME_SUFFIXES and (is_integer(label) or (root / folder).is_dir())
    has_count = len(counts) == 1 and is_integer(counts[0])
    return (folder, label) if is_folder and (not counts or has_count) else None


def _without_count(label: str, video: Path) -> str:
    """The label of a folder of frames that is called like a video file, without the number of frames before it."""
    match = _COUNT_AND_LABEL.fullmatch(label)
    return match[1] if match is not None and video.is_dir() else label


def _read_while_fitting(
    lines: list[tuple[int, str]], name: str, split: Callable[[str, str], tuple[str, str] | None]
) -> list[tuple[str, str]]:
    """Path and label of every line up to the first that this separator does not fit."""
    pairs = []
    for _, line in lines:
        pair = split(line, name)
        if pair is None:
            break
        pairs.append(pair)
    return pairs


@dataclass(frozen=True, slots=True)
class _Header:
    columns: list[str]
    separator: str
    video: str
    label: str


def _find_header(line: str) -> _Header | None:
    """The header that a line is, if it is one."""
    for separator in SEPARATORS.values():
        columns = [text.lower() for text in _fields(line, separator)]
        video = next((name for name in _PATH_COLUMNS + _ID_COLUMNS if name in columns), None)
        label = next((name for name in _LABEL_COLUMNS if name in columns), None)
        if video is not None and label is not None:
            return _Header(columns=columns, separator=separator, video=video, label=label)
    return None


def _read_table(path: Path, lines: list[tuple[int, str]], header: _Header) -> list[Row]:
    finder = Finder(path.parent, suffix=".mp4")
    rows, splits = [], set()
    for number, line in lines:
        where = f"{path}, line {number}"
        cells = _read_cells(line, header, where=where)
        splits.add(cells.get("split", ""))
        video = _locate(cells, header, where=where, finder=finder)
        group = unicodedata.normalize("NFC", cells.get(_GROUP_COLUMN, ""))  # accents have two forms
        rows.append(Row(path=video, label=cells[header.label], where=f"line {number}", group=group))
    if len(splits) > 1:
        names = ", ".join(sorted(splits))
        raise DataError(f"{path} mixes splits ({names}) in its column 'split': write a file for each")
    return rows


def _read_cells(line: str, header: _Header, *, where: str) -> dict[str, str]:
    fields = _fields(line, header.separator)
    if len(fields) != len(header.columns):
        raise DataError(f"{where}: {len(fields)} fields, but the header has {len(header.columns)}: {line!r}")
    cells = dict(zip(header.columns, fields, strict=True))
    for column in (header.video, header.label):
        if not cells[column]:
            raise DataError(f"{where}: the column {column!r} is empty")
    return cells


def _locate(cells: dict[str, str], header: _Header, *, where: str, finder: Finder) -> Path:
    video = cells[header.video]
    if header.video in _ID_COLUMNS:
        return finder.find(_stems(video, cells), label=cells[header.label])
    if not is_video(Path(video)) and not (finder.root / video).is_dir():
        raise DataError(f"{where}: {video!r} does not end with one of {' '.join(VIDEO_SUFFIXES)}, and is no folder")
    return finder.root / video


def _stems(video: str, cells: dict[str, str]) -> list[str]:
    """Names under which downloaders of Kinetics keep a clip: with its seconds in the source video, or without."""
    times = [cells.get("time_start", ""), cells.get("time_end", "")]
    if all(is_integer(time) for time in times):
        return ["_".join([video, *(f"{int(time):06d}" for time in times)]), video]
    return [video]
