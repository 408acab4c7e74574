"""Class names from user files: one per line, numbered lines, a table, or JSON.

Numbers are class indices only if all classes have one and they are 0, 1, 2, ..., each once: a class can be called
"3 point shot".
"""

import csv
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from timesformer.bounds import MAX_CONFIG_BYTES, read_bounded_text
from timesformer.errors import ConfigError

ALLOWED = (
    'allowed are: one name per line, the first being class 0; "0 abseiling" or "abseiling,0" in every line; a table '
    "with the columns name and index; in JSON a list of names, or a map of names to numbers or of numbers to names"
)
"""Accepted forms of a class-name file, for messages."""

_NAMES = ("name", "label", "class", "class_name", "classname", "class name", "label_name")
_INDICES = ("index", "id", "class_id", "classid", "class id", "label_id", "class_index", "idx", "number", "")
_LEADING = re.compile(r"(?P<number>[0-9]+)(?P<between>\s*[,;|:=]\s*|[.):]?\s+)(?P<name>.*)")
_TRAILING = re.compile(r"(?P<name>.*?)(?P<between>\s*[,;|:=]\s*|\s+)(?P<number>[0-9]+)")
_SEPARATORS = ("\t", ",", ";", "|")
_FOREIGN = (".yaml", ".yml", ".toml", ".ini", ".pbtxt", ".xml", ".html", ".pkl", ".mat")

Numbered = Sequence[tuple[str, str]]
"""Class names, each with the text of its number."""


def read_class_names(path: Path, *, num_classes: int) -> tuple[str, ...]:
    """Class names in index order.

    Args:
        path: A UTF-8 file, with or without a byte order mark.
        num_classes: Number of classes.

    Raises:
        ConfigError: The file cannot be read or has another form; its numbers are not 0, 1, 2, ...; a name is empty,
            occurs twice or has several lines; or there is not one name per class.
    """
    if path.suffix.lower() in _FOREIGN:
        raise ConfigError(f"{path}: is not a file of class names; {ALLOWED}")
    try:
        text = read_bounded_text(path, most=MAX_CONFIG_BYTES, error=ConfigError)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read as a list of class names in UTF-8: {error}") from error
    try:
        names = parse_class_names(text, is_json=path.suffix.lower() == ".json", num_classes=num_classes)
        if len(names) != num_classes:
            raise ConfigError(f"has {len(names)} names, the model has num_classes={num_classes}; {ALLOWED}")
        _check_names(names)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error
    return names


def parse_class_names(text: str, *, is_json: bool = False, num_classes: int = 0) -> tuple[str, ...]:
    """Class names in a text, unchecked.

    Args:
        text: Content of the file.
        is_json: The text must be JSON; otherwise JSON is detected by its brackets.
        num_classes: Number of classes, which distinguishes a header "name" from a class of that name.

    Raises:
        ConfigError: The text has no known form, or its numbers are not 0, 1, 2, ..., each once.
    """
    stripped = text.strip()
    if is_json or (stripped[:1], stripped[-1:]) in (("[", "]"), ("{", "}")):
        try:
            content = json.loads(stripped, object_pairs_hook=_refuse_duplicates)
        except (ValueError, RecursionError) as error:
            raise ConfigError(f"cannot be read as JSON: {error}; {ALLOWED}") from error
        return _from_json(content)
    lines = [line.strip() for line in text.split("\n") if line.strip()]
    if lines and all(line.startswith("- ") for line in lines):
        raise ConfigError(f"is a YAML list; {ALLOWED}")
    return _from_table(lines, num_classes) or _from_numbered_lines(lines) or _from_lines(lines)


def is_class_name(value: object) -> bool:
    """Whether a value can name a class: one line of text that UTF-8 can encode."""
    if not isinstance(value, str) or not value.strip() or "\n" in value or "\r" in value:
        return False
    return not any("\ud800" <= letter <= "\udfff" for letter in value)


def _check_names(names: Sequence[str]) -> None:
    for index, name in enumerate(names):
        if not is_class_name(name):
            raise ConfigError(f"the name of class {index} is {name!r}; a name is one line of text")
    twice = next((name for name, count in Counter(names).items() if count > 1), None)
    if twice is not None:
        indices = [str(index) for index, name in enumerate(names) if name == twice]
        raise ConfigError(f"{twice!r} is the name of class {' and '.join(indices[:2])}")


def _by_number(numbered: Numbered) -> tuple[str, ...]:
    """Names in the order of their numbers.

    Raises:
        ConfigError: The numbers are not 0, 1, 2, ..., each once.
    """
    numbers = [number for _, number in numbered]
    if not _counts_from(0, numbers):
        raise ConfigError(
            f"its classes are numbered {', '.join(numbers[:3])}, ...; expected 0 to {len(numbers) - 1}, each once; if "
            f"the numbers are part of the names, write the names as a JSON list"
        )
    return tuple(_unquoted(name.strip()) for name, _ in sorted(numbered, key=lambda pair: int(pair[1])))


def _counts_from(first: int, numbers: Sequence[str]) -> bool:
    """Whether texts are consecutive whole numbers from `first`, each once, in any order."""
    if not all(re.fullmatch("[0-9]{1,9}", number) for number in numbers):
        return False
    return sorted(map(int, numbers)) == list(range(first, first + len(numbers)))


# --- JSON -----------------------------------------------------------------------------------------------------------


