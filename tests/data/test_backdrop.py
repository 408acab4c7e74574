"""Another background behind what moves."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from timesformer.config.run import DataConfig
from timesformer.config.schema import ClipConfig
from timesformer.data.clips.backdrop import draw_noise, replace_background
from timesformer.data.clips.difference import background_of
from timesformer.data.clips.transforms import train_view

CLIP = ClipConfig(sampling="uniform", num_crops=1)
PLAIN = DataConfig(scale_range=(1.0, 1.0), crop_jitter=0.0)
WHITE, GRAY, NEW = 255, 90, (10, 200, 30)


def clip_of(num_frames: int = 6, *, height: int = 30, width: int = 50, camera: int = 0) -> np.ndarray:
    """A white square that moves down before gray with stripes; `camera` pixels of motion of the camera each frame."""
    frames = np.full((num_frames, height, width, 3), GRAY, dtype=np.uint8)
    for number, frame in enumerate(frames):
        frame[:, (np.arange(width) + camera * number) % 8 < 4] = 0 if camera else GRAY + 5
        frame[4 * number : 4 * number + 6, 20:26] = WHITE
    return frames


def backdrop(height: int = 30, width: int = 50) -> np.ndarray:
    return np.broadcast_to(np.array(NEW, dtype=np.uint8), (height, width, 3)).copy()


def test_what_moves_stays_and_the_rest_is_replaced():
    frames = clip_of()
    found = replace_background(torch.from_numpy(frames), torch.from_numpy(backdrop()))
    for number, frame in enumerate(found):
        assert (frame[4 * number + 1 : 4 * number + 5, 21:25] == WHITE).all()
        assert (frame[:, :17] == torch.tensor(NEW)).all()
        assert (frame[:, 29:] == torch.tensor(NEW)).all()
        assert (frame[4 * number + 8 :] == torch.tensor(NEW)).all()


def test_a_camera_that_moves_keeps_its_background():
    frames = torch.from_numpy(clip_of(camera=2))
    assert replace_background(frames, torch.from_numpy(backdrop())) is frames


def test_channels_that_are_times_have_one_background():
    moments = clip_of(6)[..., :1]
    frames = torch.from_numpy(np.concatenate([moments[0::3], moments[1::3], moments[2::3]], axis=-1))
    new = torch.full((30, 50, 3), 17, dtype=torch.uint8)
    found = replace_background(frames, new, has_colors=False)
    expected = replace_background(torch.from_numpy(moments.repeat(3, axis=-1)), new)[..., 0]
    for number in range(6):
        assert torch.equal(found[number // 3, ..., number % 3], expected[number])


@given(
    arrays.arrays(np.uint8, st.tuples(st.integers(3, 7), st.integers(1, 9), st.integers(1, 9), st.just(3))),
    st.integers(0, 2**32),
)
def test_every_value_lies_between_the_frame_and_the_new_background(frames: np.ndarray, seed: int):
    new = np.random.default_rng(seed).integers(0, 256, frames.shape[1:], dtype=np.uint8)
    before = frames.copy()
    found = replace_background(torch.from_numpy(frames), torch.from_numpy(new)).numpy()
    assert (found >= np.minimum(frames, new)).all()
    assert (found <= np.maximum(frames, new)).all()
    np.testing.assert_array_equal(frames, before)


def test_background_of_a_video_is_what_most_frames_show():
    expected = clip_of(1)[0]
    expected[:6, 20:26] = expected[10:16, 20:26]
    np.testing.assert_array_equal(background_of(clip_of(7, height=40))[:30], expected)


def test_noise_has_all_gray_levels_and_other_colors_at_each_draw():
    first, second = (draw_noise(np.random.default_rng(seed)) for seed in (0, 1))
    assert first.shape == (32, 32, 3)
    assert first.min() < 30
    assert first.max() > 225
    assert not np.array_equal(first, second)


@pytest.mark.parametrize("channel_order", ["rgb", "bgr", "time"])
def test_a_view_shows_the_new_background_in_the_size_of_its_frame(channel_order):
    clip = ClipConfig(sampling="uniform", num_crops=1, channel_order=channel_order)
    view = train_view(
        clip_of(), clip, PLAIN, image_size=(15, 25), generator=np.random.default_rng(0), backdrop=backdrop(7, 3)
    )
    luma = round(0.299 * NEW[0] + 0.587 * NEW[1] + 0.114 * NEW[2])
    expected = {"rgb": NEW, "bgr": NEW[::-1], "time": (luma,) * 3}[channel_order]
    assert view[:, :, 0, 0].float().mean(dim=1).tolist() == pytest.approx(expected, abs=1)
