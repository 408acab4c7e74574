"""`Checkpoint`: the weights of any format in one form, under our parameter names, with the config that explains them.

Code that uses one does not know which format it came from.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from timesformer.config.info import ModelInfo
from timesformer.config.schema import ModelConfig, SchemeName
from timesformer.errors import WeightsError
from timesformer.model.timesformer import TimeSformer
from timesformer.weights.layouts import layout_for
from timesformer.weights.shapes import config_from_shapes
from timesformer.weights.unwrap import extract_model


@dataclass(frozen=True)
class Checkpoint:
    """Weights as stored, under our names, with their config and info.

    `missing` are parameters of `config` that the file lacks: the head of a headless image ViT. `location` is the path
    of the model inside the file, `others` are the paths of other models there, and `foreign` all tensors outside the
    model. `commit` is the revision of a hub model, and `verified` are its files whose hashes are those
    that the hub states.
    """

    format: str
    config: ModelConfig
    info: ModelInfo
    tensors: Mapping[str, Tensor]
    missing: tuple[str, ...] = ()
    location: str = ""
    others: tuple[str, ...] = ()
    foreign: tuple[str, ...] = ()
    commit: str = ""
    verified: tuple[str, ...] = ()

    @classmethod
    def without_weights(cls, config: ModelConfig, info: ModelInfo) -> "Checkpoint":
        """The checkpoint of a preset: all parameters of the config are missing."""
        return cls("preset", config, info, {}, tuple(parameter_shapes(config)))


def parameter_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a model's parameters, in order, without building them."""
    with torch.device("meta"):
        return {name: tuple(tensor.shape) for name, tensor in TimeSformer(config).state_dict().items()}


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file of weights: its name in messages, the location of the model in it, and its whole content."""

    path: Path
    origin: str
    location: str
    content: Mapping[str, Any]


def match_shapes(
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
    """Rename tensors and infer the config from their shapes."""
    names = layout_for(format, scheme)

    def stored(name: str) -> Tensor | None:
        return tensors.get(names.rename_all([name])[name])

    config = config_from_shapes(stored, origin=origin, num_heads=num_heads, scheme=scheme, num_frames=num_frames)
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
    """Rename the tensors of a known config; none may be missing or left over.

    Prefixes added by training scripts are removed first.

    Raises:
        WeightsError: Tensors are missing or unexplained, or a shape differs from the config's.
    """
    model = extract_model(tensors, origin=origin)
    tensors, shapes = model.tensors, parameter_shapes(config)
    rename = layout_for(format, config.scheme).rename_all(shapes)
    missing = [name for name, theirs in rename.items() if theirs not in tensors]
    unexplained = sorted(set(tensors) - set(rename.values()))
    lost = [rename[name] for name in missing if name not in optional]
    if lost or unexplained:
        raise WeightsError(
            f"{origin}: does not match the {format} layout of {config.scheme}: "
            f"missing {first_names(lost)}; unexplained {first_names(unexplained)}"
        )
    found = {name: tensors[theirs] for name, theirs in rename.items() if name not in missing}
    for name, tensor in found.items():
        if tuple(tensor.shape) != shapes[name]:
            raise WeightsError(f"{origin}: {rename[name]} is {tuple(tensor.shape)}, its config needs {shapes[name]}")
        _refuse_non_plain(tensor, f"{origin}: {rename[name]}")
    return Checkpoint(
        format, config, info, found, tuple(missing), location=model.location, others=model.others, foreign=model.foreign
    )


def _refuse_non_plain(tensor: Tensor, name: str) -> None:
    """Refuse quantized, sparse and empty tensors, which would load as other numbers or none."""
    if not tensor.is_floating_point():
        raise WeightsError(
            f"{name} holds {tensor.dtype}, not floating-point numbers: quantized weights are not supported"
        )
    if tensor.is_meta or tensor.layout != torch.strided:
        raise WeightsError(f"{name} is stored as {tensor.layout} on {tensor.device}: save it as a plain tensor")


def first_names(names: list[str]) -> str:
    return f"{', '.join(names[:4])}{f' and {len(names) - 4} more' if len(names) > 4 else ''}" if names else "nothing"
