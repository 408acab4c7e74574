"""Models and predictors can be pickled, copied and sent to another process."""

import copy
import multiprocessing
import pickle
from pathlib import Path

import pytest
import torch

import timesformer as tsf
from timesformer.config.info import ModelInfo
from timesformer.config.schema import ClipConfig
from timesformer.model import TimeSformer
from timesformer.model.fast import FastTimeSformer
from tiny import SCHEME_NAMES, random_clips, random_model, tiny_config
from videos import write_video


def _kinds(scheme: str) -> list[torch.nn.Module]:
    model = random_model(tiny_config(scheme))
    return [model, FastTimeSformer(model)]


@pytest.mark.parametrize("scheme", SCHEME_NAMES)
def test_pickled_and_copied_models_give_the_same_logits(scheme: str):
    for model in _kinds(scheme):
        clips = random_clips(tiny_config(scheme))
        with torch.no_grad():
            want = model(clips)
            for other in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
                assert torch.equal(other(clips), want)


@pytest.mark.parametrize("scheme", SCHEME_NAMES)
def test_model_saved_whole_by_torch_is_read_back(scheme: str, tmp_path: Path):
    model = random_model(tiny_config(scheme))
    torch.save(model, tmp_path / "whole.pt")
    again = torch.load(tmp_path / "whole.pt", weights_only=False)
    assert isinstance(again, TimeSformer)
    assert (again.config, again.scheme) == (model.config, model.scheme)
    assert torch.equal(again(random_clips(model.config)), model(random_clips(model.config)))


def test_predictor_of_an_onnx_file_opens_it_again(tmp_path: Path):
    model = random_model(tiny_config())
    predictor = tsf.Predictor(tsf.export_onnx(model, tmp_path / "model.onnx").path)
    clips = random_clips(model.config)
    assert torch.equal(pickle.loads(pickle.dumps(predictor)).logits(clips), predictor.logits(clips))


def _predict(predictor: tsf.Predictor, path: str) -> tuple[float, ...]:
    return predictor(path).probabilities


@pytest.mark.parametrize("fast", [True, False])
def test_predictor_works_in_a_spawned_process(fast: bool, tmp_path: Path):
    video = str(write_video(tmp_path / "clip.mp4", num_frames=5))
    info = ModelInfo(clip=ClipConfig(sampling="uniform", num_crops=1), labels=tuple("abcdefg"))
    predictor = tsf.Predictor(random_model(tiny_config("axial"), info=info), device="cpu", fast=fast)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(_predict, (predictor, video)) == pytest.approx(_predict(predictor, video), abs=1e-6)
