"""Columns of a table that hold the start and the end of a segment.

| unit | columns |
|---|---|
| seconds | `start,end`, `start_time,end_time`, `t_start,t_end`, `start_s,end_s`, `begin,end`, `onset,offset` |
| milliseconds | the same with `ms`: `start_ms,end_ms` |
| frames | the same with `frame`: refused, since a frame has no time without the rate |
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from timesformer.data.manifest.segments.times import parse_seconds
from timesformer.data.video.segment import Segment
from timesformer.errors import DataError

Unit = Literal["seconds", "milliseconds", "frames"]

_PAIRS = {
    ("start", "end"), ("start", "stop"), ("begin", "end"), ("begin", "stop"), ("onset", "offset"), ("from", "to"),
}  # fmt: skip
_EDGE = "start|end|begin|stop|onset|offset"
_RANGE = re.compile(
    rf"(.*[^a-z])?({_EDGE})([^a-z].*)?|({_EDGE})(time|frame|sec|seconds|ms|s)|(time|frame|sec)({_EDGE})|(from|to)(_.*)?"
)
_GLUED = re.compile(rf"(time|frame|sec)?({_EDGE})(time|frames?|sec|seconds|ms|s)?")
_UNITS: dict[str, Unit] = {
    **dict.fromkeys(("t", "time", "s", "sec", "secs", "second", "seconds"), "seconds"),
    **dict.fromkeys(("ms", "msec", "millisecond", "milliseconds"), "milliseconds"),
    **dict.fromkeys(("frame", "frames", "idx", "index"), "frames"),
}
_ORDER: tuple[Unit, ...] = ("seconds", "milliseconds", "frames")
_FROM_START = ("", "0", "0.0", "-1", "-1.0")
_TO_END = ("", "-1", "-1.0")


@dataclass(frozen=True, slots=True)
class RangeColumns:
    """Columns of the start and the end of a segment."""

    start: str
    end: str
    unit: Unit

    def is_given(self, cells: Mapping[str, str]) -> bool:
        """Whether a row limits the label to a part of the video, instead of leaving both cells empty, 0 or -1."""
        return cells[self.start] not in _FROM_START or cells[self.end] not in _TO_END


@dataclass(frozen=True, slots=True)
class _Column:
    name: str
    edge: str
    unit: Unit
    form: str
    """The name without the word for the edge: equal for both columns of a pair."""


def is_range(column: str) -> bool:
    """Whether a column name, in lower case, names the start or end of a range: `start`, `end_frame`."""
    return _RANGE.fullmatch(column) is not None


def find_ranges(columns: Iterable[str]) -> list[RangeColumns]:
    """Pairs of columns, with names in lower case, that hold the start and the end of a segment; seconds come first."""
    parsed = [column for name in columns if (column := _parse(name)) is not None]
    pairs = [
        RangeColumns(start=first.name, end=last.name, unit=first.unit)
        for first in parsed
        for last in parsed
        if (first.edge, last.edge) in _PAIRS and first.form == last.form
    ]
    return sorted(pairs, key=lambda pair: _ORDER.index(pair.unit))


def given_range(cells: Mapping[str, str], *, where: str) -> RangeColumns | None:
    """The pair of columns that limits a row to a part of its video; None if the label is for all of it.

    Args:
        cells: Cells of the row by column, names in lower case.
        where: File and line, for messages.

    Raises:
        DataError: Columns with values look like a range, but are not a pair, or several pairs have values.
    """
    given = [pair for pair in find_ranges(cells) if pair.is_given(cells)]
    same = [pair for pair in given if pair.unit == given[0].unit]
    if len({(cells[pair.start], cells[pair.end]) for pair in same}) > 1:
        names = " and ".join(f"{pair.start},{pair.end}" for pair in same)
        raise DataError(f"{where}: several ranges of the video, in the columns {names}: keep one of them")
    if given:
        return given[0]
    paired = {name for pair in find_ranges(cells) for name in (pair.start, pair.end)}
    single = {name: cell for name, cell in cells.items() if is_range(name) and name not in paired}
    if any(cell not in _FROM_START for cell in single.values()):
        shown = ", ".join(f"{name}={cell}" for name, cell in single.items() if cell)
        raise DataError(
            f"{where}: a range of the video ({shown}) without both its start and its end: name the columns start and "
            "end, in seconds"
        )
    return None


def read_segment(
    cells: Mapping[str, str], columns: RangeColumns, *, where: str, has_decimal_comma: bool = False
) -> Segment:
    """The segment in two columns of a row, as written: it may be empty, reversed or negative.

    Args:
        cells: Cells of the row by column.
        columns: The two columns.
        where: File and line, for messages.
        has_decimal_comma: As in `parse_seconds`.

    Raises:
        DataError: A cell is empty or not a time, or the columns count frames.
    """
    shown = f"{columns.start}={cells[columns.start]}, {columns.end}={cells[columns.end]}"
    if columns.unit == "frames":
        raise DataError(
            f"{where}: a range of frames ({shown}): segments are in seconds: divide by the frame rate, and name the "
            "columns start and end"
        )
    if not (cells[columns.start] and cells[columns.end]):
        raise DataError(
            f"{where}: a range of the video with one end ({shown}): write both, or leave both empty for the whole video"
        )
    times = [
        parse_seconds(cells[name], where=f"{where}, column {name!r}", has_decimal_comma=has_decimal_comma)
        for name in (columns.start, columns.end)
    ]
    divisor = 1000 if columns.unit == "milliseconds" else 1
    return Segment(*(time / divisor for time in times))


def _parse(name: str) -> _Column | None:
    words: list[str] = []
    for word in re.findall("[a-z]+", name):
        glued = _GLUED.fullmatch(word)
        words += filter(None, glued.groups()) if glued else (word,)
    edges = [word for word in words if any(word in pair for pair in _PAIRS)]
    units = {_UNITS[word] for word in words if word in _UNITS}
    if len(edges) != 1 or len(units - {"seconds"}) > 1:
        return None
    unit = next(iter(units - {"seconds"}), "seconds")  # start_time_ms is in milliseconds
    return _Column(name, edges[0], unit, form=name.replace(edges[0], "*", 1))
