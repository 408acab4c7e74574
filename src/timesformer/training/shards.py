"""Sharded checkpoints: every process writes its share of the tensors, and any number of processes read them.

`last.ckpt` stays a small file: epochs, schedule, metrics, and the name of a folder next to it with the tensors, which
torch.distributed.checkpoint wrote. It replaces its predecessor after the folder is complete, so that a killed process
leaves the last complete checkpoint. Folders that no checkpoint names are removed.
"""

import io
import pickle
import shutil
import warnings
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePath
from typing import Any
from zipfile import BadZipFile, ZipFile

import torch
import torch.distributed.checkpoint as dcp
from torch import Tensor
from torch.distributed.checkpoint import CheckpointException, FileSystemReader, FileSystemWriter
from torch.distributed.checkpoint.metadata import Metadata, TensorStorageMetadata

from timesformer.errors import WeightsError
from timesformer.files import sync_folder
from timesformer.weights.pickles import DAMAGED

SHARDS = "shards"
"""Key of a checkpoint with the name of its folder of tensors."""
_MODEL, _OPTIMIZER = "model/", "optimizer/"
_PLAIN = {
    ("torch.distributed.checkpoint.metadata", "Metadata"),
    ("torch.distributed.checkpoint.metadata", "MetadataIndex"),
    ("torch.distributed.checkpoint.metadata", "TensorStorageMetadata"),
    ("torch.distributed.checkpoint.metadata", "TensorProperties"),
    ("torch.distributed.checkpoint.metadata", "ChunkStorageMetadata"),
    ("torch.distributed.checkpoint.metadata", "StorageMeta"),
    ("torch.distributed.checkpoint.metadata", "_MEM_FORMAT_ENCODING"),
    ("torch.distributed.checkpoint.filesystem", "_StorageInfo"),
    ("torch.serialization", "_get_layout"),
    ("torch", "Size"),
    ("torch", "float32"),
    ("torch", "float64"),
    ("torch", "bfloat16"),
    ("torch", "float16"),
    ("torch", "int64"),
    ("torch", "bool"),
    ("collections", "OrderedDict"),
}
"""Classes that the table of a folder may name; they run no code."""

Twin = Callable[[str], Tensor | None]
"""The tensor of the running training with a key, whose sharding the one to read gets; None for a plain tensor."""


def write_shards(tensors: Mapping[str, Tensor], folder: Path) -> None:
    """Write a folder of tensors; all processes call it, and each writes its shards.

    Raises:
        OSError: The disk refused one of the processes.
    """
    try:
        dcp.save(dict(tensors), storage_writer=FileSystemWriter(str(folder)))
    except CheckpointException as error:
        raise _cause(error) from error
    for path in (folder, folder.parent):
        sync_folder(path)


def read_shards(folder: Path, *, twin: Twin = lambda key: None) -> dict[str, Tensor]:
    """Read a folder of tensors, each process its own shards.

    Args:
        folder: The folder.
        twin: A sharded tensor of the same size, with the key, that says what belongs to this process; by default
            tensors are read whole.

    Raises:
        WeightsError: A file is missing or damaged.
    """
    reader = _PlainReader(str(folder))
    with _damage_as_error(folder), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.distributed is disabled")  # each process reads its own
        found = reader.read_metadata().state_dict_metadata
        targets = {key: _target(stored, twin(key)) for key, stored in found.items()}
        dcp.load(targets, storage_reader=reader, no_dist=True)
    return targets


def take_tensors(checkpoint: dict[str, Any]) -> dict[str, Tensor]:
    """Remove the tensors of weights and optimizer from a checkpoint of the trainer, and return them by key."""
    tensors = {_MODEL + name: tensor for name, tensor in checkpoint["state_dict"].items()}
    checkpoint["state_dict"] = {}
    optimizer = checkpoint["optimizer_states"][0]
    for index, slots in optimizer["state"].items():
        tensors |= {f"{_OPTIMIZER}{index}/{slot}": tensor for slot, tensor in slots.items()}
    checkpoint["optimizer_states"] = [optimizer | {"state": {}}]
    return tensors


def put_tensors(checkpoint: dict[str, Any], tensors: Mapping[str, Tensor]) -> None:
    """The inverse of `take_tensors`."""
    states = checkpoint["optimizer_states"][0]["state"]
    for key, tensor in tensors.items():
        if key.startswith(_MODEL):
            checkpoint["state_dict"][key.removeprefix(_MODEL)] = tensor
        else:
            index, slot = key.removeprefix(_OPTIMIZER).split("/")
            states.setdefault(int(index), {})[slot] = tensor


