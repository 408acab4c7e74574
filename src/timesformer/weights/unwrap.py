"""Extracting the model from the checkpoint of a training script: containers, prefixes, averages, other models.

Every tensor of a file has a path: its containers, then its name. A model is recognized by its patch embedding: the path
before that name is the location of the model, and all tensors elsewhere are foreign to it.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from timesformer.bounds import MAX_EXPANSION, MIN_EXPANDED_BYTES
from timesformer.errors import WeightsError

_ANCHORS = (
    "patch_embed.proj.weight",
    "backbone.patch_embed.projection.weight",
    "timesformer.embeddings.patch_embeddings.projection.weight",
    "embedding.patch.weight",
)
"""Names of the patch embedding: of the released code and timm, mmaction2, `transformers`, and ours."""

_AVERAGES = ("state_dict_ema", "model_ema", "ema_state_dict", "ema_model", "ema", "averaged_model", "teacher")
"""Containers of weights averaged over training, which such scripts evaluate; the best known first."""
_CONTAINERS = (
    "model_state", "state_dict", "model_state_dict", "model", "module", "net", "network", "backbone", "encoder",
    "checkpoint", "weights", "params", "student",
)  # fmt: skip
"""Other containers of models, the most usual first."""
_WRAPPERS = re.compile(
    r"(?:^|(?<=\.))(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module|_forward_module)\.|(?<=\.)module\."
)
"""Name components added anywhere in a model by compiling, sharding and activation checkpointing. A `module` at the
start is a container: another model may lie next to it."""
_MAX_DEPTH = 8
"""Nesting of containers; usual files are far below."""


class _Name(NamedTuple):
    """Path of a tensor: its containers, each followed by a dot, and its name there."""

    container: str
    name: str


class _Location(NamedTuple):
    """Location of a model: its containers, and the prefix of all its names."""

    container: str
    prefix: str

    @property
    def parts(self) -> list[str]:
        return [part for part in f"{self.container}{self.prefix}".split(".") if part]

    def holds(self, name: _Name) -> bool:
        return name.container == self.container and name.name.startswith(self.prefix)

    def __str__(self) -> str:
        return ".".join(self.parts) or "the top level"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtractedModel:
    """The tensors of one model, without the prefix of their names."""

    tensors: Mapping[str, Tensor]
    location: str
    """Containers and prefix that were removed; empty if there were none."""
    others: tuple[str, ...]
    """Locations of other models in the file, which were not taken."""
    foreign: tuple[str, ...]
    """Full names of all tensors outside the model, those of other models included."""
    siblings: tuple[str, ...] = ()
    """Foreign tensors of the same container that belong to no other model: a head or a loss of the same script."""


def is_average(location: str) -> bool:
    """Whether a location holds an average over training."""
    return any(part in _AVERAGES for part in location.split("."))


def extract_model(content: Mapping[str, Any], *, origin: str) -> ExtractedModel:
    """Extract the model from the checkpoint of a training script.

    An average over training is preferred to the weights of the last step, as in such scripts' evaluation; then the
    most usual location. `_orig_mod` and the like are removed from names everywhere.

    Args:
        content: Content of the file.
        origin: The file or folder, for messages.

    Raises:
        WeightsError: There is no tensor, two tensors have the same name, or none of several models is preferred.
    """
    tensors = _flat(content, origin=origin)
    if not tensors:
        raise WeightsError(f"{origin}: holds no tensors, only {', '.join(list(content)[:6]) or 'an empty dictionary'}")
    locations = sorted(
        {location for name in tensors for location in _locations(name)},
        key=lambda location: (_rank(location), location),
    )
    if not locations:
        return ExtractedModel(
            tensors={name.name: tensor for name, tensor in tensors.items()}, location="", others=(), foreign=()
        )
    location, *others = locations
    if others and _rank(location) == _rank(others[0]):
        raise WeightsError(
            f"{origin}: holds several models, under {', '.join(map(str, locations))}: save only the one you need"
        )
    nested = [other for other in others if other.prefix.startswith(location.prefix)]
    inside = {name for name in tensors if location.holds(name) and not any(other.holds(name) for other in nested)}
    outside = [name for name in tensors if name not in inside]
    siblings = [n for n in outside if n.container == location.container and not any(other.holds(n) for other in others)]
    return ExtractedModel(
        tensors={name.name.removeprefix(location.prefix): tensors[name] for name in tensors if name in inside},
        location=".".join(location.parts),
        others=tuple(map(str, others)),
        foreign=tuple(map("".join, outside)),
        siblings=tuple(map("".join, siblings)),
    )


def _flat(content: Mapping[str, Any], *, origin: str) -> dict[_Name, Tensor]:
    """All tensors, with wrappers removed from their names."""
    flat: dict[_Name, Tensor] = {}
    for name, tensor in _walk(content, container="", depth=0, seen=set()):
        plain = _Name(name.container, _WRAPPERS.sub("", name.name))
        if plain in flat:
            raise WeightsError(
                f"{origin}: holds two tensors named {plain.name} once wrappers are removed from {name.name}"
            )
        flat[plain] = tensor
    _check_stored(flat, origin=origin)
    return flat


def _check_stored(tensors: Mapping[_Name, Tensor], *, origin: str) -> None:
    """Refuse tensors that are far larger than what is stored of them: views that repeat a number."""
    for name, tensor in tensors.items():
        full = f"{name.container}{name.name}"
        if tensor.layout != torch.strided or tensor.is_meta:
            continue  # refused when it is used
        size, stored = tensor.numel() * tensor.element_size(), tensor.untyped_storage().nbytes()
        if size > max(MAX_EXPANSION * stored, MIN_EXPANDED_BYTES):
            raise WeightsError(f"{origin}: the tensor {full} has {size} bytes, of which the file stores {stored}")


def _walk(
    content: Mapping[Any, Any] | Sequence[Any], *, container: str, depth: int, seen: set[int]
) -> Iterator[tuple[_Name, Tensor]]:
    """All tensors; a container with two names, or that holds itself, is walked once."""
    seen.add(id(content))
    items = content.items() if isinstance(content, Mapping) else enumerate(content)
    for key, value in items:
        if isinstance(value, Tensor):
            yield _Name(container, str(key)), value
        elif isinstance(value, Mapping | list | tuple) and depth < _MAX_DEPTH and id(value) not in seen:
            yield from _walk(value, container=f"{container}{key}.", depth=depth + 1, seen=seen)


def _locations(name: _Name) -> Iterator[_Location]:
    """The location of the model, if a tensor is its patch embedding."""
    for anchor in _ANCHORS:
        if name.name == anchor or name.name.endswith(f".{anchor}"):
            yield _Location(name.container, name.name.removesuffix(anchor))


def _rank(location: _Location) -> tuple[int, int, tuple[int, ...]]:
    """Sort key of locations: averages first, then the fewest unusual components, then the more usual ones."""
    parts = location.parts
    average = min((_AVERAGES.index(part) for part in parts if part in _AVERAGES), default=len(_AVERAGES))
    unusual = [part for part in parts if part not in _AVERAGES and part not in _CONTAINERS]
    return average, len(unusual), tuple(_CONTAINERS.index(part) for part in parts if part in _CONTAINERS)
