"""Splits of a data set: folders and lists for training and validation, found by name and by content."""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from timesformer.data.manifest.folders import list_folders, list_paths
from timesformer.errors import DataError

LIST_SUFFIXES = (".txt", ".csv", ".tsv", ".lst")
"""File name extensions of lists and tables."""

ANNOTATION_SUFFIXES = (*LIST_SUFFIXES, ".json")
"""File name extensions of annotation files."""

SPLIT_NAMES = {"train": ("train", "training"), "val": ("val", "valid", "validation")}
"""Usual names of folders and files of a split."""

_WORDS = {
    "train": {*SPLIT_NAMES["train"], "trainval"},
    "val": {*SPLIT_NAMES["val"], "validate", "eval", "evaluation", "dev", "devel", "development"},
    "test": {"test", "testing", "tests"},
}
_SPLIT_OF = {word: split for split, words in _WORDS.items() for word in words}
_WORD = re.compile(rf"({'|'.join(sorted(_SPLIT_OF, key=len, reverse=True))})(?:set|data|split|list|part)?")
_TOKEN = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|[^\W\d_]+|[0-9]+")
_GENERAL = frozenset((
    "video", "videos", "clip", "clips", "frame", "frames", "rawframes", "rgb", "image", "images", "data", "dataset",
    "set", "split", "part", "subset", "fold", "list", "lists", "file", "files", "annotation", "annotations", "label",
    "labels", "x", "p", "px", "small", "resized", "raw", "compress", "the", "my", "new", "full", "folder",
))  # fmt: skip
"""Words, besides numbers, that do not tell what a folder shows."""
_NOT_LISTED = frozenset((
    "acc", "accuracy", "config", "curve", "features", "history", "log", "logs", "loss", "losses", "metric", "metrics",
    "output", "outputs", "predictions", "readme", "result", "results", "scores", "stats", "summary",
))  # fmt: skip
"""Words in the names of files that training writes; such files are not annotation."""


@dataclass(frozen=True, slots=True)
class SplitName:
    """The split that a name states."""

    split: str
    """`train`, `val` or `test`."""
    subject: tuple[str, ...]
    """Other words of the name, such as `("kinetics",)` of `kinetics_train_256`."""


def parse_split(name: str) -> SplitName | None:
    """Parse the split in a name: `train_256`, `videosVal`, `trainset`, `dev`; None if it states none or several."""
    tokens = [token.lower() for token in _TOKEN.findall(name)]
    matches = [_WORD.fullmatch(token) for token in tokens]
    words = [match[1] for match in matches if match]
    if len(words) != 1:
        return None
    rest = (token for token, match in zip(tokens, matches, strict=True) if not match)
    subject = tuple(token for token in rest if token not in _GENERAL and not token.isdigit())
    return SplitName(_SPLIT_OF[words[0]], subject)


def find_split(folder: str | Path, split: str) -> Path | None:
    """Source of a split, `train` or `val`, in a data set's folder; None if the folder does not have it.

    Usual names come first: a folder with a name in `SPLIT_NAMES`, or an annotation file with such a name, optionally
    after a prefix and `-` or `_`. Of other names, such as `videos_train` and `videos_val` or `train` and `dev`, pairs
    count that differ only in the split, or that contain folders of the same names.

    Raises:
        DataError: The split has several sources.
    """
    found = _find_sources(Path(folder))[split]
    if len(found) > 1:
        names = ", ".join(sorted(path.name for path in found))
        raise DataError(f"{folder} has several sources for {split!r}: {names}: name one of them")
    return found[0] if found else None


def holds_splits(source: str | Path) -> bool:
    """Whether a source is a folder with a training and a validation split, each a folder or an annotation file."""
    paths = _candidates(Path(source))
    return all(_with_usual_names(paths).values()) or bool(_find_pairs(paths))


def _find_sources(folder: Path) -> dict[str, list[Path]]:
    paths = _candidates(folder)
    usual = _with_usual_names(paths)
    if all(usual.values()):
        return usual
    pairs = _find_pairs(paths)
    paired = {"train": dict.fromkeys(train for train, _ in pairs), "val": dict.fromkeys(val for _, val in pairs)}
    plain = {split: [path for path in paths if parse_split(_stem(path)) == SplitName(split, ())] for split in usual}
    return {split: usual[split] or list(paired[split]) or plain[split] for split in SPLIT_NAMES}


def _candidates(folder: Path) -> list[Path]:
    return [path for path in list_paths(folder) if _may_hold_split(path)] if folder.is_dir() else []


def _with_usual_names(paths: Sequence[Path]) -> dict[str, list[Path]]:
    return {split: [path for path in paths if _has_usual_name(path, names)] for split, names in SPLIT_NAMES.items()}


def _find_pairs(paths: Sequence[Path]) -> list[tuple[Path, Path]]:
    """Pairs of folders or lists that are training and validation of one data set, by their names or contents."""
    named = [(path, name) for path in paths if (name := parse_split(_stem(path))) is not None]
    train, val = ([(path, of) for path, of in named if of.split == split] for split in SPLIT_NAMES)
    pairs = [(t, v) for t, of_t in train for v, of_v in val if of_t.subject == of_v.subject or _hold_same(t, v)]
    folders = [path for path in paths if path.is_dir()]
    if all(parse_split(path.name) for path in folders):
        return pairs
    # next to other folders without subfolders, such as `meeting`, a folder `training` is a class
    return [(t, v) for t, v in pairs if not t.is_dir() or not v.is_dir() or list_folders(t) or list_folders(v)]


