"""Reading tensors from a file: safetensors, or a pickle of plain values.

No code in a pickle runs: torch's `weights_only` reader builds the values. Errors name the classes that it refuses.
"""

import argparse
import io
import pickle
import pickletools
import re
import struct
import warnings
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, load_file

from timesformer.bounds import check_expansion
from timesformer.errors import WeightsError
from timesformer.files import is_utf8
from timesformer.weights.file_kinds import (
    HEAD_BYTES,
    describe_file,
    expanded_bytes,
    is_torch_zip,
    looks_like_safetensors,
)

DAMAGED = (
    pickle.UnpicklingError, RuntimeError, EOFError, LookupError, ValueError, AttributeError, TypeError, AssertionError,
    struct.error, OverflowError, zipfile.BadZipFile, zlib.error,
)  # fmt: skip
"""What reading a damaged pickle, or the archive around it, raises."""

_INERT: list[Any] = [argparse.Namespace]
"""Classes admitted in addition to tensors: command-line options of training scripts, which run no code."""
_PLAIN = re.compile(
    r"torch\.(Size|Tensor|device|memory_format|\w*Storage|b?float\w*|u?int\w*|complex\w*|q\w+|bool|half|double)"
    r"|torch\.(_utils|_tensor)\._rebuild\w+|torch\.nn\.parameter\.\w+|torch\.storage\.(Unt|T)ypedStorage"
    r"|torch\.serialization\._get_layout|collections\.(OrderedDict|defaultdict|Counter)|_codecs\.encode"
    r"|(builtins|__builtin__)\.(set|bytearray|complex)|argparse\.Namespace"
)
"""Names that the reader admits in a pickle."""
_LEGACY_MARK = bytes.fromhex("8a0a6cfc9c46f9206aa85019")
"""Magic number near the start of files written by `torch.save` before torch 1.6."""


def read_tensors(path: Path) -> dict[str, Any]:
    """Content of a safetensors file or a pickle, whatever its suffix.

    Pickles may hold tensors, numbers, strings, containers of them and `argparse` options.

    Raises:
        WeightsError: The file is missing, damaged, of another kind, or holds objects that would run code when read;
            the message says which.
    """
    try:
        description = describe_file(path)
        if description:
            raise WeightsError(f"{path}: cannot be read as weights: it {description}")
        check_expansion(path, expanded_bytes(path), error=WeightsError)
        with open(path, "rb") as file:
            is_safetensors = looks_like_safetensors(file.read(HEAD_BYTES))
        return _read_safetensors(path) if is_safetensors else _unpickle(path)
    except WeightsError:
        raise
    except IsADirectoryError as error:
        raise WeightsError(f"{path}: cannot be read as weights: it is a folder") from error
    except SafetensorError as error:
        raise WeightsError(f"{path}: cannot be read as weights: damaged safetensors: {error}") from error
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read as weights: {error.strerror or error}") from error
    except MemoryError as error:
        raise WeightsError(f"{path}: cannot be read as weights: it needs more memory than there is") from error
    except DAMAGED as error:
        raise WeightsError(f"{path}: {_why_refused(path)}") from error


def _read_safetensors(path: Path) -> dict[str, Any]:
    # safetensors opens only UTF-8 paths
    return load_file(path) if is_utf8(str(path.absolute())) else load(path.read_bytes())


def _unpickle(path: Path) -> dict[str, Any]:
    with torch.serialization.safe_globals(_INERT), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Detected pickle protocol")  # what torch cannot read is refused below
        try:
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        # the format before torch 1.6 cannot be memory-mapped, and given a path torch trusts the suffix
        except (RuntimeError, ValueError, SafetensorError):
            with open(path, "rb") as file:
                content = torch.load(file, map_location="cpu", weights_only=True)
    if not isinstance(content, Mapping):
        raise WeightsError(f"{path}: holds a {type(content).__name__}, expected a dictionary of tensors")
    return {str(name): value for name, value in content.items()}


# --- Why a pickle was refused ---------------------------------------------------------------------------------------


def _why_refused(path: Path) -> str:
    names = list(dict.fromkeys(_names_in(path)))
    others = [name for name in names if not _PLAIN.fullmatch(name)]
    foreign = [name for name in others if not name.startswith("torch.nn.")]
    cure = "Where it was made, save only the tensors: torch.save(model.state_dict(), 'weights.pth')"
    if names and set(others) <= {"torch.storage._load_from_bytes"} and not _is_from_torch(path):
        return f"not a file of plain tensors, refused: a pickle that torch.save did not write, or a damaged one. {cure}"
    if len(others) > len(foreign):
        what = f"a whole model of class {(foreign or others)[0]}"
    elif others:
        what = f"objects of {', '.join(others[:3])}{f' and {len(others) - 3} more' if len(others) > 3 else ''}"
    else:
        size = path.stat().st_size
        return f"cannot be read as weights: truncated or damaged ({size:,} bytes); download or copy it again"
    return f"not a file of plain tensors, refused: it holds {what}, which cannot be read without running code. {cure}"


def _is_from_torch(path: Path) -> bool:
    return is_torch_zip(path) or _LEGACY_MARK in _head(path)[:32]


def _head(path: Path) -> bytes:
    with open(path, "rb") as file:
        return file.read(HEAD_BYTES)


def _names_in(path: Path) -> Iterator[str]:
    """Classes and functions named by the pickle in a file, in order, without running it."""
    try:
        if not is_torch_zip(path):
            with open(path, "rb") as file:
                yield from _names_in_stream(file)
            return
        with zipfile.ZipFile(path) as archive:
            name = next(name for name in archive.namelist() if name.endswith("/data.pkl"))
            yield from _names_in_stream(io.BytesIO(archive.read(name)))
    except (*DAMAGED, OSError, NotImplementedError, MemoryError):  # a text of a claimed length
        return


def _names_in_stream(file: io.BytesIO | io.BufferedReader) -> Iterator[str]:
    pickles = 4 if _LEGACY_MARK in file.read(32) else 1  # magic number, version, system, content
    file.seek(0)
    for _ in range(pickles):
        strings: list[str] = []
        memo: dict[int, str] = {}
        was_string = False
        for opcode, argument, _ in pickletools.genops(file):
            if opcode.name in ("GLOBAL", "INST"):
                yield str(argument).replace(" ", ".")
            elif opcode.name == "STACK_GLOBAL":
                yield ".".join(strings[-2:])
            elif opcode.name in ("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"):
                memo[len(memo) if argument is None else argument] = strings[-1] if was_string else ""
                continue
            elif opcode.name in ("GET", "BINGET", "LONG_BINGET"):
                strings.append(memo.get(int(str(argument)), ""))
            was_string = isinstance(argument, str) and ("UNICODE" in opcode.name or "STRING" in opcode.name)
            if was_string:
                strings.append(str(argument))
