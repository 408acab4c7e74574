"""Where the ways of a benchmark compute, and what one matrix product reaches there."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch

from timesformer.bench.timing import OnRound, Timing, Way, interleave
from timesformer.config.checks import MOST_IN_BATCH, check_at_most
from timesformer.config.schema import ModelConfig, Precision
from timesformer.device import DTYPES, resolve_device
from timesformer.errors import ConfigError
from timesformer.model.cost import cost

_PRODUCT = "a matrix product"
_PRODUCTS = 10
_ROWS_ON_GPU = 32768


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


def setting(preset: str, device: str, precision: Precision, *, clips: int = 1) -> dict[str, Any]:
    """The setting of a benchmark that sends clips through a model."""
    return {
        "preset": preset,
        "clips": clips,
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
    rows = min(cost(config).tokens, 4096) if place.device.type == "cpu" else _ROWS_ON_GPU
    left = torch.randn(rows, config.embed_dim).to(*place)
    right = torch.randn(config.embed_dim, config.mlp_dim).to(*place)
    out = left @ right
    gmac = _PRODUCTS * rows * config.embed_dim * config.mlp_dim / 1e9
    return Product(lambda: place.finish([torch.mm(left, right, out=out) for _ in range(_PRODUCTS)]), gmac)


def interleave_with_product(
    ways: Mapping[str, Way],
    product: Product,
    *,
    rounds: int,
    warmup: int = 1,
    on_round: OnRound = lambda done, total: None,
) -> tuple[dict[str, Timing], float]:
    """Timings of the ways, and what the product does in the same rounds, in 10^9 multiply-accumulates a second."""
    timings = interleave({**ways, _PRODUCT: product.run}, rounds=rounds, warmup=warmup, on_round=on_round)
    return timings, product.gmac / timings.pop(_PRODUCT).median


def rates(gmac: float, seconds: float, product: float) -> dict[str, float]:
    """How fast multiply-accumulates are done, in units of 10^9 a second, beside those of the product."""
    return {
        "ours_gmac_per_s": gmac / seconds,
        "product_gmac_per_s": product,
        "share_of_product": gmac / seconds / product,
    }


def check_clips(clips: int) -> None:
    """Refuse a number of clips that nothing can be made of.

    Raises:
        ConfigError: It is less than 1.
    """
    if clips < 1:
        raise ConfigError(f"clips={clips}: at least 1 clip goes through a model")
    check_at_most("clips", clips, MOST_IN_BATCH)
