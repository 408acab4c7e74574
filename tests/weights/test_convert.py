"""Writing other projects' formats: no model that their code computes differently, no half-written file."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml

from timesformer.config.info import ModelInfo
from timesformer.config.schema import ClipConfig
from timesformer.errors import ConfigError, WeightsError
from timesformer.weights import save_released, save_transformers
from timesformer.weights.formats import released
from timesformer.weights.layouts import layout_for
from timesformer.weights.load import load
from tiny import RELEASED_SCHEMES, random_clips, random_model, square_config, tiny_config


@pytest.mark.parametrize("scheme", RELEASED_SCHEMES)
def test_released_file_gives_back_the_model_bit_for_bit(tmp_path: Path, scheme: str):
    model = random_model(square_config(scheme, qkv_bias=False))
    again = load(save_released(model, tmp_path / "deep" / "model.pyth"))
    assert again.load_report.format == "released"
    assert again.config == replace(model.config, drop_path=0.1)  # a rate of training, which the file does not hold
    torch.testing.assert_close(again.state_dict(), model.state_dict(), rtol=0, atol=0)


@pytest.mark.parametrize("write", [save_released, save_transformers])
@torch.no_grad()
def test_standardized_features_are_folded_into_the_head_of_another_layout(write: Callable, tmp_path: Path):
    model = random_model(square_config(head_norm="batch"))
    again = load(write(model, tmp_path / "there.pyth"))
    assert again.config.head_norm == "none"
    clips = random_clips(model.config)
    torch.testing.assert_close(again(clips), model(clips), rtol=1e-4, atol=1e-4)


def test_released_file_has_the_released_wrapper_names_and_config(tmp_path: Path):
    info = ModelInfo(clip=ClipConfig(frame_stride=4, mean=(0.1, 0.2, 0.3)))
    path = save_released(random_model(square_config(), info=info), tmp_path / "model.pyth")
    content = torch.load(path, weights_only=True)
    assert set(content) == {"epoch", "model_state", "cfg"}
    assert content["model_state"]["model.blocks.1.temporal_fc.weight"].shape == (24, 24)
    cfg = yaml.safe_load(content["cfg"])
    assert cfg["TIMESFORMER"]["ATTENTION_TYPE"] == "divided_space_time"
    assert cfg["DATA"]["NUM_FRAMES"] == 2
    assert cfg["DATA"]["SAMPLING_RATE"] == 4
    assert cfg["DATA"]["MEAN"] == [0.1, 0.2, 0.3]
    assert cfg["MODEL"]["NUM_CLASSES"] == 7


@pytest.mark.parametrize(("name", "write"), [("released", save_released), ("transformers", save_transformers)])
@pytest.mark.parametrize(
    ("config", "message"),
    [
        (square_config("axial"), r"layout has no scheme='axial'; it has space_only, joint_space_time, divided_space"),
        (square_config(cls_in_time=True), "layout cannot express cls_in_time=True"),
        (square_config(position_embedding="none"), "cannot express cls_in_time=False, position_embedding='none'"),
        (square_config(position_embedding="space"), "cannot express cls_in_time=False, position_embedding='space'"),
        (square_config("space_only", position_embedding="none"), "position_embedding='none'"),
        (tiny_config(), r"layout supports square images only, not image_size=\(8, 20\)"),
    ],
)
def test_model_that_the_other_code_cannot_express_is_refused(
    tmp_path: Path, name: str, write: Callable, config: object, message: str
):
    with pytest.raises(ConfigError, match=f"the {name} .*{message}"):
        write(random_model(config), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("write", [save_released, save_transformers])
@pytest.mark.parametrize("fields", [{"channel_order": "time"}, {"background": "remove"}, {"background": "difference"}])
def test_clips_that_the_other_code_cannot_make_are_refused(write: Callable, fields: dict[str, str], tmp_path: Path):
    model = random_model(square_config(), info=ModelInfo(clip=ClipConfig(**fields)))
    with pytest.raises(ConfigError, match=r"layout supports plain color frames only, not channel_order='\w+', b"):
        write(model, tmp_path / "there.pyth")


@pytest.mark.parametrize("write", [save_released, save_transformers])
def test_crops_of_what_moves_are_refused(write: Callable, tmp_path: Path):
    model = random_model(square_config(), info=ModelInfo(clip=ClipConfig(region="motion", num_crops=1)))
    with pytest.raises(ConfigError, match=r"layout crops the middle of the frame, which region='motion' does not"):
        write(model, tmp_path / "there.pyth")
    assert list(tmp_path.iterdir()) == []


def test_other_norm_eps_is_refused_in_the_released_layout(tmp_path: Path):
    with pytest.raises(ConfigError, match="the released layout has a fixed norm_eps=1e-06, not 1e-05"):
        save_released(random_model(square_config(norm_eps=1e-5)), tmp_path / "model.pyth")


def test_labels_that_are_not_one_a_class_are_refused(tmp_path: Path):
    with pytest.raises(WeightsError, match="has 1 labels and num_classes=7"):
        save_transformers(random_model(square_config(), info=ModelInfo(labels=("a",))), tmp_path / "model")


def test_released_file_that_is_there_is_kept_unless_told_otherwise(tmp_path: Path):
    path = save_released(random_model(square_config()), tmp_path / "model.pyth")
    before = path.read_bytes()
    other = random_model(square_config(), seed=1)
    with pytest.raises(ConfigError, match=r"already exists; pass overwrite=True \(--overwrite\) to replace it"):
        save_released(other, path)
    assert path.read_bytes() == before
    save_released(other, path, overwrite=True)
    torch.testing.assert_close(load(path).state_dict(), other.state_dict(), rtol=0, atol=0)


def test_transformers_folder_that_is_there_is_replaced_only_when_told(tmp_path: Path):
    model = random_model(square_config())
    folder = save_transformers(model, tmp_path / "model")
    with pytest.raises(ConfigError, match="already exists"):
        save_transformers(model, folder)
    save_transformers(random_model(square_config(), seed=1), folder, overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_failure_while_writing_a_released_file_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = save_released(random_model(square_config()), tmp_path / "model.pyth")
    before = path.read_bytes()

    def half_save(content: object, target: Path) -> None:
        target.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(released.torch, "save", half_save)
    with pytest.raises(WeightsError, match=r"model\.pyth: cannot be written: .*No space left"):
        save_released(random_model(square_config(), seed=1), path, overwrite=True)
    assert {entry.name: entry.read_bytes() for entry in tmp_path.iterdir()} == {"model.pyth": before}


def test_layout_refuses_a_parameter_that_it_does_not_have():
    with pytest.raises(ConfigError, match=r"the mmaction2 layout has no name for blocks\.0\.steps\.width\.norm"):
        layout_for("mmaction2", "divided_space_time").rename_all(["blocks.0.steps.width.norm.weight"])


@pytest.mark.parametrize("write", [save_released, save_transformers])
def test_settings_that_a_layout_cannot_express_are_stored_next_to_it(write, tmp_path):
    clip = ClipConfig(sampling="segment", num_crops=1, test_scale=1.25, channel_order="bgr", fusion="logits")
    info = ModelInfo(clip=clip, labels=tuple("abcdefg"), license="MIT", source="a test", clip_seconds=2.5)
    model = random_model(square_config(), info=info)
    assert load(write(model, tmp_path / "model.pyth")).info == info
