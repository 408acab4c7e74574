"""Regions of motion: where the crops of a clip are taken from."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from timesformer.config.run import DataConfig
from timesformer.config.schema import ClipConfig, ModelConfig
from timesformer.data.clips.center_view import read_center_view
from timesformer.data.clips.dataset import read_pixel_views
from timesformer.data.clips.region import moving_region
from timesformer.data.clips.sampling import Box
from timesformer.data.clips.transforms import eval_views, train_view
from timesformer.data.video.frame_array import FrameArrayReader

CROP = (16, 24)
MOTION = ClipConfig(sampling="uniform", num_crops=1, test_scale=1.0, region="motion", min_region=0.2)
PLAIN = DataConfig(scale_range=(1.0, 1.0), crop_jitter=0.0)


def texture(height: int, width: int, *, seed: int = 0) -> np.ndarray:
    """Random blocks of 8 x 8 pixels."""
    blocks = np.random.default_rng(seed).integers(40, 216, (height // 8 + 2, width // 8 + 2, 3), dtype=np.uint8)
    return blocks.repeat(8, axis=0).repeat(8, axis=1)[:height, :width]


def moving_square(
    *,
    height: int = 120,
    width: int = 200,
    at: tuple[int, int] = (70, 150),
    side: int = 20,
    steps: Sequence[int] = (0, 4, 8, 12),
) -> np.ndarray:
    """A white square that moves to the right before a still texture."""
    frames = np.stack([texture(height, width)] * len(steps))
    for frame, step in zip(frames, steps, strict=True):
        frame[at[0] : at[0] + side, at[1] + step : at[1] + step + side] = 255
    return frames


def assert_holds_square(box: Box, *, at: tuple[int, int] = (70, 150), size: tuple[int, int] = (20, 32)) -> None:
    """The square and its way lie in the box, near its middle."""
    for first, length, start, extent in zip(box[:2], box[2:], at, size, strict=True):
        assert first <= start
        assert start + extent <= first + length
        assert abs(first + length / 2 - (start + extent / 2)) <= 8


@given(
    frames=arrays.arrays(
        np.uint8,
        st.tuples(st.integers(1, 4), st.integers(1, 40), st.integers(1, 90), st.just(3)),
        elements=st.integers(0, 255),
    ),
    crop=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    least=st.floats(0.01, 1),
)
def test_a_region_lies_in_the_frame_and_has_the_size_and_the_shape_that_are_asked_for(frames, crop, least):
    _, height, width, _ = frames.shape
    box = moving_region(frames, crop=crop, least=least)
    assert 0 <= box.top <= box.top + box.height <= height
    assert 0 <= box.left <= box.left + box.width <= width
    assert min(box.height, box.width) >= 1
    full = min(height / crop[0], width / crop[1])
    for side, unit in zip(box[2:], crop, strict=True):
        assert least * full * unit - 0.5 <= side or side == 1
        assert side <= full * unit + 0.5 or side == 1


def test_a_region_holds_what_moves():
    assert_holds_square(moving_region(moving_square(), crop=CROP, least=0.2))


@given(top=st.integers(0, 11), left=st.integers(0, 17))
def test_a_region_follows_what_moves(top: int, left: int):
    at = 9 * top, 9 * left
    height, width = 160, 240
    box = moving_region(moving_square(height=height, width=width, at=at), crop=CROP, least=0.2)
    assert box.top <= at[0] <= at[0] + 20 <= box.top + box.height
    assert box.left <= at[1] <= at[1] + 32 <= box.left + box.width
    assert box.width < 100


def test_a_still_clip_gives_the_middle_of_the_frame():
    frames = np.stack([texture(100, 211)] * 3)
    assert moving_region(frames, crop=(50, 50), least=0.3) == Box(0, 56, 100, 100)


def test_a_change_of_exposure_is_no_motion():
    frames = np.stack([np.clip(texture(100, 210) + np.float32(shift), 0, 255) for shift in (0, 15, -10)])
    assert moving_region(frames.astype(np.uint8), crop=(50, 50), least=0.3) == Box(0, 55, 100, 100)


@pytest.mark.parametrize("sigma", [4, 12])
def test_noise_moves_no_region(sigma: int):
    noise = np.random.default_rng(0).normal(0, sigma, (4, 120, 200, 3))
    still = np.clip(np.stack([texture(120, 200)] * 4) + noise, 0, 255).astype(np.uint8)
    assert moving_region(still, crop=CROP, least=0.2) == moving_region(still[:1], crop=CROP, least=0.2)
    noisy = np.clip(moving_square() + noise, 0, 255).astype(np.uint8)
    assert_holds_square(moving_region(noisy, crop=CROP, least=0.2))


def test_a_shaking_camera_moves_the_region_little():
    shaken = np.stack([np.roll(frame, i % 2, axis=1) for i, frame in enumerate(moving_square())])
    box = moving_region(shaken, crop=CROP, least=0.2)
    assert box.top <= 70 <= 90 <= box.top + box.height
    assert box.left <= 150 <= 182 <= box.left + box.width
    assert box.width <= 100


def test_motion_wider_than_the_largest_region_is_cropped_around_its_middle():
    frames = moving_square(height=48, width=200, at=(10, 20), steps=(0, 60, 70, 80, 90, 140))
    box = moving_region(frames, crop=(16, 16), least=0.5)
    assert (box.height, box.width) == (48, 48)
    assert box.left <= 105 <= box.left + box.width


def test_crops_are_taken_from_the_region_in_training_and_at_test():
    frames = moving_square()
    box = moving_region(frames, crop=CROP, least=0.2)
    cut = frames[:, box.top : box.top + box.height, box.left : box.left + box.width]
    whole = ClipConfig(sampling="uniform", num_crops=1, test_scale=1.0)
    expected = eval_views(cut, whole, image_size=CROP)
    torch.testing.assert_close(eval_views(frames, MOTION, image_size=CROP), expected, rtol=0, atol=0)
    view = train_view(frames, MOTION, PLAIN, image_size=CROP, generator=np.random.default_rng(0))
    torch.testing.assert_close(view, expected[0], rtol=0, atol=0)


def test_the_box_of_an_explanation_is_that_of_the_view():
    frames = moving_square()
    model = ModelConfig(num_frames=4, image_size=CROP, patch_size=8)
    found = read_center_view(FrameArrayReader(frames, fps=10), model, MOTION)
    assert found.box == pytest.approx(moving_region(frames, crop=CROP, least=0.2))
    views, _ = read_pixel_views(FrameArrayReader(frames, fps=10), model, MOTION)
    torch.testing.assert_close(found.view, views[0], rtol=0, atol=0)
