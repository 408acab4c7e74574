"""Reading other people's files into one form: a `Checkpoint`, with our parameter names and a config that explains it.

Each format ends up as the same four things, so that nothing after this module knows where weights came from. An image
ViT is read as what it is: a `space_only` model of one frame.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor

from timesformer.config.info import ModelInfo
from timesformer.config.io import from_dict
from timesformer.config.schema import ClipConfig, ModelConfig, SchemeName
from timesformer.errors import WeightsError
from timesformer.model.timesformer import TimeSformer
from timesformer.weights.fields import as_number
from timesformer.weights.layouts import layout_for
from timesformer.weights.pickles import read_tensors
from timesformer.weights.shapes import config_from_shapes
from timesformer.weights.unwrap import find_model

NON_COMMERCIAL = "CC-BY-NC-4.0"
"""License of the released weights, and so of what is converted from them."""

_DATASETS = {("kinetics", 400): "k400", ("kinetics", 600): "k600", ("ssv2", 174): "ssv2"}


@dataclass(frozen=True)
class Checkpoint:
    """Weights as they are stored, under our names, with the config and info that belong to them.

    `missing` are parameters that `config` has and the file has not: the head of a headless image ViT. `place` is where
    in the file the model lay, `others` are places of other models there, and `foreign` all tensors outside the model.
    """

    format: str
    config: ModelConfig
    info: ModelInfo
    tensors: Mapping[str, Tensor]
    missing: tuple[str, ...] = ()
    place: str = ""
    others: tuple[str, ...] = ()
    foreign: tuple[str, ...] = ()

    @classmethod
    def fresh(cls, config: ModelConfig, info: ModelInfo) -> "Checkpoint":
        """The checkpoint of a preset: a config whose parameters are all still missing."""
        return cls("preset", config, info, {}, tuple(parameter_shapes(config)))


def parameter_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a model's parameters, in order, without building them."""
    with torch.device("meta"):
        return {name: tuple(tensor.shape) for name, tensor in TimeSformer(config).state_dict().items()}


def read_file(path: Path, *, num_heads: int | None = None) -> Checkpoint:
    """Read a released `.pyth`, an mmaction2 `.pth`, or an image ViT in timm's names.

    Args:
        path: The file.
        num_heads: Attention heads, which such files do not store; by default one for each 64 of width.

    Raises:
        WeightsError: The file is unreadable, or holds tensors that no known format explains.
        ConfigError: The number of heads cannot be known.
    """
    content = read_tensors(path)
    found = find_model(content, origin=str(path))
    beside = f", beside it {_some(list(found.beside))}" if found.beside else ""
    origin = f"{path} ({found.place}{beside})" if found.place else str(path)
    checkpoint = _explain_file(_File(path, origin, found.place, content), found.tensors, num_heads)
    return replace(checkpoint, place=found.place, others=found.others, foreign=found.foreign)


@dataclass(frozen=True, slots=True)
class _File:
    """A file that weights came from: what it is called in messages, and what else it holds."""

    path: Path
    origin: str
    place: str
    content: Mapping[str, Any]


def _explain_file(file: _File, tensors: Mapping[str, Tensor], num_heads: int | None) -> Checkpoint:
    _refuse_what_needs_its_folder(tensors, file.path)
    if any(name.startswith("backbone.transformer_layers.") for name in tensors):
        scheme = _mmaction2_scheme(tensors)
        return _explain("mmaction2", tensors, _mmaction2_info(file.path), file.origin, num_heads, scheme=scheme)
    if "patch_embed.proj.weight" not in tensors:
        names = ", ".join(sorted(tensors)[:3])
        raise WeightsError(
            f"{file.origin}: no known format; its first tensors are {names}. Known: a model folder, a released .pyth, "
            f"a transformers TimeSformer, an mmaction2 TimeSformer, an image ViT in timm's names"
        )
    if "model_state" in file.place.split(".") or "time_embed" in tensors:
        return _released(_released_cfg(file.content, file.path), tensors, file, num_heads)
    return _image_vit(tensors, file, num_heads)


