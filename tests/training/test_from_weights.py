"""The architecture of a run follows its initial weights; only keys that were set can contradict them."""

from pathlib import Path

import pytest
import torch

from timesformer.cli.main import main
from timesformer.config.info import ModelInfo
from timesformer.config.io import read_config, to_dict
from timesformer.config.run import RunConfig
from timesformer.config.schema import ClipConfig
from timesformer.errors import ConfigError, WeightsError
from timesformer.training.from_weights import fill_from_weights
from timesformer.weights.formats.released import save_released
from timesformer.weights.load import load
from timesformer.weights.model_folder import save
from tiny import random_model, square_config

NARROW = {"embed_dim": 128, "num_heads": 2, "depth": 3, "mlp_ratio": 2.0, "patch_size": 8, "image_size": (16, 16)}
RECIPE = """
init_from = "vit_base_patch16_224_in21k.safetensors"
epochs = 1
batch_size = 4
[model]
num_frames = 2
[clip]
sampling = "segment"
num_crops = 1
[data]
num_workers = 0
"""


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """An image ViT of width 128 and depth 3 in timm's format, which does not store its number of heads."""
    model = random_model(square_config("space_only", num_frames=1, **NARROW))
    state = torch.load(save_released(model, tmp_path / "released.pyth"), weights_only=True)["model_state"]
    torch.save({name.removeprefix("model."): tensor for name, tensor in state.items()}, tmp_path / "vit.pth")
    return tmp_path / "vit.pth"


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    (tmp_path / "recipe.toml").write_text(RECIPE)
    return tmp_path / "recipe.toml"


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]):
    """Run the command line in this process; gives exit status, stdout and stderr."""

    def call(*arguments: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as caught:
            main([*map(str, arguments)])
        return (int(caught.value.code or 0), *capsys.readouterr())

    return call


# --- The table of a run ---------------------------------------------------------------------------------------------


def test_model_keys_missing_in_the_file_come_from_the_weights(weights: Path):
    model = fill_from_weights({"model": {"num_frames": 4}}, weights=str(weights))["model"]
    assert {name: model[name] for name in NARROW} == NARROW | {"image_size": [16, 16]}
    assert (model["num_frames"], model["scheme"]) == (4, "divided_space_time")


def test_keys_that_weights_can_follow_come_from_the_file(weights: Path):
    wanted = {
        "num_frames": 4,
        "image_size": [24, 32],
        "scheme": "axial",
        "depth": 2,
        "drop_path": 0.0,
        "in_channels": 1,
    }
    model = fill_from_weights({"model": wanted}, weights=str(weights))["model"]
    assert {name: model[name] for name in wanted} == wanted


@pytest.mark.parametrize(
    ("name", "value"),
    [("embed_dim", 768), ("mlp_ratio", 4.0), ("qkv_bias", False), ("norm_eps", 0.1)],
)
def test_key_that_does_not_match_is_named_with_its_source(weights: Path, name: str, value: object):
    with pytest.raises(
        ConfigError, match=rf"^run\.toml: model\.{name}=\S+ does not match .*vit\.pth has {name}=.*omit"
    ):
        fill_from_weights({"model": {name: value}}, weights=str(weights), source="run.toml")
    with pytest.raises(ConfigError, match=rf"^--set model\.{name}=\S+ does not match"):
        fill_from_weights({}, weights=str(weights), overrides={f"model.{name}": value})


def test_command_line_wins_over_the_file_before_anything_can_conflict(weights: Path):
    table = {"model": {"embed_dim": 768}}
    fill_from_weights(table, weights=str(weights), overrides={"model.embed_dim": 128})
    with pytest.raises(ConfigError, match=r"--set model\.embed_dim=64 does not match"):
        fill_from_weights({"model": {"embed_dim": 128}}, weights=str(weights), overrides={"model.embed_dim": 64})


def test_all_conflicts_are_reported_at_once_one_per_line(weights: Path):
    with pytest.raises(ConfigError) as told:
        fill_from_weights({"model": {"embed_dim": 768, "depth": 12}}, weights=str(weights), source="run.toml")
    lines = str(told.value).splitlines()
    assert len(lines) == 2
    assert "model.depth=12 does not match the weights of the run: " in lines[1]
    assert "has 3 blocks; use 3 or fewer" in lines[1]


def test_number_of_heads_that_follows_from_the_width_cannot_be_set(weights: Path):
    with pytest.raises(ConfigError, match=r"num_heads=4 does not match .* has num_heads=2; .* embed_dim / 64"):
        fill_from_weights({"model": {"num_heads": 4}}, weights=str(weights))


def test_values_of_the_wrong_type_are_left_to_the_checks_of_the_config(weights: Path):
    for table in ({"model": {"embed_dim": "wide", "depth": [3]}, "clip": "dense"}, {"model": 3}):
        filled = fill_from_weights(table, weights=str(weights))
        assert filled["clip"] == table.get("clip", filled["clip"])
        assert filled["model"] == 3 or filled["model"]["embed_dim"] == "wide"


def test_clip_settings_without_a_section_come_from_the_weights(tmp_path: Path):
    clip = ClipConfig(frame_stride=4, mean=(0.1, 0.2, 0.3), channel_order="bgr")
    save(random_model(square_config(), info=ModelInfo(clip=clip)), tmp_path / "model")
    assert fill_from_weights({}, weights=str(tmp_path / "model"))["clip"] == to_dict(clip)
    filled = fill_from_weights({"clip": {"sampling": "segment"}}, weights=str(tmp_path / "model"))
    assert filled["clip"] == {
        "sampling": "segment", "mean": [0.1, 0.2, 0.3], "std": list(clip.std), "channel_order": "bgr",
    }  # fmt: skip


def test_run_can_start_from_a_preset():
    assert fill_from_weights({}, weights="tiny")["model"]["embed_dim"] == 96


def test_unreadable_weights_are_an_error(tmp_path: Path):
    (tmp_path / "vit.pth").write_text("<html></html>")
    with pytest.raises(WeightsError, match="is a web page, not weights"):
        fill_from_weights({}, weights=str(tmp_path / "vit.pth"))


# --- On the command line --------------------------------------------------------------------------------------------


def test_recipe_trains_from_weights_of_another_width_and_its_folder_holds_the_model(
    command, videos: Path, weights: Path, recipe: Path, tmp_path: Path
):
    arguments = ["train", videos, "--config", recipe, "--init-from", weights, "--output", tmp_path / "run"]
    status, _, err = command(*arguments, "--device", "cpu")
    assert status == 0, err
    config = load(tmp_path / "run").config
    assert (config.embed_dim, config.depth, config.num_heads, config.num_frames) == (128, 3, 2, 2)
    written = read_config(tmp_path / "run" / "config.toml", kind=RunConfig)
    assert written.model == config
    assert written.init_from == str(weights)
    assert command("train", "--resume", "--config", tmp_path / "run" / "config.toml")[0] == 0
    assert command(*arguments, "--device", "cpu", "--resume")[0] == 0


def test_conflict_on_the_command_line_is_wrong_usage(command, videos: Path, weights: Path, recipe: Path):
    recipe.write_text(RECIPE.replace("[model]", "[model]\nembed_dim = 768"))
    status, out, err = command("train", videos, "--config", recipe, "--init-from", weights)
    assert (status, out) == (2, "")
    assert f"error: {recipe}: model.embed_dim=768 does not match" in err
    status, _, err = command("train", videos, "--init-from", weights, "--set", "model.mlp_ratio=3")
    assert status == 2
    assert "--set model.mlp_ratio=3 does not match" in err


def test_weights_of_the_file_and_of_set_are_followed_too(command, weights: Path, recipe: Path):
    recipe.write_text(RECIPE.replace("vit_base_patch16_224_in21k.safetensors", str(weights)))
    assert "0.7 M parameters" in command("train", "--config", recipe, "--dry-run")[1]
    recipe.write_text(RECIPE)
    for named in (("--set", f"init_from={weights}"), ("--init-from", weights)):
        assert "0.7 M parameters" in command("train", "--config", recipe, *named, "--dry-run")[1]
    status, _, err = command("train", "--model", "tiny", "--set", f"init_from={weights}", "--dry-run")
    assert status == 2
    assert "--model tiny has no effect" in err


def test_invalid_init_from_in_the_file_is_refused_even_if_overridden(command, weights: Path, recipe: Path):
    recipe.write_text("init_from = 3")
    status, _, err = command("train", "--config", recipe, "--init-from", weights, "--dry-run")
    assert status == 2
    assert "init_from=3 must be a valid string" in err


def test_dry_run_without_its_weights_says_that_the_model_may_differ(command, recipe: Path):
    status, out, err = command("train", "--config", recipe, "--dry-run")
    assert status == 0
    assert "121.6 M parameters" in out
    assert f"model keys that {recipe} leaves out are unknown and have their defaults" in err


def test_missing_weights_stop_a_run(command, videos: Path, recipe: Path, tmp_path: Path):
    status, _, err = command("train", videos, "--config", recipe, "--output", tmp_path / "run")
    assert status == 1
    assert "vit_base_patch16_224_in21k.safetensors: no such file" in err


def test_number_of_heads_can_come_from_the_command_line(command, videos: Path, tmp_path: Path):
    model = random_model(square_config("space_only", num_frames=1))
    state = torch.load(save_released(model, tmp_path / "released.pyth"), weights_only=True)["model_state"]
    torch.save(state, tmp_path / "vit.pth")
    arguments = ["train", videos, "--init-from", tmp_path / "vit.pth", "--output", tmp_path / "run", "--epochs", 1]
    status, _, err = command(*arguments)
    assert status == 2
    assert "pass num_heads" in err
    status, _, err = command(*arguments, "--set", "model.num_heads=3", "--set", "data.num_workers=0", "--device", "cpu")
    assert status == 0, err
    assert load(tmp_path / "run").config.num_heads == 3


def test_reproduce_follows_the_weights_too(command, weights: Path, recipe: Path):
    arguments = ["reproduce", "schemes", "--schemes", "space_only", "--config", recipe, "--dry-run"]
    status, out, _ = command(*arguments, "--init-from", weights)
    assert status == 0
    assert "0.42 M parameters" in out
    status, _, err = command(*arguments, "--init-from", weights, "--set", "model.embed_dim=768")
    assert status == 2
    assert "--set model.embed_dim=768 does not match" in err
