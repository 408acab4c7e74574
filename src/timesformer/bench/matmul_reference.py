"""The rate of one large matrix product on this hardware: the practical limit for a model."""

from collections.abc import Mapping
from typing import NamedTuple

import torch

from timesformer.bench.settings import DeviceAndDtype
from timesformer.bench.timing import Candidate, OnProgress, RunTimes, interleave
from timesformer.config.schema import ModelConfig
from timesformer.model.cost import cost
from timesformer.model.matmul import linear, packed

_MATMUL = "a matrix product"
_REPEATS = 10
_ROWS_ON_GPU = 32768


class MatmulReference(NamedTuple):
    """Repeated matrix products, and their work in GMAC (10^9 multiply-accumulates)."""

    run: Candidate
    gmac: float


def matmul_reference(config: ModelConfig, device_dtype: DeviceAndDtype) -> MatmulReference:
    """Matrix products of the size of an MLP's first linear layer."""
    rows = min(cost(config).tokens, 4096) if device_dtype.device.type == "cpu" else _ROWS_ON_GPU
    left = torch.randn(rows, config.embed_dim).to(*device_dtype)
    weight = packed(torch.randn(config.mlp_dim, config.embed_dim).to(*device_dtype))
    gmac = _REPEATS * rows * config.embed_dim * config.mlp_dim / 1e9

    @torch.no_grad()
    def run() -> object:
        for _ in range(_REPEATS):  # each result is freed, so that the next one finds its memory in place
            linear(left, weight)
        return device_dtype.wait_for(None)

    return MatmulReference(run, gmac)


def interleave_with_matmul(
    candidates: Mapping[str, Candidate],
    config: ModelConfig,
    *,
    device_dtype: DeviceAndDtype,
    rounds: int,
    warmup: int = 1,
    on_progress: OnProgress = lambda done, total: None,
) -> tuple[dict[str, RunTimes], float]:
    """Run times of the candidates, and the rate of the matrix product in the same rounds, in GMAC/s.

    See `interleave` for the arguments.
    """
    reference = matmul_reference(config, device_dtype)
    times = interleave({**candidates, _MATMUL: reference.run}, rounds=rounds, warmup=warmup, on_progress=on_progress)
    return times, reference.gmac / times.pop(_MATMUL).median


def rates(gmac: float, seconds: float, *, matmul_rate: float) -> dict[str, float]:
    """GMAC/s of ours and of the matrix product, and the fraction of it that ours reaches."""
    return {
        "ours_gmac_per_s": gmac / seconds,
        "matmul_gmac_per_s": matmul_rate,
        "fraction_of_matmul": gmac / seconds / matmul_rate,
    }
