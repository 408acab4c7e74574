import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from people_runs import CPU
from timesformer.people.bodies import Bodies, draw_bodies
from timesformer.people.motions import Course, at_times, draw_motion, draw_times
from timesformer.people.pose import TARGETS, WRISTS, Pose, pose, targets, two_bones

seeds = st.integers(0, 2**32)


def posed(seed: int, *, clips: int = 5, moments: int = 4) -> tuple[Pose, Bodies]:
    rng = np.random.default_rng(seed)
    motions = [draw_motion(rng) for _ in range(clips)]
    course = at_times(motions, draw_times(rng, clips=clips, moments=moments))
    bodies = draw_bodies(rng, clips, device=CPU)
    return pose(course, bodies), bodies


def still(*, moments: int = 3) -> Course:
    """A body that stands with its hands down, slightly bent."""
    wrists = np.tile(np.float32([[0.05, -0.9, 0.05]]), (1, moments, 2, 1))
    wrists[:, :, 0, 0] *= -1
    zeros = np.zeros((1, moments, 3), np.float32)
    return Course(
        wrists=wrists,
        swivel=np.full((1, moments, 2), 0.3, np.float32),
        trunk=zeros.copy(),
        pelvis=zeros.copy(),
        feet=np.zeros((1, moments, 2, 3), np.float32),
        whole=zeros.copy(),
    )


@given(seeds)
def test_bones_keep_their_lengths(seed: int):
    found, bodies = posed(seed)
    leg, thigh = bodies.leg, bodies.thigh
    bones = {
        ("shoulder", "elbow"): bodies.upper_arm,
        ("elbow", "wrist"): bodies.forearm,
        ("wrist", "hand"): bodies.hand,
        ("hip", "knee"): leg * thigh,
        ("knee", "ankle"): leg * (1 - thigh),
    }
    for (start, end), length in bones.items():
        measured = (getattr(found, end) - getattr(found, start)).norm(dim=-1)
        torch.testing.assert_close(measured, length.expand_as(measured), rtol=2e-3, atol=5e-4)
    torch.testing.assert_close(
        (found.neck - found.pelvis).norm(dim=-1), bodies.torso[..., 0].expand(found.neck.shape[:2]), rtol=1e-4, atol=0
    )
    for direction in (found.up, found.right, found.hip_right):
        torch.testing.assert_close(direction.norm(dim=-1), torch.ones(direction.shape[:2]))


@given(seeds)
def test_targets_are_those_of_the_joints_and_free_of_the_size(seed: int):
    found, bodies = posed(seed)
    wanted = targets(found, bodies)
    assert wanted.shape == (5, 4, TARGETS)
    assert wanted.isfinite().all()
    arm = bodies.arm[..., None]
    wrists = wanted[..., :WRISTS].unflatten(-1, (2, 3)) * arm + found.shoulder
    torch.testing.assert_close(wrists, found.wrist)
    elbows, knees, ankles = (wanted[..., first : first + 6].unflatten(-1, (2, 3)) for first in (6, 12, 18))
    for unit in (elbows, knees):
        torch.testing.assert_close(unit.norm(dim=-1), torch.ones(unit.shape[:3]), rtol=5e-3, atol=0)
    assert (ankles.norm(dim=-1) <= 1.001).all()
    assert (wrists - found.shoulder).norm(dim=-1).div(bodies.arm).max() <= 1.001


def test_a_body_twice_as_large_has_the_same_targets():
    course, rng = still(), np.random.default_rng(0)
    bodies = draw_bodies(rng, 1, device=CPU)
    larger = replace(bodies, **{
        name: 2 * getattr(bodies, name) for name in bodies.__slots__ if name != "thigh"
    })  # fmt: skip
    small, large = (targets(pose(course, body), body) for body in (bodies, larger))
    # the shoulders are below the neck by meters, not by a ratio
    torch.testing.assert_close(small, large, rtol=0, atol=1e-5)


def test_a_standing_body_stands_on_the_ground_and_faces_the_camera():
    bodies = draw_bodies(np.random.default_rng(0), 1, device=CPU)
    found = pose(still(), bodies)
    torch.testing.assert_close(found.pelvis[..., 1], bodies.hip[..., 0].expand(1, 3))
    torch.testing.assert_close(found.ankle[..., 1], 0.07 * bodies.hip.expand(1, 3, 2), rtol=0, atol=0.01)
    assert (found.shoulder[:, :, 1, 0] > found.shoulder[:, :, 0, 0]).all()
    assert (found.toe[..., 2] > found.ankle[..., 2]).all()
    assert (found.head[..., 1] > found.neck[..., 1]).all()


@pytest.mark.parametrize(
    ("axis", "angle", "moved", "toward"),
    [
        (0, math.pi / 2, "right", (0.0, 0.0, -1.0)),  # turned to the right, the right shoulder is at the back
        (1, math.pi / 2, "up", (0.0, 0.0, 1.0)),  # fallen forward
        (2, math.pi / 2, "up", (1.0, 0.0, 0.0)),  # fallen to the right
    ],
)
def test_the_whole_body_turns_and_falls(axis: int, angle: float, moved: str, toward: tuple[float, ...]):
    course = still()
    course.whole[..., axis] = angle
    found = pose(course, draw_bodies(np.random.default_rng(0), 1, device=CPU))
    torch.testing.assert_close(getattr(found, moved)[0, 0], torch.tensor(toward), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("axis", "toward"), [(0, (0.0, 0.0, 1.0)), (1, (-1.0, 0.0, 0.0))], ids=["leans forward", "bends to the left"]
)
def test_the_trunk_leans_and_bends(axis: int, toward: tuple[float, ...]):
    course = still()
    course.trunk[..., axis] = math.pi / 2
    found = pose(course, draw_bodies(np.random.default_rng(0), 1, device=CPU))
    torch.testing.assert_close(found.up[0, 0], torch.tensor(toward), rtol=0, atol=1e-6)


def test_a_goal_within_reach_is_reached_and_one_beyond_is_approached():
    root = torch.zeros(1, 1, 2, 3)
    first, second = torch.full((1, 1, 1, 1), 0.3), torch.full((1, 1, 1, 1), 0.25)
    pole = torch.tensor([0.0, -1.0, 0.0]).expand(1, 1, 2, 3)
    near = torch.tensor([[0.4, 0.0, 0.1], [0.3, 0.0, -0.1]]).view(1, 1, 2, 3)
    middle, end = two_bones(root, near, first=first, second=second, pole=pole)
    torch.testing.assert_close(end, near)
    assert (middle[..., 1] < 0).all()
    _, end = two_bones(root, 5 * near, first=first, second=second, pole=pole)
    torch.testing.assert_close(end.norm(dim=-1), torch.full((1, 1, 2), 0.995 * 0.55))
    torch.testing.assert_close(*(torch.nn.functional.normalize(way, dim=-1) for way in (end, near)))


def test_bodies_are_of_human_size():
    bodies = draw_bodies(np.random.default_rng(0), 500, device=CPU)
    height = bodies.hip + bodies.torso + bodies.neck + 2.25 * bodies.head
    assert 1.25 < height.min() < 1.5 < height.mean() < 1.8 < height.max() < 2.25
    assert all((getattr(bodies, name) > 0).all() for name in bodies.__slots__)
