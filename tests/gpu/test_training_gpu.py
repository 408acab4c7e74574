import pytest
import torch

from timesformer.model import TimeSformer, kernels
from tiny import SCHEME_NAMES, random_clips, random_model, tiny_config


def gradients(model: TimeSformer, device: str) -> dict[str, torch.Tensor]:
    model = model.to(device).train()
    model.zero_grad()
    model(random_clips(model.config, batch=3).to(device)).square().sum().backward()
    return {name: parameter.grad.cpu() for name, parameter in model.named_parameters()}


@pytest.mark.parametrize("scheme", SCHEME_NAMES)
def test_a_gpu_gives_the_gradients_of_the_cpu(scheme: str, device: str, monkeypatch: pytest.MonkeyPatch):
    model = random_model(tiny_config(scheme))
    found = gradients(model, device)
    monkeypatch.setattr(kernels, "can_fuse", lambda *_, **__: False)
    for name, want in gradients(model, "cpu").items():
        torch.testing.assert_close(found[name], want, rtol=1e-3, atol=1e-4 * float(want.abs().max()), msg=name)
