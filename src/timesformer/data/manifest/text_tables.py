"""Readers of tables: text files with a header that names the columns."""

import csv
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from timesformer.data.manifest.line_labels import (
    plain_number,
    refuse_joined,
    refuse_names,
    refuse_numbers,
    refuse_several,
)
from timesformer.data.manifest.listed_paths import (
    OnComments,
    is_commented_out,
    listed_path,
    refuse_non_local,
    report_comments,
)
from timesformer.data.manifest.rows import SEPARATORS, AnnotationRow, is_integer
from timesformer.data.manifest.segments.columns import RangeColumns, given_range, is_range, read_segment
from timesformer.data.manifest.video_finder import VideoFinder
from timesformer.data.video.paths import VIDEO_SUFFIXES, is_video
from timesformer.data.video.segment import Segment
from timesformer.errors import DataError
from timesformer.names import compose

PATH_COLUMNS = ("path", "video_path", "file_path", "filepath", "video", "file", "file_name", "filename", "folder")
"""Column names of paths."""
ID_COLUMNS = ("youtube_id", "video_id", "id")
"""Column names of video names without extension."""
LABEL_COLUMNS = ("class_name", "label_name", "class", "label", "action", "category")
"""Column names of labels."""

Line = tuple[int, str]
"""Number of a line, counted from 1, and its text."""

_GROUP_COLUMN = "group"
_SEVERAL = re.compile(
    r"(label|class|action|category|tag|target)(_?name)?[ _.]?[0-9]+|labels|classes|actions|categories|tags"
)


@dataclass(frozen=True, slots=True)
class Header:
    """Columns of a table, in lower case, and the names of those that hold the path and the label."""

    columns: list[str]
    separator: str
    video: str
    label: str


def split_fields(line: str, separator: str) -> list[str]:
    """Split a line as CSV; a line with unpaired quotes stays whole."""
    try:
        return [
            text.strip() for text in next(csv.reader([line], delimiter=separator, skipinitialspace=True, strict=True))
        ]
    except csv.Error:
        return [line]


def find_header(line: str, *, path: Path) -> Header | None:
    """Parse a header; None if the line is not one.

    Raises:
        DataError: The column of the path, the label, the group, or a start or end occurs twice.
    """
    for separator in SEPARATORS.values():
        columns = _trimmed([text.lower() for text in split_fields(line, separator)], num=0)
        video = next((name for name in PATH_COLUMNS + ID_COLUMNS if name in columns), None)
        label = next((name for name in LABEL_COLUMNS if name in columns), None)
        if video is not None and label is not None:
            single = (video, label, _GROUP_COLUMN, *filter(is_range, columns))
            twice = next((name for name in single if columns.count(name) > 1), None)
            if twice is not None:
                raise DataError(f"{path}: the header has the column {twice!r} twice: rename or remove one")
            return Header(columns=columns, separator=separator, video=video, label=label)
    return None


def read_table(
    path: Path,
    lines: Sequence[Line],
    *,
    header: Header,
    finder: VideoFinder,
    class_names: Collection[str] = (),
    on_comments: OnComments = report_comments,
) -> list[AnnotationRow]:
    """Read the lines below a header.

    Args:
        path: The file, for messages.
        lines: The lines below the header, without blank ones.
        header: The parsed header.
        finder: Finds videos without extension.
        class_names: Names of the classes, if known; a label that is one of them is never split.
        on_comments: Called with the numbers of comment lines that look like a row.

    Raises:
        DataError: A line cannot be read, has several labels, or a range that is not in seconds; the message names the
            line.
    """
    found: list[tuple[str, dict[str, str], RangeColumns | None, Path]] = []
    for number, line in _without_comments(
        path, lines, header=header, finder=finder, class_names=class_names, on_comments=on_comments
    ):
        where = f"{path}, line {number}"
        cells = _read_cells(line, header, where=where)
        given = given_range(cells, where=where)
        found.append((f"line {number}", cells, given, _locate(cells, header, given, where=where, finder=finder)))
    uncut = {video for _, cells, given, video in found if not _is_cut(video, cells, given)}
    rows = [
        AnnotationRow(
            path=video,
            label=compose(cells[header.label]),
            where=where,
            group=compose(cells.get(_GROUP_COLUMN, "")),
            segment=_segment(cells, given, header=header, where=f"{path}, {where}") if video in uncut else None,
        )
        for where, cells, given, video in found
    ]
    _refuse_several(rows, path=path, class_names=class_names)
    splits = sorted({cells.get("split", "") for _, cells, _, _ in found})
    if len(splits) > 1:
        names = ", ".join(splits)
        raise DataError(f"{path} mixes splits ({names}) in its column 'split': write one file per split")
    return rows


