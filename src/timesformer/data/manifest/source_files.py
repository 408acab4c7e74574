"""Sources of all kinds: which reader reads one, which file names its classes, and which splits it holds."""

from collections.abc import Sequence
from pathlib import Path

from timesformer.data.manifest import splits
from timesformer.data.manifest.datasets import is_hmdb51, read_clips, read_dives, read_published, refuse_folder_of_lists
from timesformer.data.manifest.listed_paths import OnComments
from timesformer.data.manifest.rows import (
    AnnotationRow,
    read_class_folders,
    read_classes_file,
    read_json,
    read_label_map,
    read_text,
    unquote,
)
from timesformer.data.manifest.segments.activitynet import find_subsets, is_activitynet, read_activitynet
from timesformer.data.manifest.segments.elan import read_elan
from timesformer.data.manifest.segments.label_studio import is_label_studio, read_label_studio
from timesformer.data.manifest.segments.parts import elan_files, split_part
from timesformer.data.manifest.text_lists import read_list
from timesformer.errors import DataError
from timesformer.names import compose

CLASSES_FILE = "classes.txt"
"""File next to a list that names its classes, one per line, the first being class 0."""

_JSON_CLASSES = {
    "labels.json": read_label_map,
    "something-something-v2-labels.json": read_label_map,
    "Diving48_vocab.json": read_dives,
}
_SUFFIXES = (*splits.LIST_SUFFIXES, ".json", ".eaf")


def is_class_folders(source: Path) -> bool:
    """Whether a source is a folder of class folders, and not one of ELAN files."""
    return source.is_dir() and not elan_files(source)


def source_exists(source: str | Path) -> bool:
    """Whether a source exists: a folder, a file, a part of one, or a split of HMDB51, which is several files."""
    source = Path(source)
    return source.exists() or is_hmdb51(source) or bool(split_part(source)[1])


def find_split(source: str | Path, split: str) -> Path | None:
    """Source of a split, `train` or `val`, in a folder or an ActivityNet file; None if it does not have the split.

    Raises:
        DataError: The split has several sources.
    """
    return find_subsets(Path(source)).get(split) or splits.find_split(source, split)


def holds_splits(source: str | Path) -> bool:
    """Whether a source has a training and a validation split: a folder of folders or files, or an ActivityNet file."""
    return splits.holds_splits(source) or find_subsets(Path(source)).keys() >= splits.SPLIT_NAMES.keys()


def class_names_file(source: str | Path) -> Path | None:
    """The file next to an annotation file that names its classes for `load_manifest`; None if there is none."""
    source, _ = split_part(Path(source))
    names = (*_JSON_CLASSES, CLASSES_FILE) if source.suffix.lower() == ".json" else (CLASSES_FILE,)
    folder = source if source.is_dir() else source.parent
    return next((path for path in map(folder.joinpath, names) if path.exists() and path != source), None)


def read_source(
    source: Path, *, class_names: Sequence[str], on_comments: OnComments
) -> tuple[list[AnnotationRow], tuple[str, ...] | None]:
    """Rows of an existing source, and class names from the class file of its format next to it; None without one.

    Raises:
        DataError: The source is unreadable or of an unknown kind; the message names file and line.
    """
    if is_class_folders(source):
        refuse_folder_of_lists(source)
        return read_class_folders(source), None
    published = read_published(source)
    if published is not None:
        return published
    names_file = class_names_file(source)
    rows = _read_file(source, names_file, class_names=class_names, on_comments=on_comments)
    if names_file is None:
        return rows, None
    if names_file.name in _JSON_CLASSES:
        return rows, _JSON_CLASSES[names_file.name](names_file)
    return rows, read_classes_file(names_file, used={row.label for row in rows})


def _read_file(
    source: Path, names_file: Path | None, *, class_names: Sequence[str], on_comments: OnComments
) -> list[AnnotationRow]:
    source, part = split_part(source)
    suffix = ".eaf" if source.is_dir() else source.suffix.lower()
    if suffix == ".eaf":
        return read_elan(source, tier=part)
    if suffix in splits.LIST_SUFFIXES:
        lines = [] if names_file is None else read_text(names_file).split("\n")
        names = {compose(unquote(line.strip())) for line in (*lines, *class_names)}
        return read_list(source, class_names=names, on_comments=on_comments)
    if suffix == ".json":
        return _read_json(source, part)
    raise DataError(f"{source}: unknown extension {source.suffix!r}, allowed are {' '.join(_SUFFIXES)} or a folder")


def _read_json(source: Path, part: str) -> list[AnnotationRow]:
    content = read_json(source)
    if is_activitynet(content):
        return read_activitynet(source, content, subset=part)
    if part:
        raise DataError(f"{source / part} does not exist: only ActivityNet's files have subsets, and {source} is none")
    return read_label_studio(source, content) if is_label_studio(content) else read_clips(source, content)
