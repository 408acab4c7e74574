"""The videos of a run: which are trained on, which validate, and in what order they come."""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from timesformer.config.run import DataConfig, OnDecodeError, RunConfig
from timesformer.config.schema import ClipConfig
from timesformer.data.clips.dataset import EvalViews, TrainClips
from timesformer.data.clips.worker_errors import ErrorsAsValues
from timesformer.data.manifest.manifest import Manifest, holds_splits, load_training, split_manifest
from timesformer.data.manifest.model_classes import read_validation
from timesformer.data.video.codecs import allowed_codecs
from timesformer.errors import ConfigError, DataError, DecodeError, TimeSformerError
from timesformer.training.init_weights import DataSize

logger = logging.getLogger(__name__)


class Split(NamedTuple):
    """The videos of a run; both parts have the same list of classes."""

    train: Manifest
    val: Manifest

    @property
    def size(self) -> DataSize:
        """Number of videos."""
        return DataSize(train=len(self.train.samples), val=len(self.val.samples))

    @property
    def num_groups(self) -> int:
        """Number of groups in both parts together."""
        return len({*self.train.groups, *self.val.groups})


def load_data(data: DataConfig, *, seed: int) -> Split:
    """Read the training and the validation videos of a run.

    Validation is `data.val` where it is set; else the validation split of the folder `data.train`, where it holds
    splits; else `data.val_fraction` of each training class, by whole groups where videos have groups.

    Raises:
        ConfigError: `data.train` is empty, or one of `data.allow_codecs` is unknown.
        DataError: A source cannot be used, validation has a class that training has not, or there is only one class.
    """
    allowed_codecs(data.allow_codecs)
    if not data.train:
        raise ConfigError("data.train is empty: name a folder with one folder a class, or a manifest file")
    source = Path(data.train)
    train = load_training(source)
    if len(train.class_names) < 2:
        raise DataError(f"{source}: has one class ({train.class_names[0]!r}); a classifier needs at least two")
    if not data.val and not holds_splits(source):
        split = Split(*split_manifest(train, fraction=data.val_fraction, seed=seed))
        _warn_of_classes_not_validated(split)
        return split
    val = read_validation(data.val or source, train=train)
    _warn_of_overlap(train, val)
    return Split(train, val)


def validation_of(run: RunConfig) -> Manifest:
    """The videos that validate a run, such as to evaluate its model on them.

    Raises:
        ConfigError, DataError: As `load_data`.
    """
    return load_data(run.data, seed=run.seed).val


def with_num_classes(run: RunConfig, split: Split) -> RunConfig:
    """The run with as many classes as its data has."""
    return replace(run, model=replace(run.model, num_classes=len(split.train.class_names)))


def _warn_of_overlap(train: Manifest, val: Manifest) -> None:
    shared = {sample.path.resolve() for sample in train.samples} & {sample.path.resolve() for sample in val.samples}
    if shared:
        logger.warning("%d videos are in training and in validation: validation accuracy will flatter", len(shared))
    groups = sorted({*train.groups} & {*val.groups})
    if groups:
        message = "%d groups are in training and in validation (%s): validation accuracy will flatter"
        logger.warning(message, len(groups), _some(groups))


def _warn_of_classes_not_validated(split: Split) -> None:
    """Tell which classes gave nothing to a validation of whole groups; by videos only a class of one video does so."""
    if not split.num_groups:
        return
    shown = {sample.label for sample in split.val.samples}
    absent = [name for label, name in enumerate(split.train.class_names) if label not in shown]
    if absent:
        message = "%d of %d classes have no validation video (%s): no group of theirs can be held out"
        logger.warning(message, len(absent), len(split.train.class_names), _some(absent))


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")


def validation_clip(clip: ClipConfig) -> ClipConfig:
    """One view of a video, for validation between epochs; `evaluate` takes all views that `clip` asks for."""
    sampling = "center" if clip.sampling == "coverage" else clip.sampling
    return replace(clip, sampling=sampling, num_clips=1, num_crops=1)


class EpochOrder(Sampler[int]):
    """All indices in an order that depends on seed and epoch and on nothing else.

    Args:
        size: Number of indices.
        seed: Seed of all orders, 0 or more.
    """

    def __init__(self, size: int, *, seed: int) -> None:
        self._size = size
        self._seed = seed
        self._epoch = 0
        self._skipped = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch, 0 or more, whose order comes next."""
        self._epoch = epoch

    def skip(self, count: int) -> None:
        """Leave out the first `count` indices of the next pass, 0 or more, to go on within an epoch; the length stays.

        The rest of that pass comes in its order, and all passes after it are whole.
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
        cache: Whether to keep each view in memory once it was read.
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
        item = views[:1].clone(), label  # a slice would keep all views alive
        if self._cache is not None:
            self._cache[index] = item
        return item