def twins(module: torch.nn.Module, optimizer: torch.optim.Optimizer) -> Twin:
    """The tensors of a training by key: weights, and for the moments of a weight that weight."""
    weights = module.state_dict()
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]

    def twin(key: str) -> Tensor | None:
        if key.startswith(_MODEL):
            return weights.get(key.removeprefix(_MODEL))
        index, _ = key.removeprefix(_OPTIMIZER).split("/")
        return parameters[int(index)].detach() if int(index) < len(parameters) else None

    return twin


def remove_unused(folders: Iterable[Path], checkpoints: Iterable[Path]) -> None:
    """Remove the folders of tensors that none of the checkpoints names; none if a checkpoint cannot be read.

    Raises:
        OSError: A folder cannot be removed.
    """
    folders = list(folders)
    if not folders:
        return
    try:
        states = [_read(path) for path in checkpoints if path.exists()]
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError):
        return
    used = {state.get(SHARDS) for state in states}
    for folder in folders:
        if folder.name not in used:
            shutil.rmtree(folder)


def check_shards(checkpoint: Mapping[str, Any], path: Path) -> None:
    """Refuse a checkpoint whose folder of tensors is gone or damaged, be it in a single byte.

    Raises:
        WeightsError: The folder, or its table, does not exist, or a tensor has another checksum than when written.
    """
    if SHARDS not in checkpoint:
        return
    folder = path.parent / checkpoint[SHARDS]
    if not (folder / ".metadata").exists():
        raise WeightsError(
            f"{path}: its tensors are missing: copy the folder {checkpoint[SHARDS]} next to it, or pass "
            "overwrite=True (--overwrite) to start again"
        )
    with _damage_as_error(folder):
        for key, place in _PlainReader(str(folder)).read_metadata().storage_data.items():
            with open(folder / place.relative_path, "rb") as file:
                file.seek(place.offset)
                content = io.BytesIO(file.read(place.length))
            # torch.save stores a checksum of each tensor, which torch.load does not look at
            if ZipFile(content).testzip() is not None:
                raise BadZipFile(f"the checksum of {key.fqn!r} is wrong")


def complete(checkpoint: dict[str, Any], path: Path, *, twin: Twin = lambda key: None) -> dict[str, Any]:
    """Add the tensors of a sharded checkpoint, read from the folder that it names next to `path`; others unchanged.

    Raises:
        WeightsError: The folder is missing or damaged.
    """
    if SHARDS in checkpoint:
        put_tensors(checkpoint, read_shards(path.parent / checkpoint[SHARDS], twin=twin))
    return checkpoint


class _PlainReader(FileSystemReader):
    """A reader that runs no code from the pickled table of a folder."""

    def read_metadata(self, *args: Any, **options: Any) -> Metadata:
        with open(Path(self.path) / ".metadata", "rb") as file:
            return _PlainUnpickler(file).load()


class _PlainUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if module in ("pathlib", "pathlib._local") and name in ("PosixPath", "WindowsPath"):
            return PurePath  # where the folder was, perhaps on another system
        if (module, name) not in _PLAIN:
            raise pickle.UnpicklingError(f"its table holds {module}.{name}, which could run code")
        return super().find_class(module, name)


@contextmanager
def _damage_as_error(folder: Path) -> Generator[None]:
    try:
        yield
    except CheckpointException as error:
        raise WeightsError(f"{folder}: is damaged: {_cause(error)}") from error
    except (*DAMAGED, OSError) as error:
        raise WeightsError(f"{folder}: is damaged: {error}") from error


def _read(path: Path) -> dict[str, Any]:
    return torch.load(path, map_location="cpu", weights_only=True, mmap=True)


def _target(stored: Any, twin: Tensor | None) -> Tensor:
    """Memory for a tensor: that of its twin for a weight, new memory sharded like its twin for a moment."""
    if not isinstance(stored, TensorStorageMetadata):
        raise TypeError("its table holds something that is not a tensor")
    if twin is not None and twin.shape == stored.size:
        return torch.empty_like(twin, dtype=stored.properties.dtype)
    return torch.empty(stored.size, dtype=stored.properties.dtype)


def _cause(error: CheckpointException) -> OSError:
    """The first error of a process, as an `OSError`."""
    first = next(cause for _, (cause, _) in sorted(error.failures.items()))
    return first if isinstance(first, OSError) else OSError(str(first) or type(first).__name__)