def _from_json(content: object) -> tuple[str, ...]:
    if isinstance(content, dict) and isinstance(content.get("id2label"), dict):
        content = content["id2label"]  # config.json of transformers
    if isinstance(content, dict) and content:
        return _from_map(content)
    if isinstance(content, list) and all(isinstance(item, str) for item in content):
        return tuple(name.strip() for name in content)
    if isinstance(content, list) and all(
        isinstance(item, dict) and item.keys() == content[0].keys() for item in content
    ):
        header = list(content[0])
        return _from_columns(header, [[_text(item[key]) for key in header] for item in content])
    raise ConfigError(f"holds JSON of another form; {ALLOWED}")


def _from_map(content: Mapping[str, Any]) -> tuple[str, ...]:
    """Names of a map in either direction; if both are possible, JSON numbers are the indices."""
    keys, values = list(content), [_text(value) for value in content.values()]
    of_names = list(zip(keys, values, strict=True))
    of_numbers = list(zip(values, keys, strict=True))
    if not _counts_from(0, keys):
        if not all(re.fullmatch("-?[0-9]+", value) for value in values):
            raise ConfigError(f"holds a map, but neither of names to numbers nor of numbers to names; {ALLOWED}")
        return _by_number(of_names)
    if not _counts_from(0, values):
        return _by_number(of_numbers)
    if all(isinstance(value, int) for value in content.values()):
        return _by_number(of_names)
    if _by_number(of_names) != _by_number(of_numbers):
        raise ConfigError(f"maps numbers to numbers: it is not clear which are names; {ALLOWED}")
    return _by_number(of_names)


def _text(value: object) -> str:
    """A name or a number as text; empty for anything else."""
    return str(value) if isinstance(value, str | int) and not isinstance(value, bool) else ""


def _refuse_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) != len(pairs):
        twice = Counter(key for key, _ in pairs).most_common(1)[0][0]
        raise ConfigError(f"the key {twice!r} occurs twice")
    return dict(pairs)


# --- Lines ----------------------------------------------------------------------------------------------------------


def _from_table(lines: Sequence[str], num_classes: int) -> tuple[str, ...]:
    """Names of a table whose first line names the columns; empty if there is no such table."""
    if not lines:
        return ()
    for separator in _SEPARATORS:
        header = _cells(lines[0], separator)
        rows = [_cells(line, separator) for line in lines[1:]]
        known = sum(cell.lower() in (*_NAMES, *_INDICES) for cell in header)
        is_even = len(header) > 1 and all(len(row) == len(header) for row in rows)
        if known > 1 or (known and is_even) or (known == len(header) and len(rows) == num_classes):
            return _from_columns(header, rows)
    return ()


def _from_columns(header: Sequence[str], rows: Sequence[Sequence[str]]) -> tuple[str, ...]:
    """Names of a table with a name column and, unless the rows are in order, an index column."""
    short = next((number for number, row in enumerate(rows, start=1) if len(row) != len(header)), None)
    if short is not None:
        raise ConfigError(f"row {short} below {', '.join(header)} has another number of columns")
    columns = {title.lower(): [row[column] for row in rows] for column, title in enumerate(header)}
    numbers = [title for title in columns if _is_numbers(columns[title]) and title in (*_INDICES, *_NAMES)]
    names = [title for title in columns if title in _NAMES and title not in numbers]
    if not names and len(numbers) == 2:  # classes named by numbers
        names = [title for title in numbers if title in _NAMES]
        numbers = [title for title in numbers if title not in names]
    if len(names) != 1 or len(numbers) > 1:
        raise ConfigError(f"of the columns {', '.join(header)} it is not clear which is the name and which the index")
    if not numbers:
        lost = next((title for title in columns if title in _INDICES), None)
        if lost is not None:
            raise ConfigError(f"the column {lost} must hold the numbers 0 to {len(rows) - 1}, each once")
        return tuple(columns[names[0]])
    return _by_number(list(zip(columns[names[0]], columns[numbers[0]], strict=True)))


def _is_numbers(cells: Sequence[str]) -> bool:
    return all(re.fullmatch("-?[0-9]+", cell) for cell in cells)


def _cells(line: str, separator: str) -> list[str]:
    try:
        return [cell.strip() for cell in next(csv.reader([line], delimiter=separator, skipinitialspace=True))]
    except csv.Error as error:
        raise ConfigError(f"holds a line that is not a name: {line[:40]}...") from error


def _from_numbered_lines(lines: Sequence[str]) -> tuple[str, ...]:
    """Names of lines that all have a number before or after the name; empty if some have none.

    Raises:
        ConfigError: The numbers are class indices, but not 0, 1, 2, ..., each once.
    """
    for pattern in (_LEADING, _TRAILING):
        found = [match for match in map(pattern.fullmatch, lines) if match]
        numbers = [match["number"] for match in found]
        names = {match["name"] for match in found}
        if len(found) == len(lines) and (len(names) > 1 or len(lines) == 1) and _are_indices(found, numbers):
            return _by_number([(match["name"], match["number"]) for match in found])
    return ()


def _are_indices(found: Sequence[re.Match[str]], numbers: Sequence[str]) -> bool:
    """Whether numbers in lines are class indices, right or wrong, and not part of the names."""
    is_table = all(match["between"].strip() in (",", ";", "|") or "\t" in match["between"] for match in found)
    from_one = len(numbers) > 1 and _counts_from(1, numbers)
    return is_table or from_one or any(int(number[:9]) == 0 for number in numbers)


def _from_lines(lines: Sequence[str]) -> tuple[str, ...]:
    bare = [line.rstrip(",") for line in lines]
    is_quoted = all(len(line) > 1 and line[0] == line[-1] == '"' for line in bare)
    return tuple(map(_unquoted, bare) if is_quoted else lines)


def _unquoted(name: str) -> str:
    return name[1:-1].replace('""', '"') if len(name) > 1 and name[0] == name[-1] == '"' else name
