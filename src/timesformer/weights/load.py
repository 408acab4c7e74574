"""`load`: weights of any supported format as a model ready to use."""

import logging
from collections.abc import Mapping, Sequence
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
from timesformer.weights.formats.transformers import read_transformers
from timesformer.weights.hub import fetch
from timesformer.weights.model_folder import MODEL_FILES, is_model_folder, read_folder
from timesformer.weights.read import read_file
from timesformer.weights.source import PACKAGED, ModelSource, check_sha256, parse_source

logger = logging.getLogger(__name__)

_FILE_SUFFIXES = (".safetensors", ".pth", ".pyth", ".pt", ".bin", ".ckpt", ".tar")


def load(
    source: str | Path,
    *,
    seed: int = 0,
    revision: str | None = None,
    sha256: str | None = None,
    **overrides: Unpack[ModelOverrides],
) -> TimeSformer:
    """Load a model in eval mode, with its `info` and a `load_report` that accounts for every tensor.

    Args:
        source: A model folder, or a run folder that holds one; a released `.pyth`; a `transformers` TimeSformer folder
            or hub id; an mmaction2 `.pth`; an image ViT under timm's names (`.safetensors`, `.pth`), which is inflated;
            `people`, the packaged weights that were pretrained on generated people; or the name of a preset, which is
            newly initialized. Files may be checkpoints of training scripts: containers and prefixes are removed, and
            averaged weights are preferred to those of the last step.
            `owner/name@revision` and `file#sha256=...` state what the next two arguments do.
        seed: For parameters that the source lacks, such as a new head.
        revision: Branch, tag or commit hash of a hub model; a commit hash always names the same files. The
            `load_report` states the commit that was loaded.
        sha256: Hash that the weights file must have, in hexadecimal.
        **overrides: Fields of `ModelConfig` to change, such as `num_frames=16`, `num_classes=10` (a new head),
            `scheme="axial"` (from weights with one attention step), `depth=6` (the first blocks; at most as many as
            stored) or `position_interpolation="nearest"`.

    Raises:
        WeightsError: The source is missing, unreadable, holds unexplained tensors, or is not what the hub, its folder
            or `sha256` states.
        ConfigError: An override is not a field of `ModelConfig`, or its value is invalid; or `revision` or `sha256`
            does not apply to the source.
    """
    given = parse_source(source, revision=revision, sha256=sha256)
    if _is_preset(given):
        return _load_preset(given.name, seed, overrides)
    num_heads = overrides.get("num_heads")
    checkpoint = _read(given, num_heads=num_heads if isinstance(num_heads, int) else None)
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
    given = parse_source(source)
    if _is_preset(given):
        return PRESETS[given.name], ModelInfo(clip=clip_preset(given.name), source=f"preset {given.name}")
    checkpoint = _read_with_heads(given, num_heads)
    return _inflated_config(checkpoint), checkpoint.info


def is_image_model(source: str | Path, *, num_heads: int | None = None) -> bool:
    """Whether a source is an image ViT, which has no clip settings.

    Args:
        source: As for `load`.
        num_heads: As for `config_of`.

    Raises:
        WeightsError, ConfigError: As for `config_of`.
    """
    given = parse_source(source)
    return not _is_preset(given) and _read_with_heads(given, num_heads).format == "image ViT"


def _read_with_heads(source: ModelSource, num_heads: int | None) -> Checkpoint:
    """Read a source, with the given number of heads if its own is unknown."""
    try:
        return _read(source, num_heads=None)
    except ConfigError:
        if num_heads is None:
            raise
        return _read(source, num_heads=num_heads)


def is_here(source: str) -> bool:
    """Whether `load` finds a source without network access."""
    return source in PRESETS or parse_source(source).path.exists()


def _is_preset(source: ModelSource) -> bool:
    """Whether a source is a preset.

    Raises:
        ConfigError: It is one, and has a hash; or it has a revision and is not a hub id.
    """
    is_preset = source.name in PRESETS and not source.path.exists()
    if source.revision is not None and not source.is_hub_id:
        what = "a preset" if is_preset else "a file or folder" if source.path.exists() else "not one"
        raise ConfigError(f"revision={source.revision!r} applies to a hub id (owner/name), and {source.name} is {what}")
    if is_preset and source.sha256 is not None:
        raise ConfigError(f"sha256 applies to a file of weights, and {source.name} is a preset, which has none")
    return is_preset


def _inflated_config(checkpoint: Checkpoint) -> ModelConfig:
    """The config of the video model that a checkpoint becomes by default."""
    if checkpoint.format != "image ViT":
        return checkpoint.config
    return replace(checkpoint.config, scheme="divided_space_time", num_frames=8, position_embedding="space_time")


def model_files(source: str | Path) -> list[Path]:
    """Files that `load` may read for a source; empty for a preset, a hub id and the empty source `""`."""
    path = parse_source(source).path
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


def _read(source: ModelSource, *, num_heads: int | None) -> Checkpoint:
    path = source.path
    if path.suffix.lower() == ".onnx" and not path.is_dir():
        if not path.exists():
            raise WeightsError(f"{path}: no such file")
        raise WeightsError(
            f"{path}: is an ONNX model: pass the model folder that it was exported from; only `predict --model`, "
            f"`evaluate --model` and `info` read ONNX files"
        )
    if path.suffix.lower() == ".pt2" and path.is_file():
        raise WeightsError(
            f"{path}: is a program of torch.export, which could run any code as it is opened: pass the model folder "
            f"that it was exported from, or an ONNX file"
        )
    if path.is_file():
        _check_hash(source, [path])
        return read_file(path, num_heads=num_heads)
    if path.is_dir():
        return _read_any_folder(path, source)
    if is_address(path):
        raise WeightsError(f"{path} is an address, not a path: download it first, or pass a hub id (owner/name)")
    if path.suffix.lower() in _FILE_SUFFIXES:
        raise WeightsError(f"{path}: no such file")
    if source.is_hub_id:
        return _read_hub(source)
    presets = ", ".join(PRESETS)
    raise WeightsError(
        f"{path}: no such file or folder, and neither a hub id (owner/name) nor a preset ({presets}) nor packaged "
        f"weights ({', '.join(PACKAGED)})"
    )


def _read_hub(source: ModelSource) -> Checkpoint:
    snapshot = fetch(source.name, revision=source.revision)
    checkpoint = _read_any_folder(snapshot.folder, source)
    if not snapshot.commit:
        return checkpoint
    origin = ": ".join(filter(None, [f"{source.name}@{snapshot.commit}", checkpoint.info.source]))
    info = replace(checkpoint.info, source=origin)
    return replace(checkpoint, info=info, commit=snapshot.commit, verified=snapshot.verified)


def _check_hash(source: ModelSource, candidates: Sequence[Path]) -> None:
    """Check the weights file against the hash that was given, if one was; safetensors are preferred.

    Raises:
        WeightsError: It differs, or the weights are in several files or none.
    """
    if source.sha256 is None:
        return
    files = [path for path in candidates if path.suffix.lower() == ".safetensors"] or candidates
    if len(files) != 1:
        names = ", ".join(path.name for path in files) or "none"
        raise WeightsError(f"{source.name}: sha256 is the hash of one file, and the weights files here are: {names}")
    check_sha256(files[0], source.sha256, stated_by="sha256")


def _read_any_folder(folder: Path, source: ModelSource) -> Checkpoint:
    for candidate in (folder, folder / "model"):
        if (candidate / "config.json").exists():
            _check_hash(source, _weight_files(candidate))
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
