"""What is drawn for a clip: from which ranges, by which seed, for all of its frames."""

import math
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from timesformer.config.run import AugmentConfig
from timesformer.data.clips import affine, augment, color
from timesformer.data.clips.augment import (
    OPERATIONS,
    Operation,
    augment_clip,
    draw_erased_box,
    draw_matrix,
    draw_operations,
)
from timesformer.data.clips.sampling import Box

OFF = AugmentConfig()
EVERYTHING = AugmentConfig(
    rotation=20, aspect=1.5, rand_augment=2, color_jitter=0.4, hue_jitter=0.1, grayscale=0.5, erase=0.5
)
EACH = {
    "rotation": AugmentConfig(rotation=20),
    "rand_augment": AugmentConfig(rand_augment=1),
    "geometric": AugmentConfig(rand_augment=1, rand_operations="geometric"),
    "photometric": AugmentConfig(rand_augment=1, rand_operations="photometric"),
    "color_jitter": AugmentConfig(color_jitter=0.4),
    "hue_jitter": AugmentConfig(hue_jitter=0.3),
    "grayscale": AugmentConfig(grayscale=1),
    "erase": AugmentConfig(erase=1),
    "everything": EVERYTHING,
}


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def random_clip(*shape: int) -> torch.Tensor:
    return torch.randint(20, 220, (*shape, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def test_nothing_is_drawn_or_copied_where_all_is_off():
    clip, generator = random_clip(2, 9, 12), rng()
    same = augment_clip(clip, OFF, generator, box=Box(1, 2, 5, 6))
    assert augment.draw_aspect(OFF, generator) == 1
    torch.testing.assert_close(same, clip[:, 1:6, 2:8])
    assert same.data_ptr() == clip[:, 1:, 2:].data_ptr()
    assert generator.random() == rng().random()


@pytest.mark.parametrize("name", EACH)
def test_clip_is_changed_in_all_frames_alike_by_its_seed_alone(name):
    clip = random_clip(1, 16, 20).expand(3, -1, -1, -1)
    before = clip.clone()
    changed = augment_clip(clip, EACH[name], rng(4), box=Box(2, 3, 11, 13))
    assert changed.shape == (3, 11, 13, 3)
    assert changed.dtype == torch.uint8
    assert not torch.equal(changed, clip[:, 2:13, 3:16])
    torch.testing.assert_close(changed, changed[:1].expand_as(changed))
    torch.testing.assert_close(changed, augment_clip(clip, EACH[name], rng(4), box=Box(2, 3, 11, 13)))
    torch.testing.assert_close(clip, before)


@pytest.mark.parametrize("name", [name for name in EACH if name != "grayscale"])
def test_seeds_draw_different_clips(name):
    clip = random_clip(2, 16, 20)
    assert len({augment_clip(clip, EACH[name], rng(seed)).numpy().tobytes() for seed in range(20)}) >= 5


def test_whole_frames_are_taken_without_a_box():
    clip = random_clip(2, 9, 12)
    want = augment_clip(clip, EVERYTHING, rng(1), box=Box(0, 0, 9, 12))
    torch.testing.assert_close(augment_clip(clip, EVERYTHING, rng(1)), want)


def test_operations_come_from_the_set_and_all_of_them_come():
    for name, operations in OPERATIONS.items():
        config = AugmentConfig(rand_augment=300, rand_operations=name)
        drawn = Counter(operation.name for operation in draw_operations(config, rng()))
        assert drawn.keys() == set(operations)
        assert min(drawn.values()) > 300 / len(operations) / 3
    assert set(OPERATIONS["all"]) == {*OPERATIONS["geometric"], *OPERATIONS["photometric"]}
    assert len(OPERATIONS["all"]) == 14


def test_channels_that_are_no_colors_are_never_treated_as_colors():
    config = AugmentConfig(rand_augment=300)
    drawn = {operation.name for operation in draw_operations(config, rng(), has_colors=False)}
    assert drawn == set(OPERATIONS["all"]) - {"saturation", "autocontrast", "equalize"}
    times = random_clip(2, 8, 8)
    for seed in range(9):
        changed = augment_clip(times, AugmentConfig(color_jitter=0.4), rng(seed), has_colors=False)
        for value in times.unique():  # by its own value alone, whatever the other channels of its pixel are
            assert len(changed[times == value].unique()) == 1


def test_noise_of_an_erased_box_is_the_same_in_channels_that_are_frames():
    erased = augment_clip(random_clip(2, 9, 8), AugmentConfig(erase=1), rng(), has_colors=False)
    is_gray = (erased == erased[..., :1]).all(dim=-1)
    assert is_gray.any()
    assert torch.equal(erased[0][is_gray.all(dim=0)], erased[1][is_gray.all(dim=0)])


def test_operations_go_in_both_directions_by_a_tenth_of_the_magnitude():
    config = AugmentConfig(rand_augment=200, rand_magnitude=6)
    strengths = Counter(operation.strength for operation in draw_operations(config, rng()))
    assert strengths.keys() == {-0.6, 0.6}
    assert 70 < strengths[0.6] < 130


def test_geometry_is_the_rotation_and_then_each_operation_in_its_order():
    operations = [Operation("translate_x", 1.0), Operation("posterize", 1.0), Operation("rotate", -1.0)]
    angle = rng(3).uniform(-50, 50)
    matrix = draw_matrix(AugmentConfig(rotation=50), operations, size=(30, 40), generator=rng(3))
    np.testing.assert_allclose(matrix, affine.rotate(-30) @ affine.translate(12, 0) @ affine.rotate(angle), atol=1e-12)


def test_rotation_spreads_over_both_sides():
    matrices = [draw_matrix(AugmentConfig(rotation=20), [], size=(8, 8), generator=rng(seed)) for seed in range(100)]
    angles = [math.degrees(math.atan2(matrix[0, 1], matrix[0, 0])) for matrix in matrices]
    assert -20 <= min(angles) < -17
    assert 17 < max(angles) <= 20


def test_colors_change_in_the_order_in_which_they_were_drawn(monkeypatch):
    names = ("posterize", "invert", "shear_x", "brightness")
    drawn = [Operation(name, 0.5) for name in names]
    monkeypatch.setattr(augment, "draw_operations", lambda config, generator, has_colors: drawn)
    clip = random_clip(2, 8, 8)
    sheared = affine.warp(clip, Box(0, 0, 8, 8), affine.shear(0.15, 0))
    want = color.brightness(color.invert(color.posterize(sheared, 6)), 1.45)
    torch.testing.assert_close(augment_clip(clip, AugmentConfig(rand_augment=4), rng()), want)


def test_jitter_keeps_to_its_range_in_brightness(monkeypatch):
    seen: dict[str, list[float]] = {}
    for name in ("brightness", "contrast", "saturation", "hue"):
        monkeypatch.setattr(
            color, name, lambda frames, factor, name=name: seen.setdefault(name, []).append(factor) or frames
        )
    config = AugmentConfig(color_jitter=0.3, hue_jitter=0.1)
    for seed in range(100):
        augment.jitter_colors(random_clip(1, 2, 2), config, rng(seed))
    for name in ("brightness", "contrast", "saturation"):
        assert 0.7 <= min(seen[name]) < 0.75
        assert 1.25 < max(seen[name]) <= 1.3
    assert -0.1 <= min(seen["hue"]) < -0.08
    assert 0.08 < max(seen["hue"]) <= 0.1


def test_colors_are_jittered_in_every_order(monkeypatch):
    orders = set()
    for seed in range(40):
        order: list[str] = []
        for name in ("brightness", "contrast", "saturation"):
            monkeypatch.setattr(color, name, lambda frames, factor, name=name, o=order: o.append(name) or frames)
        augment.jitter_colors(random_clip(1, 2, 2), AugmentConfig(color_jitter=0.3), rng(seed))
        orders.add(tuple(order))
    assert len(orders) == 6


@pytest.mark.parametrize("name", ["grayscale", "erase"])
def test_probability_is_the_share_of_clips(name):
    clip, config = random_clip(1, 12, 12), AugmentConfig(**{name: 0.3})
    changed = sum(not torch.equal(augment_clip(clip, config, rng(seed)), clip) for seed in range(300))
    assert 65 < changed < 115


def test_erased_box_is_noise_in_all_frames_and_nothing_else_changes():
    clip = random_clip(3, 30, 41)
    generator = rng(2)
    generator.random()
    box = draw_erased_box(30, 41, generator=generator)
    erased = augment_clip(clip, AugmentConfig(erase=1), rng(2))
    noise = affine.cut(erased, box)
    torch.testing.assert_close(noise, noise[:1].expand_as(noise))
    assert noise[0].float().std() > 50
    affine.cut(erased, box)[:] = affine.cut(clip, box)
    torch.testing.assert_close(erased, clip)


@given(st.integers(1, 300), st.integers(1, 300), st.integers(0, 2**32))
def test_erased_box_lies_in_the_picture_whatever_its_shape(height, width, seed):
    box = draw_erased_box(height, width, generator=rng(seed))
    assert box.height >= 1
    assert box.width >= 1
    assert 0 <= box.top <= height - box.height
    assert 0 <= box.left <= width - box.width


def test_erased_boxes_have_the_usual_areas_and_shapes():
    boxes = [draw_erased_box(100, 140, generator=rng(seed)) for seed in range(500)]
    areas = [box.height * box.width / 14000 for box in boxes]
    aspects = [box.height / box.width for box in boxes]
    assert 0.018 < min(areas) < 0.03
    assert 0.32 < max(areas) < 0.34
    assert 0.28 < min(aspects) < 0.34
    assert 3.0 < max(aspects) < 3.5
    assert 0.8 < np.exp(np.mean(np.log(aspects))) < 1.25
    assert min(box.top for box in boxes) == min(box.left for box in boxes) == 0
    assert max(box.top + box.height for box in boxes) == 100


def test_aspect_grows_and_shrinks_alike():
    aspects = [augment.draw_aspect(replace(OFF, aspect=1.5), rng(seed)) for seed in range(300)]
    assert 1 / 1.5 <= min(aspects) < 0.68
    assert 1.48 < max(aspects) <= 1.5
    assert 0.95 < np.exp(np.mean(np.log(aspects))) < 1.05
