"""Models of benchmarks by name: presets, recipes and model folders."""

from pathlib import Path

import pytest

from timesformer.bench import model, train
from timesformer.bench.settings import config_of
from timesformer.config.presets import PRESETS
from timesformer.errors import ConfigError
from timesformer.weights import save
from tiny import random_model, tiny_config

RECIPE = """
[model]
num_frames = 3
image_size = [8, 20]
patch_size = 4
embed_dim = 24
depth = 2
num_heads = 3
mlp_ratio = 2.5
num_classes = 7
drop_path = 0.1
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "recipe.toml"
    path.write_text(RECIPE)
    return path


def test_a_preset_a_recipe_and_a_model_folder_are_models(recipe: Path, tmp_path: Path):
    folder = save(random_model(tiny_config()), tmp_path / "model")
    assert config_of("tiny") == PRESETS["tiny"]
    assert config_of(str(folder)) == tiny_config()
    assert config_of(str(recipe)) == tiny_config(drop_path=0.1)


def test_a_recipe_is_timed_and_transformers_has_no_frames_that_are_not_square(recipe: Path):
    forward = model.run(preset=str(recipe), rounds=1, only=("transformers",))
    step = train.run(preset=str(recipe), rounds=1, only=("transformers", train.PLAIN), clips=9)
    assert forward.settings["preset"] == step.settings["preset"] == str(recipe)
    assert list(step.times) == [train.OURS, train.PLAIN]
    assert "square" in forward.unavailable["transformers"]
    assert "square" in step.unavailable["transformers"]


def test_a_file_that_is_not_a_recipe_is_refused(tmp_path: Path):
    path = tmp_path / "recipe.toml"
    path.write_text("[model]\ndeptth = 3\n")
    with pytest.raises(ConfigError, match=r"recipe\.toml: unknown key model\.deptth; did you mean"):
        config_of(str(path))
