"""Sources of models as text: revision and hash, and the local files that they apply to."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from timesformer.errors import ConfigError, WeightsError
from timesformer.files import sha256_of
from timesformer.weights import save, save_released, save_transformers
from timesformer.weights.load import config_of, is_here, load, model_files
from timesformer.weights.source import ModelSource, parse_source
from tiny import random_model, square_config, tiny_config

ZEROS = "0" * 64


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return save(random_model(tiny_config()), tmp_path / "model")


@pytest.mark.parametrize(
    ("text", "source"),
    [
        ("runs/mine", ModelSource("runs/mine")),
        ("owner/na.me@v1.0", ModelSource("owner/na.me", "v1.0")),
        ("owner/name@refs/pr/3", ModelSource("owner/name", "refs/pr/3")),
        (f"owner/name@main#sha256={'aB' * 32}", ModelSource("owner/name", "main", "ab" * 32)),
        (f"a b/model.pth#sha256={ZEROS}", ModelSource("a b/model.pth", None, ZEROS)),
        ("me@home/run/model", ModelSource("me@home/run/model")),
        ("./owner/name@v1", ModelSource("./owner/name@v1")),
    ],
)
def test_text_is_split(text: str, source: ModelSource):
    assert parse_source(text) == source


def test_folder_of_that_very_name_is_preferred(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "owner/name@v1").mkdir(parents=True)
    assert parse_source("owner/name@v1") == ModelSource("owner/name@v1")
    assert parse_source(f"owner/name@v1#sha256={ZEROS}") == ModelSource("owner/name@v1", None, ZEROS)


@pytest.mark.parametrize("digest", ["", "ab", "g" * 64, "0" * 65])
def test_hash_of_another_length_is_refused(digest: str):
    with pytest.raises(ConfigError, match=rf"sha256='{digest}' is not a SHA-256 of 64 hexadecimal digits"):
        load(f"model.pth#sha256={digest}")


def test_revision_or_hash_is_stated_once():
    with pytest.raises(ConfigError, match="states a revision, and so does revision='v2': give it once"):
        load("owner/name@v1", revision="v2")
    with pytest.raises(ConfigError, match=f"states a sha256, and so does sha256='{ZEROS}': give it once"):
        load(f"x.pth#sha256={ZEROS}", sha256=ZEROS)


def test_revision_of_something_that_is_not_on_the_hub_is_refused(folder: Path):
    with pytest.raises(ConfigError, match=r"applies to a hub id \(owner/name\), and .*model is a file or folder"):
        load(folder, revision="v1")
    with pytest.raises(ConfigError, match="and tiny is a preset"):
        load("tiny", revision="v1")


def test_hash_of_a_preset_is_refused():
    with pytest.raises(ConfigError, match="tiny is a preset, which has none"):
        load("tiny", sha256=ZEROS)


# --- The hash of a file ---------------------------------------------------------------------------------------------


def test_weights_with_the_stated_hash_load(folder: Path):
    digest = sha256_of(folder / "model.safetensors")
    expected = load(folder).state_dict()
    for again in (load(folder, sha256=digest.upper()), load(f"{folder}#sha256={digest}"), load(str(folder))):
        torch.testing.assert_close(again.state_dict(), expected, rtol=0, atol=0)
    assert config_of(f"{folder}#sha256={digest}")[0] == load(folder).config


def test_weights_with_another_hash_are_refused(folder: Path, tmp_path: Path):
    released = save_released(random_model(square_config()), tmp_path / "weights.pyth")
    with pytest.raises(WeightsError, match=rf"model\.safetensors: its SHA-256 is \w+, but sha256 states {ZEROS}"):
        load(folder, sha256=ZEROS)
    with pytest.raises(WeightsError, match=rf"weights\.pyth: its SHA-256 is \w+, but sha256 states {ZEROS}"):
        config_of(f"{released}#sha256={ZEROS}")


def test_hash_applies_to_the_weights_that_are_read(tmp_path: Path):
    folder = save_transformers(random_model(square_config()), tmp_path / "theirs")
    (folder / "pytorch_model.bin").write_bytes(b"not read")
    assert load(folder, sha256=sha256_of(folder / "model.safetensors")).load_report.format == "transformers"
    (folder / "extra.safetensors").write_bytes(b"")
    with pytest.raises(WeightsError, match=r"hash of one file, .* are: extra\.safetensors, model\.safetensors"):
        load(folder, sha256=ZEROS)


def test_files_of_a_source_with_a_hash_are_known(folder: Path):
    source = f"{folder}#sha256={ZEROS}"
    assert is_here(source)
    assert sorted(path.name for path in model_files(source)) == ["config.json", "model.safetensors"]


# --- The hash that a model folder states ----------------------------------------------------------------------------


def test_model_folder_states_the_hash_of_its_weights(folder: Path):
    stored = json.loads((folder / "config.json").read_text("utf-8"))
    assert stored["weights_sha256"] == sha256_of(folder / "model.safetensors")


def test_weights_that_were_changed_after_saving_are_refused(folder: Path):
    path = folder / "model.safetensors"
    tensors = load_file(path)
    tensors["head.bias"][3] += 1e-3
    save_file(tensors, path)
    with pytest.raises(
        WeightsError, match=r"but .*config\.json states \w+: .* delete weights_sha256 from config\.json"
    ):
        load(folder)


def test_model_folder_without_a_hash_loads(folder: Path):
    config = folder / "config.json"
    values = json.loads(config.read_text("utf-8"))
    del values["weights_sha256"]
    config.write_text(json.dumps(values))
    assert load(folder).config == tiny_config()
