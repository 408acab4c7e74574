"""Readers of lists and tables: text files with a path and a label a line, with or without a header.

`timesformer.data.manifest.text_tables` reads those with a header of more columns, and
`timesformer.data.manifest.line_labels` says what the numbers behind a path mean.
"""

import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from timesformer.data.manifest.line_labels import Entry, Reading, num_numbers, read_labels
from timesformer.data.manifest.listed_paths import (
    OnComments,
    is_commented_out,
    listed_path,
    refuse_elsewhere,
    report_comments,
)
from timesformer.data.manifest.rows import SEPARATORS, AnnotationRow, Finder, is_integer, read_text, unquote
from timesformer.data.manifest.text_tables import (
    ID_COLUMNS,
    LABEL_COLUMNS,
    PATH_COLUMNS,
    Line,
    find_header,
    read_table,
    split_fields,
)
from timesformer.data.video.paths import FRAME_SUFFIXES, VIDEO_SUFFIXES, is_video
from timesformer.data.video.reader import probe
from timesformer.errors import DataError, DecodeError
from timesformer.names import compose

_SUFFIX = "|".join(re.escape(suffix) for suffix in VIDEO_SUFFIXES)
_BETWEEN = {**SEPARATORS, "space": r"\s"}
_LINES = {
    name: re.compile(rf"(.*\S(?:{_SUFFIX}))\s*{separator}\s*(\S.*)", re.IGNORECASE)
    for name, separator in _BETWEEN.items()
}
_QUOTED = {name: re.compile(rf'("(?:[^"]|"")+")\s*{separator}\s*(\S.*)') for name, separator in _BETWEEN.items()}
_TICKS = re.compile(rf"^'([^'\"]+(?:{_SUFFIX}))'", re.IGNORECASE)
_EXCEL = re.compile(r"sep=.", re.IGNORECASE)


def read_list(
    path: Path, *, known: Collection[str] = (), on_comments: OnComments = report_comments
) -> list[AnnotationRow]:
    """Read a text file of videos and labels: `path label` lines, or a table with a header that names its columns.

    Lines are separated into path and label by a tab, a comma, a semicolon or spaces: by the first of these that
    fits all lines, preferring one that leaves whole numbers as labels. A path ends with the last extension of a
    video that has the separator behind it, so that both path and label may hold separators; either may also stand
    in double quotes. Blank lines are passed over.

    Where no separator fits so, lines may also name folders of frames, or videos without their extension, as
    `path label` or `path num_frames label`, with a number as label or a video that is there. A number of frames is not
    needed; those in the video count.

    A line from `#` is a video if there is one of that name, or if it reads as one and there is none that is called so
    without the `#`. Others are comments; those that look like a video are named in the log.

    Args:
        path: The file.
        known: Names of the classes, if they are known; a label that is one of them is never taken apart.
        on_comments: Called with the lines that look like a video, but are comments.

    Raises:
        DataError: The file is not text, or a line cannot be read, has several labels or a range of frames, or can be
            read in two ways; the message names the line.
    """
    lines = _content_lines(path)
    finder = Finder(path.parent, suffix=".mp4")
    place = next((place for place, (_, line) in enumerate(lines) if not line.startswith("#")), len(lines))
    header = find_header(lines[place][1], path=path) if place < len(lines) else None
    if header is None:
        kept = _without_comments(path, lines, finder=finder, on_comments=on_comments)
        return _read_lines(path, kept, finder=finder, known=known, has_header=False) if kept else []
    if header.columns == [header.video, header.label] and header.video in PATH_COLUMNS:
        kept = _without_comments(path, lines[place + 1 :], finder=finder, on_comments=on_comments)
        return _read_lines(path, kept, finder=finder, known=known, has_header=True) if kept else []
    raw = read_text(path).split("\n")
    # tabs at an end of a line separate cells that are empty
    cells = [(number, raw[number - 1].strip(" \u00a0")) for number, _ in lines[place + 1 :]]
    return read_table(path, cells, header=header, finder=finder, known=known, on_comments=on_comments)


def _content_lines(path: Path) -> list[Line]:
    """All lines that are not blank, with their numbers; a first line `sep=;`, which is for Excel, is left out.

    Where every line is one field in double quotes, the quotes are taken off.
    """
    lines = [(number, line.strip()) for number, line in enumerate(read_text(path).split("\n"), start=1)]
    lines = [(number, line) for number, line in lines if line and not (number == 1 and _EXCEL.fullmatch(line))]
    plain = [(number, unquote(line)) for number, line in lines]
    return plain if all(line != text for (_, line), (_, text) in zip(lines, plain, strict=True)) else lines


def _without_comments(path: Path, lines: Sequence[Line], *, finder: Finder, on_comments: OnComments) -> list[Line]:
    kept, passed_over = [], []
    for number, line in lines:
        videos = [pair[0] for name in SEPARATORS if (pair := _split(line, name))] if line.startswith("#") else []
        if not line.startswith("#") or _names_video(line, videos, finder=finder):
            kept.append((number, line))
        elif videos:
            passed_over.append(number)
    on_comments(path, passed_over)
    return kept


def _names_video(line: str, videos: Sequence[str], *, finder: Finder) -> bool:
    """Whether a line from `#` is not a comment; `videos` are the paths that it may name."""
    bare = [fields[0] for separator in SEPARATORS.values() if len(fields := split_fields(line, separator)) > 1]
    if any(map(finder.has, (*videos, *bare))):
        return True
    return bool(videos) and not is_commented_out(videos[0], has=finder.has)


