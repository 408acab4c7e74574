"""Old keys and values are read from every source, and written under their current names."""

import json
from pathlib import Path

import pytest

from timesformer.config.info import ModelInfo
from timesformer.config.io import apply_overrides, from_dict, parse_overrides, read_config, to_dict
from timesformer.config.run import RunConfig
from timesformer.config.schema import ClipConfig, ModelConfig
from timesformer.errors import ConfigError


def test_old_keys_of_files_are_read(tmp_path: Path):
    path = tmp_path / "run.toml"
    path.write_text('[clip]\nsampling = "centre"\n[data]\ncrop_spread = 0.25\n', encoding="utf-8")
    run = read_config(path, kind=RunConfig)
    assert (run.clip.sampling, run.data.crop_jitter) == ("center", 0.25)


def test_old_keys_and_values_are_read_by_set():
    run = apply_overrides(RunConfig(), ["data.crop_spread=0.5", "clip.sampling=centre"])
    assert (run.data.crop_jitter, run.clip.sampling) == (0.5, "center")
    assert parse_overrides(["scheme=sparse_local_global_centred"], kind=ModelConfig) == {
        "scheme": "sparse_local_global_centered"
    }


def test_license_of_older_model_folders_is_read():
    stored = to_dict(ModelInfo(license="MIT"))
    stored["licence"] = stored.pop("license")
    assert from_dict(stored, kind=ModelInfo, source="config.json").license == "MIT"


def test_old_values_in_python_are_those_of_today():
    assert ClipConfig(sampling="centre") == ClipConfig(sampling="center")  # ty: ignore[invalid-argument-type]
    scheme = ModelConfig(scheme="sparse_local_global_centred").scheme  # ty: ignore[invalid-argument-type]
    assert scheme == "sparse_local_global_centered"


def test_nothing_old_is_written():
    text = json.dumps([to_dict(RunConfig(clip=ClipConfig(sampling="center"))), to_dict(ModelInfo())])
    assert not any(old in text for old in ("centre", "licence", "crop_spread"))


def test_a_key_by_both_of_its_names_is_refused():
    with pytest.raises(ConfigError, match=r"x\.toml: licence is the old name of license; give only one"):
        from_dict({"licence": "MIT", "license": "MIT"}, kind=ModelInfo, source="x.toml")
