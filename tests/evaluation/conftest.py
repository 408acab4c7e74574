"""Three classes of motion as tiny videos, and an untrained model for them."""

from pathlib import Path

import pytest
import torch

from timesformer.config.info import ModelInfo
from timesformer.config.schema import ClipConfig, ModelConfig
from timesformer.data.synthetic.dataset import write_motion_dataset
from timesformer.model.timesformer import TimeSformer

CLASSES = ("move_left", "move_right", "grow")


@pytest.fixture(scope="session")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `train/` (2 videos a class) and `val/` (3 videos a class), 5 frames of 16 x 20 pixels."""
    folder = tmp_path_factory.mktemp("motion") / "data"
    return write_motion_dataset(
        folder, clips_per_class=2, val_clips_per_class=3, classes=CLASSES, num_frames=5, size=(16, 20)
    )


@pytest.fixture
def model() -> TimeSformer:
    """A model for the videos with three crops; its classes are in another order than the folder's."""
    config = ModelConfig(
        num_frames=2,
        image_size=16,
        patch_size=8,
        embed_dim=16,
        depth=1,
        num_heads=2,
        num_classes=3,
        initialization="scratch",
    )
    torch.manual_seed(1)
    clip = ClipConfig(sampling="uniform", num_crops=3)
    return TimeSformer(config, info=ModelInfo(clip=clip, labels=CLASSES))
