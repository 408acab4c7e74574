"""Segments in the aggregated events that BORIS exports as a table: one row for each event, in seconds.

State events are segments, and their behavior is the label; modifiers are not part of it. Point events have no duration
and are left out. The subject is the group if every video shows one subject.

Source: the user guide, boris.readthedocs.io, "Export aggregated events".
"""

import csv
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from timesformer.data.manifest.rows import AnnotationRow
from timesformer.data.manifest.segments.media import find_media
from timesformer.data.manifest.segments.times import parse_seconds
from timesformer.data.manifest.text_tables import split_fields
from timesformer.data.manifest.video_finder import VideoFinder
from timesformer.data.video.segment import Segment
from timesformer.errors import DataError
from timesformer.names import compose

logger = logging.getLogger(__name__)

_SEPARATORS = ("\t", ",", ";")
_MEDIA = ("media file name", "media file path", "media file")
_START, _STOP, _TYPE, _BEHAVIOR = "start (s)", "stop (s)", "behavior type", "behavior"
_NOTHING = ("", "na", "nan", "not found", "none")
_NO_SUBJECT = (*_NOTHING, "no focal subject")


def is_boris(line: str) -> bool:
    """Whether a line is the first one of an export of BORIS, of aggregated events or another one."""
    columns = _columns(line)
    if _BEHAVIOR in columns:
        return any(name in columns for name in ("observation id", *_MEDIA))
    return columns[0] == "observation id"  # events that are not aggregated begin with one line for each property


def read_boris(path: Path, text: str) -> list[AnnotationRow]:
    """Read the state events of all observations.

    Videos are searched at their path, then by file name next to the table and in `videos`.

    Args:
        path: The file, for messages.
        text: Its content.

    Raises:
        DataError: The file is another export of BORIS, an observation has no video, several in a row or a time offset,
            or an event has no start or stop; the message names the line.
    """
    text = re.sub(r"\A\s*sep=.\n", "\n", text, flags=re.IGNORECASE)  # Excel's
    header, separator = _header(path, text)
    finder = VideoFinder(path.parent, suffix=".mp4")
    rows, num_points = [], 0
    for number, cells in _read_rows(path, text, header=header, separator=separator):
        if cells[_TYPE].upper() == "POINT":
            num_points += 1
            continue
        rows.append(_row(cells, path=path, number=number, finder=finder, has_decimal_comma=separator == ";"))
    if num_points and not rows:
        raise DataError(f"{path} has {num_points} point events and no state events: a segment needs a start and a stop")
    if num_points:
        logger.warning("%s: left out %d point events, which have no duration", path, num_points)
    return _with_groups(rows, path=path)


def _columns(line: str) -> list[str]:
    return [name.lower() for name in max((split_fields(line, separator) for separator in _SEPARATORS), key=len)]


def _header(path: Path, text: str) -> tuple[list[str], str]:
    """Names of the columns in lower case, and the separator."""
    first = next(line for line in text.split("\n") if line.strip())
    header = _columns(first)
    missing = [name for name in (_BEHAVIOR, _TYPE, _START, _STOP) if name not in header]
    if missing or not any(name in header for name in _MEDIA):
        raise DataError(
            f"{path} is an export of BORIS without {', '.join(map(repr, missing or _MEDIA[:1]))}: choose Observations "
            "> Export aggregated events, as CSV or TSV"
        )
    separator = max(_SEPARATORS, key=lambda one: len(split_fields(first, one)))
    return header, separator


def _read_rows(
    path: Path, text: str, *, header: Sequence[str], separator: str
) -> Iterator[tuple[int, Mapping[str, str]]]:
    """Cells of each row below the header by column, with the number of the line on which the row ends."""
    reader = csv.reader(text.split("\n"), delimiter=separator)
    try:
        rows = [(reader.line_num, fields) for fields in reader if any(map(str.strip, fields))]
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num}: {error}") from error
    for number, fields in rows[1:]:
        if len(fields) != len(header):
            raise DataError(f"{path}, line {number}: {len(fields)} fields, but the header has {len(header)}")
        yield number, dict(zip(header, map(str.strip, fields), strict=True))


def _row(
    cells: Mapping[str, str], *, path: Path, number: int, finder: VideoFinder, has_decimal_comma: bool
) -> AnnotationRow:
    where = f"{path}, line {number}"
    if cells[_TYPE].upper() != "STATE":
        raise DataError(f"{where}: behavior type {cells[_TYPE]!r} is neither STATE nor POINT")
    times = []
    for name in (_START, _STOP):
        if cells[name].lower() in _NOTHING:
            raise DataError(f"{where}: {cells[_BEHAVIOR]!r} has no {name!r}: code both in BORIS")
        spot = f"{where}, column {name!r}"
        times.append(parse_seconds(cells[name], where=spot, has_decimal_comma=has_decimal_comma))
    subject = cells.get("subject", "")
    return AnnotationRow(
        path=find_media([_media(cells, where=where)], finder=finder),
        label=compose(cells[_BEHAVIOR]),
        where=f"line {number}",
        group="" if subject.lower() in _NO_SUBJECT else compose(subject),
        segment=Segment(*times),
    )


def _media(cells: Mapping[str, str], *, where: str) -> str:
    offset = cells.get("time offset (s)", cells.get("time offset", ""))
    if offset.lower() not in _NOTHING and offset.strip("+-0.,"):
        raise DataError(f"{where}: the observation has a time offset ({offset} s): set it to 0 in BORIS, export again")
    given = next((cells[name] for name in _MEDIA if cells.get(name, "").lower() not in _NOTHING), "")
    queued = cells.get("source", given).partition("|")[0].split(";")
    if len(queued) > 1:
        raise DataError(
            f"{where}: the observation plays {len(queued)} files one after another, and its times count from the start "
            "of the first: code each video in its own observation"
        )
    if not given:
        kind = cells.get("observation type", "")
        raise DataError(f"{where}: the observation has no video" + (f" ({kind})" if kind else ""))
    return given


def _with_groups(rows: Sequence[AnnotationRow], *, path: Path) -> list[AnnotationRow]:
    """The rows; without groups if a video has several subjects, since groups are of whole videos."""
    subjects: dict[Path, set[str]] = {}
    for row in rows:
        subjects.setdefault(row.path, set()).add(row.group)
    if all(len(own) == 1 for own in subjects.values()):
        return list(rows)
    logger.warning("%s: subjects are not used as groups, since some videos show several", path)
    return [replace(row, group="") for row in rows]
