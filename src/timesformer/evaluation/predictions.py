"""Predictions of a model for videos, batch by batch, each view once."""

from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.utils.data import DataLoader

from timesformer.config.compute import ComputeOptions
from timesformer.data.clips.dataset import EvalViews
from timesformer.data.clips.worker_errors import ErrorsAsValues
from timesformer.data.manifest.manifest import Manifest, Sample
from timesformer.errors import DecodeError, TimeSformerError
from timesformer.inference.fusion import check_finite, fuse
from timesformer.inference.onnx_model import Classifier
from timesformer.inference.predictor import Predictor

_Read = tuple[Sample, UInt8[Tensor, "views 3 t h w"] | TimeSformerError]


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
    model: Classifier, manifest: Manifest, batches: Sequence[range], *, options: ComputeOptions
) -> Generator[list[Outcome]]:
    """Yield the outcomes of each batch, in order; the model is left in eval mode.

    Args:
        model: The model; it is moved to the device.
        manifest: The videos, with the classes of the model.
        batches: Indices of the videos of each batch.
        options: Device, batch size, workers, precision and `on_error`.

    Raises:
        DecodeError: A video cannot be decoded, and `options.on_error` is `raise`.
        TimeSformerError: The model outputs nan or inf.
        ConfigError: The device does not exist.
    """
    predictor = Predictor(model, options=options.for_predictor())
    samples = tuple(manifest.samples[index] for batch in batches for index in batch)
    selected = Manifest(samples, manifest.class_names)
    # closed explicitly: workers left to the garbage collector would disturb workers that are forked later
    with closing(_read(model, selected, options)) as videos:
        for batch in batches:
            read = list(islice(videos, len(batch)))
            yield _predict(predictor, batch, read, on_error=options.on_error)


def _read(model: Classifier, manifest: Manifest, options: ComputeOptions) -> Generator[_Read]:
    """Each video of the manifest, in order, with its views or the error of reading them."""
    loader = DataLoader(
        ErrorsAsValues(
            EvalViews(manifest, model=model.config, clip=model.info.clip, allow_codecs=options.allow_codecs)
        ),
        batch_size=None,
        num_workers=options.num_workers,
        generator=torch.Generator(),  # without it, the loader draws from the global generator
    )
    for sample, item in zip(manifest.samples, loader, strict=True):
        yield sample, item if isinstance(item, TimeSformerError) else item[0]


def _predict(predictor: Predictor, batch: range, videos: Sequence[_Read], *, on_error: str) -> list[Outcome]:
    outcomes: list[Outcome] = []
    readable: list[tuple[int, Sample, Tensor]] = []
    for index, (sample, views) in zip(batch, videos, strict=True):
        if not isinstance(views, TimeSformerError):
            readable.append((index, sample, views))
        elif on_error == "skip" and isinstance(views, DecodeError):
            outcomes.append(DecodeFailure(index, str(views)))
        else:
            raise views
    if readable:
        outcomes += _classify(predictor, readable)
    return sorted(outcomes, key=lambda outcome: outcome.index)


def _classify(predictor: Predictor, videos: Sequence[tuple[int, Sample, Tensor]]) -> list[VideoOutput]:
    logits = predictor.logits(torch.cat([views for _, _, views in videos]))
    outputs = []
    for (index, sample, _), of_video in zip(videos, logits.split([len(views) for _, _, views in videos]), strict=True):
        check_finite(of_video, sample.name)
        probabilities = fuse(of_video, predictor.model.info.clip.fusion).numpy()
        outputs.append(VideoOutput(index, probabilities, len(of_video)))
    return outputs
