"""A heat map lies exactly on its patches, with one scale; outside the crop nothing looks like zero relevance."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from timesformer.explanation.overlay import (
    MAX_OPACITY,
    cells_of_pixels,
    colors_of,
    hatched,
    interpolated,
    muted,
    overlay,
)

GRAY = np.full((12, 20, 3), 128, dtype=np.uint8)


@given(
    count=st.integers(1, 9),
    pixels_per_cell=st.integers(1, 7),
    start=st.integers(-5, 9),
    size=st.integers(1, 40),
)
def test_cells_of_whole_pixels_are_exact(count: int, pixels_per_cell: int, start: int, size: int):
    expected = np.full(size, -1)
    for cell in range(count):
        for pixel in range(pixels_per_cell):
            place = start + cell * pixels_per_cell + pixel
            if 0 <= place < size:
                expected[place] = cell
    found = cells_of_pixels(size=size, start=start, length=count * pixels_per_cell, count=count)
    np.testing.assert_array_equal(found, expected)


@given(
    size=st.integers(1, 60),
    start=st.floats(-10, 40),
    length=st.floats(0.5, 60),
    count=st.integers(1, 12),
)
def test_pixel_belongs_to_the_cell_that_contains_its_center(size: int, start: float, length: float, count: int):
    for pixel, cell in enumerate(cells_of_pixels(size=size, start=start, length=length, count=count)):
        center = pixel + 0.5
        if cell < 0:
            assert not start <= center < start + length
        else:
            low, high = start + length * cell / count, start + length * (cell + 1) / count
            assert low - 1e-9 <= center <= high + 1e-9  # rounding of the bounds


def test_every_pixel_of_a_patch_has_its_color():
    relevance = np.arange(8.0).reshape(2, 4)
    picture = overlay(GRAY, relevance, scale=7.0, box=(2, 4, 8, 12)).astype(int)
    for row in range(2):
        for column in range(4):
            strength = relevance[row, column] / 7
            opacity = MAX_OPACITY * strength
            color = (1 - opacity) * 128 + opacity * colors_of(np.array(strength))
            patch = picture[2 + 4 * row : 6 + 4 * row, 4 + 3 * column : 7 + 3 * column]
            np.testing.assert_allclose(patch, np.broadcast_to(color, (4, 3, 3)), atol=0.51)  # rounded to integers


def test_zero_relevance_shows_the_frame_in_muted_color():
    frame = np.random.default_rng(0).integers(0, 256, (12, 20, 3), dtype=np.uint8)
    picture = overlay(frame, np.zeros((2, 4)), scale=0.0, box=(0, 0, 12, 20))
    np.testing.assert_allclose(picture, muted(frame), atol=0.51)
    assert np.corrcoef(picture.ravel(), frame.ravel())[0, 1] > 0.7


def test_gray_stays_gray_where_relevance_is_zero():
    np.testing.assert_array_equal(overlay(GRAY, np.zeros((2, 4)), scale=1.0, box=(0, 0, 12, 20)), GRAY)


@pytest.mark.parametrize("level", [0, 60, 128, 200, 255])
def test_outside_the_crop_differs_from_the_frame_and_from_zero_relevance(level: int):
    frame = np.full((72, 90, 3), level, dtype=np.uint8)
    picture = overlay(frame, np.zeros((2, 3)), scale=1.0, box=(12, 20, 40, 50)).astype(int)
    outside = np.ones((72, 90), dtype=bool)
    outside[11:53, 19:71] = False  # the crop and its outline
    assert np.abs(picture[outside] - level).mean() > 20
    assert picture[outside].std() > 15  # stripes, which a plain frame has nowhere
    assert picture[12:52, 20:70].std() == 0


def test_outside_the_crop_is_the_hatched_frame_in_gray():
    frame = np.random.default_rng(1).integers(0, 256, (72, 90, 3), dtype=np.uint8)
    picture = overlay(frame, np.ones((2, 3)), scale=1.0, box=(12, 20, 40, 50))
    np.testing.assert_allclose(picture[:11], hatched(frame)[:11], atol=0.51)
    assert (picture[:11, :, :1] == picture[:11]).all()


def test_outline_surrounds_the_crop_and_covers_none_of_it():
    picture = overlay(GRAY, np.zeros((2, 4)), scale=1.0, box=(2, 4, 8, 12))
    is_white = (picture == 255).all(axis=-1)
    expected = np.zeros((12, 20), dtype=bool)
    expected[1:11, 3:17] = True
    expected[2:10, 4:16] = False
    np.testing.assert_array_equal(is_white, expected)


def test_crop_of_the_whole_frame_has_no_outline_and_no_stripes():
    picture = overlay(GRAY, np.ones((3, 5)), scale=1.0, box=(0, 0, 12, 20))
    assert (picture == picture[0, 0]).all()


def test_lightness_rises_evenly_with_relevance():
    linear = colors_of(np.linspace(0, 1, 33)) / 255
    linear = np.where(linear <= 0.04045, linear / 12.92, ((linear + 0.055) / 1.055) ** 2.4)
    lightness = 116 * np.cbrt(linear @ [0.2126, 0.7152, 0.0722]) - 16  # CIE 1976
    steps = np.diff(lightness)
    assert steps.min() > 0
    assert steps.max() < 2 * steps.mean()


@given(
    position=st.floats(0, 1),
    first=st.floats(0, 1, width=32),
    last=st.floats(0, 1, width=32),
)
def test_maps_between_two_frames_are_linear_in_time(position: float, first: float, last: float):
    maps = np.array([first, last], dtype=np.float32).reshape(2, 1, 1)
    found = interpolated(maps, seconds=np.array([2.0, 6.0]), at=np.array([2 + 4 * position]))
    assert found.item() == pytest.approx(first + (last - first) * position, abs=1e-6)


def test_maps_of_a_repeated_frame_are_averaged():
    maps = np.array([1, 3, 8], dtype=np.float32).reshape(3, 1, 1)
    found = interpolated(maps, seconds=np.array([0.0, 0.0, 1.0]), at=np.array([0.0, 0.5, 1.0]))
    np.testing.assert_array_equal(found.ravel(), [2, 5, 8])


def test_a_view_of_one_frame_has_its_map_at_all_times():
    maps = np.array([4.0], dtype=np.float32).reshape(1, 1, 1)
    np.testing.assert_array_equal(
        interpolated(maps, seconds=np.array([0.3]), at=np.array([0.0, 0.3, 2.0])).ravel(), [4, 4, 4]
    )