def _refuse_what_needs_its_folder(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Refuse weights whose config is another file, and name the folder that has both."""
    ours = "embedding.patch.weight" in tensors
    if not ours and not any(name.startswith("timesformer.embeddings.") for name in tensors):
        return
    folder, run = path.absolute().parent, path.absolute().parent.parent
    if (folder / "config.json").exists():
        cure = f"name its folder: {folder}"
    elif ours and (run / "config.toml").exists():
        cure = f"name the folder of its run: {run}"
    else:
        cure = "name the folder that it comes from, which has a config.json"
    what = "this library's" if ours else "transformers'"
    raise WeightsError(f"{path}: holds weights under {what} names, without the config that belongs to them; {cure}")


def _explain(
    format: str,
    tensors: Mapping[str, Tensor],
    info: ModelInfo,
    origin: str,
    num_heads: int | None,
    *,
    scheme: SchemeName,
    num_frames: int = 8,
    optional: tuple[str, ...] = (),
) -> Checkpoint:
    """Give tensors our names and find the config whose parameters are exactly these."""
    names = layout_for(format, scheme)

    def foreign(name: str) -> Tensor | None:
        return tensors.get(names.rename_all([name])[name])

    config = config_from_shapes(foreign, origin=origin, num_heads=num_heads, scheme=scheme, num_frames=num_frames)
    return match_names(format, config, info, tensors, origin=origin, optional=optional)


def match_names(
    format: str,
    config: ModelConfig,
    info: ModelInfo,
    tensors: Mapping[str, Tensor],
    *,
    origin: str,
    optional: tuple[str, ...] = (),
) -> Checkpoint:
    """Rename the tensors of a known config and insist that they are all there, with nothing left over.

    Prefixes that a training script left are taken off first.

    Raises:
        WeightsError: Tensors are missing, unexplained, or of another shape than the config's.
    """
    model = find_model(tensors, origin=origin)
    tensors, shapes = model.tensors, parameter_shapes(config)
    rename = layout_for(format, config.scheme).rename_all(shapes)
    missing = [name for name, theirs in rename.items() if theirs not in tensors]
    unexplained = sorted(set(tensors) - set(rename.values()))
    lost = [rename[name] for name in missing if name not in optional]
    if lost or unexplained:
        raise WeightsError(
            f"{origin}: does not match the {format} layout of {config.scheme}: "
            f"missing {_some(lost)}; unexplained {_some(unexplained)}"
        )
    found = {name: tensors[theirs] for name, theirs in rename.items() if name not in missing}
    for name, tensor in found.items():
        if tuple(tensor.shape) != shapes[name]:
            raise WeightsError(f"{origin}: {rename[name]} is {tuple(tensor.shape)}, its config wants {shapes[name]}")
        _refuse_no_plain_numbers(tensor, f"{origin}: {rename[name]}")
    return Checkpoint(
        format, config, info, found, tuple(missing), place=model.place, others=model.others, foreign=model.foreign
    )


def _refuse_no_plain_numbers(tensor: Tensor, name: str) -> None:
    """Refuse what would become other numbers, or none: quantized, sparse and empty tensors."""
    if not tensor.is_floating_point():
        raise WeightsError(
            f"{name} holds {tensor.dtype} and not floating-point numbers: quantized weights are not read"
        )
    if tensor.is_meta or tensor.layout != torch.strided:
        raise WeightsError(f"{name} is stored as {tensor.layout} on {tensor.device}: save it as a plain tensor")


def _some(names: list[str]) -> str:
    return f"{', '.join(names[:4])}{f' and {len(names) - 4} more' if len(names) > 4 else ''}" if names else "nothing"


# --- The released code ----------------------------------------------------------------------------------------------


def _released(cfg: Mapping[str, Any], tensors: Mapping[str, Tensor], file: _File, num_heads: int | None) -> Checkpoint:
    path = file.path
    scheme = _released_scheme(tensors, cfg, path)
    try:
        info = _own_info(cfg, path) or _released_info(cfg, num_classes=len(tensors.get("head.bias", ())), path=path)
        num_frames = _whole(_section(cfg, "DATA"), "NUM_FRAMES", 8)
        num_heads = num_heads or _whole(_section(cfg, "TIMESFORMER"), "NUM_HEADS", 0)  # only our own files say
    except (TypeError, ValueError) as error:
        raise WeightsError(f"{path}: the config stored in it cannot work: {error}") from error
    return _explain("released", tensors, info, file.origin, num_heads, scheme=scheme, num_frames=num_frames)


def _section(cfg: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    section = cfg.get(name)
    return section if isinstance(section, Mapping) else {}


def _released_cfg(content: Mapping[str, Any], path: Path) -> dict[str, Any]:
    text = content.get("cfg", "")
    try:
        cfg = yaml.safe_load(text) if isinstance(text, str) else None
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a date that does not exist
        raise WeightsError(f"{path}: the config stored in it is not YAML: {error}") from error
    return cfg if isinstance(cfg, dict) else {}


def _released_scheme(tensors: Mapping[str, Tensor], cfg: Mapping[str, Any], path: Path) -> SchemeName:
    if any(".temporal_attn." in name for name in tensors):
        found = "divided_space_time"
    else:
        found = "joint_space_time" if "time_embed" in tensors else "space_only"
    stated = _section(cfg, "TIMESFORMER").get("ATTENTION_TYPE", found)
    if stated != found:
        raise WeightsError(f"{path}: its config says ATTENTION_TYPE {stated!r}, its tensors are those of {found!r}")
    return found


def _own_info(cfg: Mapping[str, Any], path: Path) -> ModelInfo | None:
    """What our own writer put into the config, which has no place for it in the released code."""
    stored = _section(cfg, "TIMESFORMER").get("INFO")
    return from_dict(stored, kind=ModelInfo, source=str(path)) if isinstance(stored, Mapping) else None


def _released_info(cfg: Mapping[str, Any], *, num_classes: int, path: Path) -> ModelInfo:
    """What the released config says of clips and classes. Its SSv2 pipeline reads segments, and channels as BGR."""
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
        raise ValueError(f"{key}={section[key]!r} is no number") from error
    if as_number(value) is None:
        raise ValueError(f"{key}={value} is not finite")
    return value


def _whole(section: Mapping[str, Any], key: str, default: int) -> int:
    value = _number(section, key, default)
    if value != int(value):
        raise ValueError(f"{key}={value} is no whole number")
    return int(value)


def read_labels(name: str | None) -> tuple[str, ...]:
    """Class names of `k400`, `k600` or `ssv2` in index order; none for no name."""
    if name is None:
        return ()
    return tuple((resources.files("timesformer.weights") / "labels" / f"{name}.txt").read_text("utf-8").splitlines())


# --- mmaction2 and image ViTs ---------------------------------------------------------------------------------------


def _mmaction2_scheme(tensors: Mapping[str, Tensor]) -> SchemeName:
    if "backbone.transformer_layers.layers.0.attentions.1.attn.in_proj_weight" in tensors:
        return "divided_space_time"
    return "joint_space_time" if "backbone.time_embed" in tensors else "space_only"


def _mmaction2_info(path: Path) -> ModelInfo:
    clip = ClipConfig(sampling="center", mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    return ModelInfo(clip=clip, license="Apache-2.0", source=f"mmaction2 checkpoint {path.name}")


def _image_vit(tensors: Mapping[str, Tensor], file: _File, num_heads: int | None) -> Checkpoint:
    info = ModelInfo(source=f"image ViT {file.path.name}")
    optional = ("head.weight", "head.bias")
    return _explain(
        "image ViT", tensors, info, file.origin, num_heads, scheme="space_only", num_frames=1, optional=optional
    )


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file.

    Raises:
        WeightsError: The file is missing or is not a JSON object.
    """
    try:
        content = json.loads(path.read_text("utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:  # ValueError: no UTF-8, no JSON, a number without end
        raise WeightsError(f"{path}: cannot be read as JSON: {error}") from error
    if not isinstance(content, dict):
        raise WeightsError(f"{path}: holds a {type(content).__name__}, expected a JSON object")
    return content
