"""`load`: any weights that people have, as a model that is ready to use."""

import logging
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Unpack

from timesformer.config.info import ModelInfo
from timesformer.config.io import from_dict, to_dict
from timesformer.config.overrides import ModelOverrides
from timesformer.config.presets import PRESETS, clip_preset
from timesformer.config.schema import ModelConfig
from timesformer.errors import ConfigError, WeightsError
from timesformer.files import is_address
from timesformer.model.timesformer import TimeSformer
from timesformer.weights.adapt import adapt
from timesformer.weights.checkpoint import Checkpoint, read_file, read_json
from timesformer.weights.formats.transformers import INFO_FILE, read_transformers
from timesformer.weights.model_folder import MODEL_FILES, is_model_folder, read_folder

logger = logging.getLogger(__name__)

_HUB_FILES = [
    "config.json",
    "preprocessor_config.json",
    "*.safetensors",
    "*.safetensors.index.json",
    "pytorch_model*.bin",
    "pytorch_model.bin.index.json",
    "video_preprocessor_config.json",
    "processor_config.json",
    "labels.txt",
    INFO_FILE,
    "README.md",
]

_FILE_SUFFIXES = (".safetensors", ".pth", ".pyth", ".pt", ".bin", ".ckpt", ".tar")


def load(source: str | Path, *, seed: int = 0, **overrides: Unpack[ModelOverrides]) -> TimeSformer:
    """Load a model, in eval mode, with its `info` and with a `load_report` of what became of every tensor.

    Args:
        source: A model folder or a run folder that holds one; a released `.pyth`; a `transformers` TimeSformer folder
            or hub id; an mmaction2 `.pth`; an image ViT in timm's names (`.safetensors`, `.pth`), which is inflated; or
            the name of a preset, which is freshly initialized. Files may be checkpoints of training scripts: containers
            and prefixes are taken off, and an average of the weights is taken before the weights of the last step.
        seed: For parameters that the source does not have, such as a new head.
        **overrides: Fields of `ModelConfig` to change, such as `num_frames=16`, `num_classes=10` (a new head),
            `scheme="axial"` (from weights with one attention step), `depth=6` (the first blocks; never more than there
            are) or `position_interpolation="nearest"`.

    Raises:
        WeightsError: The source is missing, unreadable, or holds tensors that nothing explains.
        ConfigError: An override is no field of `ModelConfig`, or its value cannot work.
    """
    if isinstance(source, str) and source in PRESETS and not Path(source).exists():
        return _fresh(source, seed, overrides)
    num_heads = overrides.get("num_heads")
    checkpoint = _read(Path(source).expanduser(), num_heads=num_heads if isinstance(num_heads, int) else None)
    base = _inflated(checkpoint)
    config = _override(base, overrides)
    if config.num_heads != base.num_heads:
        raise ConfigError(
            f"num_heads={config.num_heads}: {source} was trained with {base.num_heads}, which share its maps"
        )
    model, model.load_report = adapt(checkpoint, config, source=str(source), seed=seed)
    keeps_labels = config.num_classes == checkpoint.config.num_classes
    model.info = checkpoint.info if keeps_labels else replace(checkpoint.info, labels=())
    logger.info("%s", model.load_report)
    if checkpoint.others:
        logger.warning("%s: weights taken %s", source, model.load_report.choice())
    return model


def config_of(source: str | Path, *, num_heads: int | None = None) -> tuple[ModelConfig, ModelInfo]:
    """The config and the info that `load` would give a model, without building it.

    Args:
        source: As for `load`.
        num_heads: Attention heads, for a file that does not say how many and whose width does not tell.

    Raises:
        WeightsError: As for `load`.
        ConfigError: The number of heads cannot be known.
    """
    if isinstance(source, str) and source in PRESETS and not Path(source).exists():
        return PRESETS[source], ModelInfo(clip=clip_preset(source), source=f"preset {source}")
    path = Path(source).expanduser()
    try:
        checkpoint = _read(path, num_heads=None)
    except ConfigError:
        if num_heads is None:
            raise
        checkpoint = _read(path, num_heads=num_heads)
    return _inflated(checkpoint), checkpoint.info


