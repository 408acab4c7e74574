from dataclasses import replace

import pytest

from people_runs import TINY
from timesformer.config.io import from_dict, to_dict
from timesformer.errors import ConfigError
from timesformer.people.config import PeopleRun


def test_the_default_model_is_that_of_the_recipe_in_finer_patches():
    run = PeopleRun()
    assert run.model.grid == (8, 12, 8)
    assert (run.model.embed_dim, run.model.depth, run.model.num_heads, run.model.num_classes) == (192, 4, 4, 2)
    assert run.appearance == "both"


def test_a_config_survives_its_file():
    assert from_dict(to_dict(TINY), kind=PeopleRun, source="x") == TINY


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": 0}, "steps=0 must be at least 1"),
        ({"batch_size": 2}, "batch_size=2 must be at least 4"),
        ({"batch_size": 7}, "batch_size=7 must be even: two bodies do each motion"),
        ({"batch_size": 5000}, "batch_size=5000 must be at most 4096"),
        ({"lr": 0}, "lr=0 must be greater than 0"),
        ({"weight_decay": -1}, "weight_decay=-1 must be finite and not negative"),
        ({"seed": -1}, "seed=-1 must not be negative"),
        ({"output": ""}, "output is empty"),
    ],
)
def test_values_out_of_range_are_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        replace(TINY, **changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"in_channels": 1}, "model.in_channels=1 must be 3"),
        ({"image_size": 16}, r"model.image_size=\(16, 16\) must lie between 32 and 256 pixels"),
        ({"num_frames": 65}, "model.num_frames=65 must be at most 64"),
        ({"num_classes": 5}, "model.num_classes=5 has no effect: the head is not pretrained"),
        ({"head_norm": "batch"}, "model.head_norm='batch' has no effect"),
        ({"head_dropout": 0.1}, "model.head_dropout=0.1 has no effect"),
    ],
)
def test_models_that_cannot_be_pretrained_are_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        replace(TINY, model=replace(TINY.model, **changes))


@pytest.mark.parametrize("values", [{"appearance": "gray"}, {"precision": "fp16"}])
def test_unknown_names_are_refused(values):
    (name,) = values
    with pytest.raises(ConfigError, match=rf"run\.toml: {name}='{values[name]}' must be one of|run\.toml: {name}"):
        from_dict(values, kind=PeopleRun, source="run.toml")
