from dataclasses import replace

import pytest
import torch

from people_runs import CPU, MODEL, SIZE
from timesformer.people.batch import draw_batch
from timesformer.people.pose import WRISTS
from timesformer.people.pretext import Pretext


@pytest.fixture
def batch():
    return draw_batch(seed=0, number=0, motions=4, looks=("depth", "color"), size=SIZE, device=CPU)


@pytest.fixture
def pretext() -> Pretext:
    return Pretext(MODEL.embed_dim, moments=SIZE.moments)


def test_the_loss_is_the_weighted_sum_of_the_three(pretext, batch):
    found = pretext(torch.randn(8, MODEL.embed_dim), batch)
    assert set(found.measures) == {
        "joints_loss", "motion_loss", "match_loss", "r2_joints", "motion_accuracy", "match_accuracy"
    }  # fmt: skip
    joints, motion, match = (found.measures[f"{name}_loss"] for name in ("joints", "motion", "match"))
    torch.testing.assert_close(found.total.detach(), 2 * joints + 0.3 * motion + 0.3 * match)
    assert not any(value.requires_grad for value in found.measures.values())


def test_every_head_learns(pretext, batch):
    features = torch.randn(8, MODEL.embed_dim, requires_grad=True)
    pretext(features, batch).total.backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in pretext.parameters())
    assert features.grad is not None and features.grad.any()


def test_exact_joints_have_an_explained_variance_of_1_and_wrists_count_three_times(pretext, batch):
    exact = (batch.targets - pretext.mean) / pretext.std
    pretext.joints = torch.nn.Identity()
    loss, r2 = pretext._joints(exact.flatten(1), batch)
    assert loss.item() == pytest.approx(0, abs=1e-6) and r2.item() == pytest.approx(1, abs=1e-5)
    losses = []
    for first in (0, WRISTS):
        wrong = exact.clone()
        wrong[..., first : first + 6] += 2.0
        losses.append(pretext._joints(wrong.flatten(1), batch)[0].item())
    assert losses[0] == pytest.approx(3 * losses[1], rel=1e-4)


def test_clips_are_matched_with_the_other_body_of_their_motion(pretext):
    pretext.match = torch.nn.Identity()
    points = torch.eye(4, MODEL.embed_dim)
    loss, accuracy = pretext._match(torch.cat([points, points]))
    assert accuracy.item() == 1 and loss.item() < 0.01
    _, accuracy = pretext._match(torch.cat([points, points.roll(1, 0)]))
    assert accuracy.item() == 0


def test_motions_that_are_named_right_are_counted(pretext, batch):
    logits = torch.zeros(8, pretext.motion.out_features)
    logits[torch.arange(8), batch.arms] = 20.0
    pretext.motion = torch.nn.Identity()
    _, accuracy = pretext._motion(logits, batch)
    assert accuracy.item() == 1
    wrong = replace(batch, arms=(batch.arms + 1) % 6)
    assert pretext._motion(logits, wrong)[1].item() == 0


def test_targets_are_standardized_by_a_fixed_sample():
    torch.manual_seed(1)
    first = Pretext(5, moments=7)
    torch.manual_seed(2)
    second = Pretext(5, moments=7)
    assert torch.equal(first.mean, second.mean) and torch.equal(first.std, second.std)
    assert (first.std > 0).all()
