"""Training and validation videos of a run, their order, batches and data loaders."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import compress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler, SequentialSampler

from timesformer.config.run import DataConfig, RunConfig
from timesformer.config.schema import ClipConfig, OnDecodeError
from timesformer.data.clips.dataset import EvalViews, TrainClips
from timesformer.data.clips.worker_errors import ErrorsAsValues
from timesformer.data.manifest.background import with_background
from timesformer.data.manifest.manifest import Manifest, load_training
from timesformer.data.video.codecs import allowed_codecs
from timesformer.errors import ConfigError, DataError, DecodeError, TimeSformerError
from timesformer.signals import outlive_end
from timesformer.training.parts import divide, warn_about_parts
from timesformer.training.ranks import ALONE, Ranks
from timesformer.training.resume import DataSize
from timesformer.training.shares import Shares, consecutive_share, paired_share


class Split(NamedTuple):
    """Training and validation videos of a run, with the same list of classes."""

    train: Manifest
    val: Manifest

    @property
    def size(self) -> DataSize:
        """Number of videos."""
        return DataSize(train=len(self.train.samples), val=len(self.val.samples))

    @property
    def num_groups(self) -> int:
        """Number of distinct groups in both together."""
        return len({*self.train.groups, *self.val.groups})


def load_data(data: DataConfig, *, seed: int) -> Split:
    """Read the training and the validation videos of a run.

    The validation videos are `data.val` if set; else the validation split in the folder `data.train`, if it has splits;
    else `data.val_fraction` of each training class, as whole groups if the videos have groups. Segments of one video
    stay together. With `data.num_folds`, one fold is kept out of both, or is validation (`data.val_from`). With
    `data.background`, both get segments of background, which opens every video.

    Args:
        data: The sources.
        seed: Seed of the hold-out and of the background.

    Raises:
        ConfigError: `data.train` is empty, or one of `data.allow_codecs` is unknown.
        DataError: A source cannot be used, validation has a class that training lacks, or there is only one class.
        DecodeError: A video cannot be read for its background, and `data.on_decode_error` is "raise".
    """
    split = _read_data(data, seed=seed)
    return split if data.background == 0 else _with_background(split, data, seed=seed)


def _read_data(data: DataConfig, *, seed: int) -> Split:
    """The labeled videos and segments of a run."""
    allowed_codecs(data.allow_codecs)
    if not data.train:
        raise ConfigError("data.train is empty: name a folder with one subfolder per class, or a manifest file")
    source = Path(data.train)
    train = load_training(source)
    if len(train.class_names) + (data.background > 0) < 2:
        raise DataError(f"{source}: has one class ({train.class_names[0]!r}); a classifier needs at least two")
    split = Split(*divide(train, data, seed=seed))
    warn_about_parts(*split, data)
    return split


def _with_background(split: Split, data: DataConfig, *, seed: int) -> Split:
    train, val = (
        with_background(
            manifest,
            ratio=data.background,
            source=f"data.background, {name}",
            seed=seed,
            allow_codecs=data.allow_codecs,
            skips_unreadable=data.on_decode_error == "skip",
        )
        for name, manifest in zip(("training", "validation"), split, strict=True)
    )
    return Split(train, val)


def validation_of(run: RunConfig) -> Manifest:
    """The validation videos of a run.

    Raises:
        ConfigError, DataError: See `load_data`.
    """
    return load_data(run.data, seed=run.seed).val


def with_num_classes(run: RunConfig, split: Split) -> RunConfig:
    """The run with the number of classes of its data."""
    return replace(run, model=replace(run.model, num_classes=len(split.train.class_names)))


def validation_clip(clip: ClipConfig) -> ClipConfig:
    """Clip settings for validation between epochs: one view per video. `evaluate` uses all views of `clip`."""
    sampling = "center" if clip.sampling == "coverage" else clip.sampling
    return replace(clip, sampling=sampling, num_clips=1, num_crops=1)


class EpochOrder(Sampler[int]):
    """All indices in random order, which is a function of seed and epoch only.

    Args:
        size: Number of indices.
        seed: Seed of the order, 0 or more.
    """

    def __init__(self, size: int, *, seed: int) -> None:
        self._size = size
        self._seed = seed
        self._epoch = 0
        self._skipped = 0

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch, 0 or more, of the next pass."""
        self._epoch = epoch

    def skip(self, count: int) -> None:
        """Skip the first `count` indices of the next pass, 0 or more, to resume within an epoch.

        The rest of that pass keeps its order, later passes are complete, and the length does not change.
        """
        self._skipped = count

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[int]:
        order = np.random.default_rng([self._seed, self._epoch]).permutation(self._size).tolist()
        first, self._skipped = self._skipped, 0
        return iter(order[first:])


class OneView(Dataset[tuple[Tensor, int]]):
    """The first view of each video and its label: uint8 `[1, 3, T, H, W]` and an int.

    Args:
        views: All views of each video.
        cache: Whether to keep each view in memory after the first read.
    """

    def __init__(self, views: EvalViews, *, cache: bool) -> None:
        self._views = views
        self._cache: dict[int, tuple[Tensor, int]] | None = {} if cache else None

    def __len__(self) -> int:
        return len(self._views)

    def __getitem__(self, index: int) -> tuple[UInt8[Tensor, "1 3 t h w"], int]:
        if self._cache is not None and index in self._cache:
            return self._cache[index]
        views, label, _ = self._views[index]
        item = views[:1].clone(), label  # a slice would keep all views in memory
        if self._cache is not None:
            self._cache[index] = item
        return item


