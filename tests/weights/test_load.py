"""`load`: presets, folders, hub ids and overrides, and its errors for anything else."""

import json
import logging
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from huggingface_hub.errors import LocalEntryNotFoundError

from timesformer.config.presets import CLIP_PRESETS, PRESETS
from timesformer.errors import ConfigError, WeightsError
from timesformer.weights import save, save_transformers
from timesformer.weights.formats.transformers import read_transformers
from timesformer.weights.load import load
from tiny import random_model, square_config, tiny_config


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return save(random_model(tiny_config()), tmp_path / "run" / "model")


@pytest.fixture
def theirs(tmp_path: Path) -> Path:
    folder = save_transformers(random_model(square_config()), tmp_path / "theirs")
    (folder / "timesformer.json").unlink()  # only our own writer leaves it
    return folder


# --- Presets and overrides ------------------------------------------------------------------------------------------


def test_preset_is_a_fresh_model_in_eval_mode_that_follows_the_seed():
    model, same, other = load("tiny"), load("tiny"), load("tiny", seed=1)
    assert model.config == PRESETS["tiny"]
    assert model.info.clip == CLIP_PRESETS["tiny"]
    assert model.info.source == "preset tiny"
    assert not model.training
    assert sorted(model.load_report.newly_initialized) == sorted(model.state_dict())
    torch.testing.assert_close(model.state_dict(), same.state_dict(), rtol=0, atol=0)
    assert not torch.equal(model.head.weight, other.head.weight)


def test_preset_takes_overrides():
    config = load("tiny", scheme="axial", image_size=16, num_classes=3).config
    assert (config.scheme, config.image_size, config.num_classes) == ("axial", (16, 16), 3)


def test_unknown_override_is_refused_with_a_suggestion(folder: Path):
    with pytest.raises(ConfigError, match="load: unknown key num_frame; did you mean num_frames"):
        load(folder, num_frame=16)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ({"scheme": "axail"}, "did you mean 'axial'"),
        ({"num_frames": "16"}, "num_frames"),
        ({"num_classes": 0}, "num_classes=0 must be greater than 0"),
        ({"image_size": (9, 20)}, r"image_size=\(9, 20\) is not a multiple of patch_size=4"),
    ],
)
def test_override_that_cannot_work_is_refused(folder: Path, override: dict, message: str):
    with pytest.raises(ConfigError, match=f"load: .*{message}"):
        load(folder, **override)


# --- Folders and files ----------------------------------------------------------------------------------------------


def test_run_folder_stands_for_the_model_folder_inside(folder: Path):
    torch.testing.assert_close(load(folder.parent).state_dict(), load(folder).state_dict(), rtol=0, atol=0)


def test_home_folder_is_understood(folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOME", str(folder.parent.parent))
    assert load("~/run").config == tiny_config()


def test_what_happened_is_logged(folder: Path, caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.INFO, logger="timesformer.weights.load"):
        load(folder)
    assert caplog.messages == [f"model folder from {folder}: 49 tensors loaded unchanged"]


def test_unknown_source_names_the_possible_kinds(tmp_path: Path):
    with pytest.raises(WeightsError, match=r"nothing: no such file or folder, and neither a hub id .* \(base, hr,"):
        load(tmp_path / "nothing")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("weights/vit.SAFETENSORS", r"weights/vit\.SAFETENSORS: no such file$"),
        ("https://example.org/vit.pth", "is an address, not a path: download it first"),
        ("s3://bucket/model", "is an address, not a path: download it first"),
    ],
)
def test_file_that_is_not_here_is_not_asked_of_the_hub(monkeypatch: pytest.MonkeyPatch, source: str, message: str):
    monkeypatch.setattr("huggingface_hub.snapshot_download", None)
    with pytest.raises(WeightsError, match=message):
        load(source)


def test_folder_without_a_model_is_refused(tmp_path: Path):
    with pytest.raises(
        WeightsError, match=r"is not a model folder: neither it nor its subfolder model/ has a config\.json"
    ):
        load(tmp_path)


def test_folder_of_another_architecture_is_refused(tmp_path: Path):
    (tmp_path / "config.json").write_text('{"model_type": "vivit"}')
    with pytest.raises(WeightsError, match=r"its config\.json has model_type='vivit', expected 'timesformer'"):
        load(tmp_path)


