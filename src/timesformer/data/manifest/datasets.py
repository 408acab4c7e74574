"""Readers of the annotation files of named data sets, as published.

| set | source |
|---|---|
| Something-Something v2, Diving-48 | their JSON |
| UCF101 | `trainlist01.txt`, `testlist01.txt` and so on, with `classInd.txt` next to them |
| HMDB51 | `train_split1`, `test_split1` and so on, in the folder of the files `<class>_test_split1.txt` |
"""

import os
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

from timesformer.data.manifest.line_labels import refuse_numbers
from timesformer.data.manifest.listed_paths import refuse_non_local
from timesformer.data.manifest.rows import AnnotationRow, is_integer, read_json, read_text
from timesformer.data.manifest.segments.columns import given_range, read_segment
from timesformer.data.manifest.video_finder import VideoFinder
from timesformer.data.video.paths import VIDEO_SUFFIXES
from timesformer.errors import DataError

UCF101_CLASSES = "classInd.txt"
"""Class file of UCF101, which identifies the lists next to it as lists of UCF101."""

_SUFFIX = "|".join(re.escape(suffix) for suffix in VIDEO_SUFFIXES)
_UCF101_LIST = re.compile(r"(train|test)list[0-9]+\.txt")
_UCF101_LINE = re.compile(rf"([^/]+)/(\S.*(?:{_SUFFIX}))(?:\s+([0-9]+))?", re.IGNORECASE)
_UCF101_FOLDERS = ("UCF-101", "UCF101", "videos")
_HMDB51_FILE = re.compile(r"(.+)_test_split([0-9]+)\.txt")
_HMDB51_SOURCE = re.compile(r"(train|test)_split([0-9]+)")
_HMDB51_LINE = re.compile(rf"(\S.*(?:{_SUFFIX}))\s+(\S+)", re.IGNORECASE)
_HMDB51_CODES = {"0": "unused", "1": "train", "2": "test"}
_HMDB51_FOLDERS = ("hmdb51", "hmdb51_org", "HMDB51", "videos")


def read_published(source: Path) -> tuple[list[AnnotationRow], tuple[str, ...]] | None:
    """Rows and class names of a split of UCF101 or HMDB51; None if the source is neither.

    Raises:
        DataError: A file of the data set is damaged, contradicts itself, or is missing.
    """
    if is_ucf101(source):
        return _read_ucf101(source)
    return _read_hmdb51(source) if is_hmdb51(source) else None


def is_ucf101(source: Path) -> bool:
    """Whether a file is a list of UCF101, by its name and the class file next to it."""
    return _UCF101_LIST.fullmatch(source.name) is not None and source.with_name(UCF101_CLASSES).is_file()


def is_hmdb51(source: Path) -> bool:
    """Whether a path that does not exist names a split of HMDB51, by the files in its folder."""
    has_split_name = _HMDB51_SOURCE.fullmatch(source.name) is not None
    return has_split_name and not source.exists() and bool(_hmdb51_files(source.parent))


def refuse_folder_of_lists(folder: Path) -> None:
    """Refuse the folder of the lists of UCF101 or HMDB51, and name the splits to choose from.

    Raises:
        DataError: The folder contains these lists.
    """
    lists = sorted(path.name for path in folder.glob("*list*.txt") if is_ucf101(path))
    numbers = sorted({number for _, number in _hmdb51_files(folder)})
    sources = lists or [f"{split}_split{number}" for number in numbers for split in ("train", "test")]
    if sources and not any(path.is_dir() for path in folder.iterdir()):
        name = "UCF101" if lists else "HMDB51"
        shown = ", ".join(str(folder / source) for source in sources)
        raise DataError(f"{folder} contains the splits of {name}: name one of them: {shown}")


