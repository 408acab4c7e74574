"""The settings that all candidates of a benchmark share: model, clips, device and dtype."""

from pathlib import Path
from typing import Any, NamedTuple

import torch

from timesformer.config.checks import MOST_IN_BATCH, check_at_most
from timesformer.config.presets import preset as preset_config
from timesformer.config.schema import ModelConfig, Precision
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


def config_of(model: str) -> ModelConfig:
    """The architecture of a preset, of a recipe (a `.toml` or `.json` file with a `RunConfig`), or of a model folder.

    Raises:
        ConfigError: There is no such preset, file or folder, or the recipe cannot be read.
        WeightsError: The folder cannot be read as a model.
    """
    path = Path(model)
    if not path.exists():
        return preset_config(model)
    if path.is_dir():
        from timesformer.weights.load import load  # this and pydantic are needed for files alone

        return load(path).config
    from timesformer.config.io import read_config
    from timesformer.config.run import RunConfig

    return read_config(path, kind=RunConfig).model


def model_settings(preset: str, device: str, precision: Precision, *, clips: int = 1) -> dict[str, Any]:
    """Settings of a benchmark that runs clips through a model, ready for JSON."""
    return {
        "preset": preset,
        "clips": clips,
        "device": device,
        "precision": precision,
        "threads": torch.get_num_threads(),
        **_tf32(device),
    }


def _tf32(device: str) -> dict[str, bool]:
    """Whether a GPU rounds the inputs of fp32 products to TF32, and those of the patch embedding, a convolution."""
    if resolve_device(device).type != "cuda":
        return {}
    return {
        "tf32": torch.get_float32_matmul_precision() != "highest",
        "tf32_of_convolutions": torch.backends.cudnn.allow_tf32,
    }


def check_clips(clips: int) -> None:
    """Refuse a number of clips that is less than 1 or too large for a batch.

    Raises:
        ConfigError: It is.
    """
    if clips < 1:
        raise ConfigError(f"clips={clips}: at least 1 clip goes through a model")
    check_at_most("clips", clips, MOST_IN_BATCH)
