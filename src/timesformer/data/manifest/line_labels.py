"""Label of a line in a list: the text after the path, with or without a frame count before the label.

Numbers before a label are ambiguous, so all lines of a file are judged together:

| all lines | read as |
|---|---|
| one number, or a name | the label |
| two numbers, the first too large for a label, or the frame count of most files | frame count, label |
| a number in its own column, and a name | frame count, label |
| a number, a space and a name, and the number is the frame count of most files | frame count, label |

Everything else that begins with numbers is an error that names the line: ranges of frames or seconds, several labels,
and text with two readings. A label that is literally a class name is always that class.
"""

import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from timesformer.data.manifest.rows import is_integer
from timesformer.errors import DataError

_NUMBER = re.compile(r"[+-]?([0-9]+([.,][0-9]*)?|[.][0-9]+)(e[+-]?[0-9]+)?", re.IGNORECASE)
_TIME = re.compile(r"[0-9]+(:[0-9]+)+([.][0-9]+)?|[0-9.]+-[0-9.]+")
_JOINED = re.compile(r"[0-9]+(\s*[/+&_-]\s*[0-9]+)+")
_BETWEEN = re.compile(r"[\s,;|]+")
_QUOTES = re.compile(r"(['`]).+\1|‘.+’|“.+”")
_UNLESS_LISTED = "(list it in classes.txt if it is the name of one class)"
_NUM_PROBED = 9