def is_here(source: str) -> bool:
    """Whether `load` would find a source without the network."""
    return source in PRESETS or Path(source).expanduser().exists()


def _inflated(checkpoint: Checkpoint) -> ModelConfig:
    """The config of the video model that a checkpoint becomes when nothing else is asked for."""
    if checkpoint.format != "image ViT":
        return checkpoint.config
    return replace(checkpoint.config, scheme="divided_space_time", num_frames=8, position_embedding="space_time")


def model_files(source: str | Path) -> list[Path]:
    """The files that `load` may read of a source; none for a preset, a model of the hub, or no source, `""`."""
    path = Path(source).expanduser()
    if not path.is_dir() or not str(source):
        return [path] if path.is_file() else []
    patterns = (*MODEL_FILES, "README.md")  # which may state the license
    return [file for folder in (path, path / "model") for pattern in patterns for file in folder.glob(pattern)]


def _override(config: ModelConfig, overrides: Mapping[str, Any]) -> ModelConfig:
    plain = {key: list(value) if isinstance(value, tuple) else value for key, value in overrides.items()}
    return from_dict({**to_dict(config), **plain}, kind=ModelConfig, source="load")


def _fresh(name: str, seed: int, overrides: Mapping[str, Any]) -> TimeSformer:
    info = ModelInfo(clip=clip_preset(name), source=f"preset {name}")
    config = _override(PRESETS[name], overrides)
    model, model.load_report = adapt(Checkpoint.fresh(config, info), config, source=f"preset {name}", seed=seed)
    model.info = info
    return model


def _read(path: Path, *, num_heads: int | None) -> Checkpoint:
    if path.suffix.lower() == ".onnx" and not path.is_dir():
        if not path.exists():
            raise WeightsError(f"{path}: no such file")
        raise WeightsError(
            f"{path}: it is an ONNX model: name the model folder that it was exported from; only `predict --model`, "
            f"`evaluate --model` and `info` read ONNX files"
        )
    if path.is_file():
        return read_file(path, num_heads=num_heads)
    if path.is_dir():
        return _read_any_folder(path)
    if is_address(path):
        raise WeightsError(f"{path} is an address, not a path: download it first, or name a hub id (owner/name)")
    if path.suffix.lower() in _FILE_SUFFIXES:
        raise WeightsError(f"{path}: no such file")
    if re.fullmatch(r"[\w.-]+/[\w.-]+", str(path)):
        return _read_any_folder(_from_hub(str(path)))
    presets = ", ".join(PRESETS)
    raise WeightsError(f"{path}: no such file or folder, and neither a hub id (owner/name) nor a preset ({presets})")


def _read_any_folder(folder: Path) -> Checkpoint:
    for candidate in (folder, folder / "model"):
        if (candidate / "config.json").exists():
            if is_model_folder(candidate):
                return read_folder(candidate)
            kind = read_json(candidate / "config.json").get("model_type")
            if kind == "timesformer":
                return read_transformers(candidate)
            files = _weight_files(candidate)
            if kind is None and files:
                raise WeightsError(f"{candidate}: its config.json is not of a TimeSformer; name its file: {files[0]}")
            raise WeightsError(f"{candidate}: its config.json is of model_type {kind!r}, expected 'timesformer'")
    names = ", ".join(path.name for path in _weight_files(folder)[:4])
    raise WeightsError(
        f"{folder}: is not a model folder: it has no config.json, nor has its folder model/"
        + (f"; name a file in it: {names}" if names else "")
    )


def _weight_files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in _FILE_SUFFIXES and path.is_file())


def _from_hub(name: str) -> Path:
    """The folder of a hub model, downloaded once and then read from the cache."""
    from huggingface_hub import snapshot_download  # here: it costs a third of a second
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, allow_patterns=_HUB_FILES))
    except (OSError, HfHubHTTPError, HFValidationError, LocalEntryNotFoundError) as error:
        raise WeightsError(
            f"{name}: there is no such folder, and the Hugging Face hub did not give a model of this name either "
            f"({type(error).__name__}); with no network, download it elsewhere and pass the folder"
        ) from error