# --- The hub --------------------------------------------------------------------------------------------------------


def test_hub_id_is_downloaded_once_and_read_as_a_folder(theirs: Path, monkeypatch: pytest.MonkeyPatch):
    asked = []

    def snapshot_download(name: str, *, revision: str | None, allow_patterns: list[str]) -> str:
        asked.append(name)
        assert revision is None
        assert {"config.json", "*.safetensors", "preprocessor_config.json"} <= set(allow_patterns)
        return str(theirs)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    model = load("facebook/timesformer-base-finetuned-k400")
    assert asked == ["facebook/timesformer-base-finetuned-k400"]
    assert model.load_report.source == "facebook/timesformer-base-finetuned-k400"
    torch.testing.assert_close(model.state_dict(), load(theirs).state_dict(), rtol=0, atol=0)


@pytest.mark.parametrize("error", [LocalEntryNotFoundError("offline"), ConnectionError("no route")])
def test_hub_without_a_network_says_to_pass_a_local_folder(monkeypatch: pytest.MonkeyPatch, error: Exception):
    def snapshot_download(*args: object, **kwargs: object) -> str:
        raise error

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    with pytest.raises(WeightsError, match=r"owner/model: no such folder.* download .* and pass the folder"):
        load("owner/model")


# --- Folders of transformers ----------------------------------------------------------------------------------------


def change_config(folder: Path, change: Callable[[dict], object]) -> None:
    values = json.loads((folder / "config.json").read_text("utf-8"))
    change(values)
    (folder / "config.json").write_text(json.dumps(values))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda values: values.pop("num_frames"), r"config\.json: has no 'num_frames'"),
        (lambda values: values["id2label"].pop("3"), r"config\.json: id2label has no key '3'"),
        (lambda values: values.update(hidden_act="relu"), r"hidden_act='relu' is not supported, only 'gelu'"),
        (lambda values: values.update(num_frames=5), r"time_embeddings is \(1, 2, 24\), its config needs \(1, 5, 24\)"),
        (lambda values: values.update(attention_type="joint_space_time"), "unexplained .*temporal"),
    ],
)
def test_config_of_theirs_that_does_not_fit_is_refused(theirs: Path, change: Callable, message: str):
    change_config(theirs, change)
    with pytest.raises(WeightsError, match=message):
        load(theirs)


def test_scheme_of_theirs_that_is_unknown_is_refused(theirs: Path):
    change_config(theirs, lambda values: values.update(attention_type="diagonal"))
    with pytest.raises(ConfigError, match="scheme='diagonal' is not one of"):
        load(theirs)


def test_folder_of_theirs_without_weights_is_refused(theirs: Path):
    (theirs / "model.safetensors").unlink()
    with pytest.raises(WeightsError, match=r"has no model\.safetensors and no pytorch_model\.bin"):
        load(theirs)


def test_index_of_shards_without_a_map_is_refused(theirs: Path):
    (theirs / "model.safetensors.index.json").write_text("{}")
    with pytest.raises(WeightsError, match=r"model\.safetensors\.index\.json: has no weight_map"):
        load(theirs)


@pytest.mark.parametrize(
    ("card", "license"),
    [
        (b'---\nlicense: "cc-by-nc-4.0"\ntags:\n---\n# Model', "cc-by-nc-4.0"),
        (b"# Model without a license \xff", "unspecified"),
        (None, "unspecified"),
    ],
)
def test_license_of_the_model_card_travels_along(theirs: Path, card: bytes | None, license: str):
    if card is not None:
        (theirs / "README.md").write_bytes(card)
    assert read_transformers(theirs).info.license == license


def test_folder_without_a_preprocessor_has_the_released_numbers(theirs: Path):
    (theirs / "preprocessor_config.json").unlink()
    clip = load(theirs).info.clip
    assert (clip.mean, clip.std) == ((0.45,) * 3, (0.225,) * 3)


def test_another_number_of_heads_than_the_weights_were_trained_with_is_refused(tmp_path):
    folder = save(load("tiny", depth=1, embed_dim=12, num_heads=3), tmp_path / "model")
    with pytest.raises(ConfigError, match=r"num_heads=4 does not match .*model, which was trained with 3 heads"):
        load(folder, num_heads=4)
