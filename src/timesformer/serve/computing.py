"""What goes through the model in batches: videos to classify or embed, and clips."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor

from timesformer.errors import TimeSformerError
from timesformer.inference.embed import Embedding, embed_read
from timesformer.inference.predictor import Prediction, Predictor
from timesformer.inference.view_batches import ReadVideo
from timesformer.model.tokens import Level


@dataclass(frozen=True, slots=True)
class Classify:
    """A video to classify; its result has all classes."""

    video: ReadVideo

    @property
    def size(self) -> int:
        """Number of clips."""
        return len(self.video.views)


@dataclass(frozen=True, slots=True)
class Embed:
    """A video to embed."""

    video: ReadVideo
    level: Level

    @property
    def size(self) -> int:
        """Number of clips."""
        return len(self.video.views)


@dataclass(frozen=True, slots=True)
class Infer:
    """Normalized clips, whose result is the probabilities of each."""

    clips: Float[Tensor, "b 3 t s1 s2"]

    @property
    def size(self) -> int:
        """Number of clips."""
        return len(self.clips)


Item = Classify | Embed | Infer
Result = Prediction | Embedding | Float32[np.ndarray, "b k"] | TimeSformerError


def compute_with(predictor: Predictor) -> Callable[[Sequence[Item]], Sequence[Any]]:
    """The function of a batcher: the result of each item, in order.

    A result is an error if the model outputs nan or inf for the item.

    Args:
        predictor: The model.
    """

    def compute(items: Sequence[Item]) -> Sequence[Any]:
        results: dict[int, Any] = {}
        for numbers, found in _by_kind(predictor, items):
            results.update(zip(numbers, found, strict=True))
        return [results[number] for number in range(len(items))]

    return compute


def _by_kind(predictor: Predictor, items: Sequence[Item]) -> list[tuple[list[int], list[Any]]]:
    """Positions and results of the items of each kind, which go through the model together."""
    kinds: dict[Any, list[int]] = {}
    for number, item in enumerate(items):
        kinds.setdefault((type(item), getattr(item, "level", "")), []).append(number)
    return [(numbers, _compute(predictor, [items[number] for number in numbers])) for numbers in kinds.values()]


def _compute(predictor: Predictor, items: Sequence[Any]) -> list[Any]:
    """Results of items of one kind."""
    first = items[0]
    if isinstance(first, Classify):
        num_classes = predictor.model.config.num_classes
        return [*predictor.classify([item.video for item in items], top_k=num_classes)]
    if isinstance(first, Embed):
        return [*embed_read(predictor, [item.video for item in items], level=first.level)]
    logits = predictor.logits(torch.cat([item.clips for item in items]))
    return [_probabilities(part) for part in logits.split([item.size for item in items])]


def _probabilities(logits: Float[Tensor, "b k"]) -> Float32[np.ndarray, "b k"] | TimeSformerError:
    if not bool(logits.isfinite().all()):
        return TimeSformerError("the model outputs nan or inf for these clips")
    return logits.softmax(dim=-1).numpy()
