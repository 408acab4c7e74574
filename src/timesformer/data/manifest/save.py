"""Manifests as files: a list of paths and labels, with the class names next to it."""

import os
import re
from collections.abc import Sequence
from pathlib import Path

from timesformer.data.manifest.manifest import CLASSES_FILE, Manifest, Sample
from timesformer.data.manifest.rows import SEPARATORS, quote, read_classes_file
from timesformer.data.manifest.splits import LIST_SUFFIXES
from timesformer.data.video.paths import VIDEO_SUFFIXES, holds_frames, is_video
from timesformer.errors import ConfigError, DataError
from timesformer.files import is_utf8, printable, replacing
from timesformer.names import compose


def save_manifest(manifest: Manifest, path: str | Path, *, separator: str = ",") -> None:
    """Write a manifest as a list that `load_manifest` reads back, with a `classes.txt` next to it.

    If any sample has a segment or a group, the list has the header `path,label,start,end,group`, without the columns
    that no sample needs, otherwise none. Times are written in seconds with every digit; those of a whole video are
    empty. Paths below the list's folder are written relative to it, others absolute. An existing list is replaced; an
    existing `classes.txt` must have the same names, so that several lists can share it.

    Args:
        path: List to write: `.csv`, `.txt`, `.tsv` or `.lst`.
        separator: Tab, comma, semicolon or space.

    Raises:
        ConfigError: Another separator or extension.
        DataError: `classes.txt` has other names, or a path, name or group cannot be written in a line.
    """
    path = Path(path)
    if separator not in SEPARATORS.values():
        raise ConfigError(f"separator={separator!r} is not one of {', '.join(map(repr, SEPARATORS.values()))}")
    check_list_name(path)
    columns = _columns(manifest)
    rows = [_fields(sample, columns, folder=path.parent) for sample in manifest.samples]
    rows = [columns, *rows] if len(columns) > 2 else rows
    save_class_names(manifest.class_names, path.with_name(CLASSES_FILE))
    with replacing(path) as partial:
        partial.write_text("".join(f"{separator.join(row)}\n" for row in rows), encoding="utf-8")


def _columns(manifest: Manifest) -> tuple[str, ...]:
    times = ("start", "end") if manifest.has_segments else ()
    return ("path", "label", *times, *(("group",) if manifest.groups else ()))


def _fields(sample: Sample, columns: Sequence[str], *, folder: Path) -> list[str]:
    start, end = ("", "") if sample.segment is None else (repr(float(time)) for time in sample.segment)
    texts = {"label": str(sample.label), "start": start, "end": end, "group": sample.group}
    return [_path_field(sample.path, folder) if name == "path" else _field(texts[name]) for name in columns]


def check_list_name(path: Path) -> None:
    """Refuse a path that cannot be a list.

    Raises:
        ConfigError: The extension is not that of a list, or the name is that of the class file.
    """
    if path.suffix.lower() not in LIST_SUFFIXES or path.name == CLASSES_FILE:
        raise ConfigError(f"{path}: a list must end with .csv, .txt, .tsv or .lst, and must not be {CLASSES_FILE}")


def save_class_names(names: Sequence[str], path: Path) -> None:
    """Write class names, one per line; an existing file must have the same names.

    Raises:
        DataError: The file has other names, or a name cannot be written in a line.
    """
    check_class_names(names, path)
    if not path.exists():
        with replacing(path) as partial:
            partial.write_text("".join(f"{quote(name)}\n" for name in names), encoding="utf-8")
    elif list(map(compose, read_classes_file(path, used=names))) != list(map(compose, names)):
        raise DataError(f"{path} has other classes than the manifest: write to another folder")


def check_class_names(names: Sequence[str], path: Path) -> None:
    """Refuse class names that `save_class_names` cannot write, whatever exists.

    Raises:
        DataError: A name cannot be written in a line.
    """
    for label, name in enumerate(names):
        _check_line(name)
        if name in map(str, range(len(names))) and name != str(label):
            raise DataError(
                f"class {name!r} cannot be written to {path}: its number is {label}, and {name!r} is another class's "
                "number: rename the class"
            )


def _relative(video: Path, folder: Path) -> str:
    video, folder = Path(os.path.abspath(video)), Path(os.path.abspath(folder))
    return (video.relative_to(folder) if video.is_relative_to(folder) else video).as_posix()


def _path_field(path: Path, folder: Path) -> str:
    video = _relative(path, folder)
    if not is_video(path) and not holds_frames(path):
        raise DataError(f"{video!r} does not end with one of {' '.join(VIDEO_SUFFIXES)}, and is not a folder of frames")
    return _field(video)


def _field(text: str) -> str:
    """A field of a line, in double quotes unless it is plain."""
    _check_line(text)
    return text if re.fullmatch(r"[\w./+-]+", text) else '"' + text.replace('"', '""') + '"'


def fits_a_line(text: str) -> bool:
    """Whether a list can hold a text: UTF-8, without line breaks, and without surrounding space."""
    return is_utf8(text) and text == text.strip() and re.search(r"[\r\n\ufeff]", text) is None


def _check_line(text: str) -> None:
    if not is_utf8(text):
        raise DataError(f"'{printable(text)}' cannot be written in a line: it is not UTF-8; rename it")
    if not fits_a_line(text):
        raise DataError(f"{text!r} cannot be written in a line: it has space at an end, or a line break; rename it")
