"""Which videos a data set lists, read so that wrong labels and empty classes are found instead of refused."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from timesformer.data.manifest.class_index import ClassIndex, are_indices, to_index
from timesformer.data.manifest.datasets import refuse_folder_of_lists
from timesformer.data.manifest.listed_paths import report_comments
from timesformer.data.manifest.manifest import find_split, holds_splits, read_rows, refuse_no_path
from timesformer.data.manifest.rows import AnnotationRow, composed, find_class_videos, folder_rows
from timesformer.data.manifest.video_search import PassedOver
from timesformer.names import compose


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedVideo:
    """A video as a data set lists it."""

    path: Path
    split: str
    """`train` or `val`."""
    given: str
    """Its label as it is written."""
    label: int | None
    """Index of its class; None where the label is wrong."""
    problem: str = ""
    """What is wrong with the label, with its place in the source; empty where nothing is."""
    group: str = ""
    """Person, camera or recording that it comes from; empty if the source does not say."""


@dataclass(frozen=True, slots=True)
class ListedDataset:
    """All videos of a data set, training before validation, each in the order of its source."""

    videos: tuple[ListedVideo, ...]
    class_names: tuple[str, ...]
    """The classes of training."""
    passed_over: tuple[PassedOver, ...] = ()
    """What could be a video in the class folders, or in a line of a list, and is not read."""
    others: Counter[str] = field(default_factory=Counter)
    """Number of other files in the class folders, by extension."""


@dataclass(frozen=True, slots=True)
class _Part:
    """What one source lists."""

    rows: list[AnnotationRow]
    known: Sequence[str] | None
    """Names of the classes, if the source brings them; those of empty class folders are among them."""
    passed_over: tuple[PassedOver, ...] = ()
    others: Counter[str] = field(default_factory=Counter)


def read_listing(source: str | Path, *, val: str | Path = "") -> ListedDataset:
    """Read what training would read, whatever the labels are and whether or not the files are there.

    Args:
        source: Folder of class folders, folder with `train` and `val`, or annotation file.
        val: Source of the validation videos; empty takes those of `source`, if it holds splits.

    Raises:
        DataError: A source is missing, empty or cannot be read at all.
    """
    refuse_no_path(source)
    train = (find_split(source, "train") if holds_splits(source) else None) or Path(source)
    part = _read_part(train)
    is_numbered = _is_numbered(part.rows, part.known, source=train)
    names = part.known if part.known is not None else _class_names(part.rows, is_numbered=is_numbered)
    videos = _listed(part.rows, names, names, split="train", is_numbered=is_numbered)
    val = val or (source if holds_splits(source) else "")
    if not val:
        return ListedDataset(tuple(_with_groups(videos)), tuple(names), part.passed_over, part.others)
    of_val = (find_split(val, "val") if holds_splits(val) else None) or Path(val)
    val_part = _read_part(of_val, class_names=names)
    videos += _list_val(val_part, names, source=of_val)
    passed_over, others = part.passed_over + val_part.passed_over, part.others + val_part.others
    return ListedDataset(tuple(_with_groups(videos)), tuple(names), passed_over, others)


def _with_groups(videos: Sequence[ListedVideo]) -> Iterator[ListedVideo]:
    """A video that is listed several times needs its group once, as in `groups_of`."""
    named: dict[Path, str] = {}
    for video in videos:
        if video.group:
            named.setdefault(video.path, video.group)
    return (replace(video, group=video.group or named.get(video.path, "")) for video in videos)


def _list_val(part: _Part, names: Sequence[str], *, source: Path) -> list[ListedVideo]:
    """Validation has its own classes only in a folder, or where a file lies beside it; training knows the numbers."""
    own = names if part.known is None or source.is_dir() else part.known
    return _listed(part.rows, own, names, split="val", is_numbered=_is_numbered(part.rows, own, source=source))


def _read_part(source: Path, *, class_names: Sequence[str] = ()) -> _Part:
    if not source.is_dir():
        comments: list[PassedOver] = []

        def note(path: Path, lines: Sequence[int]) -> None:
            comments.extend([PassedOver(path, "comment")] * len(lines))
            report_comments(path, lines)  # which lines

        rows, known = read_rows(source, class_names=class_names, on_comments=note)
        return _Part(rows, known, tuple(comments))
    refuse_folder_of_lists(source)
    found = find_class_videos(source)
    if not any(found.videos.values()):
        return _Part(*read_rows(source))  # refuses it: something else is wrong than that a class has no video
    known = None if all(found.videos.values()) else list(dict.fromkeys(map(compose, found.videos)))
    return _Part(composed(folder_rows(found.videos)), known, found.passed_over, found.others)


def _is_numbered(rows: Sequence[AnnotationRow], known: Sequence[str] | None, *, source: Path) -> bool:
    return not source.is_dir() and are_indices([row.label for row in rows], known)


def _class_names(rows: Sequence[AnnotationRow], *, is_numbered: bool) -> Sequence[str]:
    """The names that occur; of numbers, all up to the largest that leaves at least half of them in use."""
    if not is_numbered:
        return sorted({row.label for row in rows})
    used = sorted({index for row in rows if (index := to_index(row.label)) is not None and index >= 0})
    while used and used[-1] + 1 > 2 * len(used):
        used.pop()
    return [str(label) for label in range(used[-1] + 1 if used else 0)]


def _listed(
    rows: Sequence[AnnotationRow], own: Sequence[str], names: Sequence[str], *, split: str, is_numbered: bool
) -> list[ListedVideo]:
    """Find the classes of rows, whose labels are names or indices of `own`, among those of training."""
    classes = ClassIndex([row.label for row in rows], own, is_numbered=is_numbered)
    index = {compose(name): number for number, name in enumerate(names)}
    videos = []
    for row in rows:
        problem = classes.problem(row.label)
        name = "" if problem else compose(own[classes.index(row.label)])
        if not problem and name not in index:
            problem = f"class {name!r} does not occur in training"
        videos.append(
            ListedVideo(
                path=row.path,
                split=split,
                given=row.label,
                label=None if problem else index[name],
                problem=f"{row.where}: {problem}" if problem else "",
                group=row.group,
            )
        )
    return videos
