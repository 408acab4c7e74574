"""Timelines read back from their JSON form."""

import json
import os
from pathlib import Path
from typing import Any

from timesformer.errors import DataError
from timesformer.timelines.timeline import FORMAT, Gap, LabeledSegment, Source, Timeline


def read_timeline(path: str | os.PathLike[str]) -> Timeline:
    """Read a timeline that `timesformer timeline --to json` wrote, without curves.

    Raises:
        DataError: The file cannot be read, or is not such a file.
    """
    try:
        value = json.loads(Path(path).read_text("utf-8"))
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
            source=Source(**value["source"]),
            model=dict(value["model"]),
            window=float(value["window"]),
            stride=float(value["stride"]),
            settings=dict(value["settings"]),
            classes=tuple(value["classes"]),
            segments=tuple(LabeledSegment(**each) for each in value["segments"]),
            gaps=tuple(Gap(**each) for each in value["gaps"]),
        )
    except KeyError as error:
        raise DataError(f"{where}: is a damaged timeline: {error.args[0]!r} is missing") from error
    except (TypeError, ValueError) as error:
        raise DataError(f"{where}: is a damaged timeline: {error}") from error
