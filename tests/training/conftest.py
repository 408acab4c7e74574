"""Three classes of motion as tiny videos, and a run that trains on them in about a second."""

from pathlib import Path

import pytest

from timesformer.config.run import DataConfig, OptimConfig, RunConfig
from timesformer.config.schema import ClipConfig, ModelConfig
from timesformer.data.synthetic.dataset import write_motion_dataset
from timesformer.training.train import train

CLASSES = ("move_left", "move_right", "grow")


@pytest.fixture(scope="session")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `train/` (4 videos a class) and `val/` (2 videos a class), 5 frames of 16 x 20 pixels."""
    folder = tmp_path_factory.mktemp("motion") / "data"
    return write_motion_dataset(
        folder, clips_per_class=4, val_clips_per_class=2, classes=CLASSES, num_frames=5, size=(16, 20)
    )


@pytest.fixture
def run(videos: Path, tmp_path: Path) -> RunConfig:
    """3 epochs of 3 steps in a separate folder, with every kind of randomness in training."""
    return make_run(videos, tmp_path / "run")


@pytest.fixture(scope="session")
def finished(videos: Path, tmp_path_factory: pytest.TempPathFactory) -> RunConfig:
    """A finished run; tests only read it."""
    run = make_run(videos, tmp_path_factory.mktemp("finished") / "run")
    train(run, on_message=lambda line: None)
    return run


def make_run(videos: Path, output: Path) -> RunConfig:
    """The run of the fixtures, in the given folder."""
    return RunConfig(
        model=ModelConfig(
            num_frames=3,
            image_size=16,
            patch_size=8,
            embed_dim=16,
            depth=2,
            num_heads=2,
            dropout=0.1,
            drop_path=0.2,
            initialization="scratch",
        ),
        clip=ClipConfig(sampling="segment", num_crops=1),
        data=DataConfig(train=str(videos), flip=True, num_workers=0),
        optim=OptimConfig(lr=3e-3, warmup_fraction=0.2),
        epochs=3,
        batch_size=5,
        device="cpu",
        output=str(output),
    )