def _without_comments(
    path: Path,
    lines: Sequence[Line],
    *,
    header: Header,
    finder: VideoFinder,
    class_names: Collection[str],
    on_comments: OnComments,
) -> list[Line]:
    plain = [split_fields(line, header.separator) for _, line in lines if not line.startswith("#")]
    column = header.columns.index(header.label)
    labels = {fields[column] for fields in plain if len(fields) > column}.union(class_names)
    kept, skipped = [], []
    for number, line in lines:
        fields = _trimmed(split_fields(line, header.separator), num=len(header.columns))
        looks_like_row = len(fields) == len(header.columns) and len(fields) > 1
        if not line.startswith("#") or (looks_like_row and _is_row(fields, header, finder=finder, labels=labels)):
            kept.append((number, line))
        elif looks_like_row:
            skipped.append(number)
    on_comments(path, skipped)
    return kept


def _is_row(fields: Sequence[str], header: Header, *, finder: VideoFinder, labels: Collection[str]) -> bool:
    """Whether a line that starts with `#` is a row: its first field occurs with the `#`, and it names a video."""
    cells = dict(zip(header.columns, fields, strict=True))
    video, label = cells[header.video], cells[header.label]
    if header.columns[0] == header.video:
        is_name = is_video(Path(video)) or header.video in ID_COLUMNS
        return finder.has(video) or (is_name and not is_commented_out(video, has=finder.has))
    names_video = is_video(Path(video)) or finder.has(video)
    return names_video and header.columns[0] == header.label and not is_commented_out(label, has=labels.__contains__)


def _read_cells(line: str, header: Header, *, where: str) -> dict[str, str]:
    fields = _trimmed(split_fields(line, header.separator), num=len(header.columns))
    if len(fields) != len(header.columns):
        raise DataError(f"{where}: {len(fields)} fields, but the header has {len(header.columns)}: {line!r}")
    cells = dict(zip(header.columns, fields, strict=True))
    for column in (header.video, header.label):
        if not cells[column]:
            raise DataError(f"{where}: the column {column!r} is empty")
    others = [column for column in header.columns if _SEVERAL.fullmatch(column) and column != header.label]
    several = [column for column in others if cells[column] not in ("", cells[header.label])]
    if several:
        raise DataError(
            f"{where}: the columns {header.label!r} and {several[0]!r} are several labels "
            f"({cells[header.label]!r}, {cells[several[0]]!r}); a video has one"
        )
    return cells


def _trimmed(fields: list[str], *, num: int) -> list[str]:
    """The fields without empty ones at the end, as spreadsheets write them; at least the first `num` stay."""
    while len(fields) > num and not fields[-1]:
        fields = fields[:-1]
    return fields


def _locate(
    cells: Mapping[str, str], header: Header, given: RangeColumns | None, *, where: str, finder: VideoFinder
) -> Path:
    video = cells[header.video]
    if header.video in ID_COLUMNS:
        refuse_non_local(video, where=where)
        stems = _stems(video, cells, given)
        found = (finder.search([stem], label=cells[header.label]) for stem in stems)
        return next(filter(None, found), None) or finder.find(stems, label=cells[header.label])
    path = listed_path(video, root=finder.root, where=where)
    if is_video(path):
        return path
    bare = finder.find_bare(video, label=cells[header.label])
    if bare is None:
        raise DataError(f"{where}: {video!r} does not end with one of {' '.join(VIDEO_SUFFIXES)}, and is not a folder")
    return bare


def _stems(video: str, cells: Mapping[str, str], given: RangeColumns | None) -> list[str]:
    """File names of a video's id: the clip that Kinetics downloaders cut, named after its seconds, then the video."""
    if given is None:
        return [video]
    times = [plain_number(cells[name]) for name in (given.start, given.end)]
    if given.unit == "seconds" and all(map(is_integer, times)):
        return ["_".join([video, *(f"{int(time):06d}" for time in times)]), video]
    return [video]


def _segment(cells: Mapping[str, str], given: RangeColumns | None, *, header: Header, where: str) -> Segment | None:
    """The segment of a row; None without a range."""
    if given is None:
        return None
    return read_segment(cells, given, where=where, has_decimal_comma=header.separator == ";")


def _is_cut(video: Path, cells: Mapping[str, str], given: RangeColumns | None) -> bool:
    """Whether the name of a file ends with the range of a row, as in `x_000003_000013.mp4`.

    A file is cut to a range only if that is so in all of its rows: `s5_0_2.mp4` may well have a segment from 0 to 2 s.
    """
    if given is None:
        return False
    numbers = [re.escape(plain_number(cells[name]).lstrip("0") or "0") for name in (given.start, given.end)]
    return re.search("[_-]" + "[_-]".join(f"0*{number}" for number in numbers) + "$", video.stem) is not None


def _refuse_several(rows: Sequence[AnnotationRow], *, path: Path, class_names: Collection[str]) -> None:
    labels = {row.label for row in rows}.union(class_names)
    for row in rows:
        if row.label not in class_names:
            refuse_several(row.label, where=f"{path}, {row.where}")
            refuse_numbers(row.label, where=f"{path}, {row.where}")
            refuse_joined(row.label, labels, where=f"{path}, {row.where}")
            refuse_names(row.label, labels, where=f"{path}, {row.where}")
