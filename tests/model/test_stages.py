"""Schemes as data: stages in a config, own regroups in Python."""

import tomllib
from dataclasses import replace
from itertools import chain, pairwise, permutations
from pathlib import Path
from typing import get_args

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import timesformer as tsf
from timesformer.config.io import dump_toml, from_dict, to_dict
from timesformer.config.run import RunConfig
from timesformer.config.schema import STAGES, ModelConfig, RegroupName
from timesformer.errors import ConfigError, WeightsError
from timesformer.model.schemes import REGROUPS, SCHEMES, scheme_from
from timesformer.model.timesformer import TimeSformer, scheme_of
from timesformer.weights.formats.released import save_released
from tiny import random_clips, random_model, random_weights, square_config, tiny_config

NAMES = st.sampled_from(get_args(RegroupName))


@st.composite
def stages(draw: st.DrawFn) -> tuple[tuple[str, ...], ...]:
    steps = draw(st.lists(NAMES, min_size=1, max_size=4, unique=True))
    cuts = sorted(draw(st.sets(st.integers(1, max(len(steps) - 1, 1)))) | {0, len(steps)})
    return tuple(tuple(steps[a:b]) for a, b in pairwise(cuts) if steps[a:b])


def test_config_and_model_list_the_same_steps_and_schemes():
    assert set(get_args(RegroupName)) == set(REGROUPS)
    assert {name: scheme_from(stages) for name, stages in STAGES.items()} == {name: SCHEMES[name] for name in STAGES}
    assert SCHEMES.keys() - STAGES.keys() == {"space_only", "sparse_local_global_centered"}


@pytest.mark.parametrize("name", STAGES)
def test_stages_of_a_named_scheme_become_its_name(name: str):
    assert ModelConfig(scheme=STAGES[name]) == ModelConfig(scheme=name)


@given(stages=stages())
def test_config_with_stages_survives_json_and_toml(stages: tuple[tuple[str, ...], ...]):
    config = RunConfig(model=tiny_config(scheme=stages))
    assert from_dict(to_dict(config), kind=RunConfig, source="here") == config
    assert from_dict(tomllib.loads(dump_toml(config)), kind=RunConfig, source="here") == config


def test_parameters_are_named_after_steps_and_all_but_the_image_step_have_an_fc():
    model = TimeSformer(tiny_config(scheme=(("width", "time"), ("space",))))
    assert list(model.blocks[0].steps) == ["width", "time", "space"]
    assert {name.split(".")[3] for name in model.state_dict() if ".fc." in name} == {"width", "time"}


@pytest.mark.parametrize("order", list(permutations(("time", "space", "width"))), ids="-".join)
def test_every_order_of_three_steps_is_another_function(order: tuple[str, ...]):
    others = [given for given in permutations(("time", "space", "width")) if given != order]
    model = random_model(tiny_config(scheme=tuple((step,) for step in order)))
    clips = random_clips(model.config)
    for other in others:
        moved = TimeSformer(replace(model.config, scheme=tuple((step,) for step in other))).eval()
        weights = {name: tensor for name, tensor in model.state_dict().items() if name in moved.state_dict()}
        moved.load_state_dict(weights, strict=False)
        with torch.no_grad():
            assert not torch.allclose(model(clips), moved(clips))


@pytest.mark.parametrize(
    ("scheme", "message"),
    [
        ((("time",), ("spce",)), "step='spce' is not one of 'joint', 'time', 'space'"),
        ((), "has a stage without a step"),
        ((("time",), ()), "has a stage without a step"),
        ((("time",), ("time",)), "has the step 'time' twice"),
        (("time", "space"), r'must be a name, or a list of stages, each a list: \[\["time"\], \["space"\]\]'),
        ("axail", "scheme='axail' is not one of 'space_only'"),
    ],
    ids=str,
)
def test_invalid_scheme_is_refused(scheme: object, message: str):
    with pytest.raises(ConfigError, match=message):
        ModelConfig(scheme=scheme)  # ty: ignore[invalid-argument-type]


def test_model_with_stages_is_saved_and_read_back(tmp_path: Path):
    model = random_model(tiny_config(scheme=(("space",), ("width",))))
    again = tsf.load(tsf.save(model, tmp_path / "model"))
    assert again.config.scheme == (("space",), ("width",))
    assert torch.equal(again(random_clips(model.config)), model(random_clips(model.config)))


def test_image_weights_become_a_scheme_of_stages(tmp_path: Path):
    source = random_model(square_config("joint_space_time", num_frames=1))
    folder = tsf.save(source, tmp_path / "image")
    model = tsf.load(folder, scheme=(("time",), ("height",), ("space",)), num_frames=4)
    for step in ("time", "height", "space"):
        torch.testing.assert_close(
            model.blocks[1].steps[step].attention.qkv.weight, source.blocks[1].steps["joint"].attention.qkv.weight
        )
    assert not any(chain.from_iterable(model.blocks[0].steps["time"].fc.weight.tolist()))


def test_model_with_own_regroups_trains_and_predicts_but_is_not_saved(tmp_path: Path):
    diagonal = tsf.Regroup(tsf.Axes("b w (t h)"))
    scheme = tsf.Scheme(({"time": REGROUPS["time"]}, {"columns": diagonal}), "columns")
    model = random_weights(tsf.TimeSformer(square_config(), scheme=scheme))
    clips = random_clips(model.config)
    assert model(clips).shape == (2, 7)
    model.train()(clips).sum().backward()
    for write in (tsf.save, tsf.save_transformers, save_released):
        with pytest.raises(WeightsError, match=r"custom regroups, .* save its state_dict\(\)"):
            write(model, tmp_path / "model")
    assert not any(tmp_path.iterdir())
    again = tsf.TimeSformer(square_config(), scheme=scheme).eval()
    again.load_state_dict(model.state_dict())
    torch.testing.assert_close(again(clips), model.eval()(clips))


def test_model_with_a_scheme_object_that_its_config_names_is_saved(tmp_path: Path):
    model = tsf.TimeSformer(tiny_config("axial"), scheme=scheme_of(tiny_config("axial")))
    assert tsf.load(tsf.save(model, tmp_path / "model")).scheme == SCHEMES["axial"]
