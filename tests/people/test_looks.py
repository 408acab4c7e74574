import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from people_runs import CPU, SIZE
from timesformer.data.clips.color import luma
from timesformer.people.batch import Scene, draw_scene
from timesformer.people.bodies import per_clip
from timesformer.people.color_look import ColorLook, draw_color_looks, paint_color
from timesformer.people.depth_look import DepthLook, draw_depth_looks, paint_depth
from timesformer.people.motions import draw_motion
from timesformer.people.pixels import Grain, blurred
from timesformer.people.render import Picture
from timesformer.people.spheres import Part

seeds = st.integers(0, 2**32)


def grain(seed: int = 0) -> Grain:
    return Grain(torch.Generator().manual_seed(seed))


def scene(seed: int = 0, clips: int = 3) -> tuple[Scene, np.random.Generator]:
    rng = np.random.default_rng(seed)
    motions = tuple(draw_motion(rng) for _ in range(clips))
    return draw_scene(rng, motions, SIZE, far=0.0, device=CPU), rng


def color_looks(rng: np.random.Generator, drawn: Scene) -> ColorLook:
    size = (SIZE.height, SIZE.width)
    return draw_color_looks(rng, grain(), scale=drawn.cameras.scale, moments=SIZE.moments, size=size)


def exact_depth(*, ragged: float = 0.0) -> DepthLook:
    values = {"gray": 100.0, "contrast": 200.0, "noise": 0.0, "ragged": ragged}
    return DepthLook(**{name: per_clip(np.array([value]), device=CPU) for name, value in values.items()})


def picture(near: torch.Tensor, part: int) -> Picture:
    return Picture(near, torch.full(near.shape, part, dtype=torch.int32))


@given(seeds)
def test_pictures_are_from_0_to_255_and_black_behind_bodies_in_depth(seed: int):
    drawn, rng = scene(seed)
    gray = paint_depth(drawn.picture, draw_depth_looks(rng, clips=3, device=CPU), grain(seed))
    channels = paint_color(drawn.picture, color_looks(rng, drawn), grain(seed))
    assert len(channels) == 3
    for image in (gray, *channels):
        assert image.shape == drawn.picture.part.shape
        assert image.isfinite().all() and image.min() >= 0 and image.max() <= 255
    is_far_from_bodies = ~torch.nn.functional.max_pool2d((drawn.picture.part > 0).float(), 3, 1, 1).bool()
    assert (gray[is_far_from_bodies] == 0).all()


def test_near_is_bright_and_depth_is_linear_within_the_range():
    near = torch.tensor([-0.5, 0.0, 0.2, 0.9]).repeat_interleave(5).expand(1, 1, 9, 20).clone()
    image = paint_depth(picture(near, Part.TRUNK), exact_depth(), grain())
    assert image[0, 0, 4, [2, 7, 12, 17]].tolist() == pytest.approx([25, 100, 140, 255], rel=1e-5)


def test_ragged_edges_lose_pixels_of_the_edge_only():
    part = torch.zeros(1, 3, 20, 20, dtype=torch.int32)
    part[:, :, 5:15, 5:15] = Part.TRUNK
    square = Picture(torch.zeros(1, 3, 20, 20), part)
    whole, ragged = (paint_depth(square, exact_depth(ragged=value), grain()) for value in (0.0, 0.45))
    lost = (ragged - whole).abs() > 1
    assert 0 < lost.sum() < 200
    assert not lost[:, :, 8:12, 8:12].any()


@given(seeds, st.floats(0, 0.3))
def test_softness_keeps_flat_pictures_and_the_mean_of_all(seed: int, share: float):
    generator = torch.Generator().manual_seed(seed)
    image = torch.rand(2, 3, 6, 7, generator=generator)
    torch.testing.assert_close(blurred(torch.full_like(image, 7.0), share), torch.full_like(image, 7.0))
    torch.testing.assert_close(blurred(image, share).mean(), image.mean())
    assert blurred(image, share).std() <= image.std() + 1e-6


def test_noise_is_normal_and_differs_between_moments():
    noise = grain().of(torch.Size((4, 9, 30, 20)))
    assert noise.mean().abs() < 0.05 and abs(noise.std() - 1) < 0.05
    assert noise.flatten(0, 1).unique(dim=0).shape[0] == 36


def test_backgrounds_stand_still_behind_bodies_in_color():
    drawn, rng = scene(4)
    look = color_looks(rng, drawn)
    quiet = ColorLook(**{
        name: torch.zeros_like(getattr(look, name)) if name in ("noise", "blocks", "softness")
        else torch.ones_like(look.flicker) if name == "flicker" else getattr(look, name)
        for name in look.__slots__
    })  # fmt: skip
    red, _, _ = paint_color(drawn.picture, quiet, grain())
    is_background = (drawn.picture.part == 0).all(dim=1)
    for moment in red.unbind(1):
        assert torch.equal(moment[is_background], look.background[:, 0][is_background])


def test_the_luma_of_a_look_gives_the_luma_of_its_picture():
    drawn, rng = scene(2)
    look = color_looks(rng, drawn)
    channels = paint_color(drawn.picture, look, grain())
    (found,) = paint_color(drawn.picture, look.as_luma(), grain())
    rgb = torch.stack(channels, dim=-1).round().to(torch.uint8)
    inside = (rgb > 0).all(-1) & (rgb < 255).all(-1)  # nothing clipped
    expected = torch.stack([luma(clip) for clip in rgb]).float()
    assert (found - expected).abs()[inside].max() <= 1.5


def test_surfaces_toward_the_light_are_bright():
    slope = torch.arange(20.0).mul(0.02).expand(1, 1, 12, 20).clone()  # nearer to the right: faces left
    drawn, rng = scene(0, clips=1)
    look = color_looks(rng, drawn)
    values = {name: getattr(look, name) for name in look.__slots__}
    values |= {"noise": torch.zeros(1, 1, 1), "blocks": torch.zeros(1, 1, 1), "flicker": torch.ones(1, 1, 1)}
    values |= {"ambient": torch.zeros(1, 1, 1), "background": torch.zeros(1, 3, 12, 20)}
    lit = []
    for x in (-0.7, 0.7):
        values["light"] = torch.tensor([[x, 0.0, (1 - x * x) ** 0.5]])
        red, _, _ = paint_color(picture(slope, Part.TRUNK), ColorLook(**values), grain())
        lit.append(red[0, 0, 6, 10].item())
    assert lit[0] > 1.5 * lit[1]
