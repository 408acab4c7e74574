"""What a model learns from generated people: the joints through time, which motion it is, and that two bodies do the
same."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from timesformer.people.arms import ARMS
from timesformer.people.batch import Batch
from timesformer.people.bodies import draw_bodies
from timesformer.people.legs import LEGS
from timesformer.people.motions import DIRECTIONS, at_times, draw_motion, draw_times
from timesformer.people.pose import TARGETS, WRISTS, pose, targets

_EMBEDDING = 128
_TEMPERATURE = 0.1
_WEIGHTS = {"joints": 2.0, "motion": 0.3, "match": 0.3}
_WRIST_WEIGHT = 3.0
_SAMPLES = 256


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Losses:
    """Losses of a batch, and how well the model does."""

    total: Float[Tensor, ""]
    measures: Mapping[str, Float[Tensor, ""]]
    """Detached: the loss of each task, `r2_joints`, `motion_accuracy` and `match_accuracy`."""


class Pretext(nn.Module):
    """The heads of the three tasks, on standardized features.

    Args:
        embed_dim: Width of the features.
        moments: Pictures of a clip.
    """

    mean: Float[Tensor, " targets"]
    std: Float[Tensor, " targets"]
    weight: Float[Tensor, " targets"]

    def __init__(self, embed_dim: int, *, moments: int) -> None:
        super().__init__()
        self._moments = moments
        self.norm = nn.BatchNorm1d(embed_dim, affine=False)
        self.joints = nn.Linear(embed_dim, moments * TARGETS)
        self.motion = nn.Linear(embed_dim, (len(ARMS) + len(LEGS)) * DIRECTIONS)
        self.match = nn.Sequential(nn.Linear(embed_dim, embed_dim), nn.GELU(), nn.Linear(embed_dim, _EMBEDDING))
        mean, std = _target_statistics(moments)
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)
        weight = torch.ones(TARGETS)
        weight[:WRISTS] = _WRIST_WEIGHT
        self.register_buffer("weight", weight)

    def forward(self, features: Float[Tensor, "n d"], batch: Batch) -> Losses:
        """Losses of the features of a batch.

        `joints` is the smooth L1 distance to the standardized targets, wrists weighted 3; `motion` the cross entropy of
        the families of arms and legs with their directions; `match` that of finding, among all other clips of the
        batch, the one of the same motion.
        """
        features = self.norm(features.float())
        losses, measures = {}, {}
        losses["joints"], measures["r2_joints"] = self._joints(features, batch)
        losses["motion"], measures["motion_accuracy"] = self._motion(features, batch)
        losses["match"], measures["match_accuracy"] = self._match(features)
        total = torch.stack([_WEIGHTS[name] * loss for name, loss in losses.items()]).sum()
        shown = {f"{name}_loss": loss for name, loss in losses.items()} | measures
        return Losses(total=total, measures={name: value.detach() for name, value in shown.items()})

    def _joints(self, features: Float[Tensor, "n d"], batch: Batch) -> tuple[Tensor, Tensor]:
        wanted = (batch.targets - self.mean) / self.std
        found = rearrange(self.joints(features), "n (t k) -> n t k", t=self._moments)
        loss = (F.smooth_l1_loss(found, wanted, reduction="none") * self.weight).mean()
        missed = ((found - wanted).square() * self.weight).sum()
        r2 = 1 - missed / ((wanted - wanted.mean(0)).square() * self.weight).sum()
        return loss, r2

    def _motion(self, features: Float[Tensor, "n d"], batch: Batch) -> tuple[Tensor, Tensor]:
        arms, legs = self.motion(features).split([len(ARMS) * DIRECTIONS, len(LEGS) * DIRECTIONS], dim=1)
        loss = F.cross_entropy(arms, batch.arms) + F.cross_entropy(legs, batch.legs)
        return loss, (arms.argmax(1) == batch.arms).float().mean()

    def _match(self, features: Float[Tensor, "n d"]) -> tuple[Tensor, Tensor]:
        points = F.normalize(self.match(features), dim=1)
        count = len(points)
        itself = torch.eye(count, dtype=torch.bool, device=points.device)
        similar = (points @ points.T / _TEMPERATURE).masked_fill(itself, -1e4)
        partner = torch.arange(count, device=points.device).roll(count // 2)
        return F.cross_entropy(similar, partner), (similar.argmax(1) == partner).float().mean()


def _target_statistics(moments: int) -> tuple[Float[Tensor, " targets"], Float[Tensor, " targets"]]:
    """Mean and standard deviation of the targets, over a fixed sample of motions."""
    rng, cpu = np.random.default_rng(0), torch.device("cpu")
    motions = [draw_motion(rng) for _ in range(_SAMPLES)]
    bodies = draw_bodies(rng, _SAMPLES, device=cpu)
    posed = pose(at_times(motions, draw_times(rng, clips=_SAMPLES, moments=moments)), bodies)
    sample = targets(posed, bodies)
    return sample.mean((0, 1)), sample.std((0, 1)) + 0.02
