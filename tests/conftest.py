"""What every test starts from: checked shapes, one thread, one seed, and property tests that draw equal examples."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # also in processes that tests start: the tests run side by side

import pytest
import torch
from hypothesis import settings
from jaxtyping import install_import_hook

# Every layer that handles tensors. `config` checks its own values, and says what is wrong in its own words.
_CHECKED = (
    "model",
    "weights",
    "data",
    "inference",
    "timelines",
    "retrieval",
    "evaluation",
    "explanation",
    "training",
    "export",
    "reproduce",
    "bench",
)
_SCRIPTS = ("decode", "loader", "long_videos", "synthetic_videos", "video_readers")
install_import_hook([*(f"timesformer.{layer}" for layer in _CHECKED), *_SCRIPTS], "typechecker.check")

settings.register_profile("reproducible", deadline=None, derandomize=True)
settings.load_profile("reproducible")
torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)
