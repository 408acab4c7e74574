"""One description of how a model computes, however it is given."""

from collections.abc import Collection
from dataclasses import fields
from pathlib import Path
from typing import get_type_hints

import pytest

from timesformer.config.compute import ComputeOptions
from timesformer.config.overrides import ModelOverrides
from timesformer.config.schema import ModelConfig
from timesformer.data.manifest.manifest import Manifest
from timesformer.errors import ConfigError
from timesformer.evaluation.evaluate import evaluate
from timesformer.inference.options import ComputeKeywords, PredictorKeywords
from timesformer.inference.predictor import Predictor
from tiny import random_model, tiny_config

NOTHING = Manifest((), ())


def test_keywords_are_the_fields_of_the_options():
    assert get_type_hints(ComputeKeywords) == get_type_hints(ComputeOptions)
    assert [field.name for field in fields(ComputeOptions)] == [
        "device", "batch_size", "num_workers", "on_error", "fast", "compile", "precision", "allow_codecs"
    ]  # fmt: skip


def test_overrides_are_the_fields_of_a_model_config():
    of_config = get_type_hints(ModelConfig) | {"image_size": int | tuple[int, int]}  # one side for both
    assert get_type_hints(ModelOverrides) == of_config


def test_a_predictor_accepts_every_option_that_it_uses_and_every_field_of_a_model():
    used = get_type_hints(ComputeOptions).keys() - {"num_workers", "on_error"}
    assert get_type_hints(PredictorKeywords).keys() == used | get_type_hints(ModelOverrides).keys()
    assert get_type_hints(PredictorKeywords)["allow_codecs"] == Collection[str]


def test_options_and_keywords_build_the_same_predictor():
    model = random_model(tiny_config())
    given = {"device": "cpu", "batch_size": 3, "fast": False, "precision": "bf16"}
    first, second = Predictor(model, options=ComputeOptions(**given)), Predictor(model, **given)
    for predictor in (first, second):
        assert (predictor.batch_size, str(predictor.device), str(predictor.dtype)) == (3, "cpu", "torch.bfloat16")
        assert isinstance(predictor.model, type(model))


def test_options_are_equal_whatever_holds_the_codecs():
    assert ComputeOptions(allow_codecs=["magicyuv"]) == ComputeOptions(allow_codecs=("magicyuv",))
    assert len({ComputeOptions(allow_codecs=["magicyuv"]), ComputeOptions(allow_codecs=("magicyuv",))}) == 1


@pytest.mark.parametrize("call", [Predictor, lambda model, **given: evaluate(model, NOTHING, **given)])
def test_a_setting_given_both_ways_is_refused(call):
    model = random_model(tiny_config())
    with pytest.raises(ConfigError, match=r"^device: given in addition to options=ComputeOptions"):
        call(model, options=ComputeOptions(batch_size=2), device="cpu")


@pytest.mark.parametrize(("name", "value"), [("num_workers", 0), ("num_workers", 2), ("on_error", "skip")])
def test_a_predictor_refuses_what_only_evaluation_uses(name: str, value: object):
    model = random_model(tiny_config())
    with pytest.raises(ConfigError, match=f"^{name}={value!r} has no effect on a Predictor, only on evaluate"):
        Predictor(model, **{name: value})  # ty: ignore[invalid-argument-type]


def test_a_predictor_refuses_options_of_evaluation():
    with pytest.raises(ConfigError, match="on_error='skip' has no effect on a Predictor"):
        Predictor(random_model(tiny_config()), options=ComputeOptions(on_error="skip"))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"batch_size": 0}, "batch_size=0 must be at least 1"),
        ({"num_workers": -1}, "num_workers=-1 must not be negative"),
        ({"on_error": "stop"}, "on_error='stop' is not one of 'raise', 'skip'"),
        ({"precision": "fp8"}, "precision='fp8' is not one of 'auto', 'fp32', 'bf16', 'fp16'"),
        ({"allow_codecs": "h264"}, "allow_codecs='h264' must be a list of names"),
    ],
)
def test_options_out_of_range_are_refused(given, message):
    with pytest.raises(ConfigError, match=message):
        evaluate(random_model(tiny_config()), NOTHING, **given)


def test_a_mistyped_keyword_of_evaluate_is_a_type_error(tmp_path: Path):
    with pytest.raises(TypeError, match="bath_size"):
        evaluate(random_model(tiny_config()), tmp_path, bath_size=4)  # ty: ignore[unknown-argument]
