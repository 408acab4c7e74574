"""Finding the model inside what training scripts save around it: containers, prefixes, averages, other models.

Every tensor of a file has a path: the containers it lies in, then its name. A model is known by its patch embedding;
what stands before that in the path is where the model lies, and all that lies elsewhere is foreign to it.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from torch import Tensor

from timesformer.errors import WeightsError

_ANCHORS = (
    "patch_embed.proj.weight",
    "backbone.patch_embed.projection.weight",
    "timesformer.embeddings.patch_embeddings.projection.weight",
    "embedding.patch.weight",
)
"""Names of the patch embedding: released and timm's, mmaction2's, that of `transformers`, ours."""

_AVERAGES = ("state_dict_ema", "model_ema", "ema_state_dict", "ema_model", "ema", "averaged_model", "teacher")
"""Averages of the weights over training, which are what such scripts evaluate; the best known first."""
_CONTAINERS = (
    "model_state", "state_dict", "model_state_dict", "model", "module", "net", "network", "backbone", "encoder",
    "checkpoint", "weights", "params", "student",
)  # fmt: skip
"""Where a model lies otherwise, the most usual first."""
_WRAPPERS = re.compile(
    r"(?:^|(?<=\.))(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module|_forward_module)\.|(?<=\.)module\."
)
"""Parts of names that compiling, sharding and saving memory add, anywhere in a model. A `module` at the start is
a container: another model may lie next to it."""
_MAX_DEPTH = 8
"""Containers within containers; nothing usual is as deep."""


class _Name(NamedTuple):
    """Where a tensor is: the containers it lies in, each with a dot after it, and its name there."""

    container: str
    name: str


class _Location(NamedTuple):
    """Where a model is: its containers, and what stands before all its names."""

    container: str
    prefix: str

    @property
    def parts(self) -> list[str]:
        return [part for part in f"{self.container}{self.prefix}".split(".") if part]

    def holds(self, name: _Name) -> bool:
        return name.container == self.container and name.name.startswith(self.prefix)

    def __str__(self) -> str:
        return ".".join(self.parts) or "the top"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtractedModel:
    """The tensors of one model, without what was before their names."""

    tensors: Mapping[str, Tensor]
    location: str
    """Containers and prefix that were taken off; empty where the tensors lay bare."""
    others: tuple[str, ...]
    """Places of other models in the file, which were not taken."""
    foreign: tuple[str, ...]
    """Full names of all tensors outside the model, those of other models included."""
    siblings: tuple[str, ...] = ()
    """Those of `foreign` that lie in the same container, and in no other model: a head or a loss of the same script."""


def is_average(location: str) -> bool:
    """Whether the weights at a location are an average over training."""
    return any(part in _AVERAGES for part in location.split("."))


def extract_model(content: Mapping[str, Any], *, origin: str) -> ExtractedModel:
    """Take the model out of what a training script saved.

    An average over training is taken before the weights of the last step, as their own scripts evaluate it; then the
    most usual location. `_orig_mod` and the like are taken out of names wherever they are.

    Args:
        content: What the file holds.
        origin: The file or folder, for messages.

    Raises:
        WeightsError: There is no tensor, two tensors have one name, or there are several models and none is preferred.
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
            f"{origin}: holds several models, under {', '.join(map(str, locations))}: save the one that you mean alone"
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
    """All tensors, their names without wrappers."""
    flat: dict[_Name, Tensor] = {}
    for name, tensor in _walk(content, container="", depth=0, seen=set()):
        plain = _Name(name.container, _WRAPPERS.sub("", name.name))
        if plain in flat:
            raise WeightsError(
                f"{origin}: holds two tensors named {plain.name} once wrappers are taken off {name.name}"
            )
        flat[plain] = tensor
    return flat


def _walk(
    content: Mapping[Any, Any] | Sequence[Any], *, container: str, depth: int, seen: set[int]
) -> Iterator[tuple[_Name, Tensor]]:
    """All tensors; what is there under two names, or holds itself, comes once."""
    seen.add(id(content))
    items = content.items() if isinstance(content, Mapping) else enumerate(content)
    for key, value in items:
        if isinstance(value, Tensor):
            yield _Name(container, str(key)), value
        elif isinstance(value, Mapping | list | tuple) and depth < _MAX_DEPTH and id(value) not in seen:
            yield from _walk(value, container=f"{container}{key}.", depth=depth + 1, seen=seen)


def _locations(name: _Name) -> Iterator[_Location]:
    """The location of a model whose patch embedding a tensor is."""
    for anchor in _ANCHORS:
        if name.name == anchor or name.name.endswith(f".{anchor}"):
            yield _Location(name.container, name.name.removesuffix(anchor))


def _rank(location: _Location) -> tuple[int, int, tuple[int, ...]]:
    """Sorts locations: averages first, then those with the fewest unusual parts, then the more usual parts."""
    parts = location.parts
    average = min((_AVERAGES.index(part) for part in parts if part in _AVERAGES), default=len(_AVERAGES))
    unusual = [part for part in parts if part not in _AVERAGES and part not in _CONTAINERS]
    return average, len(unusual), tuple(_CONTAINERS.index(part) for part in parts if part in _CONTAINERS)
