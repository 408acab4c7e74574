"""One pass over the videos of a manifest: every view of every video once, and what came out of it."""

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.utils.data import DataLoader

from timesformer.config.schema import ClipConfig, ModelConfig
from timesformer.data.dataset import TestViews
from timesformer.data.manifest import Manifest, Sample
from timesformer.errors import ConfigError, DataError, DecodeError, TimeSformerError
from timesformer.evaluation.labels import match_classes, read_manifest
from timesformer.evaluation.loading import ErrorsAsValues
from timesformer.evaluation.metrics import (
    bootstrap_interval,
    confusion_matrix,
    mean_class_accuracy,
    per_class_accuracy,
    top_k_accuracy,
    true_class_ranks,
)
from timesformer.evaluation.result import Evaluation, Skipped, VideoResult
from timesformer.inference.predictor import Predictor
from timesformer.inference.views import check_finite, fuse
from timesformer.model.timesformer import TimeSformer
from timesformer.weights.load import load

OnProgress = Callable[[int, int], None]
_Read = tuple[Sample, Float[Tensor, "views 3 t h w"] | TimeSformerError]
_BOOTSTRAP_SEED = 0  # fixed: two evaluations of equal predictions have equal intervals


def evaluate(
    model: TimeSformer | str | Path,
    videos: Manifest | str | Path,
    *,
    device: str = "auto",
    batch_size: int = 8,
    num_workers: int = 2,
    on_progress: OnProgress = lambda done, total: None,
    on_error: str = "raise",
) -> Evaluation:
    """Measure a model on videos with known classes, by the views that its `info.clip` asks for.

    Args:
        model: A model, which stays as it is except for its device, or anything that `load` takes.
        videos: A manifest, or what `load_manifest` reads; of a folder that holds splits, validation is taken.
        device: `auto`, `cpu`, `cuda`, `cuda:N` or `mps`.
        batch_size: Views that go through the model at once.
        num_workers: Processes that decode; 0 decodes in this process.
        on_progress: Called after each video with the number done and their total.
        on_error: What to do about a video that cannot be decoded: `raise` its error, or `skip` and list it.

    Raises:
        DecodeError: A video cannot be decoded, and `on_error` is `raise`.
        DataError: The videos have classes that the model does not know, or none of them can be decoded.
        ConfigError: An argument is out of its range, or the device is not there.
        WeightsError: The weights cannot be loaded.
    """
    _check_arguments(batch_size=batch_size, num_workers=num_workers, on_error=on_error)
    model = model if isinstance(model, TimeSformer) else load(model)
    manifest = videos if isinstance(videos, Manifest) else read_manifest(videos, labels=model.info.labels)
    manifest = match_classes(manifest, labels=model.info.labels, num_classes=model.config.num_classes)
    skipped: list[Skipped] = []
    answers: list[_Answer] = []
    was_training = model.training
    try:
        predictor = Predictor(model, device=device, batch_size=batch_size)
        # closed at once: workers that wait for the garbage collector would disturb those that are forked after them
        with closing(_read(model, manifest, num_workers=num_workers, on_progress=on_progress)) as videos_read:
            for group in _group(_set_aside(videos_read, skipped, on_error=on_error), num_views=batch_size):
                answers += _answer(predictor, group)
    finally:
        model.train(was_training)
    return _summarise(model, manifest, answers=answers, skipped=skipped)


def describe_protocol(model: ModelConfig, clip: ClipConfig) -> str:
    """Name the views of a test in a line: `dense 8x32 at 30 fps, 1 clip x 3 crops of 224x224, softmax fusion`."""
    frames = f"{clip.sampling} {model.num_frames}"
    if clip.sampling in ("dense", "centre", "coverage"):
        frames += f"x{clip.frame_stride} at {clip.target_fps:g} fps"
    clips = "all clips" if clip.sampling == "coverage" else f"{clip.num_clips} clip{'s' * (clip.num_clips > 1)}"
    crops = f"{clip.num_crops} crop{'s' * (clip.num_crops > 1)}"
    height, width = model.image_size
    return f"{frames}, {clips} x {crops} of {height}x{width}, {clip.fusion} fusion"


@dataclass(frozen=True, slots=True)
class _Video:
    sample: Sample
    views: Float[Tensor, "views 3 t h w"]


