"""bf16 against fp32 on the same device: logits and gradients of every scheme."""

from collections.abc import Callable
from copy import deepcopy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from timesformer.bench.baselines import by_plain_layers
from timesformer.config.schema import ModelConfig
from timesformer.model import TimeSformer
from timesformer.model.fast import FastTimeSformer
from tiny import SCHEME_NAMES, random_clips, random_model, tiny_config

LOGITS, GRADIENTS = 0.03, 0.08
"""Largest relative errors, about twice those of a CPU: 0.019 and 0.033. bf16 rounds each number by up to 0.4 %."""

FORMS: dict[str, Callable[[TimeSformer], nn.Module]] = {"fast": FastTimeSformer, "block by block": lambda model: model}


def config_of(scheme: str) -> ModelConfig:
    # heads of 16: fused attention of a GPU wants multiples of 8
    return tiny_config(scheme, embed_dim=48)


def relative_error(found: Tensor, expected: Tensor) -> float:
    return float((found.float() - expected).norm() / expected.norm().clamp_min(1e-12))


@torch.no_grad()
def logits(module: nn.Module, clips: Tensor, device: str, dtype: torch.dtype) -> Tensor:
    return module.to(device, dtype)(clips.to(device, dtype)).float()


@pytest.mark.parametrize("scheme", SCHEME_NAMES)
@pytest.mark.parametrize("form", FORMS)
def test_logits_in_bf16_are_near_those_in_fp32(scheme: str, form: str, device: str):
    model = random_model(config_of(scheme))
    clips = random_clips(model.config, batch=5)
    expected = logits(FORMS[form](deepcopy(model)), clips, device, torch.float32)
    found = logits(FORMS[form](model), clips, device, torch.bfloat16)
    assert relative_error(found, expected) < LOGITS


def gradients(model: TimeSformer, device: str, dtype: torch.dtype) -> dict[str, Tensor]:
    model = deepcopy(model).to(device).train()
    clips = random_clips(model.config, batch=5).to(device)
    with torch.autocast(torch.device(device).type, dtype=dtype, enabled=dtype != torch.float32):
        loss = F.cross_entropy(model(clips).float(), torch.arange(5, device=device))
    loss.backward()
    return {name: parameter.grad for name, parameter in model.named_parameters()}


@pytest.mark.parametrize("scheme", SCHEME_NAMES)
@pytest.mark.parametrize("prepare", [lambda model: model, by_plain_layers], ids=["fused", "plain"])
def test_gradients_in_bf16_are_near_those_in_fp32(scheme: str, prepare: Callable, device: str):
    model = prepare(random_model(config_of(scheme)))
    expected, found = (gradients(model, device, dtype) for dtype in (torch.float32, torch.bfloat16))
    whole = torch.cat([gradient.flatten() for gradient in expected.values()]).norm()
    for name, gradient in expected.items():
        assert found[name].dtype == torch.float32
        # near zero, as for the biases of keys, only rounding errors are left
        assert (found[name] - gradient).norm() < GRADIENTS * gradient.norm().clamp_min(1e-3 * whole), name


@pytest.mark.parametrize("scheme", SCHEME_NAMES)
def test_fused_kernels_in_bf16_have_the_gradients_of_plain_layers(scheme: str, device: str):
    model = random_model(config_of(scheme))
    exact = gradients(by_plain_layers(deepcopy(model)), device, torch.float32)
    fused = gradients(model, device, torch.bfloat16)
    plain = gradients(by_plain_layers(model), device, torch.bfloat16)
    all_of = lambda found: torch.cat([gradient.flatten() for gradient in found.values()])  # noqa: E731
    assert relative_error(all_of(fused), all_of(exact)) < 1.5 * relative_error(all_of(plain), all_of(exact)) + 1e-3
