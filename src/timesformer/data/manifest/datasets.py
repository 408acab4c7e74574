"""Readers of the annotation files of named data sets, as these are published.

| set | source |
|---|---|
| Something-Something v2, Diving-48 | their JSON |
| UCF101 | `trainlist01.txt`, `testlist01.txt` and on, with `classInd.txt` beside them |
| HMDB51 | `train_split1`, `test_split1` and on, in the folder of the files `<class>_test_split1.txt` |
"""

import os
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

from timesformer.data.manifest.line_labels import refuse_numbers
from timesformer.data.manifest.listed_paths import refuse_elsewhere
from timesformer.data.manifest.rows import AnnotationRow, Finder, is_integer, read_json, read_text
from timesformer.data.manifest.text_tables import is_range
from timesformer.data.video.paths import VIDEO_SUFFIXES
from timesformer.errors import DataError

UCF101_CLASSES = "classInd.txt"
"""File that names the classes of UCF101 and marks the lists beside it as those of UCF101."""

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
    """Rows and class names of a split of UCF101 or HMDB51; None where the source is neither.

    Raises:
        DataError: A file of the set is damaged, contradicts itself, or is missing.
    """
    if is_ucf101(source):
        return _read_ucf101(source)
    return _read_hmdb51(source) if is_hmdb51(source) else None


def is_ucf101(source: Path) -> bool:
    """Whether a file is a list of UCF101: by its name and the file of the classes beside it."""
    return _UCF101_LIST.fullmatch(source.name) is not None and source.with_name(UCF101_CLASSES).is_file()


def is_hmdb51(source: Path) -> bool:
    """Whether a path, at which there is nothing, names a split of HMDB51 by the files that lie in its folder."""
    is_named_so = _HMDB51_SOURCE.fullmatch(source.name) is not None
    return is_named_so and not source.exists() and bool(_hmdb51_files(source.parent))


def refuse_folder_of_lists(folder: Path) -> None:
    """Refuse the folder that holds the lists of UCF101 or HMDB51, and say what to name instead.

    Raises:
        DataError: The folder is one of these.
    """
    lists = sorted(path.name for path in folder.glob("*list*.txt") if is_ucf101(path))
    numbers = sorted({number for _, number in _hmdb51_files(folder)})
    sources = lists or [f"{part}_split{number}" for number in numbers for part in ("train", "test")]
    if sources and not any(path.is_dir() for path in folder.iterdir()):
        name = "UCF101" if lists else "HMDB51"
        raise DataError(f"{folder} holds the splits of {name}: name one: {', '.join(str(folder / s) for s in sources)}")


def read_clips(path: Path) -> list[AnnotationRow]:
    """Read a list of clips in JSON: `id`, and `template` or `label`, or `vid_name` and `label`.

    The first is that of Something-Something v2. Brackets of templates are dropped, as in the names of the classes:
    `Holding [something]` is `Holding something`. The second is that of Diving-48, whose files are cut already: the
    frames where a dive starts and ends are not needed. Videos are looked for by id in the folders in which the sets are
    published, in `videos`, in `frames` and beside the file.

    Raises:
        DataError: The file is not JSON, not a list, or a clip has no id or no label; the message names the clip.
    """
    clips = read_json(path)
    if not isinstance(clips, list):
        raise DataError(f"{path} holds no list of clips: allowed are a list of {{'id': ..., 'template': ...}}")
    is_diving = bool(clips) and isinstance(clips[0], dict) and "vid_name" in clips[0]
    finder = Finder(path.parent, home="rgb", suffix=".mp4") if is_diving else Finder(path.parent, suffix=".webm")
    return [_read_clip(path, clip, where=f"clip {number}", finder=finder) for number, clip in enumerate(clips, start=1)]


def _read_clip(path: Path, clip: object, *, where: str, finder: Finder) -> AnnotationRow:
    keys = [key for key in ("id", "vid_name") if isinstance(clip, dict) and key in clip]
    if not isinstance(clip, dict) or not keys:
        raise DataError(f"{path}, {where}: has no 'id' or 'vid_name', got {clip!r}")
    name = str(clip[keys[0]])
    place = f"{path}, {where} ({keys[0]} {name})"
    refuse_elsewhere(name, where=place)
    ranges = [key for key in clip if is_range(key.lower()) and clip[key] not in (None, "", 0, -1)]
    if ranges and keys[0] != "vid_name":
        raise DataError(
            f"{place}: a range of the video ({ranges[0]}={clip[ranges[0]]}); a clip takes one label for the whole "
            "video: cut the range into a file"
        )
    label = _clip_label(clip, where=place)
    return AnnotationRow(path=finder.find([name], label=label), label=label, where=where)


def _clip_label(clip: Mapping[str, object], *, where: str) -> str:
    if "template" not in clip and "label" not in clip:
        raise DataError(f"{where}: has neither 'template' nor 'label'")
    given = clip.get("template", clip.get("label"))
    if not isinstance(given, str | int | float) or isinstance(given, bool) or given == "":
        raise DataError(f"{where}: {given!r} is not a label; a video takes one, text or number")
    refuse_numbers(str(given), where=where)
    return str(given).replace("[", "").replace("]", "") if "template" in clip else str(given)


