"""From the answers for all videos to the numbers: pure functions."""

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

_NUM_NAMED = 5  # classes that the row of a video names


def summarize(manifest: Manifest, outcomes: Sequence[Outcome], *, protocol: str, top_k: Sequence[int]) -> Evaluation:
    """Compute every measure.

    Args:
        manifest: The videos, with the classes of the model.
        outcomes: One for each video, in the order of the manifest.
        protocol: Which views were taken, for people.
        top_k: The k of `Evaluation.top_k`.

    Raises:
        DataError: No video has an answer.
    """
    answers = [outcome for outcome in outcomes if isinstance(outcome, VideoOutput)]
    unread = [outcome for outcome in outcomes if isinstance(outcome, DecodeFailure)]
    if not answers:
        reasons = "".join(f"; the first: {video.reason}" for video in unread[:1])
        raise DataError(f"none of {len(manifest.samples)} videos could be decoded{reasons}")
    scores = np.stack([answer.probabilities for answer in answers])
    labels = np.array([manifest.samples[answer.index].label for answer in answers])
    predicted = scores.argmax(axis=1)
    confusion = confusion_matrix(labels, predicted, num_classes=len(manifest.class_names))
    groups = [manifest.samples[answer.index].group for answer in answers]
    interval = accuracy_interval((predicted == labels)[None], groups=groups)
    return Evaluation(
        top1=top_k_accuracy(scores, labels, k=1),
        top1_interval=(interval.low, interval.high),
        top1_interval_method=interval.method,
        num_groups=interval.num_groups,
        top5=top_k_accuracy(scores, labels, k=5),
        top_k={k: top_k_accuracy(scores, labels, k=k) for k in sorted(set(top_k))},
        mean_class=mean_class_accuracy(confusion),
        class_names=manifest.class_names,
        per_class=per_class_accuracy(confusion),
        precision=per_class_precision(confusion),
        confusion=confusion,
        calibration=calibrate(scores, labels),
        num_videos=len(answers),
        skipped=tuple(Skipped(path=str(manifest.samples[video.index].path), reason=video.reason) for video in unread),
        protocol=protocol,
        predictions=_results(manifest, answers, scores=scores, ranks=true_class_ranks(scores, labels)),
    )


def _results(
    manifest: Manifest,
    answers: Sequence[VideoOutput],
    *,
    scores: Float[np.ndarray, "n k"],
    ranks: Int[np.ndarray, " n"],
) -> tuple[VideoResult, ...]:
    names, results = manifest.class_names, []
    for answer, row, rank in zip(answers, scores, ranks, strict=True):
        sample = manifest.samples[answer.index]
        best = np.argsort(-row, kind="stable")[:_NUM_NAMED]  # equal scores by index, as `argmax` and the ranks
        results.append(
            VideoResult(
                path=str(sample.path),
                label=names[sample.label],
                predicted=names[row.argmax()],
                probability=float(row.max()),
                rank=int(rank),
                views=answer.views,
                true_probability=float(row[sample.label]),
                top5=tuple((names[index], float(row[index])) for index in best),
                group=sample.group,
            )
        )
    return tuple(results)
