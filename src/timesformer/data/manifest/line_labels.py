"""What stands behind the path in the lines of a list: a label, a number of frames and a label, or something else.

Numbers in front of a label are ambiguous, so all lines of a file are looked at together:

| all lines | read as |
|---|---|
| one number, or a name | the label |
| two numbers, of which the first cannot all be labels too, or are the numbers of frames of most files | frames, label |
| a number in a column of its own and a name | frames, label |
| a number, a space and a name, and the numbers are the numbers of frames of most files | frames, label |

Everything else that begins with numbers is refused with its line: ranges of frames or seconds, several labels, and what
can be read in two ways. A label that the names of the classes hold as it is written is always that class.
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
_UNLESS_LISTED = "(a class that is called so must be listed in classes.txt)"
_NUM_PROBED = 9


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of a list behind whose path something stands."""

    where: str
    """File and line, for messages."""
    video: str
    """The path as it is written."""
    path: Path
    """Where the video lies, or should."""
    label: str
    """What stands behind it, without the quotes around all of it."""
    fields: tuple[str, ...]
    """The same in the fields of the list's separator; one where it is quoted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """Lines that name videos in one way, and what helps to tell numbers apart."""

    entries: Sequence[Entry]
    separator: str
    """Tab, comma, semicolon or space."""
    known: Collection[str] = ()
    """Names of the classes, if they are known."""
    has_header: bool = False
    """Whether a header names a path and a label only, so that there is no number of frames."""
    is_trusted: bool = False
    """Whether a number before a name is a number of frames without being compared: so for folders."""
    count_frames: Callable[[Path], int | None]
    """Gives the number of frames of a video; None if it cannot be read."""

    @property
    def is_in_columns(self) -> bool:
        """Whether a name cannot hold the separator by chance."""
        return self.separator != " "

    def behind_count(self, entry: Entry) -> str:
        """The label without the number before it."""
        return self.separator.join(entry.fields[1:])


def read_labels(reading: Reading) -> list[str]:
    """The label of every line; numbers of frames are dropped.

    Raises:
        DataError: A line has a range or several labels, or the lines can be read in two ways.
    """
    reading = replace(reading, entries=_unquoted([_tidy(entry) for entry in reading.entries]))
    entries = [e for e in reading.entries if not is_integer(e.label) and e.label not in reading.known]
    for entry in entries:
        refuse_several(entry.label, where=entry.where)
        _refuse_range(entry)
    counted = [entry for entry in entries if _has_count(entry)]
    if not counted or len(counted) < len(reading.entries):
        labels = {entry.label for entry in reading.entries}.union(reading.known)
        for entry in entries:
            refuse_joined(entry.label, labels, where=entry.where)
            refuse_numbers(entry.label, where=f"{entry.where}, behind {entry.video!r}")
            refuse_names(entry.label, labels, where=entry.where)
        if len(entries) == len(reading.entries):
            _refuse_columns(reading)
        return [entry.label for entry in reading.entries]
    if reading.has_header:
        raise DataError(
            f"{entries[0].where}: {entries[0].label!r} has two fields, but the header has one for the label"
        )
    if all(len(_numbers(entry.label)) == 2 for entry in entries):
        _refuse_two_labels(reading)
    else:
        _refuse_named_by_number(reading)
    return [reading.behind_count(entry) for entry in entries]


def refuse_several(label: str, *, where: str) -> None:
    """Refuse what is written as several labels whatever the others are: `0|1`, `[0, 1]`, `['wave', 'clap']`.

    Raises:
        DataError: It is.
    """
    inner = re.fullmatch(r"[\[({](.*)[\])}]", label)
    if "|" in label or (inner and re.search(r"[,;'\"]|[0-9]\s", inner[1])):
        raise DataError(f"{where}: {label!r} is several labels; a video takes one {_UNLESS_LISTED}")


def refuse_numbers(label: str, *, where: str) -> None:
    """Refuse a label that is several numbers.

    Raises:
        DataError: It is.
    """
    if len(_numbers(label)) > 1:
        raise DataError(f"{where}: {label!r} is several labels; a video takes one {_UNLESS_LISTED}")


def refuse_names(label: str, labels: Collection[str], *, where: str) -> None:
    """Refuse a label that is made of others: `wave,clap` where `wave` and `clap` occur, too.

    Raises:
        DataError: It is.
    """
    parts = [part.strip() for part in re.split("[,;]", label)]
    if len(parts) > 1 and all(part in labels for part in parts):
        raise DataError(
            f"{where}: {label!r} is several labels ({', '.join(parts)} are classes, too); a video takes one"
        )


def refuse_joined(label: str, labels: Collection[str], *, where: str) -> None:
    """Refuse numbers that are joined, `0/1` or `0+1`, where other labels are numbers.

    Raises:
        DataError: It is.
    """
    if _JOINED.fullmatch(label) and any(map(is_integer, labels)):
        raise DataError(f"{where}: {label!r} is several labels, since others are numbers; a video takes one")


def num_numbers(text: str) -> int:
    """How many numbers a text is that holds nothing else; 0 for any other."""
    return len(_numbers(text))


def plain_number(label: str) -> str:
    """A label, as a whole number if it is one: `3.0`, as pandas writes a column with gaps, or a list of one, `[3]`."""
    match = re.fullmatch(r"([+-]?[0-9]+)\.0*|\[\s*([0-9]+)\s*\]", label)
    return (match[1] or match[2]) if match else label


def _tidy(entry: Entry) -> Entry:
    """Without separators at the end, as spreadsheets leave them, and without a comment behind a number."""
    if is_integer(entry.label):
        return entry
    label = re.sub(r"(?:\s*[,;])+$", "", entry.label)
    label = re.sub(r"^([+-]?[0-9]+)\s+#.*", r"\1", label)
    if label == entry.label:
        return entry
    if not label.strip():
        raise DataError(f"{entry.where}: {entry.video!r} has no label")
    fields = tuple(field for field in entry.fields if field)
    return replace(entry, label=label, fields=(label,) if is_integer(label) else fields)


def _unquoted(entries: Sequence[Entry]) -> Sequence[Entry]:
    """Without single or typographic quotes, if all labels stand in them."""
    if not all(_QUOTES.fullmatch(entry.label) for entry in entries):
        return entries
    return [replace(entry, label=entry.label[1:-1].strip(), fields=(entry.label[1:-1].strip(),)) for entry in entries]


def _numbers(text: str) -> list[str]:
    """The numbers of a text that holds nothing else."""
    parts = [part for part in _BETWEEN.split(text.strip("[](){} ")) if part]
    return parts if all(_NUMBER.fullmatch(part) or _TIME.fullmatch(part) for part in parts) else []


def _is_number(text: str) -> bool:
    return bool(_NUMBER.fullmatch(text) or _TIME.fullmatch(text))


def _has_count(entry: Entry) -> bool:
    """Whether the first field is a whole number, and what follows it is a label."""
    return len(entry.fields) > 1 and is_integer(entry.fields[0]) and len(_numbers(entry.label)) in (0, 2)


def _refuse_range(entry: Entry) -> None:
    """Refuse two numbers or more in front of a label, or a decimal number."""
    numbers = _numbers(entry.label)
    is_range = len(numbers) > 2
    if not numbers and len(entry.fields) > 1:
        leading = [_is_number(field) for field in entry.fields]
        is_range = all(leading[:2]) or (leading[0] and not is_integer(entry.fields[0]))
    if is_range:
        first, second = (numbers or entry.fields)[:2]
        raise DataError(
            f"{entry.where}: {entry.label!r} behind {entry.video!r} is a range ({first} to {second}) and a label, or "
            "several labels; a line takes one label for the whole video: cut the range into a file"
        )


def _refuse_two_labels(reading: Reading) -> None:
    """Refuse two numbers a line, unless the first can only be the number of frames."""
    counts, labels = set(), set()
    for entry in reading.entries:
        first, last = _numbers(entry.label)
        if len(entry.fields) != 2 or not is_integer(plain_number(last)) or int(first) < 1:
            raise DataError(
                f"{entry.where}: {entry.label!r} behind {entry.video!r} is several labels, since {first} is not a "
                "number of frames; a video takes one label, and the label comes last"
            )
        counts.add(int(first))
        labels.add(int(plain_number(last)))
    num_classes = len(reading.known) or len(counts | labels)
    if max(counts) < num_classes and max(labels) < num_classes and not _match(reading):
        entry = reading.entries[0]
        raise DataError(
            f"{entry.where}: {entry.label!r} behind {entry.video!r} is two labels, or a number of frames and a label, "
            "but no files of so many frames are there; a video takes one label: leave the numbers of frames out, or "
            "write a header: path,num_frames,label"
        )


def _refuse_named_by_number(reading: Reading) -> None:
    """Refuse a number and a name a line, unless the number is a column or the number of frames."""
    names = [reading.behind_count(entry) for entry in reading.entries]
    if reading.is_trusted or all(name in reading.known for name in names):
        return
    has_digits = any(name[:1].isdigit() for name in names)
    counts = [int(entry.fields[0]) for entry in reading.entries]
    is_index = len(set(zip(counts, names, strict=True))) == len(set(counts))
    is_column = reading.is_in_columns and (min(counts) > 0 or is_index)
    if has_digits or not (is_column or _match(reading)):
        entry = reading.entries[0]
        raise DataError(
            f"{entry.where}: {entry.label!r} is the name of a class, or a number of frames and the name {names[0]!r}: "
            "if the number belongs to the name, put the name in quotes; otherwise write a header: path,num_frames,label"
        )


def _refuse_columns(reading: Reading) -> None:
    """Refuse columns behind the label: names in which all lines have as many separators, or end with frame counts."""
    entries = reading.entries
    num_fields = {len(entry.fields) for entry in entries}
    if not entries or min(num_fields) < 2:
        return
    last = [entry.fields[-1] for entry in entries]
    has_numbers = all(map(is_integer, last))
    is_tight = not any(re.search(r"[,;]\s", entry.label) for entry in entries)
    is_column = reading.is_in_columns and len(num_fields) == 1 and (is_tight or has_numbers)
    if is_column or (has_numbers and not reading.is_in_columns and _match(reading, place=-1)):
        entry = entries[0]
        raise DataError(
            f"{entry.where}: {entry.label!r} behind {entry.video!r} is {len(entry.fields)} fields, as in all lines; a "
            "line has one label, which comes last: if this is the name of a class, put it in quotes; otherwise leave "
            "the other fields out, or write a header such as path,label,group"
        )


def _match(reading: Reading, *, place: int = 0) -> bool:
    """Whether most of some files that can be read have as many frames as a field says, give or take one."""
    step = max(1, len(reading.entries) // _NUM_PROBED)
    probed = reading.entries[::step][:_NUM_PROBED]
    counted = [(int(entry.fields[place]), reading.count_frames(entry.path)) for entry in probed]
    is_equal = [abs(said - num_frames) <= 1 for said, num_frames in counted if num_frames is not None]
    return 2 * sum(is_equal) > len(is_equal)
