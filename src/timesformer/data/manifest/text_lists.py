"""Reader of lists: text files with one path and label per line, with or without a header.

`timesformer.data.manifest.text_tables` reads tables, whose header has more columns, and
`timesformer.data.manifest.line_labels` decides what the numbers after a path mean.
"""

import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from timesformer.data.manifest.line_labels import ParsedLine, ParsedLines, count_numbers, read_labels
from timesformer.data.manifest.listed_paths import (
    OnComments,
    is_commented_out,
    listed_path,
    refuse_non_local,
    report_comments,
)
from timesformer.data.manifest.rows import SEPARATORS, AnnotationRow, is_integer, read_text, unquote
from timesformer.data.manifest.segments.boris import is_boris, read_boris
from timesformer.data.manifest.text_tables import (
    ID_COLUMNS,
    LABEL_COLUMNS,
    PATH_COLUMNS,
    Line,
    find_header,
    read_table,
    split_fields,
)
from timesformer.data.manifest.video_finder import VideoFinder
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
    path: Path, *, class_names: Collection[str] = (), on_comments: OnComments = report_comments
) -> list[AnnotationRow]:
    """Read a text file of videos and labels: `path label` lines, or a table with a header that names its columns.

    Path and label are separated by a tab, a comma, a semicolon or spaces: the first of these that fits all lines,
    preferring one that leaves whole numbers as labels. A path ends with the last video extension before a separator, so
    path and label may both contain separators; either may be in double quotes. Blank lines are skipped.

    If no separator fits, lines may also name folders of frames, or videos without extension, as `path label` or
    `path num_frames label`, if the label is a number or the video exists. The stated frame count is
    ignored.

    A line that starts with `#` is a video if one of that name exists, or if it reads as one and no video has the name
    without `#`. Other such lines are comments; those that look like a video are logged.

    Args:
        path: The file.
        class_names: Names of the classes, if known; a label that is one of them is never split.
        on_comments: Called with the numbers of comment lines that look like a video.

    Raises:
        DataError: The file is not text, or a line cannot be read, has several labels or a range of frames, or has two
            readings; the message names the line.
    """
    lines = _content_lines(path)
    finder = VideoFinder(path.parent, suffix=".mp4")
    if lines and is_boris(lines[0][1]):
        return read_boris(path, read_text(path))
    first = next((index for index, (_, line) in enumerate(lines) if not line.startswith("#")), len(lines))
    header = find_header(lines[first][1], path=path) if first < len(lines) else None
    if header is None:
        kept = _without_comments(path, lines, finder=finder, on_comments=on_comments)
        return _read_lines(path, kept, finder=finder, class_names=class_names, has_header=False) if kept else []
    if header.columns == [header.video, header.label] and header.video in PATH_COLUMNS:
        kept = _without_comments(path, lines[first + 1 :], finder=finder, on_comments=on_comments)
        return _read_lines(path, kept, finder=finder, class_names=class_names, has_header=True) if kept else []
    raw = read_text(path).split("\n")
    # tabs at the end of a line separate empty cells
    cells = [(number, raw[number - 1].strip(" \u00a0")) for number, _ in lines[first + 1 :]]
    return read_table(path, cells, header=header, finder=finder, class_names=class_names, on_comments=on_comments)


def _content_lines(path: Path) -> list[Line]:
    """Numbered lines that are not blank, without the first line `sep=;` of Excel.

    If every line is one field in double quotes, the quotes are removed.
    """
    lines = [(number, line.strip()) for number, line in enumerate(read_text(path).split("\n"), start=1)]
    lines = [(number, line) for number, line in lines if line and not (number == 1 and _EXCEL.fullmatch(line))]
    plain = [(number, unquote(line)) for number, line in lines]
    return plain if all(line != text for (_, line), (_, text) in zip(lines, plain, strict=True)) else lines


def _without_comments(path: Path, lines: Sequence[Line], *, finder: VideoFinder, on_comments: OnComments) -> list[Line]:
    kept, skipped = [], []
    for number, line in lines:
        videos = [pair[0] for name in SEPARATORS if (pair := _split(line, name))] if line.startswith("#") else []
        if not line.startswith("#") or _names_video(line, videos, finder=finder):
            kept.append((number, line))
        elif videos:
            skipped.append(number)
    on_comments(path, skipped)
    return kept


def _names_video(line: str, videos: Sequence[str], *, finder: VideoFinder) -> bool:
    """Whether a line that starts with `#` names a video; `videos` are its possible paths."""
    bare = [fields[0] for separator in SEPARATORS.values() if len(fields := split_fields(line, separator)) > 1]
    if any(map(finder.has, (*videos, *bare))):
        return True
    return bool(videos) and not is_commented_out(videos[0], has=finder.has)


def _split(line: str, name: str) -> tuple[str, str, tuple[str, ...]] | None:
    """Path of a video, label, and fields of the label; the path may be in double or single quotes."""
    separator = SEPARATORS[name]
    match = _QUOTED[name].fullmatch(_TICKS.sub(r'"\1"', line))
    if match is not None and is_video(Path(unquote(match[1]))):
        return unquote(match[1]), *_label_fields(match[2], separator)
    match = _LINES[name].fullmatch(line)
    return None if match is None else (match[1], *_label_fields(match[2], separator))


