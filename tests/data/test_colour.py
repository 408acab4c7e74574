"""Color operations against formulas value by value, and against Pillow where it has the same one."""

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

from timesformer.data.clips import color

NO_STRENGTH = ("autocontrast", "equalize", "invert")
ALL_VALUES = torch.arange(256, dtype=torch.uint8).reshape(2, 8, 16, 1).expand(-1, -1, -1, 3)


def random_clip(*shape: int, seed: int = 0, low: int = 0, high: int = 256) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(low, high, (*shape, 3), dtype=torch.uint8, generator=generator)


def as_picture(clip: torch.Tensor) -> Image.Image:
    """All frames of a clip under one another."""
    return Image.fromarray(clip.flatten(0, 1).numpy())


def assert_same_picture(clip: torch.Tensor, picture: Image.Image, *, atol: int = 0) -> None:
    want = torch.from_numpy(np.array(picture)).reshape(clip.shape)
    torch.testing.assert_close(clip.int(), want.int(), atol=atol, rtol=0)


def by_value(clip: torch.Tensor) -> list[int]:
    """What each value from 0 to 255 has become."""
    assert torch.equal(clip[..., :1].expand_as(clip), clip)
    return clip[..., 0].flatten().tolist()


@pytest.mark.parametrize("factor", [0.0, 0.37, 1.9])
def test_brightness_multiplies(factor):
    want = [min(int(value * factor + 0.5), 255) for value in range(256)]
    assert by_value(color.brightness(ALL_VALUES, factor)) == want


def test_contrast_multiplies_the_distance_to_the_mean_luma():
    # all values alike: the mean is 127.5
    want = [min(max(int(127.5 + (value - 127.5) * 1.5 + 0.5), 0), 255) if value > 42 else 0 for value in range(256)]
    assert by_value(color.contrast(ALL_VALUES, 1.5)) == want


def test_no_contrast_is_the_luma_of_the_whole_clip():
    clip = torch.zeros(2, 3, 5, 3, dtype=torch.uint8)
    clip[0] = torch.tensor([100, 200, 50], dtype=torch.uint8)  # luma 153, and the other frame is black
    torch.testing.assert_close(color.contrast(clip, 0.0), torch.full_like(clip, 77))


@pytest.mark.parametrize("factor", [0.0, 0.4, 1.7])
def test_saturation_is_that_of_pillow_within_the_rounding_of_its_luma(factor):
    clip = random_clip(2, 5, 7)
    assert_same_picture(color.saturation(clip, factor), ImageEnhance.Color(as_picture(clip)).enhance(factor), atol=2)


def test_grayscale_is_the_luma_in_all_channels():
    clip = torch.tensor([[255, 0, 0], [0, 255, 0], [0, 0, 255]], dtype=torch.uint8).reshape(1, 1, 3, 3)
    assert color.grayscale(clip).flatten().tolist() == [76] * 3 + [150] * 3 + [29] * 3


@pytest.mark.parametrize("turn", [-1.0, 0.0, 1.0])
def test_whole_turn_of_the_hue_changes_nothing(turn):
    clip = random_clip(2, 5, 7)
    torch.testing.assert_close(color.hue(clip, turn), clip)


def test_hue_keeps_grays_and_luma():
    torch.testing.assert_close(color.hue(ALL_VALUES, 0.3), ALL_VALUES.contiguous())
    clip = random_clip(2, 5, 7, low=100, high=150)  # far enough from the faces of the cube not to leave it
    weights = torch.tensor([0.299, 0.587, 0.114])
    torch.testing.assert_close(color.hue(clip, 0.2).float() @ weights, clip.float() @ weights, atol=0.51, rtol=0)


def test_hue_turned_there_and_back_is_the_same():
    clip = random_clip(2, 5, 7, low=100, high=150)
    turned = color.hue(clip, 0.25)
    assert (turned.int() - clip.int()).abs().max() > 20
    torch.testing.assert_close(color.hue(turned, -0.25).int(), clip.int(), atol=2, rtol=0)


@pytest.mark.parametrize("factor", [0.0, 0.5, 1.8])
def test_sharpness_is_that_of_pillow(factor):
    clip = random_clip(1, 6, 7)
    # Pillow rounds the smoothed picture before it blends: half a value, times the factor's distance to 1
    assert_same_picture(color.sharpness(clip, factor), ImageEnhance.Sharpness(as_picture(clip)).enhance(factor), atol=1)


