"""Timelines read back from their JSON form."""

import json
import os
from typing import Any, TypeVar, get_type_hints

from timesformer.bounds import MAX_CONFIG_BYTES, read_bounded_text
from timesformer.errors import DataError
from timesformer.timelines.timeline import FORMAT, Gap, LabeledSegment, Source, Timeline

Made = TypeVar("Made", Source, LabeledSegment, Gap)


def read_timeline(path: str | os.PathLike[str]) -> Timeline:
    """Read a timeline that `timesformer timeline --to json` wrote, without curves.

    Raises:
        DataError: The file cannot be read, or is not such a file.
    """
    try:
        value = json.loads(read_bounded_text(path, most=MAX_CONFIG_BYTES, error=DataError, encoding="utf-8"))
    except DataError:
        raise
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: is not JSON: {error}") from error
    return parse_timeline(value, where=str(path))


def parse_timeline(value: Any, *, where: str) -> Timeline:
    """A timeline from its JSON form.

    Args:
        value: Plain values, as `Timeline.to_dict` gives them.
        where: Their source, for messages.

    Raises:
        DataError: The values are not those of a timeline.
    """
    given = value.get("format") if isinstance(value, dict) else None
    if given != FORMAT:
        raise DataError(f"{where}: is not a timeline: format={given!r}, this release reads {FORMAT!r}")
    try:
        return Timeline(
            source=_make(Source, value["source"], name="source"),
            model=dict(value["model"]),
            window=float(value["window"]),
            stride=float(value["stride"]),
            settings=dict(value["settings"]),
            classes=tuple(value["classes"]),
            segments=tuple(_make(LabeledSegment, each, name="a segment") for each in value["segments"]),
            gaps=tuple(_make(Gap, each, name="a gap") for each in value["gaps"]),
        )
    except KeyError as error:
        raise DataError(f"{where}: is a damaged timeline: {error.args[0]!r} is missing") from error
    except (TypeError, ValueError) as error:
        raise DataError(f"{where}: is a damaged timeline: {error}") from error


def _make(kind: type[Made], value: Any, *, name: str) -> Made:
    """A dataclass of plain values, whose keys and types are checked.

    Raises:
        ValueError: A key is missing or unknown, or a value has the wrong type.
    """
    if not isinstance(value, dict):
        raise ValueError(f"{name} is not an object")
    types = get_type_hints(kind)
    wrong = next(iter(types.keys() ^ value.keys()), None)
    if wrong is not None:
        raise ValueError(f"{name} {'lacks' if wrong in types else 'has an unknown key'} {wrong!r}")
    for key, type_ in types.items():
        allowed = (int, float) if type_ is float else type_
        if not isinstance(value[key], allowed) or (isinstance(value[key], bool) and type_ is not bool):
            raise ValueError(f"{key}={value[key]!r} of {name} is not of type {type_.__name__}")
    return kind(**value)
