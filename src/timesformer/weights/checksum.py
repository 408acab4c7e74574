"""Checksum of weights, in the header of our safetensors files: the format itself has none."""

import json
import zlib
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from timesformer.errors import WeightsError

KEY = "crc32"
"""Key in the metadata of the file."""


def checksum(tensors: Mapping[str, Tensor]) -> str:
    """CRC-32 of the names, types, shapes and bytes of tensors on the CPU, in the order of their names; hexadecimal."""
    crc = 0
    for name in sorted(tensors):
        tensor = tensors[name].detach().contiguous()
        crc = zlib.crc32(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode(), crc)
        crc = zlib.crc32(tensor.reshape(-1).view(torch.uint8).numpy(), crc)
    return f"{crc:08x}"


def check_intact(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Compare tensors that were read from a safetensors file with the checksum in its header, if it has one.

    Raises:
        WeightsError: They differ.
    """
    with path.open("rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    stored = header.get("__metadata__", {}).get(KEY)
    if stored is not None and stored != checksum(tensors):
        raise WeightsError(f"{path}: damaged: the checksum of its weights is wrong; copy or write it again")
