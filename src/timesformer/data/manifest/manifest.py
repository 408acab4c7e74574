"""Which videos there are and what they show, from folders and annotation files of the common kinds.

| source | looks like |
|---|---|
| folder | one folder a class, videos anywhere below it: files, or folders of frames |
| list | `.txt`, `.csv`, `.tsv`: a path and a label (number or name) a line; names in a `classes.txt` beside it |
| table | with a header: `path,label`, `path,label,group`, or Kinetics' `label,youtube_id,time_start,time_end,split` |
| clips | `.json` of Something-Something v2, with `labels.json` and a folder `videos` beside it |
| dives | `.json` of Diving-48, with `Diving48_vocab.json` and the folder `rgb` beside it |
| UCF101 | `trainlist01.txt` or `testlist01.txt`, with `classInd.txt` beside it |
| HMDB51 | `train_split1` or `test_split1`, in the folder of the files `<class>_test_split1.txt` |
A path leads to a video file, to a folder of numbered pictures, or into a tar file: `shard-000000.tar/clip.mp4`.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from timesformer.data.manifest.class_index import ClassLabels, are_indices, name_numbers
from timesformer.data.manifest.datasets import is_hmdb51, read_clips, read_dives, read_published, refuse_folder_of_lists
from timesformer.data.manifest.holdout import hold_out
from timesformer.data.manifest.listed_paths import OnComments, report_comments
from timesformer.data.manifest.rows import (
    AnnotationRow,
    check_class_name,
    composed,
    groups_of,
    read_class_names,
    read_folder,
    read_label_map,
    read_text,
    unquote,
)
from timesformer.data.manifest.splits import LIST_SUFFIXES, SPLIT_NAMES, find_split, holds_splits
from timesformer.data.manifest.text_lists import read_list
from timesformer.data.video.file_stat import video_exists
from timesformer.errors import ConfigError, DataError
from timesformer.files import is_address
from timesformer.names import compose, quoted

CLASSES_FILE = "classes.txt"
"""File beside a list that names its classes, one a line, the first being class 0."""

_JSON_CLASSES = {
    "labels.json": read_label_map,
    "something-something-v2-labels.json": read_label_map,
    "Diving48_vocab.json": read_dives,
}
_SUFFIXES = (*LIST_SUFFIXES, ".json")


@dataclass(frozen=True, slots=True)
class Sample:
    """A video and its class, as an index into the names of the classes."""

    path: Path
    label: int
    group: str = ""
    """Person, camera or recording that the video comes from; empty if the source does not say."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """Videos and the names of their classes.

    Raises:
        DataError: A label without a name, or a name that is empty or given twice.
    """

    samples: tuple[Sample, ...]
    class_names: tuple[str, ...]

    @property
    def groups(self) -> tuple[str, ...]:
        """Names of the groups, sorted; none where no sample has one."""
        return tuple(sorted({sample.group for sample in self.samples if sample.group}))

    def __post_init__(self) -> None:
        counts = Counter(map(compose, self.class_names))
        repeated = [name for name in dict.fromkeys(self.class_names) if counts[compose(name)] > 1]
        if repeated or not all(self.class_names):
            shown = ", ".join(quoted(repeated or [""]))
            raise DataError(f"names of classes must not be empty or given twice, got {shown}")
        for sample in self.samples:
            if not 0 <= sample.label < len(self.class_names):
                raise DataError(f"{sample.path}: label {sample.label} with {len(self.class_names)} classes")


def load_manifest(
    source: str | Path, *, class_names: Sequence[str] | None = None, check_exists: bool = True
) -> Manifest:
    """Read which videos there are and what they show.

    Relative paths in a file start at the file's folder. Labels that are all whole numbers are indices; others are
    names. Where nothing names the classes, they are the names that occur, sorted, or the numbers.

    Args:
        source: Folder with one folder a class, or an annotation file (see the head of this module).
        class_names: Names of the classes in the order of a model; otherwise those beside the file are taken.
        check_exists: Whether every video must be there. Turn off for files that only other machines see.

    Returns:
        The videos in the order of the file, or sorted for a folder.

    Raises:
        DataError: The source is missing, unreadable, empty or contradicts itself, a label has no class, or videos
            are missing; the message names file and line.
        DecodeError: A tar file that a path leads into is damaged.
    """
    rows, known = read_rows(source, class_names=class_names or ())
    source = Path(source)
    known = tuple(class_names) if class_names is not None else known
    manifest = _resolve(rows, known, source=source)
    if check_exists:
        _refuse_missing(manifest, source=source)
    return manifest


def read_rows(
    source: str | Path, *, class_names: Sequence[str] = (), on_comments: OnComments = report_comments
) -> tuple[list[AnnotationRow], tuple[str, ...] | None]:
    """Read what a source says, with its labels as they are written and nothing compared.

    Accents in labels are in one form (NFC), whatever they have in the source; names of classes are as they are written.

    Args:
        source: As in `load_manifest`.
        class_names: Names of classes that nothing beside the source has to give.
        on_comments: Called with the lines of a list that look like a video, but are comments; logged by default.

    Returns:
        The videos in order, and the names of the classes that lie beside a file; None where there are none.

    Raises:
        DataError: The source is missing, unreadable or empty.
    """
    refuse_no_path(source)
    source = Path(source)
    if not source_exists(source):
        raise DataError(f"{source} does not exist: name a folder with one folder a class, or an annotation file")
    if source.is_dir():
        refuse_folder_of_lists(source)
        rows, known = read_folder(source), None
    else:
        rows, known = read_published(source) or _read_file(source, class_names=class_names, on_comments=on_comments)
    if not rows:
        raise DataError(f"{source} names no video")
    for row in rows:
        check_class_name(row.label, where=f"{source}, {row.where}")
    for name in known or ():
        check_class_name(name, where=f"{source}, the names beside it")
    return composed(rows), known


def refuse_no_path(source: str | Path) -> None:
    """Refuse an empty text, which `Path` takes for the working folder, and an address.

    Raises:
        DataError: The source is one of these.
    """
    if not str(source):
        raise DataError("the name of the data is empty: name a folder or an annotation file")
    if is_address(source):
        raise DataError(f"{source} is an address, not a path: download it first, and name the folder or file")


def source_exists(source: str | Path) -> bool:
    """Whether a source is there: a folder, a file, or a split of HMDB51, which is several files."""
    return Path(source).exists() or is_hmdb51(Path(source))


def class_names_file(source: str | Path) -> Path | None:
    """The file beside an annotation file that names its classes, as `load_manifest` takes it; None without one."""
    source = Path(source)
    names = (*_JSON_CLASSES, CLASSES_FILE) if source.suffix.lower() == ".json" else (CLASSES_FILE,)
    return next((path for path in map(source.with_name, names) if path.exists() and path != source), None)


def load_split(
    folder: str | Path, split: str, *, class_names: Sequence[str] | None = None, check_exists: bool = True
) -> Manifest | None:
    """Read one split of a dataset's folder: `train` or `val`, as a folder or as an annotation file.

    Args:
        folder: For instance one that holds `train/` and `val/`, or `train.csv` and `val.csv`.
        split: `train` or `val`; see `timesformer.data.manifest.splits` for what these may be called.
        class_names: As in `load_manifest`: those of the training split, when validation is read.
        check_exists: As in `load_manifest`.

    Returns:
        The split, or None where the folder has none of that name.

    Raises:
        ConfigError: Another split than `train` or `val`.
        DataError: Two sources for the split, or what `load_manifest` raises.
    """
    if split not in SPLIT_NAMES:
        raise ConfigError(f"split={split!r} is not one of {', '.join(map(repr, SPLIT_NAMES))}")
    found = find_split(folder, split)
    return load_manifest(found, class_names=class_names, check_exists=check_exists) if found else None


def load_training(source: str | Path) -> Manifest:
    """Read the training videos of a source: its training split, where it is a folder with splits, else all of it.

    Raises:
        DataError: As `load_manifest`.
    """
    split = load_split(source, "train") if holds_splits(source) else None
    return split or load_manifest(source)


def split_manifest(manifest: Manifest, *, fraction: float, seed: int) -> tuple[Manifest, Manifest]:
    """Hold out a share of every class for validation: whole groups where videos have groups, else videos.

    A class of two videos or more gives at least one and keeps at least one; a class of one video keeps it. With groups,
    a class gives none where `timesformer.data.manifest.holdout` says so, and a video without one is its own group. All
    mentions of a video stay together, and the order of the samples is kept.

    Args:
        fraction: Share of the videos of each class that is held out, between 0 and 1.
        seed: Seed of the choice.

    Returns:
        What is left for training, and what is held out; both with all class names.

    Raises:
        ConfigError: The share is not between 0 and 1.
        DataError: No class has two videos, or no group can be held out.
    """
    if not 0 < fraction < 1:
        raise ConfigError(f"fraction={fraction} must lie between 0 and 1")
    held = hold_out([(s.path, s.label, s.group) for s in manifest.samples], fraction=fraction, seed=seed)
    train, val = (tuple(s for s in manifest.samples if (s.path in held) is wanted) for wanted in (False, True))
    return Manifest(train, manifest.class_names), Manifest(val, manifest.class_names)


def _read_file(
    source: Path, *, class_names: Sequence[str], on_comments: OnComments
) -> tuple[list[AnnotationRow], tuple[str, ...] | None]:
    """Rows of an annotation file, and the names of its classes from the files that the formats keep beside it."""
    suffix = source.suffix.lower()
    beside = class_names_file(source)
    if suffix in LIST_SUFFIXES:
        lines = [] if beside is None else read_text(beside).split("\n")
        known = {compose(unquote(line.strip())) for line in (*lines, *class_names)}
        rows = read_list(source, known=known, on_comments=on_comments)
    elif suffix == ".json":
        rows = read_clips(source)
    else:
        raise DataError(f"{source}: unknown extension {source.suffix!r}, allowed are {' '.join(_SUFFIXES)} or a folder")
    if beside is None or beside.name in _JSON_CLASSES:
        return rows, None if beside is None else _JSON_CLASSES[beside.name](beside)
    return rows, read_class_names(beside, used={row.label for row in rows})


def _resolve(rows: Sequence[AnnotationRow], known: tuple[str, ...] | None, *, source: Path) -> Manifest:
    """Turn labels into indices and refuse a video of two classes."""
    labels = [row.label for row in rows]
    is_numbered = not source.is_dir() and are_indices(labels, known)
    if known is None:
        names = name_numbers(rows, source=source, classes_file=CLASSES_FILE) if is_numbered else sorted(set(labels))
        known = tuple(names)
    classes = ClassLabels(labels, known, is_numbered=is_numbered)
    groups = groups_of(rows, source=source)
    samples, seen = [], {}
    for row in rows:
        problem = classes.problem(row.label)
        if problem:
            raise DataError(f"{source}, {row.where}: {problem}{_hint(problem, known)}")
        label = classes.index(row.label)
        first, first_label = seen.setdefault(row.path, (row, label))
        if first_label != label:
            raise DataError(
                f"{source}, {row.where}: {row.path} has label {row.label!r} here and {first.label!r} in {first.where}"
            )
        samples.append(Sample(path=row.path, label=label, group=groups.get(row.path, "")))
    return Manifest(samples=tuple(samples), class_names=known)


def _hint(problem: str, known: Sequence[str]) -> str:
    """What the classes are, where a problem with a name does not say so."""
    is_bare = problem.startswith("unknown class") and "did you mean" not in problem
    return f", the {len(known)} classes start with {list(known[:5])}" if is_bare else ""


def _refuse_missing(manifest: Manifest, *, source: Path) -> None:
    missing = [str(path) for path in dict.fromkeys(s.path for s in manifest.samples) if not video_exists(path)]
    if missing:
        more = ", ..." if len(missing) > 3 else ""
        raise DataError(
            f"{source}: {len(missing)} of {len(manifest.samples)} videos are missing: {', '.join(missing[:3])}{more}"
        )
