"""The weights that come with the package: `people`."""

import json
import re
import shutil
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

import timesformer as tsf
from timesformer.errors import ConfigError, WeightsError
from timesformer.files import sha256_of
from timesformer.weights import source
from timesformer.weights.load import config_of, is_here, model_files
from timesformer.weights.source import PACKAGED, packaged_folder

CARD = Path(__file__).parents[2] / "docs/models/people.md"
MOST_BYTES = 12_000_000


@pytest.fixture
def in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_people_is_loaded_from_the_package(in_folder: Path):
    assert PACKAGED == ("people",)
    assert is_here("people")
    model = tsf.load("people")
    config, info = config_of("people")
    assert config == model.config
    assert (config.patch_size, config.image_size, config.num_classes, config.head_norm) == (8, (96, 64), 2, "none")
    assert (info.clip.channel_order, info.license, info.labels) == ("time", "Apache-2.0", ())
    assert "generated people" in info.source
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert model.features(torch.zeros(2, 3, 8, 96, 64)).isfinite().all()


def test_the_file_is_small_in_half_precision_and_the_one_that_card_and_config_state():
    folder = packaged_folder("people")
    weights = folder / "model.safetensors"
    assert weights.stat().st_size <= MOST_BYTES
    with safe_open(weights, "pt") as file:
        assert {file.get_slice(name).get_dtype() for name in file.keys()} == {"F16"}  # noqa: SIM118
    digest = sha256_of(weights)
    assert json.loads((folder / "config.json").read_text("utf-8"))["weights_sha256"] == digest
    assert re.findall(r"SHA-256 of the weights: `(\w+)`", CARD.read_text("utf-8")) == [digest]


def test_a_folder_of_that_name_takes_precedence(in_folder: Path, tmp_path: Path):
    config = tsf.ModelConfig(image_size=16, patch_size=8, embed_dim=12, depth=1, num_heads=2, num_classes=3)
    tsf.save(tsf.TimeSformer(config), in_folder / "people")
    assert tsf.load("people").config == config
    shutil.rmtree("people")
    Path("people").write_text("a list")
    with pytest.raises(WeightsError):
        tsf.load("people")


def test_a_hash_may_be_stated_and_a_revision_may_not(in_folder: Path):
    digest = sha256_of(packaged_folder("people") / "model.safetensors")
    assert tsf.load(f"people#sha256={digest}").config == tsf.load("people").config
    with pytest.raises(WeightsError, match="its SHA-256 is"):
        tsf.load(f"people#sha256={'0' * 64}")
    with pytest.raises(ConfigError, match="applies to a hub id"):
        tsf.load("people", revision="main")


def test_its_files_are_known_as_inputs(in_folder: Path):
    assert {path.name for path in model_files("people")} == {"config.json", "model.safetensors"}


def test_damage_is_found(in_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    shutil.copytree(packaged_folder("people"), tmp_path / "packaged" / "people")
    monkeypatch.setattr(source, "_PACKAGED_FOLDER", tmp_path / "packaged")
    path = tmp_path / "packaged/people/model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(WeightsError, match="the weights were damaged or changed after they were saved"):
        tsf.load("people")


def test_other_names_are_not_packaged(in_folder: Path):
    with pytest.raises(WeightsError, match=r"nor a preset \(.*tiny\) nor packaged weights \(people\)"):
        tsf.load("poeple")
