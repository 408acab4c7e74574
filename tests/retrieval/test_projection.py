"""Principal components and t-SNE against their definitions."""

import math

import numpy as np
import pytest
import torch

from timesformer.errors import ConfigError
from timesformer.retrieval.projection import gradient, joint_probabilities, principal_components, tsne


def clusters(*, num=3, each=12, width=6, seed=0):
    generator = np.random.default_rng(seed)
    centers = 6 * generator.standard_normal((num, 1, width))
    return (centers + generator.standard_normal((num, each, width))).reshape(-1, width)


def test_principal_components_are_the_directions_of_largest_variance():
    rows = clusters()
    coordinates, fractions = principal_components(rows, count=6)
    centered = rows - rows.mean(axis=0)
    np.testing.assert_allclose(np.linalg.norm(coordinates, axis=1), np.linalg.norm(centered, axis=1))
    covariance = coordinates.T @ coordinates
    np.testing.assert_allclose(covariance, np.diag(np.diag(covariance)), atol=1e-9)
    expected = np.linalg.eigvalsh(centered.T @ centered)[::-1]
    np.testing.assert_allclose(fractions, expected / expected.sum())


def test_fewer_directions_than_wanted_are_filled_with_zeros():
    coordinates, fractions = principal_components(np.array([[1.0], [3.0]]))
    np.testing.assert_allclose(coordinates, [[-1, 0], [1, 0]])
    np.testing.assert_allclose(fractions, [1, 0])
    assert principal_components(np.ones((3, 4)))[1].tolist() == [0, 0]


def test_the_gradient_is_that_of_the_divergence():
    generator = torch.Generator().manual_seed(0)
    points = torch.randn(9, 2, generator=generator, dtype=torch.float64, requires_grad=True)
    targets = torch.rand(9, 9, generator=generator, dtype=torch.float64).fill_diagonal_(0)
    targets = (targets + targets.T) / (targets + targets.T).sum()
    squares = (points[:, None] - points[None]).square().sum(-1)
    closeness = (1 / (1 + squares)) * (1 - torch.eye(9, dtype=torch.float64))
    similar = closeness / closeness.sum()
    is_pair = ~torch.eye(9, dtype=torch.bool)
    divergence = (targets[is_pair] * (targets[is_pair] / similar[is_pair]).log()).sum()
    (expected,) = torch.autograd.grad(divergence, points)
    torch.testing.assert_close(gradient(points.detach(), targets), expected)


@pytest.mark.parametrize("perplexity", [3.0, 10.0])
def test_neighbors_have_the_wanted_perplexity(perplexity):
    rows = torch.from_numpy(clusters()).float()
    joint = joint_probabilities(rows, perplexity=perplexity)
    torch.testing.assert_close(joint, joint.T)
    assert joint.sum().item() == pytest.approx(1, abs=1e-5)
    assert joint.diagonal().abs().max() == 0


def test_perplexity_is_exact_where_all_rows_are_alike():
    """On a circle every row has the same neighbors, so that the joint probabilities are the conditional ones."""
    angles = torch.arange(24) * (2 * math.pi / 24)
    joint = joint_probabilities(torch.stack([angles.cos(), angles.sin()], dim=1), perplexity=5.0)
    entropies = torch.special.entr(joint * 24).sum(dim=1)
    torch.testing.assert_close(entropies.exp(), torch.full((24,), 5.0), rtol=1e-3, atol=0)


def test_clusters_stay_apart():
    rows = clusters()
    points = tsne(rows, perplexity=8, num_steps=400)
    labels = np.arange(36) // 12
    squares = np.square(points[:, None] - points[None]).sum(-1) + np.eye(36) * 1e9
    assert (labels[squares.argmin(axis=1)] == labels).all()
    centers = points.reshape(3, 12, 2).mean(axis=1)
    spread = np.linalg.norm(points.reshape(3, 12, 2) - centers[:, None], axis=-1).max()
    assert np.linalg.norm(centers[0] - centers[1]) > spread
    np.testing.assert_array_equal(points, tsne(rows, perplexity=8, num_steps=400))


@pytest.mark.parametrize("rows", [np.ones((7, 3)), np.ones((1, 3)), np.eye(3), np.zeros((5, 1))])
def test_any_rows_have_finite_coordinates(rows):
    points = tsne(rows, num_steps=30)
    assert points.shape == (len(rows), 2)
    assert np.isfinite(points).all()


def test_progress_is_told():
    told = []
    tsne(clusters(each=3), num_steps=3, on_progress=lambda done, total: told.append((done, total)))
    assert told == [(1, 3), (2, 3), (3, 3)]


@pytest.mark.parametrize("change", [{"perplexity": 0}, {"num_steps": 0}])
def test_settings_out_of_range_are_refused(change):
    (name,) = change
    with pytest.raises(ConfigError, match=f"{name}=0"):
        tsne(np.eye(5), **change)
