"""`load`: weights of any supported format as a model ready to use."""

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
from timesformer.weights.checkpoint import Checkpoint
from timesformer.weights.fields import read_json_object
from timesformer.weights.formats.transformers import INFO_FILE, read_transformers
from timesformer.weights.model_folder import MODEL_FILES, is_model_folder, read_folder
from timesformer.weights.read import read_file

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
    """Load a model in eval mode, with its `info` and a `load_report` that accounts for every tensor.

    Args:
        source: A model folder, or a run folder that holds one; a released `.pyth`; a `transformers` TimeSformer folder
            or hub id; an mmaction2 `.pth`; an image ViT under timm's names (`.safetensors`, `.pth`), which is inflated;
            or the name of a preset, which is newly initialized. Files may be checkpoints of training scripts:
            containers and prefixes are removed, and averaged weights are preferred to those of the last step.
        seed: For parameters that the source lacks, such as a new head.
        **overrides: Fields of `ModelConfig` to change, such as `num_frames=16`, `num_classes=10` (a new head),
            `scheme="axial"` (from weights with one attention step), `depth=6` (the first blocks; at most as many as
            stored) or `position_interpolation="nearest"`.

    Raises:
        WeightsError: The source is missing, unreadable, or holds unexplained tensors.
        ConfigError: An override is not a field of `ModelConfig`, or its value is invalid.
    """
    if isinstance(source, str) and source in PRESETS and not Path(source).exists():
        return _load_preset(source, seed, overrides)
    num_heads = overrides.get("num_heads")
    checkpoint = _read(Path(source).expanduser(), num_heads=num_heads if isinstance(num_heads, int) else None)
    base = _inflated_config(checkpoint)
    config = _override(base, overrides)
    if config.num_heads != base.num_heads:
        raise ConfigError(
            f"num_heads={config.num_heads} does not match {source}, which was trained with {base.num_heads} heads"
        )
    model, model.load_report = adapt(checkpoint, config, source=str(source), seed=seed)
    keeps_labels = config.num_classes == checkpoint.config.num_classes
    model.info = checkpoint.info if keeps_labels else replace(checkpoint.info, labels=(), thresholds=None)
    logger.info("%s", model.load_report)
    if checkpoint.others:
        logger.warning("%s: weights taken %s", source, model.load_report.choice())
    return model


def config_of(source: str | Path, *, num_heads: int | None = None) -> tuple[ModelConfig, ModelInfo]:
    """The config and info of the model that `load` would return, without building it.

    Args:
        source: As for `load`.
        num_heads: Attention heads, for a file that does not store them and whose width is not a multiple of 64.

    Raises:
        WeightsError: As for `load`.
        ConfigError: The number of heads is unknown.
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
    return _inflated_config(checkpoint), checkpoint.info


def is_here(source: str) -> bool:
    """Whether `load` finds a source without network access."""
    return source in PRESETS or Path(source).expanduser().exists()


def _inflated_config(checkpoint: Checkpoint) -> ModelConfig:
    """The config of the video model that a checkpoint becomes by default."""
    if checkpoint.format != "image ViT":
        return checkpoint.config
    return replace(checkpoint.config, scheme="divided_space_time", num_frames=8, position_embedding="space_time")


def model_files(source: str | Path) -> list[Path]:
    """Files that `load` may read for a source; empty for a preset, a hub id and the empty source `""`."""
    path = Path(source).expanduser()
    if not path.is_dir() or not str(source):
        return [path] if path.is_file() else []
    patterns = (*MODEL_FILES, "README.md")  # which may state the license
    return [file for folder in (path, path / "model") for pattern in patterns for file in folder.glob(pattern)]


def _override(config: ModelConfig, overrides: Mapping[str, Any]) -> ModelConfig:
    plain = {key: list(value) if isinstance(value, tuple) else value for key, value in overrides.items()}
    return from_dict({**to_dict(config), **plain}, kind=ModelConfig, source="load")


def _load_preset(name: str, seed: int, overrides: Mapping[str, Any]) -> TimeSformer:
    info = ModelInfo(clip=clip_preset(name), source=f"preset {name}")
    config = _override(PRESETS[name], overrides)
    model, model.load_report = adapt(
        Checkpoint.without_weights(config, info), config, source=f"preset {name}", seed=seed
    )
    model.info = info
    return model


def _read(path: Path, *, num_heads: int | None) -> Checkpoint:
    if path.suffix.lower() == ".onnx" and not path.is_dir():
        if not path.exists():
            raise WeightsError(f"{path}: no such file")
        raise WeightsError(
            f"{path}: is an ONNX model: pass the model folder that it was exported from; only `predict --model`, "
            f"`evaluate --model` and `info` read ONNX files"
        )
    if path.is_file():
        return read_file(path, num_heads=num_heads)
    if path.is_dir():
        return _read_any_folder(path)
    if is_address(path):
        raise WeightsError(f"{path} is an address, not a path: download it first, or pass a hub id (owner/name)")
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
            kind = read_json_object(candidate / "config.json").get("model_type")
            if kind == "timesformer":
                return read_transformers(candidate)
            files = _weight_files(candidate)
            if kind is None and files:
                raise WeightsError(
                    f"{candidate}: its config.json does not describe a TimeSformer; pass its weights file: {files[0]}"
                )
            raise WeightsError(f"{candidate}: its config.json has model_type={kind!r}, expected 'timesformer'")
    names = ", ".join(path.name for path in _weight_files(folder)[:4])
    raise WeightsError(
        f"{folder}: is not a model folder: neither it nor its subfolder model/ has a config.json"
        + (f"; pass a file in it: {names}" if names else "")
    )


def _weight_files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in _FILE_SUFFIXES and path.is_file())


def _from_hub(name: str) -> Path:
    """The folder of a hub model, downloaded once, then cached."""
    from huggingface_hub import snapshot_download  # here: importing it takes a third of a second
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, allow_patterns=_HUB_FILES))
    except (OSError, HfHubHTTPError, HFValidationError, LocalEntryNotFoundError) as error:
        raise WeightsError(
            f"{name}: no such folder, and the Hugging Face hub returned no model of this name "
            f"({type(error).__name__}); without network access, download it elsewhere and pass the folder"
        ) from error