def _split(line: str, name: str) -> tuple[str, str, tuple[str, ...]] | None:
    """Path of a video, label, and the fields of the label; the path may stand in double or single quotes."""
    separator = SEPARATORS[name]
    match = _QUOTED[name].fullmatch(_TICKS.sub(r'"\1"', line))
    if match is not None and is_video(Path(unquote(match[1]))):
        return unquote(match[1]), *_label_fields(match[2], separator)
    match = _LINES[name].fullmatch(line)
    return None if match is None else (match[1], *_label_fields(match[2], separator))


def _label_fields(text: str, separator: str) -> tuple[str, tuple[str, ...]]:
    """The label and its fields, without quotes around one."""
    if separator not in text and '"' not in text:
        return text, (text,)
    fields = split_fields(text, separator)
    return separator.join(fields) if '"' in text else text, tuple(fields)


def _read_lines(
    path: Path, lines: Sequence[Line], *, finder: Finder, known: Collection[str], has_header: bool
) -> list[AnnotationRow]:
    splits = {name: partial(_split_entry, path=path, name=name) for name in SEPARATORS}
    readings = {name: _read_while_fitting(lines, split) for name, split in splits.items()}
    if not any(len(entries) == len(lines) for entries in readings.values()):
        readings = {name: _read_bare(path, lines, name=name, finder=finder) for name in SEPARATORS}
    whole = [name for name, entries in readings.items() if len(entries) == len(lines)]
    if not whole:
        _refuse_line(path, *lines[max(map(len, readings.values()))])
    name = next((name for name in whole if all(is_integer(entry.label) for entry in readings[name])), whole[0])
    reading = Reading(
        entries=readings[name],
        separator=SEPARATORS[name],
        known=known,
        has_header=has_header,
        count_frames=_count_frames,
    )
    return [
        AnnotationRow(path=entry.path, label=label, where=f"line {number}")
        for (number, _), entry, label in zip(lines, readings[name], _read_all_labels(reading), strict=True)
    ]


def _read_all_labels(reading: Reading) -> list[str]:
    """The labels of files and of folders of frames, each kind decided apart: only one may have numbers of frames."""
    if all(len(entry.fields) == 1 for entry in reading.entries):
        return read_labels(reading)
    is_folder = [entry.path.is_dir() or not is_video(entry.path) for entry in reading.entries]
    labels = {}
    for wanted in (False, True):
        places = [place for place, folder in enumerate(is_folder) if folder is wanted]
        entries = [reading.entries[place] for place in places]
        labels |= zip(places, read_labels(replace(reading, entries=entries, is_trusted=wanted)), strict=True)
    return [labels[place] for place in range(len(is_folder))]


def _count_frames(path: Path) -> int | None:
    try:
        return probe(path).num_frames
    except (DecodeError, OSError):
        return None


def _split_entry(number: int, line: str, *, path: Path, name: str) -> Entry | None:
    found = _split(line, name)
    if found is None:
        return None
    video, label, fields = found
    where = f"{path}, line {number}"
    place = listed_path(video, root=path.parent, where=where)
    return Entry(where, video, place, compose(label), tuple(map(compose, fields)))


def _read_bare(path: Path, lines: Sequence[Line], *, name: str, finder: Finder) -> list[Entry]:
    """Lines that may name folders of frames, or videos without extension; some may be missing if most are there."""
    split = partial(_split_bare, path=path, name=name, finder=finder)
    fitting = sum(split(number, line) is not None for number, line in lines)
    return _read_while_fitting(lines, partial(split, may_be_missing=2 * fitting > len(lines)))


def _split_bare(
    number: int, line: str, *, path: Path, name: str, finder: Finder, may_be_missing: bool = False
) -> Entry | None:
    """The same, or a folder of frames or a video without extension, with or without the number of frames behind it."""
    entry = _split_entry(number, line, path=path, name=name)
    if entry is not None:
        return entry
    fields = [field for field in split_fields(line, SEPARATORS[name]) if field]
    if len(fields) < 2 or Path(fields[0]).suffix.lower() in FRAME_SUFFIXES:
        return None
    video, *rest = fields
    has_count = len(rest) == 2 and is_integer(rest[0])
    place = finder.find_bare(video, label=rest[-1])
    is_name = (place is not None or may_be_missing) and not is_integer(rest[-1])
    if not is_name and not (is_integer(rest[-1]) and (len(rest) == 1 or has_count)):
        return None
    where = f"{path}, line {number}"
    place = place or listed_path(video, root=path.parent, where=where)
    return Entry(where, video, place, compose(SEPARATORS[name].join(rest)), tuple(map(compose, rest)))


def _read_while_fitting(lines: Sequence[Line], split: Callable[[int, str], Entry | None]) -> list[Entry]:
    """Every line up to the first that this separator does not fit."""
    entries = []
    for number, line in lines:
        entry = split(number, line)
        if entry is None:
            break
        entries.append(entry)
    return entries


def _refuse_line(path: Path, number: int, line: str) -> None:
    refuse_elsewhere(line.lstrip("\"'"), where=f"{path}, line {number}")
    numbers = max(num_numbers(line.partition(separator)[2]) for separator in SEPARATORS.values())
    raise DataError(
        f"{path}, line {number}: {line!r} is not the path of a video and a label, separated by a tab, a comma, "
        f"a semicolon or spaces, the same in all lines; a path ends with one of {' '.join(VIDEO_SUFFIXES)} or is a "
        f"folder of frames, and a header has one of {', '.join(PATH_COLUMNS + ID_COLUMNS)} and one of "
        f"{', '.join(LABEL_COLUMNS)}" + ("; ranges of frames and several labels are not read" if numbers > 2 else "")
    )