def read_clips(path: Path, clips: object) -> list[AnnotationRow]:
    """Read a list of clips in JSON: `id`, and `template` or `label`, or `vid_name` and `label`.

    The first form is Something-Something v2. Brackets of templates are removed, as in its class names:
    `Holding [something]` is `Holding something`. The second form is Diving-48, whose files are already cut: the start
    and end frames of a dive are ignored. Videos are searched by id in the folders in which the data sets are published,
    in `videos`, in `frames` and next to the file. Other clips may have `start` and `end`, in seconds.

    Args:
        path: The file, for messages.
        clips: Its content.

    Raises:
        DataError: The content is not a list, or a clip has no id or label; the message names the clip.
    """
    if not isinstance(clips, list):
        raise DataError(f"{path} is not a list of clips such as {{'id': ..., 'template': ...}}")
    is_diving = bool(clips) and isinstance(clips[0], dict) and "vid_name" in clips[0]
    finder = (
        VideoFinder(path.parent, home="rgb", suffix=".mp4") if is_diving else VideoFinder(path.parent, suffix=".webm")
    )
    return [_read_clip(path, clip, where=f"clip {number}", finder=finder) for number, clip in enumerate(clips, start=1)]


def _read_clip(path: Path, clip: object, *, where: str, finder: VideoFinder) -> AnnotationRow:
    keys = [key for key in ("id", "vid_name") if isinstance(clip, dict) and key in clip]
    if not isinstance(clip, dict) or not keys:
        raise DataError(f"{path}, {where}: has neither 'id' nor 'vid_name', got {clip!r}")
    name = str(clip[keys[0]])
    named_where = f"{path}, {where} ({keys[0]} {name})"
    refuse_non_local(name, where=named_where)
    cells = {key.lower(): "" if value is None else str(value) for key, value in clip.items()}
    given = None if keys[0] == "vid_name" else given_range(cells, where=named_where)
    segment = None if given is None else read_segment(cells, given, where=named_where)
    label = _clip_label(clip, where=named_where)
    return AnnotationRow(path=finder.find([name], label=label), label=label, where=where, segment=segment)


def _clip_label(clip: Mapping[str, object], *, where: str) -> str:
    if "template" not in clip and "label" not in clip:
        raise DataError(f"{where}: has neither 'template' nor 'label'")
    given = clip.get("template", clip.get("label"))
    if not isinstance(given, str | int | float) or isinstance(given, bool) or given == "":
        raise DataError(f"{where}: {given!r} is not a label; a video has one label, a text or a number")
    refuse_numbers(str(given), where=where)
    return str(given).replace("[", "").replace("]", "") if "template" in clip else str(given)


def read_dives(path: Path) -> tuple[str, ...]:
    """Read the class names of Diving-48: a list of dives, whose four elements are joined by spaces.

    Raises:
        DataError: The file is not JSON, or not such a list.
    """
    dives = read_json(path)
    if not isinstance(dives, list) or not all(
        isinstance(dive, list) and all(isinstance(element, str) for element in dive) for dive in dives
    ):
        raise DataError(f"{path} is not a list of dives such as ['Back', '15som', ...]")
    return tuple(" ".join(dive) for dive in dives)


def read_ucf101_classes(path: Path) -> tuple[str, ...]:
    """Read `number name` lines, numbered from 1.

    Raises:
        DataError: A line has another form, or the numbers are not 1, 2, 3, ...
    """
    pairs = [line.split(maxsplit=1) for _, line in _lines(path)]
    wrong = next((pair for pair in pairs if len(pair) != 2 or not is_integer(pair[0])), None)
    if wrong is not None:
        raise DataError(
            f"{path}: {' '.join(wrong)!r} is not the number and the name of a class, such as '1 ApplyEyeMakeup'"
        )
    by_number = {int(number): name.strip() for number, name in pairs}
    if sorted(by_number) != list(range(1, len(pairs) + 1)):
        raise DataError(f"{path}: the numbers of {len(pairs)} classes must be 1 to {len(pairs)}, each once")
    return tuple(by_number[number] for number in sorted(by_number))


