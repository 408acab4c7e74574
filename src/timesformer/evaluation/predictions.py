"""Predictions of a model for videos, batch by batch, each view once."""

from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch.utils.data import DataLoader

from timesformer.config.compute import ComputeOptions
from timesformer.data.clips.pieces import FirstPieces, LaterPieces
from timesformer.data.clips.worker_errors import ErrorsAsValues, Items
from timesformer.data.manifest.manifest import Manifest
from timesformer.errors import DecodeError, TimeSformerError
from timesformer.inference.fusion import check_finite, fuse
from timesformer.inference.onnx_model import Classifier
from timesformer.inference.predictor import Predictor
from timesformer.inference.throughput import Meter
from timesformer.inference.videos import videos_per_batch
from timesformer.inference.view_batches import Computed, ReadVideo

_MOST_AHEAD = 64
"""Videos that are read ahead at most: each takes a file descriptor on its way from a worker."""


@dataclass(frozen=True, slots=True, eq=False)
class VideoOutput:
    """Class probabilities of one video, fused over its views; `index` is its position in the manifest."""

    index: int
    probabilities: Float[np.ndarray, " k"]
    num_views: int


@dataclass(frozen=True, slots=True)
class DecodeFailure:
    """A video that could not be decoded; `index` is its position in the manifest."""

    index: int
    reason: str


Outcome = VideoOutput | DecodeFailure


def predict_batches(
    model: Classifier, manifest: Manifest, batches: Sequence[range], *, options: ComputeOptions, meter: Meter
) -> Generator[list[Outcome]]:
    """Yield the outcomes of each batch, in order; the model is left in eval mode.

    Args:
        model: The model; it is moved to the device.
        manifest: The videos, with the classes of the model.
        batches: Indices of the videos of each batch.
        options: Device, batch size, workers, precision and `on_error`.
        meter: Counts the videos, and the time in which the model waits for them.

    Raises:
        DecodeError: A video cannot be decoded, and `options.on_error` is `raise`.
        TimeSformerError: The model outputs nan or inf.
        ConfigError: The device does not exist.
    """
    predictor = Predictor(model, options=options.for_predictor())
    samples = tuple(manifest.samples[index] for batch in batches for index in batch)
    selected = Manifest(samples, manifest.class_names)
    # closed explicitly: workers left to the garbage collector would disturb workers that are forked later
    with closing(_read(predictor, selected, options)) as reading:
        videos = meter.watch(reading)
        for batch in batches:
            found = predictor.view_logits(islice(videos, len(batch)))
            yield [_outcome(predictor, *each, on_error=options.on_error) for each in zip(batch, found, strict=True)]


def _read(predictor: Predictor, manifest: Manifest, options: ComputeOptions) -> Generator[ReadVideo | TimeSformerError]:
    """Each video of the manifest, in order, or the error of reading it."""
    config, clip = predictor.model.config, predictor.model.info.clip
    pieces = FirstPieces(manifest, model=config, clip=clip, allow_codecs=options.allow_codecs)
    # a batch while the model computes another
    num_ahead = min(2 * videos_per_batch(clip, batch_size=options.batch_size), _MOST_AHEAD)
    first = _loader(pieces, num_workers=options.num_workers, num_ahead=num_ahead)
    for index, (sample, item) in enumerate(zip(manifest.samples, first, strict=True)):
        if isinstance(item, TimeSformerError):
            yield item
        else:
            later = LaterPieces(pieces, index, count=item.count)
            yield ReadVideo(sample.name, item.views, item.info, rest=_later(later, options))


def _later(pieces: LaterPieces, options: ComputeOptions) -> Iterator[object]:
    """The views of the later pieces of a video, or the error of reading one."""
    if len(pieces):
        yield from _loader(pieces, num_workers=min(options.num_workers, len(pieces)), num_ahead=0)


def _loader(items: Items, *, num_workers: int, num_ahead: int) -> DataLoader[Any]:
    """A loader of items or their errors, with so many read ahead, but at least one by each worker."""
    return DataLoader(
        ErrorsAsValues(items),
        batch_size=None,
        num_workers=num_workers,
        prefetch_factor=max(1, -(-num_ahead // num_workers)) if num_workers else None,
        generator=torch.Generator(),  # without it, the loader draws from the global generator
    )


def _outcome(predictor: Predictor, index: int, found: Computed | TimeSformerError, *, on_error: str) -> Outcome:
    if isinstance(found, Computed):
        (logits,) = found.joined()
        check_finite(logits, found.video.path)
        probabilities = fuse(logits, predictor.model.info.clip.fusion).numpy()
        return VideoOutput(index, probabilities, len(logits))
    if on_error == "skip" and isinstance(found, DecodeError):
        return DecodeFailure(index, str(found))
    raise found