def test_smoothing_leaves_the_border_of_each_frame():
    clip = random_clip(2, 4, 5)
    smooth = color.sharpness(clip, 0.0)
    for frame, got in zip(clip, smooth, strict=True):
        want = np.array(Image.fromarray(frame.numpy()).filter(ImageFilter.SMOOTH))
        torch.testing.assert_close(got.int(), torch.from_numpy(want).int(), atol=1, rtol=0)
    edge = torch.ones(4, 5, dtype=torch.bool)
    edge[1:-1, 1:-1] = False
    torch.testing.assert_close(smooth[:, edge], clip[:, edge])


def test_picture_without_an_inside_is_not_sharpened():
    clip = random_clip(2, 2, 5)
    torch.testing.assert_close(color.sharpness(clip, 1.9), clip)


@pytest.mark.parametrize("bits", [8, 5, 4, 1])
def test_posterize_keeps_the_highest_bits(bits):
    step = 2 ** (8 - bits)
    assert by_value(color.posterize(ALL_VALUES, bits)) == [value // step * step for value in range(256)]


@pytest.mark.parametrize("threshold", [256, 128, 100.5, 0])
def test_solarize_inverts_from_the_threshold_on(threshold):
    want = [value if value < threshold else 255 - value for value in range(256)]
    assert by_value(color.solarize(ALL_VALUES, threshold)) == want


def test_invert():
    assert by_value(color.invert(ALL_VALUES)) == list(range(255, -1, -1))


@pytest.mark.parametrize("seed", range(3))
def test_autocontrast_is_that_of_pillow_over_all_frames(seed):
    clip = random_clip(3, 5, 7, seed=seed, low=40, high=190)
    # Pillow cuts to whole numbers, we round
    assert_same_picture(color.autocontrast(clip), ImageOps.autocontrast(as_picture(clip)), atol=1)
    assert color.autocontrast(clip).amin() == 0
    assert color.autocontrast(clip).amax() == 255


@pytest.mark.parametrize("seed", range(3))
def test_equalize_is_exactly_that_of_pillow_over_all_frames(seed):
    clip = random_clip(3, 25, 31, seed=seed, low=40, high=190)
    assert not torch.equal(color.equalize(clip), clip)
    assert_same_picture(color.equalize(clip), ImageOps.equalize(as_picture(clip)))


@pytest.mark.parametrize("operation", [color.equalize, color.autocontrast])
def test_clip_of_one_color_is_left(operation):
    clip = torch.full((2, 20, 20, 3), 93, dtype=torch.uint8)
    torch.testing.assert_close(operation(clip), clip)


@pytest.mark.parametrize("name", color.OPERATIONS)
def test_frames_that_are_alike_stay_alike_and_the_clip_is_left(name):
    clip = random_clip(1, 19, 17, low=30, high=200).expand(4, -1, -1, -1).flip(2)
    before = clip.clone()
    changed = color.OPERATIONS[name](clip, 0.6)
    assert changed.dtype == torch.uint8
    assert not torch.equal(changed, clip)
    torch.testing.assert_close(changed, changed[:1].expand_as(changed))
    torch.testing.assert_close(clip, before)


@pytest.mark.parametrize("name", [name for name in color.OPERATIONS if name not in NO_STRENGTH])
def test_no_strength_changes_nothing(name):
    clip = random_clip(2, 5, 7)
    torch.testing.assert_close(color.OPERATIONS[name](clip, 0.0), clip)


def test_full_strength_has_the_usual_ranges():
    clip = random_clip(2, 5, 7)
    for name in ("brightness", "contrast", "saturation", "sharpness"):
        for strength in (-1.0, 0.5, 1.0):
            want = getattr(color, name)(clip, 1 + 0.9 * strength)
            torch.testing.assert_close(color.OPERATIONS[name](clip, strength), want)
    torch.testing.assert_close(color.OPERATIONS["posterize"](clip, -1.0), color.posterize(clip, 4))
    torch.testing.assert_close(color.OPERATIONS["posterize"](clip, 0.5), color.posterize(clip, 6))
    torch.testing.assert_close(color.OPERATIONS["solarize"](clip, -1.0), color.invert(clip))
    torch.testing.assert_close(color.OPERATIONS["solarize"](clip, 0.25), color.solarize(clip, 192))
