"""Evaluation of a head on labeled rows: all measures of an evaluation on videos, next to chance and majority class."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from timesformer.data.manifest.model_classes import match_classes
from timesformer.evaluation.predictions import VideoOutput
from timesformer.evaluation.result import Evaluation
from timesformer.evaluation.summary import summarize
from timesformer.retrieval.heads.folder import StoredHead
from timesformer.retrieval.heads.rows import Rows, refuse_other_origin

_CHUNK = 4096
"""Rows whose logits are computed at a time."""


def evaluate_rows(stored: StoredHead, rows: Rows, *, top_k: Sequence[int] = (1, 5)) -> Evaluation:
    """Evaluate a head.

    Args:
        stored: The head.
        rows: Rows of the model and level that it was trained on.
        top_k: Values of k for `Evaluation.top_k`, each at least 1.

    Raises:
        DataError: The features are of another model, level or shape, or a class is not one of the head's.
    """
    refuse_other_origin(rows, origin=stored.origin, shape=stored.head.shape, of="the head")
    names = stored.class_names
    manifest = match_classes(rows.manifest(), labels=names, num_classes=len(names))
    probabilities = row_logits(stored, rows).softmax(dim=1).numpy()
    outputs = [VideoOutput(index, row, 1) for index, row in enumerate(probabilities)]
    return summarize(manifest, outputs, protocol=describe(stored), top_k=top_k)


def row_logits(stored: StoredHead, rows: Rows) -> Float[Tensor, "n k"]:
    """Logits of rows, float32 on the CPU."""
    chunks = torch.from_numpy(rows.features).split(_CHUNK)
    return torch.cat([stored.head.logits(chunk) for chunk in chunks])


def describe(stored: StoredHead) -> str:
    """What was measured, in a line."""
    shape = " x ".join(map(str, stored.head.shape))
    return f"{stored.head.kind} head on {shape} frozen features, {stored.origin.describe()}, one row a video or segment"
