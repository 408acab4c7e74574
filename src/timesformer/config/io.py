"""Configurations to and from files, dictionaries and the command line.

All outside input is checked here: unknown keys are refused with a suggestion, values of the wrong type are refused
rather than converted, and every problem is one line that names its source and dotted key.
"""

import dataclasses
import datetime
import functools
import json
import math
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin

from pydantic import TypeAdapter, ValidationError

from timesformer.bounds import MAX_CONFIG_BYTES, read_bounded_text
from timesformer.config.backslashes import refuse_backslashes
from timesformer.config.old_spellings import current, current_key, current_value
from timesformer.errors import ConfigError, closest, did_you_mean
from timesformer.files import is_utf8
from timesformer.names import tell_apart

Config = TypeVar("Config")
"""A configuration: any dataclass of numbers, strings, tuples of them, maps of names to them, and dataclasses."""

_adapter = functools.cache(TypeAdapter)
_BY_NUMBER = {"b": "\\u0008", "t": "\\u0009", "n": "\\u000a", "f": "\\u000c", "r": "\\u000d"}
_NOT_TOML = datetime.date | datetime.time  # a datetime is a date


def read_config(path: str | Path, *, kind: type[Config]) -> Config:
    """Read a configuration from a `.toml` or `.json` file; omitted keys keep their defaults.

    Args:
        path: The file.
        kind: Class of the configuration, such as `RunConfig`.

    Raises:
        ConfigError: The file cannot be read, a key is unknown, or a value has the wrong type or range. The message
            has one line for each problem, with the file's name and the dotted key.
    """
    return from_dict(read_table(path), kind=kind, source=str(path))


def read_table(path: str | Path) -> dict[str, Any]:
    """Read a `.toml` or `.json` file into dictionaries, unchecked.

    Raises:
        ConfigError: The file cannot be read, is of neither kind, holds a key twice, or is not a table at the top level.
    """
    path = Path(path)
    readers = {".toml": tomllib.loads, ".json": _loads_json}
    if path.suffix.lower() not in readers:
        raise ConfigError(f"{path}: a configuration must be a .toml or .json file")
    text = _read_text(path)
    refuse_backslashes(text, source=str(path))
    try:
        values = readers[path.suffix.lower()](text)
    except (ValueError, RecursionError) as error:  # raised by the parsers
        raise ConfigError(f"{path}: {error}") from error
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: the top level must be a table, not {_show(values)}")
    return values


def _read_text(path: Path) -> str:
    try:
        return read_bounded_text(path, most=MAX_CONFIG_BYTES, error=ConfigError)  # some editors write a byte order mark
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: {error}; save it as UTF-8") from error


def from_dict(values: Mapping[str, Any], *, kind: type[Config], source: str) -> Config:
    """Build a configuration from dictionaries as made by `to_dict`; omitted keys keep their defaults.

    Ints are accepted as floats, and one side as `image_size`; nothing else is converted.

    Args:
        values: Keys and values, with a dictionary for each section.
        kind: The configuration to build.
        source: Where the values came from, for messages.

    Raises:
        ConfigError: A key is unknown, or a value has the wrong type or range; one line for each problem.
    """
    values = current(values, source=source)
    problems = list(_key_problems(values, kind))
    if not problems:
        try:
            # as JSON, where strict types still allow a list for a tuple
            return _adapter(kind).validate_json(json.dumps(_square_image_size(values)), strict=True)
        except ValidationError as error:
            problems = [_describe(problem) for problem in error.errors() if _is_about_the_given_kind(problem)]
    raise ConfigError("\n".join(f"{source}: {problem}" for problem in problems))


def apply_overrides(config: Config, overrides: Sequence[str], *, source: str = "--set") -> Config:
    """Replace single values of a configuration by `key=value` texts; later ones win.

    Args:
        config: The configuration to start from.
        overrides: Such as `model.depth=6` or `data.train=videos`. Values are written as in TOML; dates and text
            that is not TOML are strings.
        source: Where the texts came from, for messages.

    Raises:
        ConfigError: A text has no `=`, a key is unknown or a section, or a value has the wrong type or range.
    """
    values = to_dict(config)
    for key, value in parse_overrides(overrides, kind=type(config), source=source).items():
        *sections, last = key.split(".")
        table = values
        for section in sections:
            table = table[section]
        table[last] = value
    return from_dict(values, kind=type(config), source=source)


