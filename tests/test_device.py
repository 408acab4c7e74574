"""Names of devices: those that exist are found, others are refused with what there is."""

import pytest
import torch

from processors import UNDESCRIBED, WITH_BF16, WITHOUT_BF16, claim
from timesformer import device
from timesformer.device import (
    Processor,
    computes_bf16_faster,
    processor,
    processor_name,
    resolve_device,
    resolve_precision,
    warn_if_slow,
)
from timesformer.errors import ConfigError

CPU, GPU = torch.device("cpu"), torch.device("cuda:0")


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
            Processor(is_known=True, is_intel=True, avx512=True, avx512_bf16=True, amx_bf16=True),
            "Xeon",
        ),
        (
            {"vendor_id": "AuthenticAMD", "model name": "EPYC", "flags": "avx2 avx512f avx512_bf16"},
            Processor(is_known=True, avx512=True, avx512_bf16=True),
            "EPYC",
        ),
        ({"vendor_id": "AuthenticAMD", "model name": "Zen", "flags": "avx2"}, Processor(is_known=True), "Zen"),
        (
            {"model name": "Neoverse", "Features": "asimd bf16 i8mm"},
            Processor(is_known=True, arm_bf16=True),
            "Neoverse",
        ),
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


@pytest.mark.parametrize(
    ("processor", "expected"), [(WITH_BF16, "bf16"), (WITHOUT_BF16, "fp32"), (UNDESCRIBED, "fp32")]
)
def test_auto_is_bf16_where_the_processor_computes_it_faster(monkeypatch, processor, expected):
    claim(monkeypatch, processor)
    assert resolve_precision("auto", CPU) == expected
    assert resolve_precision("auto", torch.device("mps")) == "fp32"


@pytest.mark.parametrize(("capability", "expected"), [((7, 5), "fp32"), ((8, 0), "bf16")])
def test_auto_is_bf16_on_a_gpu_that_computes_it(monkeypatch, capability, expected):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert resolve_precision("auto", GPU) == expected


@pytest.mark.parametrize("name", ["fp32", "bf16", "fp16"])
@pytest.mark.parametrize("processor", [WITH_BF16, WITHOUT_BF16])
def test_a_named_precision_is_the_same_on_every_device(monkeypatch, name, processor):
    claim(monkeypatch, processor)
    assert [resolve_precision(name, device) for device in (CPU, GPU)] == [name, name]


@pytest.mark.parametrize(
    ("processor", "precision", "device", "count"),
    [
        (WITHOUT_BF16, "bf16", CPU, 1),
        (WITHOUT_BF16, "fp32", CPU, 0),
        (WITHOUT_BF16, "bf16", GPU, 0),
        (WITH_BF16, "bf16", CPU, 0),
        (UNDESCRIBED, "bf16", CPU, 0),
    ],
)
def test_bf16_is_warned_of_once_on_a_cpu_that_lacks_it(monkeypatch, caplog, processor, precision, device, count):
    claim(monkeypatch, processor)
    for _ in range(2):
        warn_if_slow(precision, device)
    assert [record.message for record in caplog.records] == count * [
        "precision='bf16': this CPU has no instructions for it and computes it several times more slowly than 'fp32'; "
        "'auto' takes the faster one"
    ]
