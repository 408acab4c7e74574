"""Readers of the annotation files of named data sets, as these are published."""

from pathlib import Path

from timesformer.data.annotations import Finder, Row, read_json
from timesformer.errors import DataError


def read_clips(path: Path) -> list[Row]:
    """Read a list of clips in JSON, as Something-Something v2 has it: `id`, and `template` or `label`.

    Brackets of templates are dropped, as in the names of the classes: `Holding [something]` is `Holding something`.
    Videos are looked for by id in `videos`, in `20bn-something-something-v2` and beside the file.

    Raises:
        DataError: The file is not JSON, not a list, or a clip has no id or no label; the message names the clip.
    """
    clips = read_json(path)
    if not isinstance(clips, list):
        raise DataError(f"{path} holds no list of clips: allowed are a list of {{'id': ..., 'template': ...}}")
    finder = Finder(path.parent, suffix=".webm")
    return [_read_clip(path, clip, where=f"clip {number}", finder=finder) for number, clip in enumerate(clips, start=1)]


def _read_clip(path: Path, clip: object, *, where: str, finder: Finder) -> Row:
    if not isinstance(clip, dict) or "id" not in clip:
        raise DataError(f"{path}, {where}: has no 'id', got {clip!r}")
    if "template" in clip:
        label = str(clip["template"]).replace("[", "").replace("]", "")
    elif "label" in clip:
        label = str(clip["label"])
    else:
        raise DataError(f"{path}, {where} (id {clip['id']}): has neither 'template' nor 'label'")
    return Row(path=finder.find([str(clip["id"])], label=label), label=label, where=where)