class Batch(NamedTuple):
    """Clips that go through the model together."""

    clips: UInt8[Tensor, "b 3 t h w"] | Float[Tensor, "b 3 t h w"]
    """Clips; none where no video of the batch could be read. 8-bit up to the device, and normalized there."""
    labels: Int[Tensor, " b"]
    """The class of each clip."""
    skipped: tuple[str, ...] = ()
    """What is wrong with each video that was left out; the message names its file."""


Loader = DataLoader[Batch | TimeSformerError]


def collate(
    items: list[Any], *, on_decode_error: OnDecodeError, clip_shape: tuple[int, int, int, int]
) -> Batch | TimeSformerError:
    """Put the clips of several videos into a batch: all of the first, then all of the second, and on.

    Args:
        items: Clips `[repeats, 3, T, H, W]` and the label of each video, or the error that reading it raised.
        on_decode_error: Whether a video that cannot be decoded makes its error the batch, or is left out.
        clip_shape: 3, T, H and W of a clip, for a batch of none.

    Returns:
        The batch; the first of the errors that are not skipped, where there is one.
    """
    errors = [item for item in items if isinstance(item, TimeSformerError)]
    fatal = [error for error in errors if on_decode_error == "raise" or not isinstance(error, DecodeError)]
    if fatal:
        return fatal[0]
    read = [item for item in items if not isinstance(item, TimeSformerError)]
    clips = torch.cat([torch.empty(0, *clip_shape, dtype=torch.uint8), *(clips for clips, _ in read)])
    labels = [label for clips, label in read for _ in range(len(clips))]
    return Batch(clips, torch.tensor(labels, dtype=torch.int64), tuple(map(str, errors)))


class DataLoaders(NamedTuple):
    """What a trainer draws from: batches of random training clips, and of one view of each validation video.

    `clips` is the dataset of `train`, which has to know the epoch.
    """

    train: Loader
    val: Loader
    clips: TrainClips


def make_feed(
    split: Split,
    *,
    run: RunConfig,
    device: torch.device,
    first_epoch: int,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> DataLoaders:
    """Set up the loaders of a run, and decode the training videos up front where `run.data.cache` says so.

    All videos of an epoch are seen, but for those that `run.data.on_decode_error` leaves out; its last batch may be
    smaller. A training batch has `batch_size / accumulate` clips of `1 / augment.repeats` as many videos.

    Args:
        split: The videos.
        run: The run.
        device: Where batches will go.
        first_epoch: Epoch, from 0, whose batches come first.
        on_progress: Called with the number of videos that are decoded and their total.

    Raises:
        ConfigError: The model does not read 3 channels.
        DecodeError: A video cannot be decoded up front, and is not to be skipped.
    """
    clips = TrainClips(split.train, model=run.model, clip=run.clip, data=run.data, seed=run.seed, augment=run.augment)
    views = EvalViews(split.val, model=run.model, clip=validation_clip(run.clip), allow_codecs=run.data.allow_codecs)
    if run.data.cache:
        clips.preload(on_progress=on_progress)
    order = EpochOrder(len(clips), seed=run.seed)
    order.set_epoch(first_epoch)
    clips.set_epoch(first_epoch)
    pin_memory = device.type == "cuda"
    return DataLoaders(
        train=_loader(clips, run=run, num_videos=run.videos_per_micro_batch, pin_memory=pin_memory, sampler=order),
        val=_loader(
            OneView(views, cache=run.data.cache),
            run=run,
            num_videos=run.micro_batch_size,
            pin_memory=pin_memory,
            sampler=None,
        ),
        clips=clips,
    )


def _loader(
    dataset: TrainClips | OneView, *, run: RunConfig, num_videos: int, pin_memory: bool, sampler: EpochOrder | None
) -> Loader:
    shape = (run.model.in_channels, run.model.num_frames, *run.model.image_size)
    return DataLoader(
        ErrorsAsValues(dataset),
        batch_size=num_videos,
        sampler=sampler,
        num_workers=run.data.num_workers,
        persistent_workers=run.data.num_workers > 0,
        collate_fn=partial(collate, on_decode_error=run.data.on_decode_error, clip_shape=shape),
        pin_memory=pin_memory,
        generator=torch.Generator(),  # a loader without its own draws from the global one, which dropout uses
    )
