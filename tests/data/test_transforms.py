"""Clips from frames: geometry by where a marked pixel lands, numbers by hand."""

import dataclasses

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from einops import rearrange
from hypothesis import given, settings
from hypothesis import strategies as st

from timesformer.config.run import AugmentConfig, DataConfig
from timesformer.config.schema import ClipConfig
from timesformer.data.clips import transforms
from timesformer.data.clips.difference import color_difference
from timesformer.data.clips.transforms import (
    as_tensor,
    denormalize,
    normalize,
    resize,
    take_channels,
    to_floats,
    train_view,
)

PLAIN = ClipConfig(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))


def random_frames(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*shape, 3), dtype=np.uint8)


def ramp(height: int, width: int, num_frames: int = 2) -> np.ndarray:
    """Frames whose red is the column and whose green is the row."""
    frames = np.zeros((num_frames, height, width, 3), dtype=np.uint8)
    frames[..., 0] = np.arange(width)
    frames[..., 1] = np.arange(height)[:, None]
    return frames


def columns(view: torch.Tensor) -> list[int]:
    return view[0, 0, 0].tolist()


def rows(view: torch.Tensor) -> list[int]:
    return view[1, 0, :, 0].tolist()


def test_normalized_value_is_the_share_of_255_less_the_mean_over_the_deviation():
    clip = ClipConfig(mean=(0.1, 0.2, 0.3), std=(0.5, 0.25, 0.125))
    frames = np.array([0, 51, 255], dtype=np.uint8).reshape(1, 1, 1, 3)
    want = torch.tensor([(0 - 0.1) / 0.5, (0.2 - 0.2) / 0.25, (1 - 0.3) / 0.125])
    got = normalize(frames, clip)
    assert got.dtype == torch.float32
    torch.testing.assert_close(got.flatten(), want)


def test_bgr_model_reads_blue_first_with_the_first_mean():
    clip = ClipConfig(mean=(0.1, 0.2, 0.3), std=(0.5, 0.25, 0.125), channel_order="bgr")
    frames = np.array([0, 51, 255], dtype=np.uint8).reshape(1, 1, 1, 3)
    want = torch.tensor([(1 - 0.1) / 0.5, (0.2 - 0.2) / 0.25, (0 - 0.3) / 0.125])
    torch.testing.assert_close(normalize(frames, clip).flatten(), want)


TIMES = dataclasses.replace(PLAIN, channel_order="time")


def test_channels_that_are_times_hold_the_luma_of_three_frames_in_a_row():
    clip = ClipConfig(mean=(0.1, 0.2, 0.3), std=(0.5, 0.25, 0.125), channel_order="time")
    grays = np.array([0, 51, 255, 102, 153, 204], dtype=np.uint8)
    frames = np.broadcast_to(grays[:, None, None, None], (6, 1, 1, 3))
    got = to_floats(transforms.eval_views(frames, clip, image_size=(1, 1))[1], clip)
    want = [[(v / 255 - m) / s for v in (first, second)] for first, second, m, s in zip(
        (0, 51, 255), (102, 153, 204), clip.mean, clip.std, strict=True
    )]  # fmt: skip
    torch.testing.assert_close(got[:, :, 0, 0], torch.tensor(want))


def test_luma_weighs_the_colors_as_the_eye_does():
    colors = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255]], dtype=np.uint8).reshape(3, 1, 1, 3)
    assert take_channels(colors, TIMES).flatten().tolist() == [77, 149, 29]  # 255 times the weights of BT.601


def test_pictures_of_times_are_the_gray_frames_in_their_order():
    grays = random_frames(6, 4, 5)[..., :1].repeat(3, axis=-1)
    view = normalize(take_channels(grays, TIMES), TIMES)
    torch.testing.assert_close(denormalize(view, TIMES), torch.from_numpy(grays))


@pytest.mark.parametrize("channel_order", ["rgb", "bgr", "time"])
def test_what_stands_still_becomes_middle_gray_where_the_background_is_removed(channel_order: str):
    clip = dataclasses.replace(PLAIN, background="remove", channel_order=channel_order)
    still = random_frames(1, 4, 5).repeat(6, axis=0)
    got = normalize(take_channels(still, clip), clip)
    torch.testing.assert_close(got, torch.full_like(got, 0.5))


