"""Products agree with torch's for every processor, and each processor gets the library that is fastest on it."""

import copy
import pickle

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from processors import UNDESCRIBED, WITH_BF16, claim
from timesformer.device import Processor
from timesformer.model import matmul

INTEL = Processor(is_known=True, is_intel=True, avx512=True)
AMX = Processor(is_known=True, is_intel=True, avx512=True, avx512_bf16=True, amx_bf16=True)
PROCESSORS = pytest.mark.parametrize("processor", [UNDESCRIBED, WITH_BF16], ids=["torch", "onednn"])
DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64], ids=str)


def _tensors(dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    x, weight, bias = (torch.randn(shape, generator=generator) for shape in ((2, 5, 6), (4, 6), (4,)))
    return x.to(dtype), weight.to(dtype), bias.to(dtype)


def _assert_close(got: Tensor, want: Tensor) -> None:
    assert got.dtype == want.dtype
    bound = 3e-2 if want.dtype == torch.bfloat16 else 1e-5  # bf16 keeps 8 bits, and the order of sums differs
    torch.testing.assert_close(got, want, rtol=bound, atol=bound)


@pytest.mark.parametrize(
    ("processor", "fp32", "bf16"),
    [(UNDESCRIBED, False, False), (WITH_BF16, True, True), (INTEL, False, False), (AMX, False, True)],
    ids=["undescribed", "avx512 of amd", "avx512 of intel", "amx"],
)
def test_the_library_is_chosen_by_processor_and_dtype(
    processor: Processor, fp32: bool, bf16: bool, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: True)
    assert matmul._prefers_onednn(torch.float32, processor) == fp32
    assert matmul._prefers_onednn(torch.bfloat16, processor) == bf16
    assert not matmul._prefers_onednn(torch.float64, processor)
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: False)
    assert not matmul._prefers_onednn(torch.bfloat16, processor)


@PROCESSORS
@DTYPES
@pytest.mark.parametrize("gelu", [False, True])
@pytest.mark.parametrize("length", [0, 3, 4])
@torch.no_grad()
def test_a_linear_layer_is_that_of_torch(
    processor: Processor, dtype: torch.dtype, gelu: bool, length: int, monkeypatch: pytest.MonkeyPatch
):
    claim(monkeypatch, processor)
    x, weight, bias = _tensors(dtype)
    want = F.linear(x, weight, F.pad(bias[:length], (0, 4 - length)))
    got = matmul.linear(x, weight, bias[:length] if length else None, gelu=gelu)
    _assert_close(got, F.gelu(want) if gelu else want)
    _assert_close(matmul.linear(x.mT.contiguous().mT, matmul.packed(weight), bias), F.linear(x, weight, bias))
    assert matmul.linear(x[:0], weight, bias).shape == (0, 5, 4)


@PROCESSORS
@DTYPES
@torch.no_grad()
def test_products_are_those_of_torch_also_of_transposed_operands(
    processor: Processor, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
):
    claim(monkeypatch, processor)
    x, weight, bias = _tensors(dtype)
    rows, dy = x.flatten(0, 1), torch.ones(10, 4, dtype=dtype).cumsum(0) / 8
    _assert_close(matmul.product(dy, weight), dy @ weight)
    into = torch.full((4, 6), torch.nan, dtype=dtype)
    matmul.add_product(into, dy.t(), rows, beta=0)
    _assert_close(into, dy.t() @ rows)
    matmul.add_product(into, dy.t(), rows)
    _assert_close(into, 2 * (dy.t() @ rows))
    out = torch.empty(10, 4, dtype=dtype)
    for shift in (None, bias):
        matmul.linear_into(out, rows, weight, shift)
        _assert_close(out, F.linear(rows, weight, shift))


@PROCESSORS
@DTYPES
@torch.no_grad()
def test_a_linear_layer_is_added_in_place_to_views_and_to_another_precision(
    processor: Processor, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
):
    claim(monkeypatch, processor)
    y, weight, bias = _tensors(dtype)
    for x in (torch.ones(2, 5, 4, dtype=dtype), torch.ones(5, 2, 4, dtype=dtype).transpose(0, 1)):
        matmul.add_linear(x, y, weight, bias)
        _assert_close(x, 1 + F.linear(y, weight, bias))
    x = torch.ones(2, 5, 4)
    matmul.add_linear(x, y, weight, bias)
    torch.testing.assert_close(x, 1 + F.linear(y, weight, bias).float(), rtol=3e-2, atol=3e-2)


@torch.no_grad()
def test_a_packed_weight_is_copied_and_pickled(monkeypatch: pytest.MonkeyPatch):
    claim(monkeypatch, WITH_BF16)
    x, weight, _ = _tensors(torch.float32)
    packed = matmul.packed(weight)
    assert packed.is_mkldnn
    assert packed.numel() == weight.numel()
    for again in (copy.deepcopy(packed), pickle.loads(pickle.dumps(packed))):
        assert again.is_mkldnn
        assert torch.equal(matmul.linear(x, again), matmul.linear(x, packed))
    claim(monkeypatch, UNDESCRIBED)
    elsewhere = pickle.loads(pickle.dumps(packed))
    assert type(elsewhere) is nn.Parameter
    assert torch.equal(elsewhere, weight)


def test_a_product_that_learns_is_left_to_torch(monkeypatch: pytest.MonkeyPatch):
    claim(monkeypatch, WITH_BF16)
    x, weight, _ = _tensors(torch.float32)
    matmul.linear(x, weight.requires_grad_()).sum().backward()
    torch.testing.assert_close(weight.grad, x.sum((0, 1)).expand(4, 6))


@given(count=st.integers(0, 10_000), about=st.integers(1, 3000))
def test_chunks_are_equal_and_about_as_large_as_asked(count: int, about: int):
    size = matmul.equal_chunks(count, about=about)
    num_chunks = -(-count // size)
    assert size >= 1
    assert num_chunks * size - count < max(num_chunks, 1)  # all but the last ones are full, and that one nearly
    assert size <= max(1.5 * about + 1, 1)
