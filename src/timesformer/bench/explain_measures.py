"""All measures of one method on the test clips of one model, as means with intervals."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from einops import repeat
from jaxtyping import Bool, Float
from torch import Tensor

from timesformer.bench.explain_metrics import (
    Map,
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

    def without_evidence(self) -> Float[Tensor, "c t height width"]:
        """The clip with the patches of the evidence in its mean color."""
        size = self.clip.shape[2] // self.evidence.shape[1]
        hidden = repeat(torch.from_numpy(self.evidence), "t h w -> t (h p) (w q)", p=size, q=size)
        return torch.where(hidden.to(self.clip.device), self.clip.mean(dim=(1, 2, 3), keepdim=True), self.clip)


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


def against_evidence(relevance: Map, example: Example) -> dict[str, float]:
    """Measures of a map of a test clip that its evidence gives."""
    inside = mass_inside(relevance, example.evidence)
    return {
        "pointing": pointing(relevance, example.evidence),
        "mass": inside,
        "ratio": inside / float(example.evidence.mean()),
        "frame": right_frame(relevance, example.frames),
    }


@torch.no_grad()
def faithfulness(relevance: Map, example: Example, model: TimeSformer) -> dict[str, float]:
    """Measures of a map of a test clip that its model gives."""

    def probability(clips: np.ndarray) -> np.ndarray:
        logits = model(torch.from_numpy(clips).to(example.clip.device))
        return logits.softmax(dim=-1)[:, example.label].double().cpu().numpy()

    deleted, inserted = deletion_and_insertion(
        probability, example.clip.cpu().numpy(), relevance, patch_size=model.config.patch_size, seed=example.seed
    )
    return {"deletion": deleted, "insertion": inserted}


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
