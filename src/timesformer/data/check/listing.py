"""The videos that a data set lists; wrong labels and empty classes are recorded instead of refused."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from timesformer.data.manifest.class_index import ClassIndex, are_indices, to_index
from timesformer.data.manifest.datasets import refuse_folder_of_lists
from timesformer.data.manifest.listed_paths import report_comments
from timesformer.data.manifest.manifest import find_split, holds_splits, read_rows, refuse_no_path
from timesformer.data.manifest.rows import AnnotationRow, composed, find_class_videos, folder_rows
from timesformer.data.manifest.source_files import is_class_folders
from timesformer.data.manifest.video_search import PassedOver
from timesformer.data.video.segment import Segment
from timesformer.errors import did_you_mean
from timesformer.names import compose


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedVideo:
    """A video, or a segment of one, as a data set lists it."""

    path: Path
    split: str
    """`train` or `val`."""
    given: str
    """The label as written."""
    label: int | None
    """Index of the class; None if the label is wrong."""
    problem: str = ""
    """Error of the label, with its line in the source; empty if the label is valid."""
    group: str = ""
    """Person, camera or recording of the video; empty if the source does not say."""
    where: str = ""
    """Position in the source, for messages."""
    segment: Segment | None = None
    """The part of the video that has the label, as written, even if impossible; None for all of it."""


@dataclass(frozen=True, slots=True)
class ListedDataset:
    """All videos of a data set, training before validation, each in the order of its source."""

    videos: tuple[ListedVideo, ...]
    class_names: tuple[str, ...]
    """Names of the training classes."""
    passed_over: tuple[PassedOver, ...] = ()
    """Possible videos, in class folders or lines of lists, that are not read."""
    others: Counter[str] = field(default_factory=Counter)
    """Number of other files in the class folders, by extension."""

    @property
    def has_segments(self) -> bool:
        """Whether any entry is a segment of a video."""
        return any(video.segment is not None for video in self.videos)

    @property
    def unit(self) -> str:
        """What an entry is: `videos` or `segments`."""
        return "segments" if self.has_segments else "videos"


@dataclass(frozen=True, slots=True)
class _Source:
    """Content of one source."""

    rows: list[AnnotationRow]
    class_names: Sequence[str] | None
    """Names of the classes, including empty class folders; None if the source does not name them."""
    passed_over: tuple[PassedOver, ...] = ()
    others: Counter[str] = field(default_factory=Counter)


def read_listing(source: str | Path, *, val: str | Path = "") -> ListedDataset:
    """Read the videos that training would read, even with wrong labels or missing files.

    Args:
        source: Folder of class folders, folder with `train` and `val`, or annotation file.
        val: Source of the validation videos; if empty, the validation split of `source`, if it has one.

    Raises:
        DataError: A source is missing, empty or cannot be read at all.
    """
    refuse_no_path(source)
    train_path = (find_split(source, "train") if holds_splits(source) else None) or Path(source)
    train = _read_source(train_path)
    is_numbered = _is_numbered(train.rows, train.class_names, source=train_path)
    names = train.class_names
    if names is None:
        names = _class_names(train.rows, is_numbered=is_numbered)
    videos = _listed(train.rows, names, names, split="train", is_numbered=is_numbered)
    val = val or (source if holds_splits(source) else "")
    if not val:
        return ListedDataset(tuple(_with_groups(videos)), tuple(names), train.passed_over, train.others)
    val_path = (find_split(val, "val") if holds_splits(val) else None) or Path(val)
    held_out = _read_source(val_path, class_names=names)
    videos += _list_val(held_out, names, path=val_path)
    passed_over, others = train.passed_over + held_out.passed_over, train.others + held_out.others
    return ListedDataset(tuple(_with_groups(videos)), tuple(names), passed_over, others)


def _with_groups(videos: Sequence[ListedVideo]) -> Iterator[ListedVideo]:
    """Videos with the group of any of their lines, as in `groups_of`."""
    named: dict[Path, str] = {}
    for video in videos:
        if video.group:
            named.setdefault(video.path, video.group)
    return (replace(video, group=video.group or named.get(video.path, "")) for video in videos)


def _list_val(val: _Source, names: Sequence[str], *, path: Path) -> list[ListedVideo]:
    """Validation videos; numeric labels are indices of training classes unless a file next to the list names them."""
    own = names if val.class_names is None or path.is_dir() else val.class_names
    return _listed(val.rows, own, names, split="val", is_numbered=_is_numbered(val.rows, own, source=path))


def _read_source(source: Path, *, class_names: Sequence[str] = ()) -> _Source:
    if not is_class_folders(source):
        comments: list[PassedOver] = []

        def note(path: Path, lines: Sequence[int]) -> None:
            comments.extend([PassedOver(path, "comment")] * len(lines))
            report_comments(path, lines)  # logs their numbers

        rows, found_names = read_rows(source, class_names=class_names, on_comments=note, checks_segments=False)
        return _Source(rows, found_names, tuple(comments))
    refuse_folder_of_lists(source)
    found = find_class_videos(source)
    if not any(found.videos.values()):
        return _Source(*read_rows(source))  # raises: without any video, the problem is not an empty class
    names = None if all(found.videos.values()) else list(dict.fromkeys(map(compose, found.videos)))
    return _Source(composed(folder_rows(found.videos)), names, found.passed_over, found.others)


def _is_numbered(rows: Sequence[AnnotationRow], class_names: Sequence[str] | None, *, source: Path) -> bool:
    return not source.is_dir() and are_indices([row.label for row in rows], class_names)


def _class_names(rows: Sequence[AnnotationRow], *, is_numbered: bool) -> Sequence[str]:
    """Labels that occur; of indices, all up to the largest one for which at least half occur."""
    if not is_numbered:
        return sorted({row.label for row in rows})
    used = sorted({index for row in rows if (index := to_index(row.label)) is not None and index >= 0})
    while used and used[-1] + 1 > 2 * len(used):
        used.pop()
    return [str(label) for label in range(used[-1] + 1 if used else 0)]


def _listed(
    rows: Sequence[AnnotationRow], own: Sequence[str], names: Sequence[str], *, split: str, is_numbered: bool
) -> list[ListedVideo]:
    """Videos of rows, whose labels are names or indices in `own`, with indices of the training classes."""
    classes = ClassIndex([row.label for row in rows], own, is_numbered=is_numbered)
    index = {compose(name): number for number, name in enumerate(names)}
    videos = []
    for row in rows:
        problem = classes.problem(row.label)
        name = "" if problem else compose(own[classes.index(row.label)])
        if not problem and name not in index:
            problem = f"class {name!r} does not occur in training" + did_you_mean(name, names)
        videos.append(
            ListedVideo(
                path=row.path,
                split=split,
                given=row.label,
                label=None if problem else index[name],
                problem=f"{row.where}: {problem}" if problem else "",
                group=row.group,
                where=row.where,
                segment=row.segment,
            )
        )
    return videos
