"""Measures of maps against sums and loops written out."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from timesformer.bench.explain_methods import NULL_MAPS
from timesformer.bench.explain_metrics import (
    FRACTIONS,
    by_relevance,
    deletion_and_insertion,
    mass_inside,
    patches_of,
    pointing,
    rank_correlation,
    right_frame,
)

SHAPE = (2, 3, 4)
MAPS = arrays.arrays(np.float64, SHAPE, elements=st.sampled_from([0.0, 0.5, 1.0, 2.0, 7.0]))
EVIDENCE = arrays.arrays(np.bool_, SHAPE)


def test_a_patch_with_one_pixel_of_the_mask_is_evidence():
    mask = np.zeros((1, 4, 6), dtype=bool)
    mask[0, 1, 2] = mask[0, 2, 5] = True
    assert patches_of(mask, patch_size=2).tolist() == [[[False, True, False], [False, False, True]]]


@given(MAPS, EVIDENCE)
def test_measures_are_sums_over_patches(relevance: np.ndarray, evidence: np.ndarray):
    top = [index for index in np.ndindex(SHAPE) if relevance[index] == relevance.max()]
    assert pointing(relevance, evidence) == pytest.approx(sum(bool(evidence[index]) for index in top) / len(top))
    total = sum(relevance[index] for index in np.ndindex(SHAPE))
    inside = sum(relevance[index] for index in np.ndindex(SHAPE) if evidence[index])
    expected = inside / total if total else evidence.sum() / 24
    assert mass_inside(relevance, evidence) == pytest.approx(expected)


def test_the_right_frame_has_most_relevance_in_total_not_the_largest_value():
    relevance = np.zeros((3, 2, 2))
    relevance[0, 0, 0], relevance[1] = 3.0, 1.0
    assert right_frame(relevance, np.array([False, True, False])) == 1
    assert right_frame(relevance, np.array([True, False, True])) == 0
    assert right_frame(np.ones((3, 2, 2)), np.array([True, False, False])) == pytest.approx(1 / 3)


@given(MAPS, MAPS)
def test_rank_correlation_is_the_correlation_of_mean_ranks(first: np.ndarray, second: np.ndarray):
    ranks = [
        [sum(b < a for b in values) + sum(b == a for b in values) / 2 for a in values]
        for values in (first.ravel(), second.ravel())
    ]
    found = rank_correlation(first, second)
    if min(np.ptp(rank) for rank in ranks) == 0:
        assert found == 0
    else:
        assert found == pytest.approx(np.corrcoef(*ranks)[0, 1])


@given(MAPS)
def test_order_starts_with_the_most_relevant(relevance: np.ndarray):
    order = by_relevance(relevance, seed=1)
    assert sorted(order.tolist()) == list(range(24))
    assert (np.diff(relevance.ravel()[order]) <= 0).all()


def test_ties_are_broken_at_random():
    assert by_relevance(np.zeros(SHAPE), seed=1).tolist() != by_relevance(np.zeros(SHAPE), seed=2).tolist()


def test_deletion_hides_the_most_relevant_and_insertion_shows_only_them():
    rng = np.random.default_rng(0)
    relevance, clip = rng.random((4, 5, 5)), rng.random((3, 4, 10, 10))
    order, mean = by_relevance(relevance, seed=3), clip.mean(axis=(1, 2, 3))
    deleted, inserted = [], []
    for fraction in FRACTIONS:
        without, alone = clip.copy(), np.broadcast_to(mean[:, None, None, None], clip.shape).copy()
        for index in order[: max(1, round(100 * fraction))]:
            t, row, column = np.unravel_index(index, relevance.shape)
            patch = (slice(None), t, slice(2 * row, 2 * row + 2), slice(2 * column, 2 * column + 2))
            without[patch], alone[patch] = mean[:, None, None], clip[patch]
        deleted.append((without**2).mean())
        inserted.append((alone**2).mean())
    found = deletion_and_insertion(
        lambda clips: (clips**2).mean(axis=(1, 2, 3, 4)), clip, relevance, patch_size=2, seed=3
    )
    assert found == pytest.approx((np.mean(deleted), np.mean(inserted)))


def test_null_maps_know_the_clip_at_most():
    import torch

    clip = torch.zeros(3, 5, 8, 12)
    clip[:, 3:, 4:8, 8:12] = 1.0
    maps = {name: null(clip, 4, 0) for name, null in NULL_MAPS.items()}
    assert {found.shape for found in maps.values()} == {(5, 2, 3)}
    assert maps["random"].std() > 0.2
    assert np.unravel_index(maps["center"].argmax(), (5, 2, 3)) in [(2, 0, 1), (2, 1, 1)]
    assert {tuple(index) for index in np.argwhere(maps["frame_difference"] > 0).tolist()} == {(2, 1, 2), (3, 1, 2)}


def test_random_maps_point_at_evidence_by_chance():
    rng = np.random.default_rng(0)
    evidence = rng.random((4, 6, 6)) < 0.1
    hits = [pointing(rng.random(evidence.shape), evidence) for _ in range(2000)]
    masses = [mass_inside(rng.random(evidence.shape), evidence) for _ in range(200)]
    assert np.mean(hits) == pytest.approx(evidence.mean(), abs=0.02)  # standard deviation 0.007
    assert np.mean(masses) == pytest.approx(evidence.mean(), abs=0.01)
