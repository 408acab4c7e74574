"""Measures of an evaluation, from the predictions for all videos: pure functions."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from timesformer.data.manifest.manifest import Manifest
from timesformer.errors import DataError
from timesformer.evaluation.calibration import calibrate
from timesformer.evaluation.intervals import accuracy_interval
from timesformer.evaluation.metrics import (
    confusion_matrix,
    mean_class_accuracy,
    per_class_accuracy,
    per_class_precision,
    top_k_accuracy,
    true_class_ranks,
)
from timesformer.evaluation.predictions import DecodeFailure, Outcome, VideoOutput
from timesformer.evaluation.result import Evaluation, Skipped, VideoResult

_NUM_NAMED = 5  # classes listed for each video


def summarize(manifest: Manifest, outcomes: Sequence[Outcome], *, protocol: str, top_k: Sequence[int]) -> Evaluation:
    """Compute all measures of an evaluation.

    Args:
        manifest: The videos, with the classes of the model.
        outcomes: One for each video, in the order of the manifest.
        protocol, top_k: As in `Evaluation`.

    Raises:
        DataError: No video could be decoded.
    """
    outputs, failures = _split(outcomes)
    scores = np.stack([output.probabilities for output in outputs])
    samples = [manifest.samples[output.index] for output in outputs]
    labels, predicted = np.array([sample.label for sample in samples]), scores.argmax(axis=1)
    confusion = confusion_matrix(labels, predicted, num_classes=len(manifest.class_names))
    predictions = _results(manifest, outputs, scores=scores, ranks=true_class_ranks(scores, labels))
    interval = accuracy_interval((predicted == labels)[None], groups=[video.unit for video in predictions])
    return Evaluation(
        top1=top_k_accuracy(scores, labels, k=1),
        top1_interval=(interval.low, interval.high),
        top1_interval_method=interval.method,
        num_groups=interval.num_groups,
        group_kind="video" if manifest.has_segments and not manifest.groups else "group",
        top5=top_k_accuracy(scores, labels, k=5),
        top_k={k: top_k_accuracy(scores, labels, k=k) for k in sorted(set(top_k))},
        mean_class=mean_class_accuracy(confusion),
        class_names=manifest.class_names,
        per_class=per_class_accuracy(confusion),
        precision=per_class_precision(confusion),
        confusion=confusion,
        calibration=calibrate(scores, labels),
        num_videos=len(outputs),
        skipped=tuple(_skipped(manifest, failure) for failure in failures),
        protocol=protocol,
        predictions=predictions,
    )


def _split(outcomes: Sequence[Outcome]) -> tuple[list[VideoOutput], list[DecodeFailure]]:
    outputs = [outcome for outcome in outcomes if isinstance(outcome, VideoOutput)]
    failures = [outcome for outcome in outcomes if isinstance(outcome, DecodeFailure)]
    if not outputs:
        reason = f"; the first: {failures[0].reason}" if failures else ""
        raise DataError(f"none of {len(outcomes)} videos could be decoded{reason}")
    return outputs, failures


def _skipped(manifest: Manifest, failure: DecodeFailure) -> Skipped:
    sample = manifest.samples[failure.index]
    return Skipped(path=str(sample.path), reason=failure.reason, segment=sample.segment)


def _results(
    manifest: Manifest,
    outputs: Sequence[VideoOutput],
    *,
    scores: Float[np.ndarray, "n k"],
    ranks: Int[np.ndarray, " n"],
) -> tuple[VideoResult, ...]:
    names, results = manifest.class_names, []
    for output, row, rank in zip(outputs, scores, ranks, strict=True):
        sample = manifest.samples[output.index]
        best = np.argsort(-row, kind="stable")[:_NUM_NAMED]  # ties by index, as `argmax` and the ranks
        results.append(
            VideoResult(
                path=str(sample.path),
                label=names[sample.label],
                predicted=names[row.argmax()],
                probability=float(row.max()),
                rank=int(rank),
                num_views=output.num_views,
                true_probability=float(row[sample.label]),
                top5=tuple((names[index], float(row[index])) for index in best),
                group=sample.group,
                segment=sample.segment,
            )
        )
    return tuple(results)