def read_dives(path: Path) -> tuple[str, ...]:
    """Read the names of Diving-48's classes: a list of lists of the four parts of a dive, which are joined by spaces.

    Raises:
        DataError: The file is not JSON, or no such list.
    """
    dives = read_json(path)
    if not isinstance(dives, list) or not all(
        isinstance(dive, list) and all(isinstance(part, str) for part in dive) for dive in dives
    ):
        raise DataError(f"{path} holds no list of dives: allowed are lists of parts such as ['Back', '15som', ...]")
    return tuple(" ".join(dive) for dive in dives)


def read_ucf101_classes(path: Path) -> tuple[str, ...]:
    """Read `number name` lines, whose numbers count from 1.

    Raises:
        DataError: A line is another, or the numbers are not 1, 2, 3, ...
    """
    pairs = [line.split(maxsplit=1) for _, line in _lines(path)]
    wrong = next((pair for pair in pairs if len(pair) != 2 or not is_integer(pair[0])), None)
    if wrong is not None:
        raise DataError(f"{path}: {' '.join(wrong)!r} is not the number and the name of a class")
    by_number = {int(number): name.strip() for number, name in pairs}
    if sorted(by_number) != list(range(1, len(pairs) + 1)):
        raise DataError(f"{path}: the numbers of {len(pairs)} classes must be 1 to {len(pairs)}, each once")
    return tuple(by_number[number] for number in sorted(by_number))


def _read_ucf101(path: Path) -> tuple[list[AnnotationRow], tuple[str, ...]]:
    """The class of a video is its folder; where a line has a number, it must be that of the class."""
    names = read_ucf101_classes(path.with_name(UCF101_CLASSES))
    root = _find_root(path.parent, _UCF101_FOLDERS, classes=names)
    rows = []
    for where, line in _lines(path):
        match = _UCF101_LINE.fullmatch(line)
        if match is None:
            raise DataError(f"{path}, {where}: {line!r} is not class/video.avi, in training with the class's number")
        label, video, number = match.groups()
        if number is not None and dict(enumerate(names, start=1)).get(int(number)) != label:
            raise DataError(f"{path}, {where}: {label!r} has number {number} here and another in {UCF101_CLASSES}")
        rows.append(AnnotationRow(path=_video_or_frames(root / label / video), label=label, where=where))
    return rows, names


def _read_hmdb51(source: Path) -> tuple[list[AnnotationRow], tuple[str, ...]]:
    match = _HMDB51_SOURCE.fullmatch(source.name)
    assert match is not None  # is_hmdb51 has seen it
    part, number = match.groups()
    files = _hmdb51_files(source.parent)
    numbers = sorted({number for _, number in files})
    if number not in numbers:
        raise DataError(f"{source.parent} holds the splits {', '.join(numbers)} of HMDB51, not {number}")
    names = tuple(sorted({name for name, _ in files}))
    root = _find_root(source.parent, _HMDB51_FOLDERS, classes=names)
    rows = []
    for name in names:
        file = source.with_name(f"{name}_test_split{number}.txt")
        if not file.is_file():
            raise DataError(f"{file} does not exist, but other splits of this class do")
        for where, video, code in _hmdb51_lines(file):
            if _HMDB51_CODES[code] == part:
                rows.append(
                    AnnotationRow(path=_video_or_frames(root / name / video), label=name, where=f"{file.name}, {where}")
                )
    return rows, names


def _hmdb51_files(folder: Path) -> list[tuple[str, str]]:
    """Class and number of the split of each file in a folder; none where the folder is not there."""
    if not folder.is_dir():
        return []
    matches = [_HMDB51_FILE.fullmatch(path.name) for path in folder.glob("*_test_split*.txt")]
    return [(match[1], match[2]) for match in matches if match is not None]


def _hmdb51_lines(file: Path) -> Iterator[tuple[str, str, str]]:
    """Place, video and code of each line; names of videos may hold anything, also a `#` in front."""
    for where, line in _lines(file):
        match = _HMDB51_LINE.fullmatch(line)
        if match is None or match[2] not in _HMDB51_CODES:
            allowed = ", ".join(f"{code} ({meaning})" for code, meaning in _HMDB51_CODES.items())
            raise DataError(f"{file}, {where}: {line!r} is not a video and one of {allowed}")
        yield where, match[1], match[2]


def _lines(path: Path) -> Iterator[tuple[str, str]]:
    """Place and text of all lines that are not blank."""
    lines = ((number, line.strip()) for number, line in enumerate(read_text(path).split("\n"), start=1))
    return ((f"line {number}", line) for number, line in lines if line)


def _video_or_frames(path: Path) -> Path:
    """A video file, or the folder of its frames, which is called the same without the extension, where only that is."""
    return path.with_suffix("") if path.with_suffix("").is_dir() and not path.exists() else path


def _find_root(folder: Path, names: Sequence[str], *, classes: Collection[str]) -> Path:
    """The folder that holds a folder of a class: beside the lists, above them, or in a folder of one of these names."""
    above = Path(os.path.normpath(folder / ".."))
    roots = [place / name for place in (folder, above) for name in (*names, ".")]
    return next((root for root in roots if any((root / name).is_dir() for name in classes)), above / names[0])
