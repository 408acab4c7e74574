"""Embeddings of videos: the features that the head of a model reads, or those of frames or patches."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar, Unpack, overload

import numpy as np
from jaxtyping import Float32
from torch import Tensor

from timesformer.config.checks import check_choice
from timesformer.config.compute import ComputeOptions
from timesformer.data.clips.dataset import warn_of_timing
from timesformer.errors import ConfigError, TimeSformerError
from timesformer.inference.fusion import check_finite, fuse
from timesformer.inference.onnx_model import Classifier, model_with_features
from timesformer.inference.options import PredictorKeywords
from timesformer.inference.predictor import Predictor
from timesformer.inference.videos import Video, as_list
from timesformer.inference.view_batches import Computed, ReadVideo, Tensors, compute_views
from timesformer.model.tokens import Level

Other = TypeVar("Other")


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Embedding:
    """The features of a video, and its class."""

    path: str
    """Path of the video; empty for frames in memory."""
    features: Float32[np.ndarray, "*shape"]
    """`[d]` of the video, `[t, d]` of its frames, or `[t, h, w, d]` of its patches; not normalized."""
    token: Float32[np.ndarray, " d"]
    """What the head reads, averaged over views; at level `cls`, the features."""
    label: str
    """The most probable class, as `Predictor` gives it."""
    score: float
    """Its probability."""
    sha256: str = ""
    """SHA-256 of the file, if its reader has computed it."""


@overload
def embed(
    model: Predictor | Classifier | str | Path,
    video: Video,
    *,
    level: Level = ...,
    fps: float | None = ...,
    options: ComputeOptions | None = ...,
    **keywords: Unpack[PredictorKeywords],
) -> Embedding: ...


@overload
def embed(
    model: Predictor | Classifier | str | Path,
    video: Sequence[Video],
    *,
    level: Level = ...,
    fps: float | None = ...,
    options: ComputeOptions | None = ...,
    **keywords: Unpack[PredictorKeywords],
) -> list[Embedding]: ...


def embed(
    model: Predictor | Classifier | str | Path,
    video: Video | Sequence[Video],
    *,
    level: Level = "cls",
    fps: float | None = None,
    options: ComputeOptions | None = None,
    **keywords: Unpack[PredictorKeywords],
) -> Embedding | list[Embedding]:
    """Embed one or several videos, with the views of the model's `info.clip`.

    At level `cls`, the features are what the head reads (`TimeSformer.features`), averaged over the views of the
    video. At levels `frame` and `patch` they are those of the center crop of the first clip. At every level, `label`
    and `score` are those of `Predictor`, from the same pass.

    Args:
        model: A `Predictor`, which computes with its own options, or anything that it accepts.
        video: As for `Predictor`: a video, or a list of them.
        level: `cls` for `[d]`, `frame` for `[t, d]`, `patch` for `[t, h, w, d]`. The features of a frame are the mean
            over its patches; with scheme `space_only`, its class token.
        fps: Frame rate of frames in memory; see `Predictor`.
        options: See `Predictor`.
        **keywords: See `Predictor`.

    Returns:
        One embedding for one video, a list in the same order for a list.

    Raises:
        DecodeError: A file cannot be decoded as a video.
        DataError: Frames in memory have the wrong shape or type.
        ConfigError: An argument is invalid, or the model is an ONNX file, which gives logits alone.
        WeightsError: The weights cannot be loaded.
        TimeSformerError: The model outputs nan or inf.
    """
    if isinstance(model, Predictor) and (options is not None or keywords):
        given = ", ".join(["options"] * (options is not None) + [*keywords])
        raise ConfigError(f"{given}: has no effect on a Predictor, which has its own options")
    predictor = model if isinstance(model, Predictor) else Predictor(model, options=options, **keywords)
    refuse_level(predictor, level)
    videos, is_one = as_list(video)
    results: list[Embedding] = []
    for found in embed_read(predictor, predictor.reading(videos, fps=fps), level=level):
        if isinstance(found, TimeSformerError):
            raise found
        results.append(found)
    return results[0] if is_one else results


def refuse_level(predictor: Predictor, level: str) -> None:
    """Refuse a level that does not exist, and a model without features.

    Raises:
        ConfigError: The level is not `cls`, `frame` or `patch`, or the model is an ONNX file.
    """
    check_choice("level", level, Level)
    model_with_features(predictor.model)


def embed_read(
    predictor: Predictor, videos: "Iterable[ReadVideo | Other]", *, level: Level = "cls"
) -> "Iterator[Embedding | TimeSformerError | Other]":
    """Embed videos that were read, as `Predictor.classify` classifies them.

    Args:
        predictor: The model.
        videos: Videos; anything else, such as an error, is passed on in its place.
        level: See `embed`.

    Yields:
        An embedding, or the error of a video for which the model outputs nan or inf, in the order of the videos.
    """
    center = predictor.model.info.clip.num_crops // 2  # of the first clip

    def keep(tensors: Tensors, views: range) -> Tensors:
        """The features of the view that is embedded, and token and logits of all."""
        features, *others = tensors
        first = max(center - views.start, 0)
        return features[first : first + 1 if center in views else first].clone(), *others

    compute = partial(predictor.encode, level=level)
    for found in compute_views(videos, compute, batch_size=predictor.batch_size, keep=keep):
        yield _embedding(predictor, found, level=level) if isinstance(found, Computed) else found


def _embedding(predictor: Predictor, computed: Computed, *, level: Level) -> Embedding | TimeSformerError:
    video, (features, tokens, logits) = computed.video, computed.joined()
    info, name = predictor.model.info, video.path or "frames in memory"
    try:
        for tensor in (logits, tokens, features.flatten(1)):
            check_finite(tensor, name)
    except TimeSformerError as error:
        return error
    warn_of_timing(name, video.info, info.clip)
    probabilities = fuse(logits, info.clip.fusion)
    best = int(probabilities.argmax())
    token = tokens.mean(dim=0)
    return Embedding(
        path=video.path,
        features=_numbers(token if level == "cls" else features[0]),
        token=_numbers(token),
        label=info.label(best),
        score=float(probabilities[best]),
        sha256=video.sha256,
    )


def _numbers(tensor: Tensor) -> Float32[np.ndarray, "*shape"]:
    return tensor.numpy()