@dataclass(frozen=True, slots=True)
class _Answer:
    sample: Sample
    probabilities: Float[Tensor, " k"]
    views: int


def _check_arguments(*, batch_size: int, num_workers: int, on_error: str) -> None:
    if batch_size < 1:
        raise ConfigError(f"batch_size={batch_size} must be at least 1")
    if num_workers < 0:
        raise ConfigError(f"num_workers={num_workers} must not be negative")
    if on_error not in ("raise", "skip"):
        raise ConfigError(f"on_error={on_error!r} is not one of 'raise', 'skip'")


def _read(model: TimeSformer, manifest: Manifest, *, num_workers: int, on_progress: OnProgress) -> Generator[_Read]:
    """Every video of the manifest, in its order, with its views or with the error that reading them raised."""
    loader = DataLoader(
        ErrorsAsValues(TestViews(manifest, model=model.config, clip=model.info.clip)),
        batch_size=None,
        num_workers=num_workers,
        generator=torch.Generator(),  # a loader without its own draws from the global one
    )
    total = len(manifest.samples)
    for done, (sample, item) in enumerate(zip(manifest.samples, loader, strict=True), start=1):
        yield sample, item if isinstance(item, TimeSformerError) else item[0]
        on_progress(done, total)


def _set_aside(videos: Iterable[_Read], skipped: list[Skipped], *, on_error: str) -> Iterator[_Video]:
    """The videos that have views; the others are listed in `skipped`, or their error is raised."""
    for sample, views in videos:
        if not isinstance(views, TimeSformerError):
            yield _Video(sample, views)
        elif on_error == "skip" and isinstance(views, DecodeError):
            skipped.append(Skipped(path=str(sample.path), reason=str(views)))
        else:
            raise views


def _group(videos: Iterable[_Video], *, num_views: int) -> Iterator[list[_Video]]:
    """Videos in groups that have just enough views to fill a batch."""
    group: list[_Video] = []
    for video in videos:
        group.append(video)
        if sum(len(member.views) for member in group) >= num_views:
            yield group
            group = []
    if group:
        yield group


def _answer(predictor: Predictor, group: Sequence[_Video]) -> list[_Answer]:
    logits = predictor.logits(torch.cat([video.views for video in group]))
    answers = []
    for video, own in zip(group, logits.split([len(video.views) for video in group]), strict=True):
        check_finite(own, video.sample.path)
        answers.append(_Answer(video.sample, fuse(own, predictor.model.info.clip.fusion), len(own)))
    return answers


def _summarise(
    model: TimeSformer, manifest: Manifest, *, answers: Sequence[_Answer], skipped: Sequence[Skipped]
) -> Evaluation:
    if not answers:
        reasons = "".join(f"; the first: {video.reason}" for video in skipped[:1])
        raise DataError(f"none of {len(manifest.samples)} videos could be decoded{reasons}")
    scores = torch.stack([answer.probabilities for answer in answers]).numpy()
    labels = np.array([answer.sample.label for answer in answers])
    predicted = scores.argmax(axis=1)
    confusion = confusion_matrix(labels, predicted, num_classes=len(manifest.class_names))
    return Evaluation(
        top1=top_k_accuracy(scores, labels, k=1),
        top1_interval=bootstrap_interval(predicted == labels, seed=_BOOTSTRAP_SEED),
        top5=top_k_accuracy(scores, labels, k=5),
        mean_class=mean_class_accuracy(confusion),
        class_names=manifest.class_names,
        per_class=per_class_accuracy(confusion),
        confusion=confusion,
        num_videos=len(answers),
        skipped=tuple(skipped),
        protocol=describe_protocol(model.config, model.info.clip),
        predictions=_results(manifest, answers, scores=scores, ranks=true_class_ranks(scores, labels)),
    )


def _results(
    manifest: Manifest,
    answers: Sequence[_Answer],
    *,
    scores: Float[np.ndarray, "n k"],
    ranks: Int[np.ndarray, " n"],
) -> tuple[VideoResult, ...]:
    return tuple(
        VideoResult(
            path=str(answer.sample.path),
            label=manifest.class_names[answer.sample.label],
            predicted=manifest.class_names[row.argmax()],
            probability=float(row.max()),
            rank=int(rank),
            views=answer.views,
        )
        for answer, row, rank in zip(answers, scores, ranks, strict=True)
    )
