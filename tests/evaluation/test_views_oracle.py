"""Frames and pixels of the test views, compared with tables made by hand and with an independent decoder."""

from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from timesformer.config.schema import ClipConfig, ModelConfig
from timesformer.data.clips.dataset import read_eval_views
from timesformer.data.clips.sampling import Box, crop_boxes, resized_size
from timesformer.data.clips.sampling import eval_clips as clips_at_test
from timesformer.data.clips.transforms import denormalize
from videos import decode_all, write_video


@dataclass(frozen=True)
class Video:
    num_frames: int = 300
    fps: float = 30.0


@pytest.mark.parametrize(
    ("clip", "firsts_and_lasts"),
    [
        # L = 8 * 32 = 256 frames of 300: 44 are left over
        (ClipConfig(), [(0, 255)]),
        (ClipConfig(sampling="center"), [(22, 277)]),
        (ClipConfig(num_clips=5), [(0, 255), (8, 263), (17, 272), (26, 281), (35, 290)]),
        (ClipConfig(sampling="coverage"), [(0, 255), (256, 299)]),
        (ClipConfig(sampling="coverage", frame_stride=10), [(0, 79), (80, 159), (160, 239), (240, 299)]),
    ],
)
def test_temporal_views_of_ten_seconds(clip: ClipConfig, firsts_and_lasts: list[tuple[int, int]]):
    views = clips_at_test(Video(), clip, num_frames=8)
    assert [(view[0], view[-1]) for view in views] == firsts_and_lasts


def test_spatial_views_of_340_by_256_pixels():
    # three crops: the short side becomes 224, the long one 340 * 224 / 256 = 297.5, and 73 columns are left over
    assert resized_size(256, 340, crop=(224, 224), scale=1.0) == (224, 297)
    boxes = crop_boxes(224, 297, crop=(224, 224), num_crops=3)
    assert boxes == [Box(0, left, 224, 224) for left in (0, 37, 73)]
    # one crop: the short side becomes 256, 32 rows and 116 columns are left over
    assert resized_size(256, 340, crop=(224, 224), scale=8 / 7) == (256, 340)
    assert crop_boxes(256, 340, crop=(224, 224), num_crops=1) == [Box(16, 58, 224, 224)]


def test_upright_video_is_cut_at_the_top_and_bottom():
    assert resized_size(340, 256, crop=(224, 224), scale=1.0) == (297, 224)
    boxes = crop_boxes(297, 224, crop=(224, 224), num_crops=3)
    assert boxes == [Box(top, 0, 224, 224) for top in (0, 37, 73)]


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 numbered frames of 48 x 80 pixels at 30 frames a second."""
    return write_video(tmp_path_factory.mktemp("oracle") / "v.mp4", num_frames=60, height=48, width=80, fps=30)


MODEL = ModelConfig(num_frames=4, image_size=48, patch_size=16, embed_dim=8, num_heads=2, depth=1)


@pytest.mark.parametrize(
    ("clip", "frames", "lefts"),
    [
        # L = 4 * 8 = 32, its frames 31 / 3 apart; the second of two clips starts at 28 / 2
        (ClipConfig(frame_stride=8), [[0, 10, 20, 31]], [0, 16, 32]),
        (ClipConfig(frame_stride=8, num_clips=2), [[0, 10, 20, 31], [14, 24, 34, 45]], [0, 16, 32]),
        (ClipConfig(frame_stride=8, sampling="center"), [[14, 24, 34, 45]], [0, 16, 32]),
        (ClipConfig(frame_stride=8, sampling="coverage"), [[0, 10, 20, 31], [32, 42, 52, 59]], [0, 16, 32]),
        (
            ClipConfig(frame_stride=8, num_clips=2, num_crops=1, test_scale=1.0),
            [[0, 10, 20, 31], [14, 24, 34, 45]],
            [16],
        ),
    ],
)
def test_every_view_has_its_pixels(video: Path, clip: ClipConfig, frames: list[list[int]], lefts: list[int]):
    stored = torch.from_numpy(decode_all(video))
    views, _ = read_eval_views(video, MODEL, clip)
    expected = [stored[indices][:, :, left : left + 48] for indices in frames for left in lefts]
    assert len(views) == len(expected)
    for view, pixels in zip(views, expected, strict=True):
        torch.testing.assert_close(denormalize(view, clip), pixels, rtol=0, atol=0)
