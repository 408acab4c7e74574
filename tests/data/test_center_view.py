"""The place of the center crop in the original frames: a bright square drawn there is found where the box says."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import ExifTags, Image

from timesformer.config.schema import ClipConfig, ModelConfig
from timesformer.data.clips.center_view import CenterView, center_box, read_center_view
from timesformer.data.clips.dataset import read_eval_views
from timesformer.data.clips.sampling import Box
from timesformer.data.clips.transforms import to_floats
from timesformer.data.video.frame_array import FrameArrayReader
from videos import frame_indices, set_display_matrix, write_timed, write_video

SQUARE = tuple[int, int, int]
"""Top, left and side."""


def config(image_size: tuple[int, int], *, num_frames: int = 2) -> ModelConfig:
    return ModelConfig(num_frames=num_frames, image_size=image_size, patch_size=8, embed_dim=6, depth=1, num_heads=1)


def sampling(num_crops: int) -> ClipConfig:
    return ClipConfig(sampling="uniform", num_crops=num_crops)


def with_square(height: int, width: int, square: SQUARE) -> np.ndarray:
    """Two black frames with a white square."""
    top, left, side = square
    frames = np.zeros((2, height, width, 3), dtype=np.uint8)
    frames[:, top : top + side, left : left + side] = 255
    return frames


def square_in(view: CenterView) -> tuple[float, float]:
    """Center of the brightness of a view, in pixels of the original frame by the view's box."""
    values = view.view[:, 0].float().mean(dim=0).numpy()
    top, left, height, width = view.box
    rows, columns = np.arange(values.shape[0]) + 0.5, np.arange(values.shape[1]) + 0.5
    y = (values.sum(axis=1) @ rows) / values.sum() * height / values.shape[0]
    x = (values.sum(axis=0) @ columns) / values.sum() * width / values.shape[1]
    return top + y, left + x


def brightness_of_cells(view: CenterView) -> np.ndarray:
    """Mean of each patch of the first frame, from 0 to 1."""
    return torch.nn.functional.avg_pool2d(view.view[:1, 0].float() / 255, 8)[0].numpy()


def overlap_with_cells(box: tuple[float, float, float, float], grid: tuple[int, int], square: SQUARE) -> np.ndarray:
    """Fraction of each cell of the box that a square of the original frame covers."""
    top, left, side = square
    covered = []
    for start, length, count, first in ((box[0], box[2], grid[0], top), (box[1], box[3], grid[1], left)):
        edges = start + length * np.arange(count + 1) / count
        inside = np.minimum(edges[1:], first + side) - np.maximum(edges[:-1], first)
        covered.append(np.clip(inside, 0, None) / (length / count))
    return np.outer(*covered)


def place_square(size: tuple[int, int], crop: tuple[int, int], crops: int, at: tuple[float, float]) -> SQUARE:
    """A square of five pixels of the view, at two fractions of the room for it in the crop."""
    top, left, height, width = center_box(Box(0, 0, *size), sampling(crops), crop=crop)
    scale = height / crop[0]
    side, margin = max(1, round(5 * scale)), 2 * scale  # of the filter that shrinks frames
    places = []
    for start, length, fraction in ((top, height, at[0]), (left, width, at[1])):
        least, most = int(np.ceil(start + margin)), int(start + length - margin - side)
        places.append(least + round(fraction * (most - least)))
    return places[0], places[1], side