def test_each_pixel_keeps_its_distance_to_its_mean_over_the_clip_where_the_background_is_removed():
    values = np.array([[10, 40, 100], [30, 40, 20]], dtype=np.uint8).reshape(2, 1, 1, 3)
    got = normalize(values, dataclasses.replace(PLAIN, background="remove"))[:, :, 0, 0] * 255
    torch.testing.assert_close(got, 127.5 + torch.tensor([[-10.0, 10], [0, 0], [40, -40]]))
    grays = np.broadcast_to(np.array([0, 30, 60], dtype=np.uint8).reshape(3, 1, 1, 1), (3, 1, 1, 3))
    clip = dataclasses.replace(TIMES, background="remove")
    got = normalize(take_channels(grays, clip), clip).flatten() * 255
    torch.testing.assert_close(got, 127.5 + torch.tensor([-30.0, 0, 30]))


@pytest.mark.parametrize("channel_order", ["rgb", "bgr", "time"])
def test_differences_are_three_times_the_distance_to_the_median_color(channel_order: str):
    frames = random_frames(6, 4, 5) // 3
    clip = dataclasses.replace(PLAIN, background="difference", channel_order=channel_order)
    median = torch.from_numpy(frames).median(dim=0).values.double()
    distance = (torch.from_numpy(frames).double() - median).square().sum(dim=-1).sqrt() * 3
    expected = distance.round().clamp(max=255).to(torch.uint8)
    got = take_channels(frames, clip)
    if channel_order == "time":
        torch.testing.assert_close(got.movedim(-1, 1).flatten(0, 1), expected, rtol=0, atol=1)
    else:
        torch.testing.assert_close(got, expected[..., None].expand(-1, -1, -1, 3), rtol=0, atol=1)


def test_what_stands_still_is_black_and_what_moves_bright_in_differences_whatever_its_color():
    frames = np.full((5, 3, 4, 3), 90, dtype=np.uint8)
    frames[1, 0, 0], frames[2, 1, 2], frames[3, 2, 3] = (0, 90, 90), (90, 190, 90), (98, 90, 84)
    gray = color_difference(frames)
    expected = np.zeros((5, 3, 4), dtype=np.uint8)
    expected[1, 0, 0], expected[2, 1, 2], expected[3, 2, 3] = 255, 255, 30
    np.testing.assert_array_equal(gray, expected)


@pytest.mark.parametrize("order", ["rgb", "bgr", "time"])
@pytest.mark.parametrize("background", ["keep", "remove"])
def test_views_are_normalized_together_as_each_is_alone(order, background):
    clip = ClipConfig(channel_order=order, background=background, mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.4))
    views = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2, 4, 3, 5, 6, 7), dtype=np.uint8))
    got = to_floats(views, clip)
    assert got.dtype == torch.float32
    for i, j in np.ndindex(2, 4):
        torch.testing.assert_close(got[i, j], to_floats(views[i, j], clip), rtol=0, atol=1e-6)


def test_normalize_puts_channels_before_frames():
    frames = random_frames(2, 4, 5)
    got = normalize(frames, PLAIN)
    assert got.shape == (3, 2, 4, 5)
    assert got.is_contiguous()
    torch.testing.assert_close(got[1, 1], torch.from_numpy(frames[1, :, :, 1]) / 255)


@pytest.mark.parametrize("order", ["rgb", "bgr"])
def test_denormalize_undoes_normalize(order):
    clip = ClipConfig(mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.25), channel_order=order)
    every_value = np.stack([np.arange(256)] * 3, axis=-1).astype(np.uint8).reshape(2, 8, 16, 3)
    every_value[..., 1] = every_value[..., 1][::-1]
    torch.testing.assert_close(denormalize(normalize(every_value, clip), clip), torch.from_numpy(every_value))


def test_denormalize_holds_values_past_black_and_white_at_them():
    view = torch.tensor([-9.0, 0.5, 9.0]).reshape(3, 1, 1, 1)
    assert denormalize(view, PLAIN).flatten().tolist() == [0, 128, 255]


def test_resize_to_the_same_size_keeps_the_frames():
    frames = random_frames(2, 6, 7)
    torch.testing.assert_close(resize(frames, (6, 7)), torch.from_numpy(frames))


def test_resize_is_within_one_level_of_the_antialiased_filter_on_floats():
    frames = random_frames(3, 24, 36)
    channels_first = rearrange(torch.from_numpy(frames), "t h w c -> t c h w").float()
    want = rearrange(
        F.interpolate(channels_first, size=(10, 15), mode="bilinear", antialias=True), "t c h w -> t h w c"
    )
    got = resize(frames, (10, 15))
    assert got.dtype == torch.uint8
    torch.testing.assert_close(got.float(), want, atol=1.0, rtol=0)