def _read_ucf101(path: Path) -> tuple[list[AnnotationRow], tuple[str, ...]]:
    """Rows and class names of UCF101; a video's folder is its class, and a number after it must be that class's."""
    names = read_ucf101_classes(path.with_name(UCF101_CLASSES))
    root = _find_root(path.parent, _UCF101_FOLDERS, classes=names)
    rows = []
    for where, line in _lines(path):
        match = _UCF101_LINE.fullmatch(line)
        if match is None:
            raise DataError(
                f"{path}, {where}: {line!r} is not class/video.avi, in training lists with the class's number"
            )
        label, video, number = match.groups()
        if number is not None and dict(enumerate(names, start=1)).get(int(number)) != label:
            raise DataError(f"{path}, {where}: {label!r} has number {number} here, but not in {UCF101_CLASSES}")
        rows.append(AnnotationRow(path=_video_or_frames(root / label / video), label=label, where=where))
    return rows, names


def _read_hmdb51(source: Path) -> tuple[list[AnnotationRow], tuple[str, ...]]:
    match = _HMDB51_SOURCE.fullmatch(source.name)
    assert match is not None  # checked by is_hmdb51
    split, number = match.groups()
    files = _hmdb51_files(source.parent)
    numbers = sorted({number for _, number in files})
    if number not in numbers:
        raise DataError(f"{source}: HMDB51 has no split {number} here, allowed are {', '.join(numbers)}")
    names = tuple(sorted({name for name, _ in files}))
    root = _find_root(source.parent, _HMDB51_FOLDERS, classes=names)
    rows = []
    for name in names:
        file = source.with_name(f"{name}_test_split{number}.txt")
        if not file.is_file():
            raise DataError(f"{file} does not exist, but other splits of this class do")
        for where, video, code in _hmdb51_lines(file):
            if _HMDB51_CODES[code] == split:
                rows.append(
                    AnnotationRow(path=_video_or_frames(root / name / video), label=name, where=f"{file.name}, {where}")
                )
    return rows, names


def _hmdb51_files(folder: Path) -> list[tuple[str, str]]:
    """Class and split number of each HMDB51 file in a folder; empty if the folder does not exist."""
    if not folder.is_dir():
        return []
    matches = [_HMDB51_FILE.fullmatch(path.name) for path in folder.glob("*_test_split*.txt")]
    return [(match[1], match[2]) for match in matches if match is not None]


def _hmdb51_lines(file: Path) -> Iterator[tuple[str, str, str]]:
    """Line number, video and code of each line; video names may contain anything, also a leading `#`."""
    for where, line in _lines(file):
        match = _HMDB51_LINE.fullmatch(line)
        if match is None or match[2] not in _HMDB51_CODES:
            allowed = ", ".join(f"{code} ({meaning})" for code, meaning in _HMDB51_CODES.items())
            raise DataError(f"{file}, {where}: {line!r} is not a video followed by one of {allowed}")
        yield where, match[1], match[2]


def _lines(path: Path) -> Iterator[tuple[str, str]]:
    """Numbers and text of all lines that are not blank."""
    lines = ((number, line.strip()) for number, line in enumerate(read_text(path).split("\n"), start=1))
    return ((f"line {number}", line) for number, line in lines if line)


def _video_or_frames(path: Path) -> Path:
    """The path of a video file, or of the folder of its frames without the extension if only that exists."""
    return path.with_suffix("") if path.with_suffix("").is_dir() and not path.exists() else path


def _find_root(folder: Path, names: Sequence[str], *, classes: Collection[str]) -> Path:
    """The folder of the class folders: next to the lists, above them, or in a subfolder with one of the names."""
    above = Path(os.path.normpath(folder / ".."))
    roots = [parent / name for parent in (folder, above) for name in (*names, ".")]
    return next((root for root in roots if any((root / name).is_dir() for name in classes)), above / names[0])
