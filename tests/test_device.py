"""Names of devices: those that exist are found, others are refused with what there is."""

import pytest
import torch

from timesformer import device
from timesformer.device import Processor, computes_bf16_faster, processor, processor_name, resolve_device
from timesformer.errors import ConfigError


@pytest.mark.parametrize("name", ["gpu", "cuda:x", ""])
def test_a_name_that_is_no_device_is_refused(name):
    with pytest.raises(ConfigError, match="is not a device"):
        resolve_device(name)


def test_a_device_that_is_not_there_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match="not available on this machine"):
        resolve_device("cuda")
    assert resolve_device("auto") == torch.device("cpu")


def test_a_gpu_beyond_the_last_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert resolve_device("cuda:1") == torch.device("cuda:1")
    with pytest.raises(ConfigError, match="'cuda:2' is not available: this machine has 2 GPUs"):
        resolve_device("cuda:2")


@pytest.mark.parametrize(
    ("info", "expected", "name"),
    [
        (
            {"vendor_id": "GenuineIntel", "model name": "Xeon", "flags": "avx2 avx512f avx512_bf16 amx_bf16 amx_tile"},
            Processor(is_intel=True, avx512=True, avx512_bf16=True, amx_bf16=True),
            "Xeon",
        ),
        (
            {"vendor_id": "AuthenticAMD", "model name": "EPYC", "flags": "avx2 avx512f avx512_bf16"},
            Processor(avx512=True, avx512_bf16=True),
            "EPYC",
        ),
        ({"vendor_id": "AuthenticAMD", "model name": "Zen", "flags": "avx2"}, Processor(), "Zen"),
        ({"model name": "Neoverse", "Features": "asimd bf16 i8mm"}, Processor(arm_bf16=True), "Neoverse"),
    ],
)
def test_a_processor_is_read_from_the_system(monkeypatch, info, expected, name):
    monkeypatch.setattr(device, "_cpu_info", lambda field: [info[field]] if field in info else [])
    assert processor.__wrapped__() == expected
    assert processor_name() == name
    monkeypatch.setattr(device, "processor", lambda: expected)
    assert computes_bf16_faster(torch.device("cpu")) == any("bf16" in text for text in info.values())


def test_a_gpu_computes_bf16_from_ampere_on(monkeypatch):
    for capability, is_faster in {(7, 5): False, (8, 0): True, (9, 0): True}.items():
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device, found=capability: found)
        assert computes_bf16_faster(torch.device("cuda:0")) == is_faster
    assert not computes_bf16_faster(torch.device("meta"))
