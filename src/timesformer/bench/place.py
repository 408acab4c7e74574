"""Where the ways of a benchmark compute, and what one matrix product reaches there."""

from typing import Any, NamedTuple

import torch

from timesformer.bench.rounds import Way
from timesformer.config.run import Precision
from timesformer.config.schema import ModelConfig
from timesformer.inference.predictor import DTYPES
from timesformer.inference.views import resolve_device
from timesformer.model.cost import cost

_PRODUCTS = 10


class Place(NamedTuple):
    """Where and in which numbers the ways compute."""

    device: torch.device
    dtype: torch.dtype

    @classmethod
    def of(cls, device: str, precision: Precision) -> "Place":
        """The place of a device and a precision, as `Predictor` takes them.

        Raises:
            ConfigError: There is no such device.
        """
        return cls(resolve_device(device), DTYPES[precision])

    def finish(self, result: object) -> object:
        """A result, once it is there: a GPU computes while Python goes on."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return result


def one_clip(preset: str, device: str, precision: Precision) -> dict[str, Any]:
    """The setting of a benchmark that sends one clip through a model."""
    return {
        "preset": preset,
        "clips": 1,
        "device": device,
        "precision": precision,
        "threads": torch.get_num_threads(),
    }


class Product(NamedTuple):
    """Products of matrices to run, and their multiply-accumulates in units of 10^9."""

    run: Way
    gmac: float


def matrix_product(config: ModelConfig, place: Place) -> Product:
    """A product of the size of an MLP's first map, several times over: what the hardware gives."""
    rows = min(cost(config).tokens, 4096)
    left = torch.randn(rows, config.embed_dim).to(*place)
    right = torch.randn(config.embed_dim, config.mlp_dim).to(*place)
    out = left @ right
    gmac = _PRODUCTS * rows * config.embed_dim * config.mlp_dim / 1e9
    return Product(lambda: place.finish([torch.mm(left, right, out=out) for _ in range(_PRODUCTS)]), gmac)
