"""Clips of three classes of motion by eight persons, and a tiny model that has seen none of them."""

from pathlib import Path

import pytest

from probed_runs import CLASSES, CLIP, PERSONS, make_run
from timesformer.config.info import ModelInfo
from timesformer.config.run import RunConfig
from timesformer.data.synthetic.dataset import write_clip
from timesformer.data.synthetic.motion import render_clip
from timesformer.weights.model_folder import save
from tiny import random_model, tiny_config


@pytest.fixture(scope="session")
def persons(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The list of a clip of each class by each person."""
    folder = tmp_path_factory.mktemp("persons")
    lines = ["path,label,group"]
    for seed, person in enumerate(PERSONS):
        for label in CLASSES:
            frames = render_clip(label, seed=seed, num_frames=7, size=(24, 44), background="plain")
            write_clip(folder / f"{person}_{label}.mp4", frames)
            lines.append(f"{person}_{label}.mp4,{label},{person}")
    (folder / "list.csv").write_text("\n".join([*lines, ""]))
    return folder / "list.csv"


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder of seven unnamed classes."""
    info = ModelInfo(clip=CLIP, license="MIT")
    return save(random_model(tiny_config(), info=info), tmp_path_factory.mktemp("weights") / "tiny")


@pytest.fixture
def probed(persons: Path, weights: Path, tmp_path: Path) -> RunConfig:
    """A run with a probe and two epochs in a separate folder."""
    return make_run(persons, weights, tmp_path / "run")
