import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from people_runs import CPU, SIZE
from timesformer.people.batch import draw_scene
from timesformer.people.draft import standing
from timesformer.people.motions import Motion, draw_motion
from timesformer.people.render import Cameras, Frame, draw_cameras, render
from timesformer.people.spheres import Part, Spheres

WIDE = Frame(height=48, width=64, moments=1)


def front(*, scale: float = 20.0, distance: float = 4.0) -> Cameras:
    """One camera without rotation that looks at the middle of the picture."""
    values = dict.fromkeys(Cameras.__slots__, 0.0) | {"stretch": 1.0, "scale": scale, "distance": distance}
    values |= {"x": WIDE.width / 2, "y": WIDE.height / 2}
    return Cameras(**{name: torch.full((1, 1, 1), value) for name, value in values.items()})


def balls(*at: tuple[float, float, float], radius: float = 0.2, parts: tuple[int, ...] = (1, 2)) -> Spheres:
    centers = torch.tensor(at).view(1, 1, -1, 3)
    return Spheres(centers, torch.full((1, 1, len(at)), radius), torch.tensor(parts[: len(at)]), 12)


def draw(*groups: Spheres, cameras: Cameras | None = None):
    return render(groups, cameras or front(), WIDE, middle=torch.zeros(1, 1, 1))


def test_a_ball_is_a_disk_around_its_center():
    picture = draw(balls((0.0, 0.0, 0.0)))
    rows, columns = picture.part[0, 0].nonzero().T
    assert rows.float().mean() == WIDE.height / 2 and columns.float().mean() == WIDE.width / 2
    assert len(rows) == pytest.approx(np.pi * (0.2 * 20) ** 2, rel=0.15)
    assert picture.near[0, 0, 24, 32] == pytest.approx(0.2, abs=1e-6)
    assert (picture.near[0, 0, rows, columns] >= 0).all()


def test_right_is_right_up_is_up_and_near_is_large():
    right, up, near = (draw(balls(at)).part[0, 0] for at in ((1.0, 0.0, 0.0), (0.0, 0.8, 0.0), (0.0, 0.0, 1.5)))
    assert right.nonzero().float().mean(0).tolist() == pytest.approx([24, 52], abs=0.5)
    assert up.nonzero().float().mean(0).tolist() == pytest.approx([8, 32], abs=0.5)
    assert near.sum() > 2 * draw(balls((0.0, 0.0, 0.0))).part.sum()


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_the_nearest_ball_covers_the_others_in_any_order(order: tuple[int, int]):
    groups = [balls((0.0, 0.0, 0.0), parts=(Part.TRUNK,)), balls((0.0, 0.0, 0.5), parts=(Part.HAND,))]
    picture = draw(*(groups[index] for index in order))
    assert picture.part[0, 0, 24, 32] == Part.HAND
    assert picture.near[0, 0, 24, 32] == pytest.approx(0.7, abs=1e-6)


def test_a_ball_outside_the_picture_leaves_no_trace():
    for at in ((9.0, 0.0, 0.0), (-9.0, 0.0, 0.0), (0.0, 9.0, 0.0), (0.0, -9.0, 0.0)):
        assert draw(balls(at)).part.sum() == 0
    cut = draw(balls((-1.6, 0.0, 0.0))).part[0, 0]
    assert cut[:, 0].any() and not cut[:, 32:].any()


@given(st.integers(0, 2**32))
def test_bodies_are_in_the_picture_and_every_number_is_finite(seed: int):
    rng = np.random.default_rng(seed)
    scene = draw_scene(rng, tuple(draw_motion(rng) for _ in range(3)), SIZE, far=0.5, device=CPU)
    picture = scene.picture
    assert picture.part.shape == (3, SIZE.moments, SIZE.height, SIZE.width)
    assert picture.near.isfinite().all() and picture.near.abs().max() <= 3
    assert picture.part.min() >= 0 and picture.part.max() < len(Part)
    assert (picture.part > 0).any(dim=(1, 2, 3)).all()


def test_standing_bodies_are_whole_in_the_picture():
    rng = np.random.default_rng(0)
    size = Frame(height=96, width=64, moments=3)
    motions = tuple(Motion(standing(rng), arms=0, legs=0, arms_direction=0, legs_direction=0) for _ in range(40))
    scene = draw_scene(rng, motions, size, far=0.0, device=CPU)
    is_body = scene.picture.part > 0
    edge = torch.cat([is_body[:, :, 0], is_body[..., 0], is_body[..., -1]], dim=-1)
    assert edge.float().mean() < 0.01
    assert (is_body.any(dim=3).sum(dim=2).float().mean() / size.height) == pytest.approx(0.72, abs=0.05)


def test_cameras_farther_away_draw_smaller_bodies():
    near, far = (draw_cameras(np.random.default_rng(0), SIZE, clips=200, far=far, device=CPU) for far in (0.0, 1.0))
    assert far.scale.mean() < 0.8 * near.scale.mean()
