"""Warps against turns and shifts of whole pixels, which need no interpolation."""

import numpy as np
import pytest
import torch

from timesformer.data.clips import affine
from timesformer.data.clips.sampling import Box


def random_clip(*shape: int) -> torch.Tensor:
    return torch.randint(0, 256, (*shape, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def whole(clip: torch.Tensor) -> Box:
    return Box(0, 0, *clip.shape[1:3])


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_quarter_turns_are_those_of_torch(quarters):
    clip = random_clip(3, 8, 8)
    turned = affine.warp(clip, whole(clip), affine.rotate(90 * quarters))
    torch.testing.assert_close(turned, torch.rot90(clip, quarters, (1, 2)))


def test_quarter_turn_of_a_box_is_about_its_center():
    clip, box = random_clip(2, 9, 12), Box(2, 5, 4, 4)
    turned = affine.warp(clip, box, affine.rotate(-90))
    torch.testing.assert_close(turned, torch.rot90(affine.cut(clip, box), -1, (1, 2)))


def test_shift_brings_in_the_frame_around_the_box_and_black_beyond():
    clip = random_clip(2, 6, 9)
    shifted = affine.warp(clip, Box(1, 2, 4, 5), affine.translate(4, -1))
    want = torch.zeros(2, 4, 5, 3, dtype=torch.uint8)
    want[:, :, 2:] = clip[:, 2:6, 0:3]
    torch.testing.assert_close(shifted, want)


def test_half_a_pixel_is_the_mean_of_two():
    clip = torch.tensor([0, 10, 21, 200], dtype=torch.uint8).reshape(1, 1, 4, 1).expand(-1, -1, -1, 3)
    shifted = affine.warp(clip, Box(0, 1, 1, 3), affine.translate(0.5, 0))
    # 5, 15.5 rounded up, 110.5 rounded up
    assert shifted[0, 0, :, 0].tolist() == [5, 16, 111]


def test_shear_moves_rows_by_their_distance_to_the_center():
    clip = random_clip(2, 3, 5)
    sheared = affine.warp(clip, whole(clip), affine.shear(1, 0))
    want = torch.zeros_like(clip)
    want[:, 0, :-1], want[:, 1], want[:, 2, 1:] = clip[:, 0, 1:], clip[:, 1], clip[:, 2, :-1]
    torch.testing.assert_close(sheared, want)
    upright = affine.warp(clip.transpose(1, 2), Box(0, 0, 5, 3), affine.shear(0, 1))
    torch.testing.assert_close(upright, want.transpose(1, 2))


def test_matrices_compose_from_right_to_left():
    clip = random_clip(2, 7, 7)
    first = torch.rot90(clip, 1, (1, 2))
    want = torch.zeros_like(first)
    want[:, :, 2:] = first[:, :, :-2]
    both = affine.translate(2, 0) @ affine.rotate(90)
    torch.testing.assert_close(affine.warp(clip, whole(clip), both), want)


def test_identity_is_a_cut_without_a_copy():
    clip, box = random_clip(2, 7, 9), Box(1, 2, 3, 4)
    same = affine.warp(clip, box, np.eye(3))
    torch.testing.assert_close(same, clip[:, 1:4, 2:6])
    assert same.data_ptr() == clip[:, 1:, 2:].data_ptr()


def test_frames_that_are_alike_stay_alike():
    clip = random_clip(1, 9, 7).expand(4, -1, -1, -1)
    warped = affine.warp(clip, Box(1, 1, 6, 5), affine.rotate(17) @ affine.shear(0.2, 0))
    torch.testing.assert_close(warped, warped[:1].expand_as(warped))
    assert warped.dtype == torch.uint8


def test_strength_has_the_usual_ranges():
    matrices = {name: operation(-0.5, (20, 40)) for name, operation in affine.OPERATIONS.items()}
    want = {
        "rotate": affine.rotate(-15),
        "shear_x": affine.shear(-0.15, 0),
        "shear_y": affine.shear(0, -0.15),
        "translate_x": affine.translate(-6, 0),
        "translate_y": affine.translate(0, -3),
    }
    assert matrices.keys() == want.keys()
    for name, matrix in matrices.items():
        np.testing.assert_allclose(matrix, want[name], atol=1e-12)


@pytest.mark.parametrize("name", affine.OPERATIONS)
def test_no_strength_is_the_identity(name):
    np.testing.assert_array_equal(affine.OPERATIONS[name](0.0, (20, 40)), np.eye(3))