def parse_overrides(overrides: Sequence[str], *, kind: type[Any], source: str = "--set") -> dict[str, Any]:
    """Parse `key=value` texts into dotted keys and values, without a configuration; values are unchecked.

    Args:
        overrides: As in `apply_overrides`.
        kind: Class of the configuration that has the keys.
        source: Where the texts came from, for messages.

    Raises:
        ConfigError: A text has no `=`, or a key is unknown or a section.
    """
    values = {}
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals:
            raise ConfigError(f"{source} {override}: write it as key=value")
        key = current_key(key.strip())
        _check_key(key, kind=kind, source=f"{source} {override}")
        refuse_backslashes(f"{key.rpartition('.')[2]} = {text}", source=f"{source} {override}")
        values[key] = current_value(key, _parse_value(text.strip()))
    return values


def to_dict(config: Any) -> dict[str, Any]:
    """Convert a configuration to dictionaries, lists, strings and numbers for JSON; the inverse of `from_dict`.

    Fields that are None, a default that neither TOML nor `from_dict` knows, are left out.
    """
    values = {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}
    return {name: _plain(value) for name, value in values.items() if value is not None}


def flatten_keys(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested tables, such as those of `to_dict`, as one with dotted keys."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= flatten_keys(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


def dump_toml(config: Any) -> str:
    """Format a configuration as TOML with every key; the inverse of `read_config`."""
    values = to_dict(config)
    lines = [f"{key} = {_toml(value)}" for key, value in values.items() if not isinstance(value, dict)]
    for section, table in values.items():
        if isinstance(table, dict):
            lines += ["", f"[{section}]", *(f"{key} = {_toml(value)}" for key, value in table.items())]
    return "\n".join(lines).lstrip("\n") + "\n"


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return to_dict(value)
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return list(map(_plain, value)) if isinstance(value, tuple) else value


def _toml(value: bool | int | float | str | list[Any]) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        # TOML strings escape like JSON strings, plus one control character that JSON leaves; letter escapes are written
        # by number, since the components of Windows paths look like letter escapes
        text = json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
        return re.sub(r"\\(.)", lambda match: _BY_NUMBER.get(match[1], match[0]), text)
    if isinstance(value, list):
        return f"[{', '.join(map(_toml, value))}]"
    return repr(value)


def _parse_value(text: str) -> Any:
    try:
        values = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        return text
    value = values.pop("value")
    return text if values or isinstance(value, _NOT_TOML) else value


def _check_key(key: str, *, kind: type[Any], source: str) -> None:
    known = list(_dotted_keys(kind))
    if key not in known:
        raise ConfigError(f"{source}: {_unknown_key(key, known)}")
    inside = next((name for name in known if name.startswith(f"{key}.")), None)
    if inside is not None:
        raise ConfigError(f"{source}: {key} is a section; set one of its keys, such as {inside}")


def _key_problems(
    values: Mapping[str, Any], kind: type[Any], *, prefix: str = "", known: Sequence[str] = ()
) -> Iterator[str]:
    known = known or list(_dotted_keys(kind))
    here = {field.name for field in dataclasses.fields(kind)}
    for name, value in values.items():
        key = f"{prefix}{name}"
        section = _sections(kind).get(name)
        if name not in here:
            yield _unknown_key(key, known)
        elif section and not isinstance(value, Mapping):
            yield f"{key}={_show(value)} must be a table"
        elif section:
            yield from _key_problems(value, section, prefix=f"{key}.", known=known)
        elif problem := _not_plain([*_leaves(value)] if name in _maps(kind) else value):
            yield f"{key}={_show(value)} must be {problem}"


def _not_plain(value: Any) -> str:
    """Description of the allowed values if no configuration can hold a value; empty otherwise."""
    items = _flat(value)
    if any(isinstance(item, float) and not math.isfinite(item) for item in items):
        return "finite"
    if any(not isinstance(item, bool | int | float | str) for item in items):
        return "a number, a string, true, false or a list of them"
    if not all(is_utf8(item) for item in items if isinstance(item, str)):
        return "text in UTF-8"
    return ""


def _leaves(value: Any) -> Iterator[Any]:
    """Values of nested maps."""
    if isinstance(value, Mapping):
        for item in value.values():
            yield from _leaves(item)
    else:
        yield value


def _flat(value: Any) -> list[Any]:
    """Items of nested lists, flattened; a single value is its own only item."""
    return [item for nested in value for item in _flat(nested)] if isinstance(value, list | tuple) else [value]


def _sections(kind: type[Any]) -> dict[str, type[Any]]:
    """Fields that are dataclasses, also those that may be None, and their classes."""
    return {
        field.name: option
        for field in dataclasses.fields(kind)
        for option in get_args(field.type) or (field.type,)
        if isinstance(option, type) and dataclasses.is_dataclass(option)
    }


def _maps(kind: type[Any]) -> set[str]:
    """Fields that map names to values."""
    return {field.name for field in dataclasses.fields(kind) if get_origin(field.type) is Mapping}


def _dotted_keys(kind: type[Any]) -> Iterator[str]:
    sections = _sections(kind)
    for field in dataclasses.fields(kind):
        yield field.name
        if field.name in sections:
            yield from (f"{field.name}.{key}" for key in _dotted_keys(sections[field.name]))


def _unknown_key(key: str, known: Iterable[str]) -> str:
    by_last_name = {name.rpartition(".")[2]: name for name in known}
    last = closest(key.rpartition(".")[2], by_last_name)
    close = closest(key, known) or (by_last_name[last] if last else None)
    if close is None:
        return f"unknown key {key}"
    given, shown = (text[1:-1] for text in tell_apart(key, close))
    return f"unknown key {given}; did you mean {shown}?"


def _square_image_size(values: Mapping[str, Any]) -> dict[str, Any]:
    """Expand a single side to height and width, as the schema's type requires."""
    plain = {key: _square_image_size(value) if isinstance(value, Mapping) else value for key, value in values.items()}
    if type(plain.get("image_size")) is int:
        plain["image_size"] = [plain["image_size"]] * 2
    return plain


_UNION_TAG = re.compile(r"(literal|tuple)\[.*\]", re.DOTALL)


def _is_about_the_given_kind(problem: Mapping[str, Any]) -> bool:
    """Whether a problem concerns the kind of value given: for a union, pydantic reports problems of both members."""
    tags = [part for part in problem["loc"] if isinstance(part, str) and _UNION_TAG.fullmatch(part)]
    if not tags:
        return True
    if tags[0].startswith("literal"):
        return not isinstance(problem["input"], list)
    return problem["type"] != "tuple_type" or problem["loc"][-1] != tags[0]


def _describe(problem: Mapping[str, Any]) -> str:
    parts = [part for part in problem["loc"] if isinstance(part, int) or not _UNION_TAG.fullmatch(part)]
    key = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in parts).lstrip(".")
    if problem["type"] == "value_error":
        return f"{key}: {problem['ctx']['error']}" if key else str(problem["ctx"]["error"])
    if problem["type"] == "missing":
        return f"{key} is missing: {_show(problem['input'])} is too short"
    must = re.sub(r"^\w+ should", "must", problem["msg"])
    allowed = re.findall(r"'(\w+)'", must)
    return f"{key}={_show(problem['input'])} {must}{did_you_mean(str(problem['input']), allowed)}"


def _loads_json(text: str) -> Any:
    return json.loads(text, object_pairs_hook=_refuse_duplicates)


def _refuse_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):
        twice = next(key for index, (key, _) in enumerate(pairs) if key in dict(pairs[:index]))
        raise ValueError(f"key {twice!r} occurs twice")
    return values


def _show(value: Any) -> str:
    return json.dumps(value, default=str, ensure_ascii=False)
