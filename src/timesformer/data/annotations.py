"""Readers of annotation files: what each format says, as rows of a path and a label, before labels become numbers.

`timesformer.data.manifest` is the way in; it checks the rows and turns them into a `Manifest`.
"""

import csv
import itertools
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from timesformer.errors import DataError

VIDEO_SUFFIXES = (
    ".3gp",
    ".asf",
    ".avi",
    ".flv",
    ".gif",
    ".m2ts",
    ".m4v",
    ".mkv",
    ".mov",
    ".mp4",
    ".mpeg",
    ".mpg",
    ".mts",
    ".ogv",
    ".ts",
    ".webm",
    ".wmv",
)
"""File name extensions, in small letters, by which a video is known."""

SEPARATORS = {"tab": "\t", "comma": ",", "semicolon": ";", "space": " "}
"""What may stand between path and label, in the order in which it is looked for."""

SPLIT_NAMES = {"train": ("train", "training"), "val": ("val", "valid", "validation")}
"""Names of folders and files that hold a split of a dataset."""

_PATH_COLUMNS = ("path", "video_path", "file_path", "filepath", "video", "file", "file_name", "filename")
_ID_COLUMNS = ("youtube_id", "video_id", "id")
_LABEL_COLUMNS = ("class_name", "label_name", "class", "label", "action", "category")

_SUFFIX = "|".join(re.escape(suffix) for suffix in VIDEO_SUFFIXES)
_LINES = {
    name: re.compile(rf"(.*\S(?:{_SUFFIX}))\s*{separator}\s*(\S.*)", re.IGNORECASE)
    for name, separator in {**SEPARATORS, "space": r"\s"}.items()
}
_INTEGER = re.compile(r"[+-]?[0-9]+")
_VIDEO_FOLDERS = ("videos", "20bn-something-something-v2", ".")


@dataclass(frozen=True, slots=True)
class Row:
    """One video as an annotation file names it; `where` is its place in the file, for messages."""

    path: Path
    label: str
    where: str


def is_video(path: Path) -> bool:
    """Whether a file name ends as a video's does."""
    return path.suffix.lower() in VIDEO_SUFFIXES


def is_integer(label: str) -> bool:
    """Whether a label is a whole number, with or without a sign."""
    return _INTEGER.fullmatch(label) is not None


def is_visible_video(path: Path) -> bool:
    """Whether a file found in a folder is a video; other systems leave hidden files such as `._a.mp4` beside them."""
    return is_video(path) and not path.name.startswith(".")


