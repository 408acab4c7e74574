"""Processors that a test claims to run on."""

import pytest

from timesformer import device
from timesformer.device import Processor

WITH_BF16 = Processor(is_known=True, avx512=True, avx512_bf16=True)
WITHOUT_BF16 = Processor(is_known=True)
UNDESCRIBED = Processor()


def claim(monkeypatch: pytest.MonkeyPatch, processor: Processor) -> None:
    """Claim a processor without a GPU, on which nothing has been warned about yet."""
    monkeypatch.setattr(device, "processor", lambda: processor)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    device._warn_of_bf16.cache_clear()
