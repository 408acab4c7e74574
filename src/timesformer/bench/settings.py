"""The settings that all candidates of a benchmark share: model, clips, device and dtype."""

from typing import Any, NamedTuple

import torch

from timesformer.config.checks import MOST_IN_BATCH, check_at_most
from timesformer.config.schema import Precision
from timesformer.device import DTYPES, resolve_device
from timesformer.errors import ConfigError


class DeviceAndDtype(NamedTuple):
    """The device and the dtype that candidates compute on and in."""

    device: torch.device
    dtype: torch.dtype

    @classmethod
    def of(cls, device: str, precision: Precision) -> "DeviceAndDtype":
        """The device and dtype of these names, which are those of `Predictor`.

        Raises:
            ConfigError: There is no such device.
        """
        return cls(resolve_device(device), DTYPES[precision])

    def wait_for(self, result: object) -> object:
        """The result, once it is computed: calls to a GPU return before it is."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return result


def model_settings(preset: str, device: str, precision: Precision, *, clips: int = 1) -> dict[str, Any]:
    """Settings of a benchmark that runs clips through a model, ready for JSON."""
    return {
        "preset": preset,
        "clips": clips,
        "device": device,
        "precision": precision,
        "threads": torch.get_num_threads(),
    }


def check_clips(clips: int) -> None:
    """Refuse a number of clips that is less than 1 or too large for a batch.

    Raises:
        ConfigError: It is.
    """
    if clips < 1:
        raise ConfigError(f"clips={clips}: at least 1 clip goes through a model")
    check_at_most("clips", clips, MOST_IN_BATCH)
