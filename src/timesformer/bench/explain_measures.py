"""All measures of one method on the test clips of one model, as means with intervals."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from timesformer.bench.explain_metrics import (
    deletion_and_insertion,
    mass_inside,
    patches_of,
    pointing,
    right_frame,
)
from timesformer.bench.explain_models import normalized
from timesformer.config.schema import ModelConfig
from timesformer.data.synthetic.planted import PlantedClip
from timesformer.evaluation.metrics import bootstrap_interval
from timesformer.model.timesformer import TimeSformer

MEASURES: Mapping[str, str] = {
    "pointing": "most relevant patch is evidence",
    "mass": "fraction of the relevance in patches of evidence",
    "ratio": "that fraction, relative to the share of those patches in the volume",
    "frame": "frame with most relevance is a deciding one",
    "deletion": "mean probability with the most relevant patches hidden; lower is better",
    "insertion": "mean probability with only the most relevant patches shown; higher is better",
    "redrawn": "rank correlation with the map after the blocks are drawn anew",
    "other_class": "rank correlation with the map for another class",
}
"""Measures by name, with what they are the mean of."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Example:
    """A test clip, ready for a model, and its evidence."""

    clip: Float[Tensor, "c t height width"]
    label: int
    other: int
    """Another class, that of a distractor if there is one."""
    evidence: Bool[np.ndarray, "t h w"]
    """Patches with evidence."""
    frames: Bool[np.ndarray, " t"]
    """Deciding frames."""
    seed: int


def example_of(planted: PlantedClip, config: ModelConfig, *, seed: int, device: torch.device) -> Example:
    """A test clip from a planted one."""
    evidence = patches_of(planted.mask, patch_size=config.patch_size)
    others = [label for label in planted.distractor_labels.tolist() if label != planted.label]
    return Example(
        clip=normalized(planted.frames[None])[0].to(device),
        label=planted.label,
        other=others[0] if others else (planted.label + 1) % config.num_classes,
        evidence=evidence,
        frames=np.isin(np.arange(len(evidence)), planted.deciding_frames),
        seed=seed,
    )


@torch.no_grad()
def measure(relevance: Float[np.ndarray, "t h w"], test: Example, model: TimeSformer) -> dict[str, float]:
    """Measures of one map of a test clip; all but the rank correlations."""

    def probability(clips: np.ndarray) -> np.ndarray:
        logits = model(torch.from_numpy(clips).to(test.clip.device))
        return logits.softmax(dim=-1)[:, test.label].double().cpu().numpy()

    deleted, inserted = deletion_and_insertion(
        probability, test.clip.cpu().numpy(), relevance, patch_size=model.config.patch_size, seed=test.seed
    )
    inside = mass_inside(relevance, test.evidence)
    return {
        "pointing": pointing(relevance, test.evidence),
        "mass": inside,
        "ratio": inside / float(test.evidence.mean()),
        "frame": right_frame(relevance, test.frames),
        "deletion": deleted,
        "insertion": inserted,
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Mean:
    """Mean over clips with its 95 % bootstrap interval."""

    mean: float
    low: float
    high: float
    num_clips: int

    @classmethod
    def of(cls, values: Sequence[float]) -> "Mean":
        """The mean of at least one value."""
        low, high = bootstrap_interval(np.asarray(values, dtype=float), seed=0)
        return cls(mean=float(np.mean(values)), low=low, high=high, num_clips=len(values))

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {"mean": self.mean, "interval": [self.low, self.high], "clips": self.num_clips}
