import pytest
import torch

from timesformer.inference.predictor import Predictor
from timesformer.model import TimeSformer
from tiny import SCHEME_NAMES, random_clips, random_model, tiny_config


def logits(model: TimeSformer, **options: object) -> torch.Tensor:
    return Predictor(model, **options).logits(random_clips(model.config, batch=3))


@pytest.mark.parametrize("scheme", SCHEME_NAMES)
@pytest.mark.parametrize("fast", [True, False])
def test_a_gpu_gives_the_logits_of_the_cpu(scheme: str, fast: bool, device: str):
    config = tiny_config(scheme)
    expected = logits(random_model(config), device="cpu", fast=False)
    torch.testing.assert_close(logits(random_model(config), device=device, fast=fast), expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_is_near(precision: str, device: str):
    # heads of 16: fused attention of a GPU wants multiples of 8
    config = tiny_config(embed_dim=48)
    expected = logits(random_model(config), device="cpu", fast=False)
    found = logits(random_model(config), device=device, precision=precision)
    torch.testing.assert_close(found, expected, rtol=0, atol=0.1)
