"""Tests of this folder are collected if there is a CUDA GPU.

`TIMESFORMER_GPU_TESTS=cpu` tries them on a CPU. Those that read videos are left out if PyAV is not installed, so
that the others run on a machine that has little more than torch.
"""

import os
from importlib.util import find_spec

import pytest
import torch

DEVICE = os.environ.get("TIMESFORMER_GPU_TESTS", "cuda" if torch.cuda.is_available() else "")
_READ_VIDEOS = ["test_predictor_gpu.py", "test_strategies_gpu.py"]
_ON_A_GPU_ALONE = ["test_strategies_gpu.py"]

collect_ignore_glob = [] if DEVICE else ["test_*.py"]
collect_ignore = [
    *([] if find_spec("av") else _READ_VIDEOS),
    *([] if DEVICE == "cuda" else _ON_A_GPU_ALONE),
]


@pytest.fixture
def device() -> str:
    """The device under test: `cuda`, or `cpu` to try the tests themselves."""
    return DEVICE


@pytest.fixture(autouse=True)
def _without_tf32(monkeypatch: pytest.MonkeyPatch) -> None:
    """By default torch rounds the inputs of convolutions, here the patch embedding, to TF32 on a GPU."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
