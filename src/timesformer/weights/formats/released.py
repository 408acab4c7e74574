"""The released code's `.pyth` files: reading and writing."""

import reprlib
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor

from timesformer.config.info import ModelInfo
from timesformer.config.io import from_dict, to_dict
from timesformer.config.schema import ClipConfig, SchemeName
from timesformer.errors import ConfigError, WeightsError
from timesformer.files import replacing
from timesformer.model.timesformer import TimeSformer
from timesformer.outputs import refuse_existing
from timesformer.weights.checkpoint import Checkpoint, StoredFile, match_shapes
from timesformer.weights.fields import as_number
from timesformer.weights.formats.expressible import check_expressible, renamed_tensors
from timesformer.weights.layouts import layout_for
from timesformer.weights.model_folder import check_readable

NON_COMMERCIAL = "CC-BY-NC-4.0"
"""License of the released weights and of everything converted from them."""

_RELEASED_NORM_EPS = 1e-6
_DATASETS = {("kinetics", 400): "k400", ("kinetics", 600): "k600", ("ssv2", 174): "ssv2"}


def read_released(tensors: Mapping[str, Tensor], file: StoredFile, num_heads: int | None) -> Checkpoint:
    """Read the tensors of a released file, or of one written by `save_released`."""
    path = file.path
    cfg = _read_cfg(file.content, path)
    scheme = _scheme(tensors, cfg, path)
    try:
        info = _own_info(cfg, path) or _info(cfg, num_classes=len(tensors.get("head.bias", ())), path=path)
        num_frames = _whole(_section(cfg, "DATA"), "NUM_FRAMES", 8)
        num_heads = num_heads or _whole(_section(cfg, "TIMESFORMER"), "NUM_HEADS", 0)  # stored by `save_released` only
    except (TypeError, ValueError) as error:
        raise WeightsError(f"{path}: its stored config is invalid: {error}") from error
    return match_shapes("released", tensors, info, file.origin, num_heads, scheme=scheme, num_frames=num_frames)


def _section(cfg: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    section = cfg.get(name)
    return section if isinstance(section, Mapping) else {}


def _read_cfg(content: Mapping[str, Any], path: Path) -> dict[str, Any]:
    text = content.get("cfg", "")
    try:
        cfg = yaml.safe_load(text) if isinstance(text, str) else None
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: a date that does not exist
        raise WeightsError(f"{path}: its stored config is not YAML: {error}") from error
    return cfg if isinstance(cfg, dict) else {}


def _scheme(tensors: Mapping[str, Tensor], cfg: Mapping[str, Any], path: Path) -> SchemeName:
    if any(".temporal_attn." in name for name in tensors):
        found = "divided_space_time"
    else:
        found = "joint_space_time" if "time_embed" in tensors else "space_only"
    stated = _section(cfg, "TIMESFORMER").get("ATTENTION_TYPE", found)
    if stated != found:
        said = reprlib.repr(stated)  # short, whatever it is
        raise WeightsError(f"{path}: its config says ATTENTION_TYPE {said}, but its tensors are those of {found!r}")
    return found


def _own_info(cfg: Mapping[str, Any], path: Path) -> ModelInfo | None:
    """Info that `save_released` stored in the config; the released code ignores it."""
    stored = _section(cfg, "TIMESFORMER").get("INFO")
    return from_dict(stored, kind=ModelInfo, source=str(path)) if isinstance(stored, Mapping) else None


def _info(cfg: Mapping[str, Any], *, num_classes: int, path: Path) -> ModelInfo:
    """Clips and classes of the released config. Its SSv2 pipeline samples segments and reads channels as BGR."""
    data, dataset = _section(cfg, "DATA"), str(_section(cfg, "TRAIN").get("DATASET", "")).lower()
    ssv2 = dataset == "ssv2"
    spacing: dict[str, Any] = {
        "frame_stride": _whole(data, "SAMPLING_RATE", 32),
        "target_fps": _number(data, "TARGET_FPS", 30),
    }
    clip = ClipConfig(
        sampling="segment" if ssv2 else "dense",
        **({} if ssv2 else spacing),
        mean=tuple(data.get("MEAN", (0.45, 0.45, 0.45))),
        std=tuple(data.get("STD", (0.225, 0.225, 0.225))),
        channel_order="bgr" if ssv2 else "rgb",
        fusion="logits",
    )
    labels = read_labels(_DATASETS.get((dataset, num_classes)))
    return ModelInfo(clip=clip, labels=labels, license=NON_COMMERCIAL, source=f"released checkpoint {path.name}")


def _number(section: Mapping[str, Any], key: str, default: float) -> float:
    try:
        value = float(section.get(key, default))
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"{key}={section[key]!r} is not a number") from error
    if as_number(value) is None:
        raise ValueError(f"{key}={value} is not finite")
    return value


