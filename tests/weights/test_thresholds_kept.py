"""Thresholds of timelines go with the model into other formats, and stay behind where its curves change."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from timesformer.config.info import ModelInfo
from timesformer.config.io import from_dict
from timesformer.config.schema import ClipConfig
from timesformer.config.thresholds import Thresholds
from timesformer.inference.onnx_model import onnx_metadata
from timesformer.weights.formats.transformers import save_transformers
from timesformer.weights.load import load
from timesformer.weights.model_folder import StoredConfig
from tiny import random_model, square_config

THRESHOLDS = Thresholds(onset=0.7, per_class={"b": {"onset": 0.9, "min_on": 2.5}})
CLIP = ClipConfig(sampling="uniform", num_crops=1)
INFO = ModelInfo(clip=CLIP, labels=tuple("abcdefg"), thresholds=THRESHOLDS)


@pytest.mark.parametrize("thresholds", [THRESHOLDS, None])
def test_transformers_folder_keeps_them(tmp_path: Path, thresholds: Thresholds | None):
    model = random_model(square_config(), info=replace(INFO, thresholds=thresholds))
    assert load(save_transformers(model, tmp_path / "theirs")).info.thresholds == thresholds


def test_onnx_metadata_keep_them():
    stored = json.loads(onnx_metadata(square_config(), INFO)["timesformer.config"])
    assert from_dict(stored, kind=StoredConfig, source="onnx").thresholds == THRESHOLDS


def test_info_with_thresholds_of_another_class_is_refused():
    with pytest.raises(ValueError, match=r"thresholds: the model has no class 'b', only 2 others"):
        replace(INFO, labels=("x", "y"))
