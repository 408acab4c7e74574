"""Videos packed into tar files in the layout of WebDataset, with lists that `load_manifest` reads.

Of each video there are three files in a row: `key.mp4`, as it was, byte for byte; `key.cls`, the index of its class;
and `key.json`, the name of its class, of its file and, if it has one, of its group. The lists beside the shards name
each video as `train-000000.tar/key.mp4`, so that training finds any video at once and in any order, while a reader of
WebDataset reads shards from front to back.
"""

import io
import json
import re
import tarfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

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
    """What was written."""

    shards: tuple[Path, ...]
    """The tar files, training before validation."""
    train: Path
    """List of the training videos."""
    val: Path | None
    """List of the validation videos; None where there are none."""
    num_bytes: int
    """Size of all tar files together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Clip:
    """A video and what stands beside it in a shard."""

    path: Path
    size: int
    label: int
    group: str
    num_listed: int
    key: str
    about: bytes

    @property
    def name(self) -> str:
        """Name of the video in the shard."""
        return self.key + self.path.suffix.lower()

    @property
    def tar_bytes(self) -> int:
        """What the three files take in a tar file, in bytes: each a header and whole blocks."""
        sizes = self.size, len(str(self.label)), len(self.about)
        return sum(tarfile.BLOCKSIZE * (1 + -(-size // tarfile.BLOCKSIZE)) for size in sizes)


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
    """Pack videos into `train-000000.tar` and on, and `val-000000.tar` and on.

    The videos of each part are shuffled first, so that a shard holds no single class. The same videos and seed give the
    same bytes. A video that a part lists several times is packed once, and listed as often: whoever holds videos out
    goes by their paths. A shard appears under its name only when it is complete, and the lists come last.

    Args:
        train: Training videos: files, or videos in other tar files.
        val: Validation videos, of the same classes; None where there are none.
        folder: Where to; made where it is not there.
        max_bytes: Size of a shard at most, unless one video alone is larger.
        max_clips: Videos of a shard at most.
        seed: Seed of the order, 0 or more.
        overwrite: Whether shards and lists that are there are replaced.
        on_progress: Called with the number of videos packed and of all that are to be packed.

    Raises:
        ConfigError: A limit or the seed is out of range, there are shards already, or the videos are in these.
        DataError: A video is a folder of frames, is missing, or changes meanwhile; the parts differ in their classes,
            or the name of one cannot be written in a line.
        OSError: The disk refused.
    """
    folder = Path(folder)
    _check(max_bytes=max_bytes, max_clips=max_clips, seed=seed)
    parts = {"train": train} | ({} if val is None else {"val": val})
    if any(part.class_names != train.class_names for part in parts.values()):
        raise DataError("training and validation have different classes")
    check_class_names(train.class_names, folder / CLASSES_FILE)
    plans = {
        name: _plan(list(_clips(part, seed=[seed, number])), max_bytes=max_bytes, max_clips=max_clips)
        for number, (name, part) in enumerate(parts.items())
    }
    stale = _claim(folder, [sample.path for part in parts.values() for sample in part.samples], overwrite=overwrite)
    save_class_names(train.class_names, folder / CLASSES_FILE)
    total, done, shards = sum(len(clips) for plan in plans.values() for clips in plan), 0, []
    for name, plan in plans.items():
        for number, clips in enumerate(plan):
            shards.append(folder / f"{name}-{number:06d}.tar")
            for _ in _write_shard(shards[-1], clips):
                done += 1
                on_progress(done, total)
    for path in stale - set(shards):
        path.unlink()
    for name, plan in plans.items():
        samples = (
            Sample(folder / f"{name}-{number:06d}.tar" / clip.name, clip.label, clip.group)
            for number, clips in enumerate(plan)
            for clip in clips
            for _ in range(clip.num_listed)
        )
        save_manifest(Manifest(tuple(samples), train.class_names), folder / f"{name}.csv")
    return ShardSet(
        shards=tuple(shards),
        train=folder / "train.csv",
        val=None if val is None else folder / "val.csv",
        num_bytes=sum(shard.stat().st_size for shard in shards),
    )


def _check(*, max_bytes: int, max_clips: int, seed: int) -> None:
    if max_bytes < 1 or max_clips < 1:
        raise ConfigError(f"max_bytes={max_bytes} and max_clips={max_clips} must be at least 1")
    if seed < 0:
        raise ConfigError(f"seed={seed} must not be negative")


def _clips(manifest: Manifest, *, seed: Sequence[int]) -> Iterator[_Clip]:
    """Each video once, in the new order, with keys that count them and hold no dot, at which WebDataset ends a key."""
    counts = Counter(manifest.samples)
    samples = list(counts)
    order = np.random.default_rng(seed).permutation(len(samples))
    for number, place in enumerate(order):
        sample = samples[place]
        if sample.path.is_dir():
            raise DataError(f"{sample.path}: a folder of frames cannot lie in a shard: write it as a video file first")
        stamp = video_stamp(sample.path)
        if stamp is None:
            raise DataError(f"{sample.path}: there is no such video")
        stem = re.sub(r"[^A-Za-z0-9_-]+", "_", sample.path.stem)[:64]
        about = {"class_name": manifest.class_names[sample.label], "file": sample.path.name}
        about |= {"group": sample.group} if sample.group else {}
        yield _Clip(
            path=sample.path,
            size=stamp[0],
            label=sample.label,
            group=sample.group,
            num_listed=counts[sample],
            key=f"{number:07d}_{stem}",
            about=json.dumps(about).encode(),
        )


def _plan(clips: Sequence[_Clip], *, max_bytes: int, max_clips: int) -> list[list[_Clip]]:
    """The clips of each shard, in order."""
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
    """Make the folder ready, and give the shards that are there: lists go at once, shards when new ones are there."""
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"{folder}: is a file; name a folder")
    folder.mkdir(parents=True, exist_ok=True)
    shards = {path for path in folder.iterdir() if _SHARD.fullmatch(path.name)}
    lists = [folder / name for name in _LISTS if (folder / name).exists()]
    if lists and not shards:
        raise ConfigError(f"{lists[0]}: is the list of other videos; name another folder")
    if shards:
        refuse_existing(min(shards), overwrite=overwrite)
    places = {place[0].resolve() for place in map(split_member, videos) if place is not None}
    if places & {shard.resolve() for shard in shards}:
        raise ConfigError(f"{folder}: holds the videos themselves; name another folder")
    for path in [*lists, folder / CLASSES_FILE] if shards else []:
        path.unlink(missing_ok=True)
    return shards


def _write_shard(path: Path, clips: Sequence[_Clip]) -> Iterator[None]:
    """Write one tar file, and stop after each clip."""
    with replacing(path) as partial, tarfile.open(partial, "w", format=tarfile.GNU_FORMAT) as tar:
        for clip in clips:
            _add_video(tar, clip)
            for suffix, content in ((".cls", str(clip.label).encode()), (".json", clip.about)):
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
            raise DataError(f"{clip.path}: became shorter while it was copied") from error
        if file.read(1):
            raise DataError(f"{clip.path}: became longer while it was copied")


def _entry(name: str, size: int) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.size = size
    return entry
