"""Videos and their classes, read from folders and annotation files of the common kinds.

| source | looks like |
|---|---|
| folder | one folder per class, videos at any depth below it: files, or folders of frames |
| list | `.txt`, `.csv`, `.tsv`: a path and a label (number or name) per line; names in a `classes.txt` next to it |
| table | with a header: `path,label`, `path,label,group`, or Kinetics' `label,youtube_id,time_start,time_end,split` |
| segments | such tables with `start,end`; `.json` of ActivityNet and Label Studio, `.eaf` of ELAN, `.csv` of BORIS |
| clips | `.json` of Something-Something v2, with `labels.json` and a folder `videos` next to it |
| dives | `.json` of Diving-48, with `Diving48_vocab.json` and the folder `rgb` next to it |
| UCF101 | `trainlist01.txt` or `testlist01.txt`, with `classInd.txt` next to it |
| HMDB51 | `train_split1` or `test_split1`, in the folder of the files `<class>_test_split1.txt` |
A path names a video file, a folder of numbered pictures, or a member of a tar file: `shard-000000.tar/clip.mp4`.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from timesformer.data.manifest.class_index import ClassIndex, are_indices, name_numbers
from timesformer.data.manifest.holdout import hold_out
from timesformer.data.manifest.listed_paths import OnComments, report_comments
from timesformer.data.manifest.rows import AnnotationRow, check_class_name, composed, groups_of
from timesformer.data.manifest.source_files import (
    CLASSES_FILE,
    find_split,
    holds_splits,
    read_source,
    source_exists,
)
from timesformer.data.manifest.splits import SPLIT_NAMES
from timesformer.data.video.file_stat import video_exists
from timesformer.data.video.segment import Segment, check_segment, segment_name
from timesformer.errors import ConfigError, DataError
from timesformer.files import is_address
from timesformer.names import compose, quoted


@dataclass(frozen=True, slots=True)
class Sample:
    """A video and the index of its class."""

    path: Path
    label: int
    group: str = ""
    """Person, camera or recording of the video; empty if the source does not say."""
    segment: Segment | None = None
    """The part of the video that shows the class; None for all of it."""

    @property
    def name(self) -> str:
        """The path and the segment, for messages."""
        return segment_name(self.path, self.segment)


@dataclass(frozen=True, slots=True)
class Manifest:
    """Videos and the names of their classes.

    Raises:
        DataError: A label has no name, or a name is empty or occurs twice.
    """

    samples: tuple[Sample, ...]
    class_names: tuple[str, ...]

    @property
    def groups(self) -> tuple[str, ...]:
        """Names of the groups, sorted; empty if no sample has a group."""
        return tuple(sorted({sample.group for sample in self.samples if sample.group}))

    @property
    def has_segments(self) -> bool:
        """Whether any sample is a segment of a video."""
        return any(sample.segment is not None for sample in self.samples)

    @property
    def paths(self) -> tuple[Path, ...]:
        """The videos, each once, in the order of the samples."""
        return tuple(dict.fromkeys(sample.path for sample in self.samples))

    def describe_size(self) -> str:
        """The number of samples, as text: `7 videos`, or `20 segments of 7 videos`."""
        count = len(self.samples)
        if not self.has_segments:
            return f"{count} videos"
        num_files = len(self.paths)
        return f"{count} segment{'s' * (count > 1)} of {num_files} video{'s' * (num_files > 1)}"

    def __post_init__(self) -> None:
        counts = Counter(map(compose, self.class_names))
        repeated = [name for name in dict.fromkeys(self.class_names) if counts[compose(name)] > 1]
        if repeated or not all(self.class_names):
            shown = ", ".join(quoted(repeated or [""]))
            raise DataError(f"class names must not be empty or occur twice, got {shown}")
        for sample in self.samples:
            if not 0 <= sample.label < len(self.class_names):
                last = len(self.class_names) - 1
                raise DataError(f"{sample.name}: label {sample.label} is out of range, allowed are 0 to {last}")


def load_manifest(
    source: str | Path, *, class_names: Sequence[str] | None = None, check_exists: bool = True
) -> Manifest:
    """Read the videos of a data set and their classes.

    Relative paths in a file start at the file's folder. Labels that are all whole numbers are indices; others are
    names. If nothing names the classes, they are the labels that occur, sorted, or the numbers.

    Args:
        source: Folder with one folder per class, or an annotation file (see the head of this module).
        class_names: Names of the classes in the order of a model; by default those next to the file.
        check_exists: Refuse videos that do not exist. Turn off for files that only other machines see.

    Returns:
        The videos in the order of the file, or sorted for a folder.

    Raises:
        DataError: The source is missing, unreadable, empty or contradicts itself, a label has no class, or videos
            are missing; the message names file and line.
        DecodeError: A tar file that a path leads into is damaged.
    """
    rows, found_names = read_rows(source, class_names=class_names or ())
    source = Path(source)
    manifest = _resolve(rows, tuple(class_names) if class_names is not None else found_names, source=source)
    if check_exists:
        _refuse_missing(manifest, source=source)
    return manifest


def read_rows(
    source: str | Path,
    *,
    class_names: Sequence[str] = (),
    on_comments: OnComments = report_comments,
    checks_segments: bool = True,
) -> tuple[list[AnnotationRow], tuple[str, ...] | None]:
    """Read the rows of a source, without matching labels to classes.

    Labels are in NFC, whatever their form in the source; class names are as written.

    Args:
        source: As in `load_manifest`.
        class_names: Further class names; a label that is one of them is never split.
        on_comments: Called with the numbers of comment lines that look like a video; logged by default.
        checks_segments: Refuse segments that are empty, reversed, negative or infinite. Turn off to report them all.

    Returns:
        The videos in order, and the class names from a file next to the source; None without such a file.

    Raises:
        DataError: The source is missing, unreadable or empty, or a segment is refused; the message names its line.
    """
    refuse_no_path(source)
    source = Path(source)
    if not source_exists(source):
        raise DataError(f"{source} does not exist: name a folder with one folder per class, or an annotation file")
    rows, found_names = read_source(source, class_names=class_names, on_comments=on_comments)
    if not rows:
        raise DataError(f"{source} lists no video")
    for row in rows:
        check_class_name(row.label, where=f"{source}, {row.where}")
        if checks_segments and row.segment is not None:
            check_segment(*row.segment, where=f"{source}, {row.where}")
    for name in found_names or ():
        check_class_name(name, where=f"{source}, its class names")
    return composed(rows), found_names


def refuse_no_path(source: str | Path) -> None:
    """Refuse an empty text, which `Path` reads as the working folder, and an address.

    Raises:
        DataError: The source is empty or an address.
    """
    if not str(source):
        raise DataError("the path of the data is empty: name a folder or an annotation file")
    if is_address(source):
        raise DataError(f"{source} is an address, not a path: download it first, and name the folder or file")


def load_split(
    folder: str | Path, split: str, *, class_names: Sequence[str] | None = None, check_exists: bool = True
) -> Manifest | None:
    """Read one split of a data set's folder: `train` or `val`, a folder or an annotation file.

    Args:
        folder: For example one with `train/` and `val/`, or with `train.csv` and `val.csv`.
        split: `train` or `val`; `timesformer.data.manifest.splits` lists the accepted names.
        class_names: As in `load_manifest`: those of the training split, for validation.
        check_exists: As in `load_manifest`.

    Returns:
        The split; None if the folder does not have it.

    Raises:
        ConfigError: `split` is neither `train` nor `val`.
        DataError: The split has two sources, or as `load_manifest`.
    """
    if split not in SPLIT_NAMES:
        raise ConfigError(f"split={split!r} is not one of {', '.join(map(repr, SPLIT_NAMES))}")
    found = find_split(folder, split)
    return load_manifest(found, class_names=class_names, check_exists=check_exists) if found else None


def load_training(source: str | Path) -> Manifest:
    """Read the training videos of a source: the training split of a folder with splits, otherwise all videos.

    Raises:
        DataError: As `load_manifest`.
    """
    split = load_split(source, "train") if holds_splits(source) else None
    return split or load_manifest(source)


def split_manifest(manifest: Manifest, *, fraction: float, seed: int) -> tuple[Manifest, Manifest]:
    """Hold out a fraction of every class for validation: whole groups if any video has a group, otherwise videos.

    A class of two or more videos gives at least one and keeps at least one; a class of one video keeps it. With groups,
    or with videos whose segments show several classes, a class may give none (`timesformer.data.manifest.holdout`); a
    video without a group is its own group. All entries and segments of a video stay together, in the order of the
    samples.

    Args:
        fraction: Fraction of each class to hold out, between 0 and 1.
        seed: Seed of the choice.

    Returns:
        Training and held-out videos, both with all class names.

    Raises:
        ConfigError: `fraction` is not between 0 and 1.
        DataError: No class has two videos, or no group can be held out.
    """
    if not 0 < fraction < 1:
        raise ConfigError(f"fraction={fraction} must lie between 0 and 1")
    samples = dict.fromkeys(manifest.samples)  # a repeated line has no weight
    held = hold_out([(s.path, s.label, s.group) for s in samples], fraction=fraction, seed=seed)
    train, val = (tuple(s for s in manifest.samples if (s.path in held) is wanted) for wanted in (False, True))
    return Manifest(train, manifest.class_names), Manifest(val, manifest.class_names)


def _resolve(rows: Sequence[AnnotationRow], class_names: tuple[str, ...] | None, *, source: Path) -> Manifest:
    """Turn labels into indices, and refuse a video that is labeled as a whole with two classes.

    Segments of one video may have different classes, also where they overlap.
    """
    labels = [row.label for row in rows]
    is_numbered = not source.is_dir() and are_indices(labels, class_names)
    if class_names is None:
        names = name_numbers(rows, source=source, classes_file=CLASSES_FILE) if is_numbered else sorted(set(labels))
        class_names = tuple(names)
    classes = ClassIndex(labels, class_names, is_numbered=is_numbered)
    groups = groups_of(rows, source=source)
    samples, whole = [], {row.path: row for row in reversed(rows) if row.segment is None}
    for row in rows:
        problem = classes.problem(row.label)
        if problem:
            raise DataError(f"{source}, {row.where}: {problem}{_hint(problem, class_names)}")
        label, first = classes.index(row.label), whole.get(row.path, row)
        if not classes.problem(first.label) and classes.index(first.label) != label:
            raise DataError(
                f"{source}, {row.where}: {row.path} has label {row.label!r} here and {first.label!r} in {first.where}: "
                "a video has one label"
            )
        samples.append(Sample(path=row.path, label=label, group=groups.get(row.path, ""), segment=row.segment))
    return Manifest(samples=tuple(samples), class_names=class_names)


def _hint(problem: str, class_names: Sequence[str]) -> str:
    """The first classes, if a problem suggests none."""
    is_bare = problem.startswith("unknown class") and "did you mean" not in problem
    return f", the {len(class_names)} classes start with {list(class_names[:5])}" if is_bare else ""


def _refuse_missing(manifest: Manifest, *, source: Path) -> None:
    missing = [str(path) for path in manifest.paths if not video_exists(path)]
    if missing:
        more = ", ..." if len(missing) > 3 else ""
        raise DataError(
            f"{source}: {len(missing)} of {len(manifest.paths)} videos are missing: {', '.join(missing[:3])}{more}"
        )