class Batch(NamedTuple):
    """A micro-batch: clips that go through the model together."""

    clips: UInt8[Tensor, "b 3 t h w"] | Float[Tensor, "b 3 t h w"]
    """Clips, 8-bit until they are normalized on the device; empty if no video could be decoded."""
    labels: Int[Tensor, " b"]
    """The class of each clip."""
    skipped: tuple[str, ...] = ()
    """The error message of each skipped video, with its path."""
    partners: Int[Tensor, " b"] | None = None
    """Index of the clip that each clip is mixed with, see `mix_partners`; None if no video was skipped."""


Loader = DataLoader[Batch | TimeSformerError]


def collate(
    items: list[Any], *, on_decode_error: OnDecodeError, clip_shape: tuple[int, int, int, int]
) -> Batch | TimeSformerError:
    """Concatenate the clips of several videos, video by video.

    Args:
        items: Clips `[repeats, 3, T, H, W]` and the label of each video, or the error raised by reading it.
        on_decode_error: Whether a `DecodeError` is returned (`raise`) or its video skipped (`skip`).
        clip_shape: 3, T, H and W of a clip, for an empty batch.

    Returns:
        The batch, or the first error that is not skipped.
    """
    errors = [item for item in items if isinstance(item, TimeSformerError)]
    fatal = [error for error in errors if on_decode_error == "raise" or not isinstance(error, DecodeError)]
    if fatal:
        return fatal[0]
    is_read = [not isinstance(item, TimeSformerError) for item in items]
    read = list(compress(items, is_read))
    clips = torch.cat([torch.empty(0, *clip_shape, dtype=torch.uint8), *(clips for clips, _ in read)])
    labels = [label for clips, label in read for _ in range(len(clips))]
    partners = mix_partners(is_read, repeats=len(read[0][0])) if read and errors else None
    return Batch(clips, torch.tensor(labels, dtype=torch.int64), tuple(map(str, errors)), partners)


def mix_partners(is_read: Sequence[bool], *, repeats: int) -> Int[Tensor, " b"]:
    """Partners for MixUp and CutMix of the clips of videos that were read.

    The first clip of all videos of the batch and the last one are partners, the second and the last but one, and so on.
    A clip whose partner was skipped is its own: skipped videos change no other pair.

    Args:
        is_read: Whether each video of the batch was read.
        repeats: Clips per video.
    """
    count = len(is_read) * repeats
    kept = [clip for clip in range(count) if is_read[clip // repeats]]
    index = {clip: place for place, clip in enumerate(kept)}
    return torch.tensor([index.get(count - 1 - clip, index[clip]) for clip in kept], dtype=torch.int64)


class DataLoaders(NamedTuple):
    """Loaders of random training clips and of one view per validation video.

    `clips` is the dataset of `train`; call its `set_epoch` before each epoch. `order` is that of its videos.
    """

    train: Loader
    val: Loader
    clips: TrainClips
    order: EpochOrder


def make_loaders(
    split: Split,
    *,
    run: RunConfig,
    device: torch.device,
    first_epoch: int,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
    ranks: Ranks = ALONE,
) -> DataLoaders:
    """Set up the loaders of a run, and decode the training videos in advance if `run.data.cache` is set.

    An epoch has all videos except skipped ones; its last batch may be smaller. A training micro-batch has
    `batch_size / accumulate` clips from `1 / augment.repeats` as many videos.

    Args:
        split: The videos.
        run: The run.
        device: The device that trains.
        first_epoch: Number of the first epoch, from 0.
        on_progress: Progress callback with the number of decoded videos and their total.
        ranks: The ranks that share each micro-batch; the loaders have the share of this one.

    Raises:
        ConfigError: The model does not have 3 input channels.
        DecodeError: A video cannot be decoded in advance and `run.data.on_decode_error` is "raise".
    """
    clips = TrainClips(split.train, model=run.model, clip=run.clip, data=run.data, seed=run.seed, augment=run.augment)
    views = EvalViews(split.val, model=run.model, clip=validation_clip(run.clip), allow_codecs=run.data.allow_codecs)
    if run.data.cache:
        clips.preload(on_progress=on_progress)
    order = EpochOrder(len(clips), seed=run.seed)
    order.set_epoch(first_epoch)
    clips.set_epoch(first_epoch)
    pin_memory = device.type == "cuda"
    mixes = run.augment.mixup > 0 or run.augment.cutmix > 0
    shares = partial(Shares, rank=ranks.rank, num_ranks=ranks.size)
    train = shares(order, batch_size=run.videos_per_micro_batch, divide=paired_share if mixes else consecutive_share)
    val = shares(SequentialSampler(views), batch_size=run.micro_batch_size, divide=consecutive_share)
    return DataLoaders(
        train=_loader(clips, run=run, batches=train, pin_memory=pin_memory),
        val=_loader(OneView(views, cache=run.data.cache), run=run, batches=val, pin_memory=pin_memory),
        clips=clips,
        order=order,
    )


def _loader(dataset: TrainClips | OneView, *, run: RunConfig, batches: Shares, pin_memory: bool) -> Loader:
    shape = (run.model.in_channels, run.model.num_frames, *run.model.image_size)
    return DataLoader(
        ErrorsAsValues(dataset),
        batch_sampler=batches,
        num_workers=run.data.num_workers,
        persistent_workers=run.data.num_workers > 0,
        worker_init_fn=outlive_end,
        collate_fn=partial(collate, on_decode_error=run.data.on_decode_error, clip_shape=shape),
        pin_memory=pin_memory,
        generator=torch.Generator(),  # otherwise it would draw from the global one, which dropout uses
    )
