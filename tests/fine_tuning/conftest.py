"""Clips of three classes of motion by eight persons, and a tiny model that has seen none of them."""

from pathlib import Path

import pytest

from person_videos import write_persons
from probed_runs import CLASSES, CLIP, PERSONS, make_run
from timesformer.config.info import ModelInfo
from timesformer.config.run import RunConfig
from timesformer.weights.model_folder import save
from tiny import random_model, tiny_config


@pytest.fixture(scope="session")
def persons(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The list of a clip of each class by each person."""
    folder = tmp_path_factory.mktemp("persons")
    return write_persons(folder, PERSONS, CLASSES, num_frames=7, size=(24, 44))


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder of seven unnamed classes."""
    info = ModelInfo(clip=CLIP, license="MIT")
    return save(random_model(tiny_config(), info=info), tmp_path_factory.mktemp("weights") / "tiny")


@pytest.fixture
def probed(persons: Path, weights: Path, tmp_path: Path) -> RunConfig:
    """A run with a probe and two epochs in a separate folder."""
    return make_run(persons, weights, tmp_path / "run")