def read_text(path: Path) -> str:
    """Read a text file, whatever its line ends, with or without a byte order mark.

    Raises:
        DataError: The file is not UTF-8 text.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text: {error}") from error


def read_json(path: Path) -> object:
    """Read a JSON file.

    Raises:
        DataError: The file is not UTF-8 text, or not JSON.
    """
    try:
        return json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise DataError(f"{path} is not JSON: {error}") from error


def read_class_names(path: Path) -> tuple[str, ...]:
    """Read names of classes, one a line, the first being class 0; blank lines and lines from `#` are passed over."""
    lines = (line.strip() for line in read_text(path).split("\n"))
    return tuple(line for line in lines if line and not line.startswith("#"))


def read_label_map(path: Path) -> tuple[str, ...]:
    """Read the names of `{"name": "index"}`, in the order of the indices.

    Raises:
        DataError: The file is no such map, or the indices are not 0, 1, 2, ...
    """
    labels = read_json(path)
    if not isinstance(labels, dict) or not all(is_integer(str(index)) for index in labels.values()):
        raise DataError(f"{path} holds no map of class names to numbers")
    by_index = {int(index): name for name, index in labels.items()}
    if sorted(by_index) != list(range(len(labels))):
        raise DataError(f"{path}: the numbers of {len(labels)} classes must be 0 to {len(labels) - 1}, each once")
    return tuple(by_index[index] for index in range(len(labels)))


def find_class_videos(folder: Path) -> dict[str, list[Path]]:
    """The videos anywhere below each class folder of a folder, by its name; of some, there may be none.

    Raises:
        DataError: The folder holds splits or no folders.
    """
    classes = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    names = {path.name.lower() for path in classes}
    has_both = all(names & set(aliases) for aliases in SPLIT_NAMES.values())
    if has_both or (len(names) > 1 and names <= {"test", "testing", *itertools.chain(*SPLIT_NAMES.values())}):
        raise DataError(f"{folder} holds splits, not classes ({', '.join(sorted(names))}): name one of them")
    if not classes:
        raise DataError(f"{folder} holds no folders: allowed are one folder a class, or an annotation file")
    return {path.name: sorted(filter(is_visible_video, path.rglob("*"))) for path in classes}


def read_folder(folder: Path) -> list[Row]:
    """Rows of a folder of class folders: their names are the labels, the videos lie anywhere below.

    Raises:
        DataError: The folder holds splits or no folders, or a class has no video.
    """
    videos = find_class_videos(folder)
    empty = [name for name, own in videos.items() if not own]
    if empty:
        raise DataError(
            f"{folder}: no video in {len(empty)} of {len(videos)} class folders ({', '.join(empty[:5])}); "
            f"a video ends with one of {' '.join(VIDEO_SUFFIXES)}"
        )
    return folder_rows(videos)


def folder_rows(videos: Mapping[str, Sequence[Path]]) -> list[Row]:
    """Rows of the videos of class folders, by the names of these."""
    return [Row(path=path, label=name, where=name) for name, own in videos.items() for path in own]


def read_list(path: Path) -> list[Row]:
    """Read a text file of videos and labels: `path label` lines, or a table with a header that names its columns.

    Lines are separated into path and label by a tab, a comma, a semicolon or spaces: by the first of these that
    fits all lines, preferring one that leaves whole numbers as labels. A path ends with the last extension of a
    video that has the separator behind it, so that both path and label may hold separators; either may also stand
    in double quotes. Blank lines and lines from `#` are passed over.

    Raises:
        DataError: The file is not text, or a line cannot be read; the message names the line.
    """
    lines = [(number, line.strip()) for number, line in enumerate(read_text(path).split("\n"), start=1)]
    lines = [(number, line) for number, line in lines if line and not line.startswith("#")]
    if not lines:
        return []
    header = _find_header(lines[0][1])
    if header is None:
        return _read_lines(path, lines)
    if header.columns == [header.video, header.label] and header.video in _PATH_COLUMNS:
        return _read_lines(path, lines[1:])
    return _read_table(path, lines[1:], header)


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
    finder = _Finder(path.parent, suffix=".webm")
    return [_read_clip(path, clip, where=f"clip {number}", finder=finder) for number, clip in enumerate(clips, start=1)]


def _read_clip(path: Path, clip: object, *, where: str, finder: "_Finder") -> Row:
    if not isinstance(clip, dict) or "id" not in clip:
        raise DataError(f"{path}, {where}: has no 'id', got {clip!r}")
    if "template" in clip:
        label = str(clip["template"]).replace("[", "").replace("]", "")
    elif "label" in clip:
        label = str(clip["label"])
    else:
        raise DataError(f"{path}, {where} (id {clip['id']}): has neither 'template' nor 'label'")
    return Row(path=finder.find([str(clip["id"])], label=label), label=label, where=where)


@dataclass(slots=True)
class _Finder:
    """Finds videos that are named without their extension; lists every folder once."""

    root: Path
    suffix: str
    _listings: dict[Path, dict[str, Path]] = field(default_factory=dict)

    def find(self, stems: Sequence[str], *, label: str) -> Path:
        """The first video of one of these names, in the usual folders or one below, named after the label."""
        for name in _VIDEO_FOLDERS:
            for folder in (self.root / name, self.root / name / label):
                found = next((self._list(folder)[stem] for stem in stems if stem in self._list(folder)), None)
                if found is not None:
                    return found
        return self.root / "videos" / f"{stems[0]}{self.suffix}"

    def _list(self, folder: Path) -> dict[str, Path]:
        if folder not in self._listings:
            videos = sorted(filter(is_visible_video, folder.iterdir())) if folder.is_dir() else []
            self._listings[folder] = {video.stem: video for video in videos}
        return self._listings[folder]


def _fields(line: str, separator: str) -> list[str]:
    """Separate a line as CSV does; quotes that do not pair up leave the line whole."""
    try:
        return [
            text.strip() for text in next(csv.reader([line], delimiter=separator, skipinitialspace=True, strict=True))
        ]
    except csv.Error:
        return [line]


def _split(line: str, name: str) -> tuple[str, str] | None:
    if '"' in line:
        fields = _fields(line, SEPARATORS[name])
        if len(fields) == 2 and is_video(Path(fields[0])) and fields[1]:
            return fields[0], fields[1]
    match = _LINES[name].fullmatch(line)
    return (match[1], match[2]) if match else None


def _read_lines(path: Path, lines: list[tuple[int, str]]) -> list[Row]:
    readings = [_read_while_fitting(lines, name) for name in SEPARATORS]
    whole = [pairs for pairs in readings if len(pairs) == len(lines)]
    if not whole:
        number, line = lines[max(map(len, readings))]
        raise DataError(
            f"{path}, line {number}: {line!r} is not the path of a video and a label, separated by a tab, a comma, "
            f"a semicolon or spaces, the same in all lines; a path ends with one of {' '.join(VIDEO_SUFFIXES)}, and a "
            f"header has one of {', '.join(_PATH_COLUMNS + _ID_COLUMNS)} and one of {', '.join(_LABEL_COLUMNS)}"
        )
    pairs = next((pairs for pairs in whole if all(is_integer(label) for _, label in pairs)), whole[0])
    return [
        Row(path=path.parent / video, label=label, where=f"line {number}")
        for (number, _), (video, label) in zip(lines, pairs, strict=True)
    ]


def _read_while_fitting(lines: list[tuple[int, str]], name: str) -> list[tuple[str, str]]:
    """Path and label of every line up to the first that this separator does not fit."""
    pairs = []
    for _, line in lines:
        pair = _split(line, name)
        if pair is None:
            break
        pairs.append(pair)
    return pairs


@dataclass(frozen=True, slots=True)
class _Header:
    columns: list[str]
    separator: str
    video: str
    label: str


def _find_header(line: str) -> _Header | None:
    """The header that a line is, if it is one."""
    for separator in SEPARATORS.values():
        columns = [text.lower() for text in _fields(line, separator)]
        video = next((name for name in _PATH_COLUMNS + _ID_COLUMNS if name in columns), None)
        label = next((name for name in _LABEL_COLUMNS if name in columns), None)
        if video is not None and label is not None:
            return _Header(columns=columns, separator=separator, video=video, label=label)
    return None


def _read_table(path: Path, lines: list[tuple[int, str]], header: _Header) -> list[Row]:
    finder = _Finder(path.parent, suffix=".mp4")
    rows, splits = [], set()
    for number, line in lines:
        where = f"{path}, line {number}"
        cells = _read_cells(line, header, where=where)
        splits.add(cells.get("split", ""))
        video = _locate(cells, header, where=where, finder=finder)
        rows.append(Row(path=video, label=cells[header.label], where=f"line {number}"))
    if len(splits) > 1:
        names = ", ".join(sorted(splits))
        raise DataError(f"{path} mixes splits ({names}) in its column 'split': write a file for each")
    return rows


def _read_cells(line: str, header: _Header, *, where: str) -> dict[str, str]:
    fields = _fields(line, header.separator)
    if len(fields) != len(header.columns):
        raise DataError(f"{where}: {len(fields)} fields, but the header has {len(header.columns)}: {line!r}")
    cells = dict(zip(header.columns, fields, strict=True))
    for column in (header.video, header.label):
        if not cells[column]:
            raise DataError(f"{where}: the column {column!r} is empty")
    return cells


def _locate(cells: dict[str, str], header: _Header, *, where: str, finder: _Finder) -> Path:
    video = cells[header.video]
    if header.video in _ID_COLUMNS:
        return finder.find(_stems(video, cells), label=cells[header.label])
    if not is_video(Path(video)):
        raise DataError(f"{where}: {video!r} does not end with one of {' '.join(VIDEO_SUFFIXES)}")
    return finder.root / video


def _stems(video: str, cells: dict[str, str]) -> list[str]:
    """Names under which downloaders of Kinetics keep a clip: with its seconds in the source video, or without."""
    times = [cells.get("time_start", ""), cells.get("time_end", "")]
    if all(is_integer(time) for time in times):
        return ["_".join([video, *(f"{int(time):06d}" for time in times)]), video]
    return [video]
