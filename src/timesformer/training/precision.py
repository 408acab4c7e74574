"""The precision of a run: which one `auto` stands for, and which ones a device refuses."""

from pathlib import Path

import torch

from timesformer.config.io import read_config
from timesformer.config.run import RunConfig
from timesformer.config.schema import PrecisionName
from timesformer.device import resolve_precision, warn_if_slow
from timesformer.errors import ConfigError


def chosen_precision(run: RunConfig, device: torch.device, *, resumed: Path | None) -> PrecisionName:
    """The precision to train in.

    A run that is resumed goes on in the precision that its config records, whatever `auto` would be on this device.

    Args:
        run: The run.
        device: Its device.
        resumed: The config of the run that is resumed; None if none is, or if the file does not exist.

    Raises:
        ConfigError: The config cannot be read.
    """
    if run.precision != "auto":
        return run.precision
    recorded = read_config(resumed, kind=RunConfig).precision if resumed is not None and resumed.exists() else "auto"
    return resolve_precision(recorded, device)


def check_precision(run: RunConfig, device: torch.device) -> None:
    """Refuse a precision that the device does not support, and warn about one that is slow on it.

    Raises:
        ConfigError: fp16 on a CPU.
    """
    if run.precision == "fp16" and device.type == "cpu":
        raise ConfigError("precision='fp16' needs a GPU; use 'fp32' on the CPU")
    warn_if_slow(resolve_precision(run.precision, device), device)
