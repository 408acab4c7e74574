"""The rates of a matrix product of a model's size."""

import torch

from timesformer.inference import product_rates
from timesformer.inference.product_rates import ProductRates, measure_product_rates
from tiny import tiny_config


def test_gain_is_the_ratio_of_the_rates():
    assert ProductRates(fp32=2e9, bf16=5e9).gain == 2.5


def test_products_of_the_mlp_are_timed_in_both_precisions(monkeypatch):
    called: list[tuple[torch.dtype, torch.Size, torch.Size]] = []
    plain = product_rates.linear
    monkeypatch.setattr(product_rates, "_MACS", {"cpu": 7 * 24 * 60})
    monkeypatch.setattr(product_rates, "linear", lambda x, weight, bias: plain(_heard(called, x, weight), weight, bias))
    rates = measure_product_rates(tiny_config(), torch.device("cpu"))
    assert rates.fp32 > 0 < rates.bf16
    assert called == 6 * [
        (torch.float32, torch.Size([7, 24]), torch.Size([60, 24])),
        (torch.bfloat16, torch.Size([7, 24]), torch.Size([60, 24])),
    ]


def test_medians_leave_out_the_first_round(monkeypatch):
    times = iter([100.0, 100.0, *5 * [2.0, 1.0]])
    monkeypatch.setattr(product_rates, "_seconds", lambda product, device: next(times))
    rates = measure_product_rates(tiny_config(), torch.device("cpu"))
    assert rates.gain == 2
    assert rates.fp32 * 2 == round(3e8 / (24 * 60)) * 24 * 60


def test_measuring_draws_no_random_numbers():
    before = torch.get_rng_state()
    measure_product_rates(tiny_config(), torch.device("cpu"))
    assert torch.equal(torch.get_rng_state(), before)


def _heard(called: list, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    called.append((x.dtype, x.shape, weight.shape))
    return x
