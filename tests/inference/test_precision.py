"""`precision="auto"`: what the device computes faster, wherever a model computes."""

from pathlib import Path

import pytest
import torch

from processors import WITH_BF16, WITHOUT_BF16, claim
from timesformer.config.compute import ComputeOptions
from timesformer.explanation.explain import Explainer
from timesformer.export.onnx import export_onnx
from timesformer.inference.options import precision_of
from timesformer.inference.predictor import Predictor
from tiny import random_clips, random_model, tiny_config

BOTH = pytest.mark.parametrize(("processor", "expected"), [(WITH_BF16, "bf16"), (WITHOUT_BF16, "fp32")])


@BOTH
@pytest.mark.parametrize("fast", [True, False])
def test_auto_gives_the_logits_of_the_precision_that_it_is(monkeypatch, processor, expected, fast):
    claim(monkeypatch, processor)
    model = random_model(tiny_config())
    automatic, named = (Predictor(model, precision=name, device="cpu", fast=fast) for name in ("auto", expected))
    assert automatic.precision == named.precision == expected
    assert automatic.dtype == {"bf16": torch.bfloat16, "fp32": torch.float32}[expected]
    clips = random_clips(model.config)
    torch.testing.assert_close(automatic.logits(clips), named.logits(clips), rtol=0, atol=0)


def test_fp32_is_the_default_on_every_processor(monkeypatch):
    claim(monkeypatch, WITH_BF16)
    assert Predictor(random_model(tiny_config())).precision == "fp32"


@pytest.mark.parametrize("processor", [WITH_BF16, WITHOUT_BF16])
def test_auto_is_as_exported_for_an_onnx_file(monkeypatch, tmp_path: Path, processor):
    claim(monkeypatch, processor)
    model = random_model(tiny_config())
    path = export_onnx(model, tmp_path / "m.onnx").path
    automatic, plain = Predictor(path, precision="auto"), Predictor(path)
    assert automatic.precision == plain.precision == "fp32"
    clips = random_clips(model.config)
    torch.testing.assert_close(automatic.logits(clips), plain.logits(clips), rtol=0, atol=0)
    assert precision_of(ComputeOptions(precision="auto"), automatic.model) == "fp32"


@BOTH
def test_occlusion_takes_auto(monkeypatch, processor, expected):
    claim(monkeypatch, processor)
    explainer = Explainer(random_model(tiny_config()), method="occlusion", precision="auto")
    assert explainer._predictor is not None
    assert explainer._predictor.precision == expected


@pytest.mark.parametrize(("processor", "count"), [(WITH_BF16, 0), (WITHOUT_BF16, 1)])
def test_bf16_on_a_cpu_that_lacks_it_is_warned_of(monkeypatch, caplog, processor, count):
    claim(monkeypatch, processor)
    Predictor(random_model(tiny_config()), precision="bf16", device="cpu")
    assert [record.message.startswith("precision='bf16': this CPU") for record in caplog.records] == [True] * count
