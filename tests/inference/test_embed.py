"""`tsf.embed`: its features are those of the model; files are also embedded through the command line."""

import re
from dataclasses import replace

import numpy as np
import pytest
import torch

import timesformer as tsf
from timesformer.data.clips.dataset import read_eval_views
from timesformer.data.video.frame_array import FrameArrayReader
from timesformer.inference.embed import refuse_level
from timesformer.inference.onnx_model import OnnxModel
from timesformer.inference.predictor import Predictor
from tiny import random_clips, random_model, tiny_config


@pytest.fixture
def model():
    clip = tsf.ClipConfig(sampling="uniform", num_crops=3)
    return random_model(tiny_config(head_norm="batch"), info=tsf.ModelInfo(clip=clip, labels=tuple("abcdefg")))


@pytest.fixture
def video():
    return np.random.default_rng(0).integers(0, 256, (9, 16, 40, 3), dtype=np.uint8)


def views_of(model, video):
    return read_eval_views(FrameArrayReader(video, fps=30), model.config, model.info.clip)[0]


def test_features_are_averaged_over_views(model, video):
    found = tsf.embed(model, video)
    with torch.no_grad():
        expected = model.features(views_of(model, video)).mean(dim=0)
    np.testing.assert_allclose(found.features, expected, rtol=1e-4, atol=1e-4)
    assert found.token is found.features or np.array_equal(found.token, found.features)
    prediction = Predictor(model)(video)
    assert (found.label, found.score, found.path) == (prediction.label, pytest.approx(prediction.probability), "")


@pytest.mark.parametrize(("level", "shape"), [("frame", (3, 24)), ("patch", (3, 2, 5, 24))])
def test_frames_and_patches_are_those_of_the_center_crop(model, video, level, shape):
    found = tsf.embed(Predictor(model, batch_size=2), video, level=level)
    assert (found.features.shape, found.features.dtype, found.token.shape) == (shape, np.float32, (24,))
    center = Predictor(model, fast=False).encode(views_of(model, video)[1:2], level=level)
    np.testing.assert_allclose(found.features, center.features[0], rtol=1e-4, atol=1e-4)
    assert found.label == tsf.embed(model, video).label


def test_a_list_gives_a_list(model, video):
    other = video[::-1].copy()
    found = tsf.embed(model, [video, other, video])
    assert [np.allclose(each.features, found[0].features, atol=1e-4) for each in found] == [True, False, True]
    assert tsf.embed(model, []) == []


def test_a_predictor_encodes_clips_at_once(model):
    clips = random_clips(model.config, batch=5)
    predictor = Predictor(model, batch_size=2)
    found = predictor.encode(clips)
    torch.testing.assert_close(found.logits, predictor.logits(clips), rtol=0, atol=0)
    assert found.features.shape == (5, 24)


def refused(error, message, *arguments, **options):
    with pytest.raises(error, match=f"^{re.escape(message)}"):
        tsf.embed(*arguments, **options)


def test_what_cannot_be_embedded_is_refused(model, video, tmp_path):
    predictor = Predictor(model)
    refused(tsf.ConfigError, "batch_size: has no effect on a Predictor", predictor, video, batch_size=2)
    refused(tsf.ConfigError, "options: has no effect on a Predictor", predictor, video, options=tsf.ComputeOptions())
    with pytest.raises(tsf.ConfigError, match=r"^level='token' is not one of"):
        refuse_level(predictor, "token")
    refused(tsf.DecodeError, f"{tmp_path}/none.mp4", predictor, tmp_path / "none.mp4")
    onnx = OnnxModel(None, config=model.config, info=model.info, path=tmp_path / "m.onnx")
    refused(tsf.ConfigError, f"{tmp_path}/m.onnx: an ONNX file gives the scores of classes, not features: name the "
            "model that it was exported from", onnx, video)  # fmt: skip


def test_a_model_that_outputs_nan_is_named(model, video):
    with torch.no_grad():
        model.norm.bias[3] = torch.nan
    refused(tsf.TimeSformerError, "frames in memory: the model outputs nan or inf", model, video)


def test_features_that_are_not_finite_are_an_error_although_the_logits_are(model, video):
    model = random_model(replace(model.config, head_norm="none"), info=model.info)
    with torch.no_grad():
        model.norm.weight[3] = torch.inf
        model.norm.bias[3] = 0
        model.head.weight[:, 3] = 0
    refused(tsf.TimeSformerError, "frames in memory: the model outputs nan or inf", model, video)
