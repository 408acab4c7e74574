"""Which folders and lists of a data set are its splits: training and validation, by name and by what they hold."""

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
"""Usual names of folders and files that hold a split of a dataset."""

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
"""Words that say nothing about what a folder shows; nor do numbers, such as the size of frames."""
_NOT_LISTED = frozenset((
    "acc", "accuracy", "config", "curve", "features", "history", "log", "logs", "loss", "losses", "metric", "metrics",
    "output", "outputs", "predictions", "readme", "result", "results", "scores", "stats", "summary",
))  # fmt: skip
"""Words in the names of files that say what came out of a training, not what goes in."""


@dataclass(frozen=True, slots=True)
class SplitName:
    """A name that says which split of a data set it is."""

    split: str
    """`train`, `val` or `test`."""
    subject: tuple[str, ...]
    """What else the name says, such as `("kinetics",)` of `kinetics_train_256`."""


def parse_split(name: str) -> SplitName | None:
    """What a name says about a split: `train_256`, `videosVal`, `trainset`, `dev`; None if it names none or several."""
    tokens = [token.lower() for token in _TOKEN.findall(name)]
    matches = [_WORD.fullmatch(token) for token in tokens]
    words = [match[1] for match in matches if match]
    if len(words) != 1:
        return None
    rest = (token for token, match in zip(tokens, matches, strict=True) if not match)
    subject = tuple(token for token in rest if token not in _GENERAL and not token.isdigit())
    return SplitName(_SPLIT_OF[words[0]], subject)


def find_split(folder: str | Path, split: str) -> Path | None:
    """The source of a split, `train` or `val`, in a dataset's folder; None if the folder has none of that name.

    Usual names go first: a folder called as in `SPLIT_NAMES`, or an annotation file called so or with something and
    `-` or `_` before it. Of others, such as `videos_train` and `videos_val` or `train` and `dev`, those are taken
    whose names differ in the split alone, or which hold folders of the same names.

    Raises:
        DataError: There are several.
    """
    found = _find_sources(Path(folder))[split]
    if len(found) > 1:
        names = ", ".join(sorted(path.name for path in found))
        raise DataError(f"{folder} has several sources for {split!r}: {names}: name one")
    return found[0] if found else None


def holds_splits(source: str | Path) -> bool:
    """Whether a source is a folder with a training and a validation split, as folders or as annotation files."""
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
    """Folders or lists that are training and validation of one set by their names, or also by what they hold."""
    named = [(path, name) for path in paths if (name := parse_split(_stem(path))) is not None]
    train, val = ([(path, of) for path, of in named if of.split == split] for split in SPLIT_NAMES)
    pairs = [(t, v) for t, of_t in train for v, of_v in val if of_t.subject == of_v.subject or _hold_same(t, v)]
    folders = [path for path in paths if path.is_dir()]
    if all(parse_split(path.name) for path in folders):
        return pairs
    # beside other folders without folders in them, such as `meeting`, a folder `training` is a class
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
    """Whether two folders mostly hold folders of the same names."""
    folders = [{path.name for path in list_folders(place)} if place.is_dir() else set() for place in (train, val)]
    return 2 * len(folders[0] & folders[1]) > min(map(len, folders))


def refuse_parts(folder: Path, videos: Mapping[str, Sequence[Path]], *, notes: Collection[str]) -> None:
    """Refuse a folder whose folders are no classes: splits of a data set, or one folder that holds the classes.

    Args:
        folder: The folder.
        videos: The videos below each of its folders, by its name.
        notes: Those of its folders that hold files but nothing that could be a video, such as lists.

    Raises:
        DataError: They are splits by name, hold folders of the same names, or the classes lie one level deeper.
    """
    inner = {name: _folders_of_videos(folder / name, own) for name, own in videos.items() if own}
    for names in (list(videos), list(inner)):
        if _are_splits(folder, names):
            raise DataError(_describe_splits(folder, sorted(names)))
    _refuse_same_folders(folder, inner)
    if len(inner) == 1 and set(videos) <= {*inner, *notes}:  # another folder is a class without videos
        _refuse_too_high(folder, videos)


def _folders_of_videos(folder: Path, videos: Sequence[Path]) -> set[str]:
    """Names of the folders in a folder that hold its videos; none if most videos lie in the folder itself."""
    places = [path.relative_to(folder).parts for path in videos]
    names = {parts[0] for parts in places if len(parts) > 1}
    return names if sum(len(parts) == 1 for parts in places) < len(names) else set()


def _are_splits(folder: Path, names: Sequence[str]) -> bool:
    """Whether folders are splits by their names: training and validation among them, or nothing but splits."""
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
        f"{folder} holds splits, not classes ({', '.join(names)}): name one of them, such as "
        f"{folder / (train or names)[0]}{_suggest_val(folder, names)}; {_if_classes(names)}"
    )


def _suggest_val(folder: Path, names: Sequence[str]) -> str:
    """How to train on the parts of a folder, if their names leave no doubt which is which."""
    of_val = [name for name in names if (of := parse_split(name)) and of.split == "val"]
    of_train = [name for name in names if (of := parse_split(name)) and of.split == "train"]
    if len(of_train) != 1 or len(of_val) != 1:
        return ""
    return f" (`timesformer train {folder / of_train[0]} --val {folder / of_val[0]}`)"


def _if_classes(names: Sequence[str]) -> str:
    return f"if {', '.join(names[:3])} are classes, name the videos in a list of `path,label` lines"


def _refuse_same_folders(folder: Path, inner: Mapping[str, set[str]]) -> None:
    """Refuse folders that mostly hold folders of the same names, whatever they are called."""
    largest = max(inner.values(), key=len, default=set())
    alike = sorted(name for name, own in inner.items() if 2 * len(own & largest) > len(own))
    if len(largest) < 2 or len(alike) < 2 or 2 * len(alike) <= len(inner):
        return
    shared = sorted(set[str].intersection(*(inner[name] for name in alike)) or largest)
    if all(map(parse_split, largest)):
        raise DataError(
            f"{folder} holds classes ({_some(alike)}), each with splits of its own ({_some(shared)}): move these above "
            f"the classes, as {folder / shared[0] / alike[0]}, or name the videos of each in a list"
        )
    first, second = sorted(alike, key=lambda name: (_place(name), name))[:2]
    example = f"`timesformer train {folder / first} --val {folder / second}`"
    raise DataError(
        f"{folder} holds parts, not classes: its folders ({_some(alike)}) hold folders of the same names "
        f"({_some(shared)}), which are the classes then: name the parts ({example}); {_if_classes(alike)}"
    )


def _place(name: str) -> int:
    """Training before what says nothing, and that before the rest."""
    of = parse_split(name)
    return 1 if of is None else 0 if of.split == "train" else 2


def _refuse_too_high(folder: Path, videos: Mapping[str, Sequence[Path]]) -> None:
    """Refuse a folder of which only one folder has videos, and these in several folders, which are the classes."""
    place = folder
    found = [path for own in videos.values() for path in own]
    while len(inner := _folders_of_videos(place, found)) == 1:
        place = place / min(inner)
    if len(inner) > 1:
        raise DataError(
            f"{folder} is not the folder of the classes: all videos lie in {place}, in {len(inner)} folders "
            f"({_some(sorted(inner))}): name {place}; if {place.name} is a class, name the videos in a list of "
            "`path,label` lines"
        )


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
