"""How fast a device multiplies matrices of a model's size, in fp32 and in bf16."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

import torch
from torch import Tensor

from timesformer.config.schema import ModelConfig
from timesformer.model.matmul import linear, packed

_MACS = {"cpu": 3e8, "cuda": 3e10}
"""Multiply-accumulates of a measured product: a few milliseconds of two cores, or of a GPU, in fp32."""
_ROUNDS = 5


@dataclass(frozen=True, slots=True)
class ProductRates:
    """Multiply-accumulates a second."""

    fp32: float
    bf16: float

    @property
    def gain(self) -> float:
        """How many times as fast bf16 is."""
        return self.bf16 / self.fp32


@torch.inference_mode()
def measure_product_rates(config: ModelConfig, device: torch.device) -> ProductRates:
    """Measure the first product of the model's MLP in both precisions: medians of interleaved rounds.

    It takes about 30 ms, and draws no random numbers.

    Args:
        config: The model.
        device: A CPU or a GPU.
    """
    width, hidden = config.embed_dim, config.mlp_dim
    tokens = max(1, round(_MACS[device.type] / (width * hidden)))
    products = [
        _product(tokens, width, hidden, device=device, dtype=dtype) for dtype in (torch.float32, torch.bfloat16)
    ]
    times = [[_seconds(product, device) for product in products] for _ in range(1 + _ROUNDS)]
    fp32, bf16 = (median(of_one) for of_one in zip(*times[1:], strict=True))  # the first round warms up
    return ProductRates(tokens * width * hidden / fp32, tokens * width * hidden / bf16)


def _product(tokens: int, width: int, hidden: int, *, device: torch.device, dtype: torch.dtype) -> Callable[[], Tensor]:
    def values(*shape: int) -> Tensor:
        return torch.linspace(-1, 1, shape[0] * shape[-1], device=device).view(shape).to(dtype)

    x, bias = values(tokens, width), values(1, hidden)[0]
    weight = packed(values(hidden, width))
    return lambda: linear(x, weight, bias)


def _seconds(product: Callable[[], Tensor], device: torch.device) -> float:
    start = time.perf_counter()
    product()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start
