"""Explanation methods and null maps that `timesformer bench explain` compares, each as a function of one clip."""

from collections.abc import Callable, Mapping

import numpy as np
import torch
from einops import reduce
from jaxtyping import Float
from torch import Tensor

from timesformer.explanation.occlusion import occlusion
from timesformer.model.contribution import contribution
from timesformer.model.rollout import Relevance, class_rollout, last_attention, rollout
from timesformer.model.timesformer import TimeSformer

Explain = Callable[[TimeSformer, Tensor, int], Float[np.ndarray, "t h w"]]
"""Map of a clip `[c, t, height, width]` for a class: relevance of each patch, not negative."""


def _patches(relevance: Relevance) -> np.ndarray:
    return relevance.patches[0].double().cpu().numpy()


def _contribution(model: TimeSformer, clip: Tensor, target: int) -> np.ndarray:
    return contribution(model, clip[None], target=target)[0].relu().double().cpu().numpy()


@torch.no_grad()
def _occlusion(model: TimeSformer, clip: Tensor, target: int) -> np.ndarray:
    drops = occlusion(model, clip, target=target, patch_size=model.config.patch_size, batch_size=64)
    return drops.double().cpu().numpy()


METHODS: Mapping[str, Explain] = {
    "attention": lambda model, clip, target: _patches(last_attention(model, clip[None])),
    "rollout": lambda model, clip, target: _patches(rollout(model, clip[None])),
    "rollout_norm": lambda model, clip, target: _patches(rollout(model, clip[None], residual="norm")),
    "class": lambda model, clip, target: _patches(class_rollout(model, clip[None], target=target)),
    "contribution": _contribution,
    "occlusion": _occlusion,
}
"""Methods by name; `attention` is the attention of the last layer, a baseline."""

CLASS_SPECIFIC = ("class", "contribution", "occlusion")
"""Methods whose maps depend on the class."""

COSTLY: Mapping[str, int] = {"occlusion": 6}
"""Methods of hundreds of forward passes, measured on a fraction of the clips: one in so many."""


def _random(clip: Tensor, patch_size: int, seed: int) -> np.ndarray:
    _, frames, height, width = clip.shape
    return np.random.default_rng(seed).random((frames, height // patch_size, width // patch_size))


def _center(clip: Tensor, patch_size: int, seed: int) -> np.ndarray:
    _, frames, height, width = clip.shape
    sides = (frames, height // patch_size, width // patch_size)
    profiles = [np.exp(-0.5 * ((np.arange(side) - (side - 1) / 2) / (side / 4)) ** 2) for side in sides]
    return np.einsum("t,h,w->thw", *profiles)


def _motion(clip: Tensor, patch_size: int, seed: int) -> np.ndarray:
    change = np.abs(np.diff(clip.cpu().double().numpy(), axis=1))
    if not len(change[0]):
        return np.zeros((1, clip.shape[2] // patch_size, clip.shape[3] // patch_size))
    before = np.concatenate([change[:, :1], change], axis=1)
    after = np.concatenate([change, change[:, -1:]], axis=1)
    return reduce((before + after) / 2, "c t (h p) (w q) -> t h w", "mean", p=patch_size, q=patch_size)


NULL_MAPS: Mapping[str, Callable[[Tensor, int, int], Float[np.ndarray, "t h w"]]] = {
    "random": _random,
    "center": _center,
    "frame_difference": _motion,
}
"""Maps that know no model, from a clip `[c, t, height, width]`, the side of a patch and a seed: uniform noise, a
Gaussian in the middle of the clip (standard deviation: a quarter of each side), and the change from frame to frame."""
