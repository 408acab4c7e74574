"""The sidecar: what another program needs, in the format that is promised."""

import json
import math
from pathlib import Path

import pytest

from timesformer.config.info import ModelInfo
from timesformer.config.schema import ClipConfig
from timesformer.errors import WeightsError
from timesformer.export.sidecar import embedded, sidecar, sidecar_path, to_text
from timesformer.export.written import runner_path, write_files
from tiny import tiny_config

PROPERTIES = {"kind": "onnx", "precision": "fp32", "dynamic_frames": True, "least_frames": 1}


def _sidecar(clip=None, *, labels=tuple("abcdefg"), **changes):
    info = ModelInfo(clip=clip or ClipConfig(), labels=labels, license="MIT", source="a test")
    config = tiny_config(**changes)
    return sidecar(config, info, file="m.onnx", content=b"abc", export=PROPERTIES, weights_sha256="0" * 64)


def test_everything_that_decides_a_prediction_is_in_it():
    clip = ClipConfig(sampling="coverage", frame_stride=4, target_fps=25.0, channel_order="bgr", fusion="logits")
    found = json.loads(to_text(_sidecar(clip)))
    assert found["format"] == "timesformer.preprocessing/1"
    assert found["input"]["shape"] == ["batch", 3, "frames", 8, 20]
    assert found["output"]["shape"] == ["batch", 7]
    assert found["labels"] == list("abcdefg")
    assert found["image_size"] == found["crop"]["size"] == [8, 20]
    sampling = found["sampling"]
    assert [sampling[key] for key in ("mode", "num_frames", "frame_stride", "target_fps")] == ["coverage", 3, 4, 25.0]
    assert "0, L, 2 L" in sampling["placement"]
    assert found["resize"] | {"scale": 1.0, "antialias": True, "interpolation": "bilinear"} == found["resize"]
    assert found["normalization"]["channel_order"] == "bgr"
    assert (found["fusion"], found["license"], found["source"]) == ("logits", "MIT", "a test")
    assert found["model"]["sha256"] == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert {"timesformer", "torch", "onnxruntime"} <= set(found["versions"])


def test_short_side_is_given_for_a_square_crop():
    clip = ClipConfig(num_crops=1)
    assert _sidecar(clip, image_size=(224, 224), patch_size=16)["resize"]["short_side"] == 256
    assert _sidecar(clip)["resize"]["short_side"] is None
    assert math.isclose(_sidecar(clip)["resize"]["scale"], 8 / 7)


def test_channels_that_are_times_read_three_times_as_many_frames():
    clip = ClipConfig(sampling="uniform", channel_order="time")
    assert _sidecar(clip)["sampling"]["num_frames"] == 9
    assert _sidecar(clip)["num_frames"] == 3


def test_every_class_has_a_label_even_without_names():
    assert _sidecar(labels=())["labels"] == [f"class {index}" for index in range(7)]


def test_the_copy_inside_a_file_leaves_out_what_it_cannot_know():
    whole = _sidecar()
    assert set(whole["model"]) - set(embedded(whole)["model"]) == {"file", "sha256", "bytes"}


@pytest.mark.parametrize(("file", "name"), [("a.onnx", "a.json"), ("a.ONNX", "a.json"), ("a.pt2", "a.pt2.json")])
def test_two_formats_of_one_model_have_a_sidecar_each(file, name):
    assert sidecar_path(Path(file)) == Path(name)
    assert runner_path(Path("there/a.b.onnx")) == Path("there/run_a.b.py")


def test_files_are_written_together_or_not_at_all(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(WeightsError, match=r"file/m\.json: cannot be written"):
        write_files({tmp_path / "m.onnx": b"model", tmp_path / "file" / "m.json": b"{}"})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]