def _may_hold_split(path: Path) -> bool:
    if path.name.startswith(".") or path.is_dir():
        return not path.name.startswith(".")
    words = {token.lower() for token in _TOKEN.findall(path.stem)}
    return path.suffix.lower() in ANNOTATION_SUFFIXES and path.is_file() and not words & _NOT_LISTED


def _has_usual_name(path: Path, names: Collection[str]) -> bool:
    if path.is_dir():
        return path.name.lower() in names
    return re.fullmatch(rf"(.+[-_])?({'|'.join(names)})", path.stem.lower()) is not None


def _stem(path: Path) -> str:
    return path.name if path.is_dir() else path.stem


def _hold_same(train: Path, val: Path) -> bool:
    """Whether most folders in two folders have the same names."""
    folders = [{path.name for path in list_folders(root)} if root.is_dir() else set() for root in (train, val)]
    return 2 * len(folders[0] & folders[1]) > min(map(len, folders))


def refuse_non_classes(folder: Path, videos: Mapping[str, Sequence[Path]], *, notes: Collection[str]) -> None:
    """Refuse a folder whose subfolders are not classes, but splits or one folder that contains the classes.

    Args:
        folder: The folder.
        videos: Videos below each subfolder, by its name.
        notes: Subfolders that contain files, but nothing that could be a video, such as lists.

    Raises:
        DataError: The subfolders are splits by name, contain folders of the same names, or the classes are deeper.
    """
    inner = {name: _folders_of_videos(folder / name, own) for name, own in videos.items() if own}
    for names in (list(videos), list(inner)):
        if _are_splits(folder, names):
            raise DataError(_describe_splits(folder, sorted(names)))
    _refuse_same_folders(folder, inner)
    if len(inner) == 1 and set(videos) <= {*inner, *notes}:  # any other folder would be a class without videos
        _refuse_too_high(folder, videos)


def _folders_of_videos(folder: Path, videos: Sequence[Path]) -> set[str]:
    """Names of the subfolders that contain the videos of a folder; empty if most videos lie in the folder itself."""
    relative = [path.relative_to(folder).parts for path in videos]
    names = {parts[0] for parts in relative if len(parts) > 1}
    return names if sum(len(parts) == 1 for parts in relative) < len(names) else set()


def _are_splits(folder: Path, names: Sequence[str]) -> bool:
    """Whether folders are splits by their names: training and validation are among them, or all are splits."""
    lower = {name.lower() for name in names}
    if all(lower & set(usual) for usual in SPLIT_NAMES.values()) or (len(names) > 1 and lower <= set(_SPLIT_OF)):
        return True
    parsed = [of for name in names if (of := parse_split(name)) is not None]
    kinds, subjects = {of.split for of in parsed}, {of.subject for of in parsed}
    if len(parsed) == len(names) and len(kinds) > 1 and len(subjects) == 1:
        return True
    return bool(_find_pairs([folder / name for name in names]))


def _describe_splits(folder: Path, names: Sequence[str]) -> str:
    train = [name for name in names if (of := parse_split(name)) and of.split == "train"]
    return (
        f"{folder} contains splits, not classes ({', '.join(names)}): name one of them, such as "
        f"{folder / (train or names)[0]}{_suggest_val(folder, names)}; {_if_classes(names)}"
    )


def _suggest_val(folder: Path, names: Sequence[str]) -> str:
    """The command that trains on the splits of a folder, if their names are unambiguous."""
    of_val = [name for name in names if (of := parse_split(name)) and of.split == "val"]
    of_train = [name for name in names if (of := parse_split(name)) and of.split == "train"]
    if len(of_train) != 1 or len(of_val) != 1:
        return ""
    return f" (`timesformer train {folder / of_train[0]} --val {folder / of_val[0]}`)"


def _if_classes(names: Sequence[str]) -> str:
    return f"if {', '.join(names[:3])} are classes, list the videos in a file of `path,label` lines"


def _refuse_same_folders(folder: Path, inner: Mapping[str, set[str]]) -> None:
    """Refuse folders most of which contain folders of the same names, whatever their own names."""
    largest = max(inner.values(), key=len, default=set())
    alike = sorted(name for name, own in inner.items() if 2 * len(own & largest) > len(own))
    if len(largest) < 2 or len(alike) < 2 or 2 * len(alike) <= len(inner):
        return
    shared = sorted(set[str].intersection(*(inner[name] for name in alike)) or largest)
    if all(map(parse_split, largest)):
        raise DataError(
            f"{folder} contains classes ({_some(alike)}), each with its own splits ({_some(shared)}): move the splits "
            f"above the classes, such as {folder / shared[0] / alike[0]}, or list the videos of each split in a file"
        )
    first, second = sorted(alike, key=lambda name: (_split_order(name), name))[:2]
    example = f"`timesformer train {folder / first} --val {folder / second}`"
    raise DataError(
        f"{folder} contains splits, not classes: its folders ({_some(alike)}) contain folders of the same names "
        f"({_some(shared)}), which are then the classes: name the splits ({example}); {_if_classes(alike)}"
    )


def _split_order(name: str) -> int:
    """Sort key: training, then names without a split, then other splits."""
    of = parse_split(name)
    return 1 if of is None else 0 if of.split == "train" else 2


def _refuse_too_high(folder: Path, videos: Mapping[str, Sequence[Path]]) -> None:
    """Refuse a folder whose only subfolder with videos contains the class folders."""
    root = folder
    found = [path for own in videos.values() for path in own]
    while len(inner := _folders_of_videos(root, found)) == 1:
        root = root / min(inner)
    if len(inner) > 1:
        raise DataError(
            f"{folder} is not the folder of the classes: all videos lie in {root}, in {len(inner)} folders "
            f"({_some(sorted(inner))}): name {root}; if {root.name} is a class, list the videos in a file of "
            "`path,label` lines"
        )


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
