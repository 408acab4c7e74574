"""The tensors of a `transformers` folder: one file, or shards listed by an index."""

from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from torch import Tensor

from timesformer.errors import WeightsError
from timesformer.weights.fields import read_json_object, show
from timesformer.weights.pickles import read_tensors

_INDEX = ".index.json"
_FILES = (
    f"model.safetensors{_INDEX}",
    "model.safetensors",
    "pytorch_model.bin",
    f"pytorch_model.bin{_INDEX}",
)
"""Weights files, in order of preference."""


def read_shards(folder: Path) -> dict[str, Tensor]:
    """All tensors of a folder, by stored name.

    Raises:
        WeightsError: There are no weights; a file is missing, damaged, or holds something other than tensors; or an
            index disagrees with its shards, or names a file outside the folder.
    """
    path = next((folder / name for name in _FILES if (folder / name).exists()), None)
    if path is None:
        raise WeightsError(f"{folder}: has no model.safetensors and no pytorch_model.bin, nor a shard index of either")
    return _read_indexed(path) if path.name.endswith(_INDEX) else _read_tensors(path)


def _read_indexed(index: Path) -> dict[str, Tensor]:
    weight_map = _weight_map(index)
    tensors: dict[str, Tensor] = {}
    for shard in sorted(set(weight_map.values())):
        found = _read_tensors(index.parent / shard)
        foreign = next((name for name in found if weight_map.get(name) != shard), None)
        if foreign is not None:
            raise WeightsError(f"{index.parent / shard}: holds {foreign}, which {index.name} does not map to it")
        tensors |= found
    lost = next((name for name in weight_map if name not in tensors), None)
    if lost is not None:
        raise WeightsError(f"{index.parent / weight_map[lost]}: has no {lost}, which {index.name} maps to it")
    return tensors


def _weight_map(index: Path) -> Mapping[str, str]:
    weight_map = read_json_object(index).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise WeightsError(f"{index}: has no weight_map from tensor names to files")
    for name, shard in weight_map.items():
        if not _lies_in_folder(shard):
            raise WeightsError(f"{index}: weight_map.{name}={show(shard)} must be the name of a file in this folder")
        if not (index.parent / shard).is_file():
            raise WeightsError(f"{index}: weight_map.{name}={show(shard)}: no such file; download every shard")
    return weight_map


def _lies_in_folder(shard: Any) -> bool:
    # by text alone: in the hub cache every file is a link to another folder
    if not isinstance(shard, str) or not shard or "\\" in shard or ":" in shard:
        return False
    path = PurePosixPath(shard)
    return not path.is_absolute() and ".." not in path.parts


def _read_tensors(path: Path) -> dict[str, Tensor]:
    content = read_tensors(path)
    for name, value in content.items():
        if not isinstance(value, Tensor):
            raise WeightsError(f"{path}: {name} is a {type(value).__name__}, expected only tensors")
    return content