@given(
    size=st.tuples(st.integers(33, 130), st.integers(33, 130)),
    crop=st.sampled_from([(16, 40), (24, 24), (32, 16)]),
    crops=st.sampled_from([1, 3]),
    at=st.tuples(st.floats(0, 1), st.floats(0, 1)),
)
def test_a_square_is_found_under_the_cell_that_the_box_names(size, crop, crops, at):
    square = place_square(size, crop, crops, at)
    reader = FrameArrayReader(with_square(*size, square), fps=25)
    view = read_center_view(reader, config(crop), sampling(crops))
    top, left, side = square
    # 8-bit pixels of the view are rounded, which moves the center of a small square by up to a tenth of a pixel
    assert square_in(view) == pytest.approx((top + side / 2, left + side / 2), abs=0.1 * view.box[2] / crop[0])
    cells = overlap_with_cells(view.box, (crop[0] // 8, crop[1] // 8), square)
    # the filter carries at most one pixel in eight over the edge of a cell, at each side
    np.testing.assert_allclose(brightness_of_cells(view), cells, atol=0.1)


TURNS = {(1, 0, 0, 1): 0, (0, 1, -1, 0): 1, (-1, 0, 0, -1): 2, (0, -1, 1, 0): 3}
"""Quarter turns clockwise of each display matrix."""


@pytest.mark.parametrize("matrix", TURNS)
@pytest.mark.parametrize("size", [(64, 96), (102, 70)])
def test_a_square_is_found_in_a_turned_video_file(tmp_path: Path, size: tuple[int, int], matrix):
    square = (30, 34, 16)
    stored = np.rot90(with_square(*size, square), TURNS[matrix], axes=(1, 2))  # counterclockwise
    path = write_timed(tmp_path / "turned.mp4", [0, 40], frames=np.ascontiguousarray(stored))
    view = read_center_view(set_display_matrix(path, matrix), config((24, 24)), sampling(1))
    assert view.pixels.shape == (2, *size, 3)
    assert square_in(view) == pytest.approx((38, 42), abs=0.5)  # H.264 rings
    cells = overlap_with_cells(view.box, (3, 3), square)
    assert brightness_of_cells(view).argmax() == cells.argmax()


@pytest.mark.parametrize(("orientation", "turns"), [(1, 0), (6, 1), (3, 2), (8, 3)])
@pytest.mark.parametrize("size", [(63, 97), (101, 57)])
def test_a_square_is_found_in_turned_pictures_of_odd_sizes(tmp_path: Path, size, orientation: int, turns: int):
    square = (31, size[1] // 2 - 8, 15)
    tags = Image.Exif()
    tags[ExifTags.Base.Orientation] = orientation
    for number, frame in enumerate(np.rot90(with_square(*size, square), turns, axes=(1, 2))):
        Image.fromarray(np.ascontiguousarray(frame)).save(tmp_path / f"{number}.png", exif=tags)
    view = read_center_view(tmp_path, config((32, 16)), sampling(3))
    assert view.pixels.shape == (2, *size, 3)
    assert square_in(view) == pytest.approx((38.5, size[1] // 2 - 0.5), abs=0.1)


@given(st.integers(8, 200), st.integers(8, 200), st.sampled_from([(8, 8), (16, 40), (40, 16)]), st.sampled_from([1, 3]))
def test_the_box_lies_in_the_frame_and_has_the_shape_of_the_crop(height: int, width: int, crop, crops: int):
    top, left, box_height, box_width = center_box(Box(0, 0, height, width), sampling(crops), crop=crop)
    assert top >= 0
    assert left >= 0
    assert top + box_height <= height + 1e-9
    assert left + box_width <= width + 1e-9
    if crops == 3:  # the crop reaches both ends of its tighter side
        assert max(box_height / height, box_width / width) == pytest.approx(1)


@pytest.mark.parametrize("clips", [1, 3])
@pytest.mark.parametrize("crops", [1, 3])
def test_the_view_is_the_center_crop_of_the_first_view(tmp_path: Path, crops: int, clips: int):
    path = write_video(tmp_path / "clip.mp4", num_frames=50, fps=25)
    clip = ClipConfig(sampling="dense", frame_stride=4, num_clips=clips, num_crops=crops)
    model = config((16, 24), num_frames=3)
    views, info = read_eval_views(path, model, clip)
    view = read_center_view(path, model, clip)
    assert len(views) == clips * crops
    assert torch.equal(to_floats(view.view, clip), views[crops // 2])
    assert view.info == info
    assert view.frames.tolist() == frame_indices(view.pixels)
    assert view.frames[0] == 0
    np.testing.assert_allclose(view.seconds, view.frames / 25)


def test_seconds_are_presentation_times(tmp_path: Path):
    path = write_video(tmp_path / "variable.mkv", num_frames=5, fps=Fraction(25), times_ms=[0, 40, 200, 240, 1000])
    view = read_center_view(path, config((16, 24), num_frames=3), ClipConfig(sampling="uniform", num_crops=1))
    assert view.frames.tolist() == [0, 2, 4]
    np.testing.assert_allclose(view.seconds, [0, 0.2, 1], atol=1e-9)


def test_with_times_as_channels_a_frame_is_the_middle_one_of_three(tmp_path: Path):
    path = write_video(tmp_path / "clip.mp4", num_frames=9, fps=25)
    clip = ClipConfig(sampling="uniform", channel_order="time")
    view = read_center_view(path, config((16, 24), num_frames=3), clip)
    assert view.view.shape == (3, 3, 16, 24)
    assert view.frames.tolist() == frame_indices(view.pixels) == [1, 4, 7]
    np.testing.assert_allclose(view.seconds, [0.04, 0.16, 0.28])
