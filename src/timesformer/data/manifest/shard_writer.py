"""Writes videos into tar files in the WebDataset layout, with lists that `load_manifest` reads.

Each video is three consecutive files: `key.mp4`, the original bytes; `key.cls`, the index of its class; and `key.json`,
the names of its class, its file and, if it has one, its group. A video with segments is packed once and whole, without
`key.cls`: its `key.json` lists the class and the times of each segment instead. The lists next to the shards name each
video as `train-000000.tar/key.mp4`, with its segments, so that training reads videos in any order, while WebDataset
readers read shards from front to back.
"""

import io
import json
import re
import tarfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from timesformer.data.manifest.manifest import CLASSES_FILE, Manifest, Sample
from timesformer.data.manifest.save import check_class_names, save_class_names, save_manifest
from timesformer.data.video.file_stat import video_stamp
from timesformer.data.video.tar_member import MemberFile, find_member, split_member
from timesformer.errors import ConfigError, DataError
from timesformer.files import replacing
from timesformer.outputs import refuse_existing

_SHARD = re.compile(r"(train|val)-[0-9]{6,}\.tar")
_LISTS = ("train.csv", "val.csv")


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardSet:
    """The written shards and lists."""

    shards: tuple[Path, ...]
    """The tar files, training before validation."""
    train: Path
    """List of the training videos."""
    val: Path | None
    """List of the validation videos; None if there are none."""
    num_bytes: int
    """Total size of the tar files."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Clip:
    """A video and its metadata in a shard."""

    path: Path
    size: int
    samples: tuple[Sample, ...]
    """All entries of the video in the list of its split."""
    key: str
    about: bytes

    @property
    def name(self) -> str:
        """Name of the video file in the shard."""
        return self.key + self.path.suffix.lower()

    @property
    def texts(self) -> dict[str, bytes]:
        """Content of the files after the video in the shard, by suffix."""
        is_whole = all(sample.segment is None for sample in self.samples)
        classes = {".cls": str(self.samples[0].label).encode()} if is_whole else {}
        return {**classes, ".json": self.about}

    @property
    def tar_bytes(self) -> int:
        """Size of the files in a tar file, in bytes: each a header and whole blocks."""
        sizes = self.size, *map(len, self.texts.values())
        return sum(tarfile.BLOCKSIZE * (1 + -(-size // tarfile.BLOCKSIZE)) for size in sizes)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Shard:
    """A tar file and its videos."""

    split: str
    """`train` or `val`."""
    path: Path
    clips: list[_Clip]


def write_shards(
    train: Manifest,
    val: Manifest | None,
    folder: str | Path,
    *,
    max_bytes: int = 10**9,
    max_clips: int = 100_000,
    seed: int = 0,
    overwrite: bool = False,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> ShardSet:
    """Pack videos into `train-000000.tar`, `train-000001.tar`, ... and `val-000000.tar`, ...

    The videos of each split are shuffled first, so that shards mix classes. Equal videos and seeds give equal bytes. A
    video that a split lists several times, or with several segments, is packed once and listed as often. A shard
    appears under its name when it is complete; the lists are written last.

    Args:
        train: Training videos: files, or videos in other tar files.
        val: Validation videos, of the same classes; None if there are none.
        folder: Output folder; created if it does not exist.
        max_bytes: Largest size of a shard, unless a single video is larger.
        max_clips: Largest number of videos in a shard.
        seed: Seed of the order, 0 or more.
        overwrite: Replace existing shards and lists.
        on_progress: Called after each video with the numbers of packed and of all videos.

    Raises:
        ConfigError: A limit or the seed is out of range, shards already exist, or the videos lie in them.
        DataError: A video is a folder of frames, is missing, or changes during the copy; the splits have different
            classes, or a class name cannot be written in a line.
        OSError: The disk refused.
    """
    folder = Path(folder)
    splits = {"train": train} | ({} if val is None else {"val": val})
    _check(splits, folder, max_bytes=max_bytes, max_clips=max_clips, seed=seed)
    plan = _plan_shards(splits, folder, max_bytes=max_bytes, max_clips=max_clips, seed=seed)
    old_shards = _claim(folder, _paths(splits), overwrite=overwrite)
    save_class_names(train.class_names, folder / CLASSES_FILE)
    _write_shards(plan, on_progress=on_progress)
    for path in old_shards - {shard.path for shard in plan}:
        path.unlink()
    lists = {split: _write_list(split, plan, folder, class_names=train.class_names) for split in splits}
    return ShardSet(
        shards=tuple(shard.path for shard in plan),
        train=lists["train"],
        val=lists.get("val"),
        num_bytes=sum(shard.path.stat().st_size for shard in plan),
    )


def _check(splits: Mapping[str, Manifest], folder: Path, *, max_bytes: int, max_clips: int, seed: int) -> None:
    if max_bytes < 1 or max_clips < 1:
        raise ConfigError(f"max_bytes={max_bytes} and max_clips={max_clips} must be at least 1")
    if seed < 0:
        raise ConfigError(f"seed={seed} must not be negative")
    class_names = splits["train"].class_names
    if any(manifest.class_names != class_names for manifest in splits.values()):
        raise DataError("training and validation have different classes: both need the same names in the same order")
    check_class_names(class_names, folder / CLASSES_FILE)


def _paths(splits: Mapping[str, Manifest]) -> list[Path]:
    return [sample.path for manifest in splits.values() for sample in manifest.samples]


def _plan_shards(
    splits: Mapping[str, Manifest], folder: Path, *, max_bytes: int, max_clips: int, seed: int
) -> list[_Shard]:
    """All shards with their videos, training first."""
    return [
        _Shard(split=split, path=folder / f"{split}-{number:06d}.tar", clips=clips)
        for index, (split, manifest) in enumerate(splits.items())
        for number, clips in enumerate(
            _fill(list(_clips(manifest, seed=[seed, index])), max_bytes=max_bytes, max_clips=max_clips)
        )
    ]


def _write_shards(plan: Sequence[_Shard], *, on_progress: Callable[[int, int], None]) -> None:
    total, done = sum(len(shard.clips) for shard in plan), 0
    for shard in plan:
        for _ in _write_shard(shard):
            done += 1
            on_progress(done, total)


def _write_list(split: str, plan: Sequence[_Shard], folder: Path, *, class_names: tuple[str, ...]) -> Path:
    """Write the list of a split, each video as often as its source lists it, with the same segments."""
    samples = tuple(
        replace(sample, path=shard.path / clip.name)
        for shard in plan
        if shard.split == split
        for clip in shard.clips
        for sample in clip.samples
    )
    path = folder / f"{split}.csv"
    save_manifest(Manifest(samples, class_names), path)
    return path


def _clips(manifest: Manifest, *, seed: Sequence[int]) -> Iterator[_Clip]:
    """Each video once, in shuffled order, with numbered keys without a dot, which would end a WebDataset key."""
    by_path: dict[Path, list[Sample]] = {}
    for sample in manifest.samples:
        by_path.setdefault(sample.path, []).append(sample)
    paths = list(by_path)
    for number, index in enumerate(np.random.default_rng(seed).permutation(len(paths))):
        path = paths[index]
        if path.is_dir():
            raise DataError(f"{path}: a folder of frames cannot be packed: encode it as a video file first")
        stamp = video_stamp(path)
        if stamp is None:
            raise DataError(f"{path}: there is no such video")
        stem = re.sub(r"[^A-Za-z0-9_-]+", "_", path.stem)[:64]
        about = _describe(by_path[path], class_names=manifest.class_names)
        yield _Clip(
            path=path,
            size=stamp[0],
            samples=tuple(by_path[path]),
            key=f"{number:07d}_{stem}",
            about=json.dumps(about).encode(),
        )


def _describe(samples: Sequence[Sample], *, class_names: Sequence[str]) -> dict[str, Any]:
    """Content of the `.json` of a video."""
    first = samples[0]
    segments = [
        {"label": sample.label, "class_name": class_names[sample.label], "start": start, "end": end}
        for sample in samples
        for start, end in [sample.segment or (None, None)]
    ]
    is_whole = all(sample.segment is None for sample in samples)
    classes = {"class_name": class_names[first.label]} if is_whole else {"segments": segments}
    return {**classes, "file": first.path.name} | ({"group": first.group} if first.group else {})


def _fill(clips: Sequence[_Clip], *, max_bytes: int, max_clips: int) -> list[list[_Clip]]:
    """Clips of each shard, in order."""
    shards: list[list[_Clip]] = []
    used = 0
    for clip in clips:
        is_full = bool(shards) and (len(shards[-1]) == max_clips or _file_bytes(used + clip.tar_bytes) > max_bytes)
        if is_full or not shards:
            shards.append([])
            used = 0
        shards[-1].append(clip)
        used += clip.tar_bytes
    return shards


def _file_bytes(used: int) -> int:
    """Size of a tar file: two blocks of zeros at the end, and whole records."""
    return tarfile.RECORDSIZE * -(-(used + 2 * tarfile.BLOCKSIZE) // tarfile.RECORDSIZE)


def _claim(folder: Path, videos: Sequence[Path], *, overwrite: bool) -> set[Path]:
    """Prepare the folder and return its old shards; old lists are deleted now, old shards after the new are written."""
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"{folder}: is a file; name a folder")
    folder.mkdir(parents=True, exist_ok=True)
    shards = {path for path in folder.iterdir() if _SHARD.fullmatch(path.name)}
    lists = [folder / name for name in _LISTS if (folder / name).exists()]
    if lists and not shards:
        raise ConfigError(f"{lists[0]}: lists other videos; name another folder")
    if shards:
        refuse_existing(min(shards), overwrite=overwrite)
    sources = {member[0].resolve() for member in map(split_member, videos) if member is not None}
    if sources & {shard.resolve() for shard in shards}:
        raise ConfigError(f"{folder}: contains the videos to pack; name another folder")
    for path in [*lists, folder / CLASSES_FILE] if shards else []:
        path.unlink(missing_ok=True)
    return shards


def _write_shard(shard: _Shard) -> Iterator[None]:
    """Write one tar file; yield after each clip."""
    with replacing(shard.path) as partial, tarfile.open(partial, "w", format=tarfile.GNU_FORMAT) as tar:
        for clip in shard.clips:
            _add_video(tar, clip)
            for suffix, content in clip.texts.items():
                tar.addfile(_entry(clip.key + suffix, len(content)), io.BytesIO(content))
            yield


def _add_video(tar: tarfile.TarFile, clip: _Clip) -> None:
    member = find_member(clip.path)
    with closing(clip.path.open("rb") if member is None else MemberFile(member, clip.path)) as file:
        try:
            tar.addfile(_entry(clip.name, clip.size), file)
        except OSError as error:
            if "unexpected end of data" not in str(error):
                raise
            raise DataError(f"{clip.path}: became shorter during the copy") from error
        if file.read(1):
            raise DataError(f"{clip.path}: became longer during the copy")


def _entry(name: str, size: int) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.size = size
    return entry