def _label_fields(text: str, separator: str) -> tuple[str, tuple[str, ...]]:
    """The label and its fields, without the quotes around fields."""
    if separator not in text and '"' not in text:
        return text, (text,)
    fields = split_fields(text, separator)
    return separator.join(fields) if '"' in text else text, tuple(fields)


def _read_lines(
    path: Path, lines: Sequence[Line], *, finder: VideoFinder, class_names: Collection[str], has_header: bool
) -> list[AnnotationRow]:
    splits = {name: partial(_split_line, path=path, name=name) for name in SEPARATORS}
    parsed_by = {name: _read_while_fitting(lines, split) for name, split in splits.items()}
    if not any(len(entries) == len(lines) for entries in parsed_by.values()):
        parsed_by = {name: _read_bare(path, lines, name=name, finder=finder) for name in SEPARATORS}
    whole = [name for name, entries in parsed_by.items() if len(entries) == len(lines)]
    if not whole:
        _refuse_line(path, *lines[max(map(len, parsed_by.values()))])
    name = next((name for name in whole if all(is_integer(entry.label) for entry in parsed_by[name])), whole[0])
    parsed = ParsedLines(
        lines=parsed_by[name],
        separator=SEPARATORS[name],
        class_names=class_names,
        has_header=has_header,
        count_frames=_count_frames,
    )
    return [
        AnnotationRow(path=entry.path, label=label, where=f"line {number}")
        for (number, _), entry, label in zip(lines, parsed_by[name], _read_all_labels(parsed), strict=True)
    ]


def _read_all_labels(parsed: ParsedLines) -> list[str]:
    """Labels of files and of folders of frames, judged separately: only one kind may have frame counts."""
    if all(len(entry.fields) == 1 for entry in parsed.lines):
        return read_labels(parsed)
    is_folder = [entry.path.is_dir() or not is_video(entry.path) for entry in parsed.lines]
    labels = {}
    for wanted in (False, True):
        indices = [index for index, folder in enumerate(is_folder) if folder is wanted]
        lines = [parsed.lines[index] for index in indices]
        labels |= zip(indices, read_labels(replace(parsed, lines=lines, trusts_counts=wanted)), strict=True)
    return [labels[index] for index in range(len(is_folder))]


def _count_frames(path: Path) -> int | None:
    try:
        return probe(path).num_frames
    except (DecodeError, OSError):
        return None


def _split_line(number: int, line: str, *, path: Path, name: str) -> ParsedLine | None:
    found = _split(line, name)
    if found is None:
        return None
    video, label, fields = found
    where = f"{path}, line {number}"
    located = listed_path(video, root=path.parent, where=where)
    return ParsedLine(where, video, located, compose(label), tuple(map(compose, fields)))


def _read_bare(path: Path, lines: Sequence[Line], *, name: str, finder: VideoFinder) -> list[ParsedLine]:
    """Lines that may name folders of frames, or videos without extension; some may be missing if most exist."""
    split = partial(_split_bare_line, path=path, name=name, finder=finder)
    fitting = sum(split(number, line) is not None for number, line in lines)
    return _read_while_fitting(lines, partial(split, may_be_missing=2 * fitting > len(lines)))


def _split_bare_line(
    number: int, line: str, *, path: Path, name: str, finder: VideoFinder, may_be_missing: bool = False
) -> ParsedLine | None:
    """As `_split_line`; also a folder of frames or a video without extension, with an optional frame count."""
    entry = _split_line(number, line, path=path, name=name)
    if entry is not None:
        return entry
    fields = [field for field in split_fields(line, SEPARATORS[name]) if field]
    if len(fields) < 2 or Path(fields[0]).suffix.lower() in FRAME_SUFFIXES:
        return None
    video, *rest = fields
    has_count = len(rest) == 2 and is_integer(rest[0])
    located = finder.find_bare(video, label=rest[-1])
    is_name = (located is not None or may_be_missing) and not is_integer(rest[-1])
    if not is_name and not (is_integer(rest[-1]) and (len(rest) == 1 or has_count)):
        return None
    where = f"{path}, line {number}"
    located = located or listed_path(video, root=path.parent, where=where)
    return ParsedLine(where, video, located, compose(SEPARATORS[name].join(rest)), tuple(map(compose, rest)))


def _read_while_fitting(lines: Sequence[Line], split: Callable[[int, str], ParsedLine | None]) -> list[ParsedLine]:
    """The lines before the first one that this separator does not fit."""
    entries = []
    for number, line in lines:
        entry = split(number, line)
        if entry is None:
            break
        entries.append(entry)
    return entries


def _refuse_line(path: Path, number: int, line: str) -> None:
    refuse_non_local(line.lstrip("\"'"), where=f"{path}, line {number}")
    numbers = max(count_numbers(line.partition(separator)[2]) for separator in SEPARATORS.values())
    raise DataError(
        f"{path}, line {number}: {line!r} is not the path of a video and a label, separated by a tab, a comma, "
        f"a semicolon or spaces, the same in all lines; a path ends with one of {' '.join(VIDEO_SUFFIXES)} or is a "
        f"folder of frames, and a header has one of {', '.join(PATH_COLUMNS + ID_COLUMNS)} and one of "
        f"{', '.join(LABEL_COLUMNS)}"
        + ("; segments need a header such as path,label,start,end; a line has one label" if numbers > 2 else "")
    )