@dataclass(frozen=True, slots=True)
class ParsedLine:
    """A line of a list, separated into a path and the text after it."""

    where: str
    """File and line, for messages."""
    video: str
    """The path as written."""
    path: Path
    """Path of the video, which need not exist."""
    label: str
    """Text after the path, without quotes around it."""
    fields: tuple[str, ...]
    """The text split at the separator; one field if it is quoted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ParsedLines:
    """All lines of a list with one separator, and what distinguishes frame counts from labels."""

    lines: Sequence[ParsedLine]
    separator: str
    """Tab, comma, semicolon or space."""
    class_names: Collection[str] = ()
    """Names of the classes, if they are class_names."""
    has_header: bool = False
    """Whether a header names only a path and a label, so that no line has a frame count."""
    trusts_counts: bool = False
    """Whether a number before a name is a frame count without checking the video, as for folders of frames."""
    count_frames: Callable[[Path], int | None]
    """Number of frames of a video; None if it cannot be read."""

    @property
    def is_in_columns(self) -> bool:
        """Whether a name cannot hold the separator by chance."""
        return self.separator != " "

    def label_after_count(self, line: ParsedLine) -> str:
        """The label without the frame count before it."""
        return self.separator.join(line.fields[1:])


def read_labels(parsed: ParsedLines) -> list[str]:
    """Labels of all lines, without frame counts.

    Raises:
        DataError: A line has a range or several labels, or the lines have two readings.
    """
    parsed = replace(parsed, lines=_unquoted([_tidy(line) for line in parsed.lines]))
    unsure = [line for line in parsed.lines if not is_integer(line.label) and line.label not in parsed.class_names]
    for line in unsure:
        refuse_several(line.label, where=line.where)
        _refuse_range(line)
    counted = [line for line in unsure if _has_count(line)]
    if not counted or len(counted) < len(parsed.lines):
        labels = {line.label for line in parsed.lines}.union(parsed.class_names)
        for line in unsure:
            refuse_joined(line.label, labels, where=line.where)
            refuse_numbers(line.label, where=f"{line.where}, after {line.video!r}")
            refuse_names(line.label, labels, where=line.where)
        if len(unsure) == len(parsed.lines):
            _refuse_columns(parsed)
        return [line.label for line in parsed.lines]
    if parsed.has_header:
        raise DataError(
            f"{unsure[0].where}: {unsure[0].label!r} has two fields, but the header has one for the label: name both "
            "columns in the header, such as path,num_frames,label"
        )
    if all(len(_numbers(line.label)) == 2 for line in unsure):
        _refuse_two_labels(parsed)
    else:
        _refuse_named_by_number(parsed)
    return [parsed.label_after_count(line) for line in unsure]


def refuse_several(label: str, *, where: str) -> None:
    """Refuse a list of labels, whatever the other labels are: `0|1`, `[0, 1]`, `['wave', 'clap']`.

    Raises:
        DataError: The label is such a list.
    """
    inner = re.fullmatch(r"[\[({](.*)[\])}]", label)
    if "|" in label or (inner and re.search(r"[,;'\"]|[0-9]\s", inner[1])):
        raise DataError(f"{where}: {label!r} is several labels; a video has one {_UNLESS_LISTED}")


def refuse_numbers(label: str, *, where: str) -> None:
    """Refuse several numbers in place of a label.

    Raises:
        DataError: The label is several numbers.
    """
    if len(_numbers(label)) > 1:
        raise DataError(f"{where}: {label!r} is several labels; a video has one {_UNLESS_LISTED}")


def refuse_names(label: str, labels: Collection[str], *, where: str) -> None:
    """Refuse a label that joins other labels: `wave,clap` if `wave` and `clap` occur, too.

    Raises:
        DataError: The label joins others.
    """
    names = [name.strip() for name in re.split("[,;]", label)]
    if len(names) > 1 and all(name in labels for name in names):
        raise DataError(f"{where}: {label!r} is several labels ({', '.join(names)} are classes, too); a video has one")


def refuse_joined(label: str, labels: Collection[str], *, where: str) -> None:
    """Refuse joined numbers, `0/1` or `0+1`, if other labels are numbers.

    Raises:
        DataError: The label is joined numbers.
    """
    if _JOINED.fullmatch(label) and any(map(is_integer, labels)):
        raise DataError(f"{where}: {label!r} is several labels, since other labels are numbers; a video has one")


def count_numbers(text: str) -> int:
    """Count of the numbers in a text that holds nothing else; 0 for any other text."""
    return len(_numbers(text))


def plain_number(label: str) -> str:
    """`3` for `3.0`, as pandas writes a column with gaps, and for `[3]`; any other label unchanged."""
    match = re.fullmatch(r"([+-]?[0-9]+)\.0*|\[\s*([0-9]+)\s*\]", label)
    return (match[1] or match[2]) if match else label


def _tidy(line: ParsedLine) -> ParsedLine:
    """The line without trailing separators, as spreadsheets write them, and without a comment after a number."""
    if is_integer(line.label):
        return line
    label = re.sub(r"(?:\s*[,;])+$", "", line.label)
    label = re.sub(r"^([+-]?[0-9]+)\s+#.*", r"\1", label)
    if label == line.label:
        return line
    if not label.strip():
        raise DataError(f"{line.where}: {line.video!r} has no label after it")
    fields = tuple(field for field in line.fields if field)
    return replace(line, label=label, fields=(label,) if is_integer(label) else fields)


def _unquoted(lines: Sequence[ParsedLine]) -> Sequence[ParsedLine]:
    """The lines without single or typographic quotes, if all labels are quoted."""
    if not all(_QUOTES.fullmatch(line.label) for line in lines):
        return lines
    return [replace(line, label=line.label[1:-1].strip(), fields=(line.label[1:-1].strip(),)) for line in lines]


def _numbers(text: str) -> list[str]:
    """The numbers of a text that holds nothing else; none for any other text."""
    words = [word for word in _BETWEEN.split(text.strip("[](){} ")) if word]
    return words if all(map(_is_number, words)) else []


def _is_number(text: str) -> bool:
    return bool(_NUMBER.fullmatch(text) or _TIME.fullmatch(text))


def _has_count(line: ParsedLine) -> bool:
    """Whether the first field is a whole number and the rest is one label."""
    return len(line.fields) > 1 and is_integer(line.fields[0]) and len(_numbers(line.label)) in (0, 2)


def _refuse_range(line: ParsedLine) -> None:
    """Refuse two or more numbers, or a decimal number, before a label."""
    numbers = _numbers(line.label)
    is_range = len(numbers) > 2
    if not numbers and len(line.fields) > 1:
        leading = [_is_number(field) for field in line.fields]
        is_range = all(leading[:2]) or (leading[0] and not is_integer(line.fields[0]))
    if is_range:
        first, second = (numbers or line.fields)[:2]
        raise DataError(
            f"{line.where}: {line.label!r} after {line.video!r} is a range ({first} to {second}) and a label, or "
            "several labels: write segments as a table, with the header path,label,start,end and times in seconds"
        )


def _refuse_two_labels(parsed: ParsedLines) -> None:
    """Refuse two numbers per line, unless the first can only be the frame count."""
    counts, labels = set(), set()
    for line in parsed.lines:
        first, last = _numbers(line.label)
        if len(line.fields) != 2 or not is_integer(plain_number(last)) or int(first) < 1:
            raise DataError(
                f"{line.where}: {line.label!r} after {line.video!r} is several labels, since {first} is not a "
                "number of frames; a video has one label, and the label comes last"
            )
        counts.add(int(first))
        labels.add(int(plain_number(last)))
    num_classes = len(parsed.class_names) or len(counts | labels)
    if max(counts) < num_classes and max(labels) < num_classes and not _has_frame_counts(parsed):
        line = parsed.lines[0]
        raise DataError(
            f"{line.where}: {line.label!r} after {line.video!r} is two labels, or a number of frames and a label, "
            "but the files do not have that many frames; a video has one label: leave out the numbers of frames, or "
            "write a header: path,num_frames,label"
        )


def _refuse_named_by_number(parsed: ParsedLines) -> None:
    """Refuse a number and a name per line, unless the number is a column or the frame count."""
    names = [parsed.label_after_count(line) for line in parsed.lines]
    if parsed.trusts_counts or all(name in parsed.class_names for name in names):
        return
    has_digits = any(name[:1].isdigit() for name in names)
    counts = [int(line.fields[0]) for line in parsed.lines]
    is_index = len(set(zip(counts, names, strict=True))) == len(set(counts))
    is_column = parsed.is_in_columns and (min(counts) > 0 or is_index)
    if has_digits or not (is_column or _has_frame_counts(parsed)):
        line = parsed.lines[0]
        raise DataError(
            f"{line.where}: {line.label!r} is the name of a class, or a number of frames and the name {names[0]!r}: "
            "if the number is part of the name, put the name in quotes; otherwise write a header: path,num_frames,label"
        )


def _refuse_columns(parsed: ParsedLines) -> None:
    """Refuse extra columns: labels that all have as many separators, or all end with a frame count."""
    lines = parsed.lines
    num_fields = {len(line.fields) for line in lines}
    if not lines or min(num_fields) < 2:
        return
    last = [line.fields[-1] for line in lines]
    has_numbers = all(map(is_integer, last))
    is_tight = not any(re.search(r"[,;]\s", line.label) for line in lines)
    is_column = parsed.is_in_columns and len(num_fields) == 1 and (is_tight or has_numbers)
    if is_column or (has_numbers and not parsed.is_in_columns and _has_frame_counts(parsed, field=-1)):
        line = lines[0]
        raise DataError(
            f"{line.where}: {line.label!r} after {line.video!r} is {len(line.fields)} fields, as in all lines; a "
            "line has one label, which comes last: if this is the name of a class, put it in quotes; otherwise leave "
            "out the other fields, or write a header such as path,label,group"
        )


def _has_frame_counts(parsed: ParsedLines, *, field: int = 0) -> bool:
    """Whether a field is the frame count, give or take one, of most readable files among up to nine."""
    step = max(1, len(parsed.lines) // _NUM_PROBED)
    probed = parsed.lines[::step][:_NUM_PROBED]
    counted = [(int(line.fields[field]), parsed.count_frames(line.path)) for line in probed]
    is_equal = [abs(stated - num_frames) <= 1 for stated, num_frames in counted if num_frames is not None]
    return 2 * sum(is_equal) > len(is_equal)