def test_resize_shrinks_a_checkerboard_to_gray():
    board = np.indices((32, 48)).sum(axis=0) % 2 * 255
    frames = np.broadcast_to(board[None, :, :, None], (1, 32, 48, 3)).astype(np.uint8)
    inner = resize(frames, (8, 12))[0, 1:-1, 1:-1].float()
    torch.testing.assert_close(inner, torch.full_like(inner, 127.5), atol=2.0, rtol=0)


def test_single_test_view_is_the_center_at_the_test_scale():
    clip = dataclasses.replace(PLAIN, num_crops=1, test_scale=1.25)
    (view,) = transforms.eval_views(ramp(20, 30), clip, image_size=(16, 16))
    assert view.shape == (3, 2, 16, 16)
    assert columns(view) == list(range(7, 23))
    assert rows(view) == list(range(2, 18))


def test_three_test_views_are_left_center_and_right_at_the_crops_side():
    left, center, right = transforms.eval_views(ramp(16, 31), PLAIN, image_size=(16, 16))
    assert columns(left) == list(range(16))
    assert columns(center) == list(range(8, 24))
    assert columns(right) == list(range(15, 31))
    assert rows(left) == rows(center) == rows(right) == list(range(16))


def test_views_of_other_shapes_have_the_shape_of_the_model():
    views = transforms.eval_views(random_frames(2, 40, 30), ClipConfig(), image_size=(8, 24))
    assert views.shape == (3, 3, 2, 8, 24)


def draw(frames: np.ndarray, seed: int, clip: ClipConfig = PLAIN, **fields: object) -> torch.Tensor:
    data = DataConfig(**fields)
    return train_view(frames, clip, data, image_size=(8, 8), generator=np.random.default_rng(seed))


@given(st.integers(8, 40), st.integers(8, 40), st.integers(0, 2**32), st.booleans())
@settings(max_examples=40)
def test_train_view_has_the_models_shape_whatever_the_frame(height, width, seed, flip):
    view = draw(random_frames(3, height, width), seed, flip=flip)
    assert view.shape == (3, 3, 8, 8)
    assert view.dtype == torch.uint8


def test_train_view_is_decided_by_its_seed():
    frames = random_frames(2, 20, 30)
    torch.testing.assert_close(draw(frames, 5, flip=True), draw(frames, 5, flip=True))
    assert not torch.equal(draw(frames, 5, flip=True), draw(frames, 6, flip=True))


def test_all_frames_of_a_train_view_are_cut_and_mirrored_alike():
    still = np.repeat(random_frames(1, 20, 30), 4, axis=0)
    for seed in range(4):
        view = draw(still, seed, flip=True)
        torch.testing.assert_close(view, view[:, :1].expand_as(view))


def test_train_crops_reach_every_place():
    fixed_scale = (1.25, 1.25)
    corners = {
        (rows(view)[0], columns(view)[0])
        for view in (draw(ramp(10, 10), s, scale_range=fixed_scale) for s in range(90))
    }
    assert corners == {(top, left) for top in range(3) for left in range(3)}


def test_train_scale_spreads_over_its_range():
    # the wider the frame is made, the fewer of its columns a view of 8 pixels spans
    spans = [
        columns(view)[-1] - columns(view)[0] for view in (draw(ramp(40, 40), s, scale_range=(1, 4)) for s in range(60))
    ]
    assert min(spans) <= 10
    assert max(spans) >= 30


def test_without_flip_no_train_view_is_mirrored_and_with_it_half_are():
    def mirrored(**fields: object) -> list[bool]:
        views = (draw(ramp(10, 10), seed, scale_range=(1, 1), **fields) for seed in range(200))
        return [columns(view)[0] > columns(view)[-1] for view in views]

    assert not any(mirrored(flip=False))
    assert 70 < sum(mirrored(flip=True)) < 130


def test_views_read_channels_in_the_order_of_the_model():
    frames = random_frames(2, 20, 30)
    bgr = dataclasses.replace(PLAIN, channel_order="bgr")
    got = transforms.eval_views(frames, bgr, image_size=(16, 16))
    torch.testing.assert_close(got, transforms.eval_views(frames, PLAIN, image_size=(16, 16)).flip(1))
    torch.testing.assert_close(draw(frames, 3, bgr), draw(frames, 3).flip(0))


