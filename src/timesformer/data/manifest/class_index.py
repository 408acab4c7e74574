"""From the label of a video, a class name or an index, to the index of its class; errors of labels."""

import re
from collections.abc import Collection, Sequence
from pathlib import Path

from timesformer.data.manifest.line_labels import plain_number
from timesformer.data.manifest.rows import AnnotationRow, is_integer
from timesformer.errors import DataError, closest
from timesformer.names import compose, tell_apart

_DECIMAL = re.compile(r"[+-]?([0-9]+[.][0-9]*|[.][0-9]+)")


def are_indices(labels: Sequence[str], class_names: Collection[str] | None) -> bool:
    """Whether the labels of a list are class indices: most are numbers.

    Args:
        labels: All labels.
        class_names: Names of the classes, if known. Labels that all are class names count as names, unless all are
            whole numbers.
    """
    names = set(map(compose, class_names or ()))
    if all(label in names for label in labels) and not all(map(is_integer, labels)):
        return False
    numbers = [label for label in labels if to_index(label) is not None or _DECIMAL.fullmatch(label)]
    return 2 * len(numbers) > len(labels)


def to_index(label: str) -> int | None:
    """Index that a label states, also as `3.0` or `[3]`; None if the label is not a whole number."""
    plain = label if is_integer(label) else plain_number(label)
    return int(plain) if is_integer(plain) else None


def count_from_one(labels: Sequence[str], *, num_classes: int = 0) -> bool:
    """Whether indices run from 1 to the number of classes instead of from 0.

    Args:
        labels: All labels.
        num_classes: Number of classes; 0 if unknown, then every index must occur.
    """
    used = [index for label in labels if (index := to_index(label)) is not None]
    return 0 < len(used) == len(labels) and min(used) == 1 and max(used) == (num_classes or len(set(used)))


def number_problem(label: str) -> str:
    """Error of an index, whatever the number of classes; empty if the index is valid."""
    index = to_index(label)
    if index is None:
        is_decimal = _DECIMAL.fullmatch(label) is not None
        problem = f"label {label} is not a whole number" if is_decimal else f"label {label!r} is not a number"
        return f"{problem}, unlike the others"
    return f"label {label} is negative, labels count from 0" if index < 0 else ""


def name_numbers(rows: Sequence[AnnotationRow], *, source: Path, classes_file: str) -> tuple[str, ...]:
    """Names `0`, `1`, ... for classes without names; every index must occur, or the number of classes is unknown.

    Raises:
        DataError: A label is not an index, labels count from 1, or an index is never used.
    """
    given = [row.label for row in rows]
    if count_from_one(given):
        raise DataError(
            f"{source}: labels must count from 0, these count from 1 to {len({*map(to_index, given)})}: subtract 1 "
            f"from each, or write class names instead"
        )
    for row in rows:
        problem = number_problem(row.label)
        if problem:
            raise DataError(f"{source}, {row.where}: {problem}")
    labels = {index for label in given if (index := to_index(label)) is not None}
    if max(labels) >= len(labels):
        absent = next(label for label in range(max(labels)) if label not in labels)
        raise DataError(
            f"{source}: labels go up to {max(labels)}, but {absent} is never used: name all classes, one per line, in "
            f"{source.with_name(classes_file)}"
        )
    return tuple(str(label) for label in range(len(labels)))


class ClassIndex:
    """Class index of each label of one source.

    Args:
        labels: All labels of the source, in NFC.
        names: Names of the classes in index order, in NFC or NFD.
        is_numbered: Whether labels are indices (`are_indices`).
    """

    def __init__(self, labels: Sequence[str], names: Sequence[str], *, is_numbered: bool) -> None:
        self.names = tuple(names)
        self.is_numbered = is_numbered
        self._index = {compose(name): index for index, name in enumerate(names)}
        self._is_from_one = is_numbered and count_from_one(labels, num_classes=len(names))

    def index(self, label: str) -> int:
        """Class index of a label that has no `problem`."""
        return int(plain_number(label)) if self.is_numbered else self._index[label]

    def problem(self, label: str) -> str:
        """Error of a label; empty if the label is valid."""
        return self._index_problem(label) if self.is_numbered else self._name_problem(label)

    def _index_problem(self, label: str) -> str:
        problem = number_problem(label)
        if problem:
            return problem
        index = self.index(label)
        if index >= len(self.names):
            hint = f"; these count from 1 to {index}, labels must count from 0: subtract 1 from each"
            allowed = f"allowed are 0 to {len(self.names) - 1}{hint if self._is_from_one else ''}"
            return f"label {label} is out of range, {allowed}"
        other = self._index.get(plain_number(label), index)
        if other != index:
            return f"label {label} is an index, but also the name of class {other}: rename the classes"
        return ""

    def _name_problem(self, label: str) -> str:
        if label in self._index:
            return ""
        close = closest(label, self.names)
        given, shown = tell_apart(label, close or "")
        return f"unknown class {given}" + (f", did you mean {shown}?" if close else "")
