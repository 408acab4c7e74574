"""Attention by products is fused attention, for every processor, with its gradients; each gets the faster kernel."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from processors import UNDESCRIBED, WITH_BF16, claim
from timesformer.device import Processor
from timesformer.model import TimeSformer, attention
from timesformer.model.attention import attend, attend_heads
from timesformer.model.fast import FastTimeSformer
from tiny import SCHEME_NAMES, random_clips, random_model, tiny_config

INTEL = Processor(is_known=True, is_intel=True, avx512=True)
AMX = Processor(is_known=True, is_intel=True, avx512=True, avx512_bf16=True, amx_bf16=True)


@pytest.mark.parametrize(
    ("processor", "fp32", "bf16"),
    [(UNDESCRIBED, 0, 0), (INTEL, 0, 0), (WITH_BF16, 0, 2048), (AMX, 0, 32)],
    ids=["undescribed", "avx512", "avx512_bf16", "amx"],
)
def test_the_kernel_is_chosen_by_processor_dtype_and_length(
    processor: Processor, fp32: int, bf16: int, monkeypatch: pytest.MonkeyPatch
):
    claim(monkeypatch, processor)
    for dtype, longest in ((torch.float32, fp32), (torch.bfloat16, bf16), (torch.float64, 0)):
        for length in (1, 32, 33, 2048, 2049):
            q = torch.zeros(1, length, 2, dtype=dtype)
            with torch.no_grad():
                assert attention._favors_products(q, q) == (length <= longest)
                assert not attention._favors_products(q, q, learns=True)
            assert attention._favors_products(q, q, learns=True) == (length <= longest)


def _heads(seed: int, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(4, 5, 6, generator=generator).to(dtype) for _ in range(3)]


@pytest.mark.parametrize("scores", [1, 60, 2**22])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@torch.no_grad()
def test_products_are_fused_attention_in_chunks_of_any_size(
    scores: int, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(attention, "_longest_for_products", lambda dtype, found: 5)
    monkeypatch.setattr(attention, "_CHUNK_SCORES", scores)
    q, k, v = (x.unflatten(-1, (3, 2)).movedim(0, 2) for x in _heads(0, dtype))  # views, as in the frame layout
    bound = 3e-2 if dtype == torch.bfloat16 else 1e-6  # bf16 keeps 8 bits of the scores and of the weights
    for scale in (None, 1.0, 0.3):
        want = F.scaled_dot_product_attention(*(x.double() for x in (q, k, v)), scale=scale).to(dtype)
        torch.testing.assert_close(attend_heads(q, k, v, scale=scale), want, rtol=bound, atol=bound)


@pytest.mark.parametrize("scores", [1, 60, 2**22])
def test_gradients_of_products_are_exact(scores: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(attention, "_CHUNK_SCORES", scores)
    q, k, v = (x.double().requires_grad_() for x in _heads(1))
    assert torch.autograd.gradcheck(lambda *x: attention._ByProducts.apply(*x, 3), (q, k, v))
    want = attend(q, k, v, num_heads=3)
    torch.testing.assert_close(attention._ByProducts.apply(q, k, v, 3), want)


def test_masks_and_dropout_are_left_to_the_fused_kernel(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(attention, "_longest_for_products", lambda dtype, found: 5)
    monkeypatch.setattr(attention, "_ByProducts", None)
    q, k, v = _heads(2)
    mask = torch.ones(5, 5, dtype=torch.bool).tril()
    assert attend(q, k, v, num_heads=3, mask=mask).shape == q.shape
    assert attend(q, k, v, num_heads=3, dropout_p=0.5).shape == q.shape


@pytest.mark.parametrize("processor", [UNDESCRIBED, INTEL, WITH_BF16, AMX], ids=["plain", "avx512", "bf16", "amx"])
@pytest.mark.parametrize("scheme", SCHEME_NAMES)
def test_every_processor_gives_the_logits_and_gradients_of_the_model(
    scheme: str, processor: Processor, monkeypatch: pytest.MonkeyPatch
):
    model = random_model(tiny_config(scheme))
    clips = random_clips(model.config)
    claim(monkeypatch, UNDESCRIBED)
    with torch.no_grad():
        want = model(clips)
    want_gradient = _gradient(model, clips)
    claim(monkeypatch, processor)
    for fast in (FastTimeSformer(model), FastTimeSformer(model).pack()):
        torch.testing.assert_close(fast(clips), want, rtol=0, atol=1e-5)
    torch.testing.assert_close(_gradient(model, clips), want_gradient, rtol=1e-4, atol=1e-4)
    half = FastTimeSformer(model).bfloat16().pack()(clips.bfloat16()).float()
    torch.testing.assert_close(half, want, rtol=0, atol=0.1 * float(want.std()) + 0.05)  # bf16 keeps 8 bits


def _gradient(model: TimeSformer, clips: Tensor) -> Tensor:
    model.train().zero_grad()
    model(clips).square().sum().backward()
    model.eval()
    return torch.cat([parameter.grad.flatten() for parameter in model.parameters() if parameter.grad is not None])
