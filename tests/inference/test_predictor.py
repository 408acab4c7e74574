"""How a predictor computes; its predictions for files are tested through the command line."""

from pathlib import Path

import pytest
import torch

from timesformer.errors import DependencyError
from timesformer.inference.predictor import Predictor
from timesformer.model import TimeSformer
from timesformer.model.fast import FastTimeSformer
from timesformer.weights import save
from tiny import random_clips, random_model, tiny_config


@pytest.fixture
def model() -> TimeSformer:
    return random_model(tiny_config(head_norm="batch"))


def test_fast_and_plain_give_the_same_logits(model: TimeSformer):
    clips = random_clips(model.config, batch=5)
    fast, plain = Predictor(model, batch_size=2), Predictor(model, batch_size=2, fast=False)
    assert isinstance(fast.model, FastTimeSformer)
    assert isinstance(plain.model, TimeSformer)
    torch.testing.assert_close(fast.logits(clips), plain.logits(clips), rtol=0, atol=1e-5)


def test_a_loaded_model_is_fast_too(model: TimeSformer, tmp_path: Path):
    predictor = Predictor(save(model, tmp_path / "model"))
    assert isinstance(predictor.model, FastTimeSformer)
    assert predictor.model.info == model.info
    assert "model folder" in str(predictor.model.load_report)


def test_hooks_run(model: TimeSformer):
    model.register_forward_hook(lambda module, inputs, output: output + 1)
    clips = random_clips(model.config)
    with torch.no_grad():
        torch.testing.assert_close(Predictor(model).logits(clips), model(clips))


def test_a_compiler_that_does_not_work_is_one_clear_error(model: TimeSformer, monkeypatch: pytest.MonkeyPatch):
    class InductorError(RuntimeError):
        pass

    def fail(clips: torch.Tensor) -> torch.Tensor:
        raise InductorError("No working C++ compiler found\nand much more")

    monkeypatch.setattr(torch, "compile", lambda module, mode: fail)
    predictor = Predictor(model, compile=True)
    with pytest.raises(DependencyError, match=r"cannot be compiled here.*No working C\+\+ compiler found$"):
        predictor.logits(random_clips(model.config))


@pytest.mark.parametrize("fast", [True, False])
def test_lower_precision_is_near_and_leaves_the_given_model_alone(model: TimeSformer, fast: bool):
    clips = random_clips(model.config)
    exact = Predictor(model, fast=fast).logits(clips)
    rough = Predictor(model, fast=fast, precision="bf16").logits(clips)
    assert rough.dtype == torch.float32
    assert 1e-4 < (rough - exact).abs().max() < 0.1
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
