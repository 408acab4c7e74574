"""Measures of one map against planted evidence, against the model, and against another map; pure functions.

Where values of a map are tied, a measure is its mean over all ways to break the tie.
"""

from collections.abc import Callable

import numpy as np
from einops import rearrange, reduce, repeat
from jaxtyping import Bool, Float, Int

Map = Float[np.ndarray, "t h w"]
"""Relevance of each patch, not negative."""

FRACTIONS = (0.005, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64)
"""Fractions of the patches that are hidden, or alone shown; evenly spaced in the logarithm, since evidence is small."""


def patches_of(mask: Bool[np.ndarray, "t height width"], *, patch_size: int) -> Bool[np.ndarray, "t h w"]:
    """Patches that contain a pixel of the mask."""
    return reduce(mask, "t (h p) (w q) -> t h w", "max", p=patch_size, q=patch_size)


def pointing(relevance: Map, evidence: Bool[np.ndarray, "t h w"]) -> float:
    """3-D pointing game: 1 if the most relevant patch contains evidence, else 0. Zhang et al. 2016, section 4.1."""
    return float(evidence[relevance == relevance.max()].mean())


def mass_inside(relevance: Map, evidence: Bool[np.ndarray, "t h w"]) -> float:
    """Fraction of the relevance in patches with evidence; the share of those patches if nothing is relevant."""
    total = relevance.sum()
    return float(relevance[evidence].sum() / total) if total > 0 else float(evidence.mean())


def right_frame(relevance: Map, frames: Bool[np.ndarray, " t"]) -> float:
    """1 if the frame with the most relevance is one of `frames`, else 0."""
    curve = relevance.sum(axis=(1, 2))
    return float(frames[curve == curve.max()].mean())


def rank_correlation(first: Map, second: Map) -> float:
    """Spearman's rank correlation of two maps, -1 to 1; 0 if one is constant."""
    ranks = [_mean_ranks(values.ravel()) for values in (first, second)]
    a, b = (rank - rank.mean() for rank in ranks)
    norm = np.sqrt((a @ a) * (b @ b))
    return float(a @ b / norm) if norm > 0 else 0.0


def _mean_ranks(values: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """Ranks from 0; equal values share the mean of theirs."""
    _, index, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts) - 1
    return (last - (counts - 1) / 2)[index]


def by_relevance(relevance: Map, *, seed: int) -> Int[np.ndarray, " n"]:
    """Indices of the patches, most relevant first; ties in random order."""
    values = relevance.ravel()
    shuffled = np.random.default_rng(seed).permutation(values.size)
    return shuffled[np.argsort(-values[shuffled], kind="stable")]


def deletion_and_insertion(
    probability: Callable[[np.ndarray], Float[np.ndarray, " b"]],
    clip: Float[np.ndarray, "c t height width"],
    relevance: Map,
    *,
    patch_size: int,
    seed: int,
) -> tuple[float, float]:
    """Mean probability over `FRACTIONS`, with the most relevant patches hidden, and with only those shown.

    Hidden patches have the mean color of the clip. Better maps have a lower deletion and a higher insertion.

    Args:
        probability: Probability of the explained class for clips `[b, c, t, height, width]`.
        clip: The clip.
        relevance: Its map.
        patch_size: Side of a patch in pixels.
        seed: Seed of the order of ties.

    Source: Petsiuk et al. 2018, "RISE", section 4.3; the two are MoRF and LeRF of Samek et al. 2017.
    """
    order = by_relevance(relevance, seed=seed)
    is_top = np.zeros((len(FRACTIONS), order.size), dtype=bool)
    for top, fraction in zip(is_top, FRACTIONS, strict=True):
        top[order[: max(1, round(fraction * order.size))]] = True
    num_frames, rows, columns = relevance.shape
    top = rearrange(is_top, "b (t h w) -> b t h w", t=num_frames, h=rows, w=columns)
    top = repeat(top, "b t h w -> b 1 t (h p) (w q)", p=patch_size, q=patch_size)
    hidden = clip.mean(axis=(1, 2, 3), keepdims=True)
    deleted = float(probability(np.where(top, hidden, clip)).mean())
    return deleted, float(probability(np.where(top, clip, hidden)).mean())
