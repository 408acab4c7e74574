import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from timesformer.config.run import AugmentConfig, RunConfig
from timesformer.data.clips.dataset import TrainClips
from timesformer.data.clips.transforms import denormalize, to_floats
from timesformer.data.manifest.manifest import Manifest, Sample
from timesformer.data.manifest.save import save_manifest
from timesformer.errors import DecodeError
from timesformer.training.augmentation_preview import write_preview
from timesformer.training.dataloaders import load_data

STRIP = 3 * 112
"""Width of three frames, each 112 pixels wide; so is their height."""


def _preview(run: RunConfig, path: Path, **numbers: int) -> np.ndarray:
    assert write_preview(run, path, **numbers) == path
    with Image.open(path) as picture:
        assert picture.format == "PNG"
        return np.asarray(picture)


def _tile(preview: np.ndarray, row: int, column: int) -> np.ndarray:
    top, left = 6 + 16 + row * (112 + 22), 6 + column * (STRIP + 12)
    return preview[top : top + 112, left : left + STRIP]


def test_preview_has_a_row_for_each_video_and_a_column_for_each_draw(run: RunConfig, tmp_path: Path):
    preview = _preview(run, tmp_path / "preview.png", num_videos=3, num_draws=2)
    assert preview.shape == (3 * (112 + 22) + 6, 3 * (STRIP + 12) + 6, 3)
    assert not list(tmp_path.glob("*.part"))


def test_run_with_fewer_videos_has_fewer_rows(run: RunConfig, tmp_path: Path):
    assert _preview(run, tmp_path / "preview.png", num_videos=99, num_draws=1).shape[0] == 12 * (112 + 22) + 6


def test_draws_are_the_clips_that_training_sees_in_its_first_epochs(run: RunConfig, tmp_path: Path):
    run = dataclasses.replace(run, augment=AugmentConfig(erase=1.0, color_jitter=0.4))
    preview = _preview(run, tmp_path / "preview.png", num_videos=2, num_draws=3)
    clips = TrainClips(
        load_data(run.data, seed=0).train, model=run.model, clip=run.clip, data=run.data, seed=0, augment=run.augment
    )
    for row, index in enumerate((0, 11)):
        for epoch in range(3):
            clips.set_epoch(epoch)
            frames = denormalize(to_floats(clips[index][0][0], run.clip), run.clip)
            strip = Image.fromarray(torch.cat(list(frames), dim=1).numpy()).resize(
                (STRIP, 112), Image.Resampling.BILINEAR
            )
            np.testing.assert_array_equal(_tile(preview, row, epoch + 1), np.asarray(strip))


def test_first_column_is_not_augmented(run: RunConfig, tmp_path: Path):
    strong = dataclasses.replace(run, augment=AugmentConfig(erase=1.0, rand_augment=3))
    plain, augmented = (_preview(each, tmp_path / "preview.png", num_videos=2, num_draws=1) for each in (run, strong))
    for row in range(2):
        np.testing.assert_array_equal(_tile(plain, row, 0), _tile(augmented, row, 0))
        assert not np.array_equal(_tile(plain, row, 1), _tile(augmented, row, 1))


def test_cached_run_needs_no_preload(run: RunConfig, tmp_path: Path):
    cached = dataclasses.replace(run, data=dataclasses.replace(run.data, cache=True))
    previews = [_preview(each, tmp_path / "preview.png", num_videos=2, num_draws=1) for each in (run, cached)]
    np.testing.assert_array_equal(*previews)


def test_unreadable_video_is_an_error_and_the_old_preview_is_kept(run: RunConfig, tmp_path: Path):
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    train = load_data(run.data, seed=0).train
    save_manifest(
        Manifest((Sample(tmp_path / "broken.mp4", 0), *train.samples), train.class_names), tmp_path / "train.csv"
    )
    (tmp_path / "preview.png").write_bytes(b"old")
    broken = dataclasses.replace(run, data=dataclasses.replace(run.data, train=str(tmp_path / "train.csv")))
    with pytest.raises(DecodeError, match=r"broken\.mp4"):
        write_preview(broken, tmp_path / "preview.png", num_videos=20)
    assert (tmp_path / "preview.png").read_bytes() == b"old"


def test_long_names_are_cut_to_the_width_of_their_clip(run: RunConfig, tmp_path: Path):
    train = load_data(run.data, seed=0).train
    names = tuple(50 * name for name in train.class_names)
    save_manifest(dataclasses.replace(train, class_names=names), tmp_path / "train.csv")
    long = dataclasses.replace(
        run, data=dataclasses.replace(run.data, train=str(tmp_path / "train.csv"), val_fraction=0.25)
    )
    preview = _preview(long, tmp_path / "preview.png", num_videos=1, num_draws=1)
    between = preview[:, 6 + STRIP : 6 + STRIP + 12]
    np.testing.assert_array_equal(between, np.full_like(between, 255))