def _whole(section: Mapping[str, Any], key: str, default: int) -> int:
    value = _number(section, key, default)
    if value != int(value):
        raise ValueError(f"{key}={value} is not a whole number")
    return int(value)


def read_labels(name: str | None) -> tuple[str, ...]:
    """Class names of `k400`, `k600` or `ssv2` in index order; empty for None."""
    if name is None:
        return ()
    return tuple((resources.files("timesformer.weights") / "labels" / f"{name}.txt").read_text("utf-8").splitlines())


def save_released(model: TimeSformer, path: str | Path, *, overwrite: bool = False) -> Path:
    """Write a `.pyth` file that the released code loads.

    The released code reads no label names, and always has one head per 64 of `embed_dim`; both are stored in the
    config of the file for `load`.

    Raises:
        ConfigError: The released code lacks the scheme or variant, or has another `norm_eps`; or the file exists and
            `overwrite` is False.
        WeightsError: The path is a folder, or cannot be written.
    """
    path = Path(path)
    check_readable(model)
    check_expressible(model, "released")
    if model.config.norm_eps != _RELEASED_NORM_EPS:
        raise ConfigError(f"the released layout has a fixed norm_eps={_RELEASED_NORM_EPS}, not {model.config.norm_eps}")
    tensors = renamed_tensors(model, layout_for("released", model.config.scheme))
    check_released_target(path, overwrite=overwrite)
    content = {
        "epoch": 0,
        "model_state": {f"model.{name}": tensor for name, tensor in tensors.items()},
        "cfg": yaml.safe_dump(_written_cfg(model)),
    }
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as partial:
            torch.save(content, partial)
    except (OSError, RuntimeError) as error:
        raise WeightsError(f"{path}: cannot be written: {error}") from error
    return path


def check_released_target(path: Path, *, overwrite: bool) -> None:
    """Refuse a path that `save_released` could not write.

    Raises:
        ConfigError, WeightsError: As `save_released`.
    """
    if path.is_dir():
        raise WeightsError(f"{path}: is a folder; the released layout is a single file")
    refuse_existing(path, overwrite=overwrite)


def _written_cfg(model: TimeSformer) -> dict[str, Any]:
    config, clip = model.config, model.info.clip
    return {
        "DATA": {
            "NUM_FRAMES": config.num_frames,
            "SAMPLING_RATE": clip.frame_stride,
            "TARGET_FPS": clip.target_fps,
            "TRAIN_CROP_SIZE": config.image_size[0],
            "TEST_CROP_SIZE": config.image_size[0],
            "MEAN": list(clip.mean),
            "STD": list(clip.std),
        },
        # the last two are for `read_released`: the released code ignores them
        "TIMESFORMER": {
            "ATTENTION_TYPE": config.scheme,
            "NUM_HEADS": config.num_heads,
            "INFO": to_dict(model.info),
        },
        "MODEL": {"NUM_CLASSES": config.num_classes, "ARCH": "vit"},
    }
