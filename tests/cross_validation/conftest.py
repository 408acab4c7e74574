"""Clips of six persons, and a run that trains on them in about a second."""

from pathlib import Path

import pytest

from fake_trainer import CLASSES, PERSONS
from person_videos import write_persons
from timesformer.config.run import DataConfig, OptimConfig, RunConfig
from timesformer.config.schema import ClipConfig, ModelConfig


@pytest.fixture(scope="session")
def persons(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A list of a clip of each class by each of six persons, 5 frames of 16 x 20 pixels."""
    folder = tmp_path_factory.mktemp("persons")
    return write_persons(folder, PERSONS, CLASSES, num_frames=5, size=(16, 20))


@pytest.fixture
def run(persons: Path, tmp_path: Path) -> RunConfig:
    """A run of two epochs on these clips, which keeps its best epoch."""
    model = ModelConfig(
        num_frames=3, image_size=16, patch_size=8, embed_dim=16, depth=1, num_heads=2, initialization="scratch"
    )
    return RunConfig(
        model=model,
        clip=ClipConfig(sampling="segment", num_crops=3),
        data=DataConfig(train=str(persons), num_workers=0),
        optim=OptimConfig(lr=3e-3),
        epochs=2,
        batch_size=6,
        device="cpu",
        output=str(tmp_path / "study"),
    )