def test_tensors_and_arrays_give_the_same_views():
    frames = random_frames(2, 20, 30)
    from_tensor = transforms.eval_views(torch.from_numpy(frames), PLAIN, image_size=(16, 16))
    torch.testing.assert_close(from_tensor, transforms.eval_views(frames, PLAIN, image_size=(16, 16)))


def test_views_leave_the_frames_as_they_were():
    frames = random_frames(2, 16, 16)
    before = frames.copy()
    transforms.eval_views(frames, ClipConfig(), image_size=(16, 16))
    draw(frames, 0, flip=True)
    np.testing.assert_array_equal(frames, before)


@pytest.mark.parametrize("odd", ["read-only", "backwards"])
def test_read_only_and_backward_arrays_are_copied(odd):
    frames = random_frames(2, 4, 5)
    if odd == "read-only":
        frames.flags.writeable = False
    else:
        frames = frames[::-1]
    np.testing.assert_array_equal(as_tensor(frames).numpy(), frames)


EVERYTHING = AugmentConfig(
    rotation=30, aspect=2, rand_augment=2, color_jitter=0.4, hue_jitter=0.1, grayscale=0.3, erase=0.5
)


@given(st.integers(4, 40), st.integers(4, 40), st.integers(0, 2**32))
@settings(max_examples=40)
def test_augmented_view_has_the_models_shape_and_draws_once_for_all_frames(height, width, seed):
    still = np.repeat(random_frames(1, height, width), 3, axis=0)
    generator = np.random.default_rng(seed)
    data = DataConfig(flip=True)
    view = train_view(still, PLAIN, data, image_size=(8, 10), generator=generator, augment=EVERYTHING)
    assert view.shape == (3, 3, 8, 10)
    torch.testing.assert_close(view, view[:, :1].expand_as(view))
    assert view.dtype == torch.uint8


def augmented(frames: np.ndarray, seed: int, **fields: object) -> torch.Tensor:
    """A view of 8 x 8 pixels out of frames that are resized to 10 pixels."""
    data, config = DataConfig(scale_range=(1.25, 1.25)), AugmentConfig(**fields)
    generator = np.random.default_rng(seed)
    return train_view(frames, PLAIN, data, image_size=(8, 8), generator=generator, augment=config)


@pytest.mark.parametrize("field", ["rotation", "rand_augment", "color_jitter", "hue_jitter", "grayscale", "erase"])
def test_augmentation_keeps_the_place_that_is_drawn_without_it(field):
    frames = random_frames(2, 10, 10)
    off_but_drawing = {"rotation": 1e-9, "color_jitter": 1e-9, "hue_jitter": 1e-9, "grayscale": 1e-9, "erase": 1e-9}
    if field == "rand_augment":
        fields = {"rand_augment": 2, "rand_magnitude": 0, "rand_operations": "geometric"}
    else:
        fields = {field: off_but_drawing[field]}
    for seed in range(5):
        torch.testing.assert_close(augmented(frames, seed, **fields), augmented(frames, seed))


def test_view_of_another_aspect_spans_less_of_one_side_than_of_the_other():
    # from the first to the last of 8 pixels of a frame that was made 10 high or wide, a view spans 56 of its 80 pixels
    ratios = []
    for seed in range(60):
        view = augmented(ramp(80, 80), seed, aspect=3)
        across, down = columns(view)[-1] - columns(view)[0], rows(view)[-1] - rows(view)[0]
        assert max(across, down) in range(50, 62)
        ratios.append(across / down)
    assert 0.3 < min(ratios) < 0.45
    assert 2.2 < max(ratios) < 3.4


def test_turned_view_brings_in_the_frame_around_it_before_black():
    bright = np.full((2, 100, 100, 3), 200, dtype=np.uint8)
    center = DataConfig(scale_range=(3, 3))
    views = [
        train_view(
            bright,
            PLAIN,
            center,
            image_size=(8, 8),
            generator=np.random.default_rng(seed),
            augment=AugmentConfig(rotation=45),
        )
        for seed in range(40)
    ]
    shares = [(view[0, 0] > 178).float().mean().item() for view in views]
    assert sum(share == 1 for share in shares) > 20
    cornered = augmented(bright, 3, rotation=180)
    assert cornered.amin() < 26
