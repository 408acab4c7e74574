import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from people_runs import CPU, SIZE
from timesformer.data.clips.transforms import to_floats
from timesformer.people.arms import ARMS
from timesformer.people.batch import CLIPS, Batch, Look, draw_batch, draw_scene, paint
from timesformer.people.legs import LEGS
from timesformer.people.motions import DIRECTIONS, draw_motion
from timesformer.people.pixels import Grain
from timesformer.people.pose import TARGETS, targets
from timesformer.people.sheet import draw_sheet

BOTH: tuple[Look, Look] = ("depth", "color")


def batch(*, seed: int = 3, number: int = 7, motions: int = 5, looks: tuple[Look, Look] = BOTH) -> Batch:
    return draw_batch(seed=seed, number=number, motions=motions, looks=looks, size=SIZE, device=CPU)


@settings(max_examples=20)
@given(
    st.integers(0, 2**64 - 1), st.integers(0, 10**8), st.sampled_from([BOTH, ("depth", "depth"), ("color", "color")])
)
def test_every_batch_is_finite_and_of_the_right_shape(seed: int, number: int, looks: tuple[Look, Look]):
    drawn = batch(seed=seed, number=number, motions=2, looks=looks)
    assert drawn.clips.shape == (4, 3, SIZE.moments // 3, SIZE.height, SIZE.width)
    assert drawn.targets.shape == (4, SIZE.moments, TARGETS)
    assert drawn.clips.isfinite().all() and drawn.targets.isfinite().all()
    assert drawn.targets.abs().max() < 10
    assert drawn.arms.min() >= 0 and drawn.arms.max() < len(ARMS) * DIRECTIONS
    assert drawn.legs.min() >= 0 and drawn.legs.max() < len(LEGS) * DIRECTIONS


def test_a_batch_is_a_function_of_seed_and_number():
    first, again = batch(), batch()
    for name in first.__slots__:
        assert torch.equal(getattr(first, name), getattr(again, name))
    for other in (batch(seed=4), batch(number=8)):
        assert not torch.equal(other.clips, first.clips)


def test_both_halves_do_the_same_motions_with_other_bodies():
    drawn = batch()
    for numbers in (drawn.arms, drawn.legs):
        assert torch.equal(*numbers.chunk(2))
    one, other = drawn.targets.chunk(2)
    assert not torch.equal(one, other)
    same = (one - other).abs().mean()
    different = (one - other.roll(1, 0)).abs().mean()
    assert same < 0.7 * different


def test_depth_is_dark_behind_bodies_and_color_has_no_mean():
    depth, color = batch().clips.chunk(2)
    assert depth.min() == 0 and depth.max() <= 4.0
    assert (depth == 0).float().mean() > 0.4
    assert color.mean(dim=(1, 2)).abs().max() < 0.02  # over the moments of each pixel


def test_channels_are_successive_moments():
    rng = np.random.default_rng(0)
    drawn = draw_scene(rng, (draw_motion(rng),), SIZE, far=0.0, device=CPU)
    clips = paint(rng, Grain(torch.Generator().manual_seed(0)), drawn, SIZE, look="depth")
    is_body = drawn.picture.part[0] > 0
    for moment in range(SIZE.moments):
        shown = clips[0, moment % 3, moment // 3] > 20
        assert (shown == is_body[moment]).float().mean() > 0.95


@pytest.mark.parametrize("look", ["depth", "color"])
def test_clips_are_normalized_as_clips_of_videos_are(look: Look):
    rng = np.random.default_rng(0)
    drawn = draw_scene(rng, (draw_motion(rng),), SIZE, far=0.0, device=CPU)
    clips = paint(rng, Grain(torch.Generator().manual_seed(0)), drawn, SIZE, look=look)
    assert clips.dtype == torch.uint8
    values = clips.float()
    if look == "color":
        values = values - values.mean(dim=(1, 2), keepdim=True) + 127.5
        expected = (values / 255 - 0.5) / 0.15
    else:
        expected = values / 255 / 0.25
    torch.testing.assert_close(to_floats(clips, CLIPS[look]), expected)


def test_everything_is_made_on_the_device_that_is_named():
    """A tensor that is made without a device would be on the default one, and not fit the others."""
    with torch.device("meta"):
        rng, generator = np.random.default_rng(0), torch.Generator(CPU).manual_seed(0)
        drawn = draw_scene(rng, tuple(draw_motion(rng) for _ in range(2)), SIZE, far=0.5, device=CPU)
        found = [
            targets(drawn.posed, drawn.bodies),
            *(paint(rng, Grain(generator), drawn, SIZE, look=look) for look in BOTH),
        ]
    assert all(tensor.device == CPU for tensor in found)


def test_the_sheet_shows_moments_of_both_bodies_and_is_a_function_of_the_seed():
    sheet, again, other = (draw_sheet(seed=seed, looks=BOTH, size=SIZE, rows=3) for seed in (1, 1, 2))
    assert sheet.size == (2 * SIZE.moments * SIZE.width + 24, 3 * (SIZE.height + 24) + 8)
    assert sheet.tobytes() == again.tobytes() != other.tobytes()
    pixels = np.asarray(sheet)
    left, right = pixels[:, : pixels.shape[1] // 2 - 4], pixels[:, pixels.shape[1] // 2 + 4 :]
    assert (left.max(-1) == left.min(-1)).mean() > 0.99  # gray
    assert (right.max(-1) != right.min(-1)).mean() > 0.4
