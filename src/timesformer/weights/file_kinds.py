"""Descriptions of files that hold no weights, from their first bytes rather than their names."""

import json
import os
import re
import struct
import zipfile
from pathlib import Path

HEAD_BYTES = 4096
"""Bytes at the start of a file that identify its kind."""

_SIGNATURES = (
    # offset, first bytes, what the file is, what to do
    (0, b"\x93NUMPY", "a NumPy array (.npy)", "weights are a dictionary of named tensors"),
    (0, b"\x89HDF\r\n\x1a\n", "an HDF5 file, as written by Keras and TensorFlow", "convert it to PyTorch first"),
    (0, b"GGUF", "a GGUF file of llama.cpp", "get the weights in PyTorch format"),
    (4, b"TFL3", "a TensorFlow Lite model", "get the weights in PyTorch format"),
    (257, b"ustar", "a tar archive", "unpack it and pass the weights file inside"),
    (0, b"\x1f\x8b", "a gzip file", "unpack it first"),
    (0, b"BZh", "a bzip2 file", "unpack it first"),
    (0, b"\xfd7zXZ\0", "an xz file", "unpack it first"),
    (0, b"\x28\xb5\x2f\xfd", "a Zstandard file", "unpack it first"),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive", "unpack it first"),
    (0, b"Rar!", "a RAR archive", "unpack it first"),
    (0, b"%PDF", "a PDF document", "pass a weights file"),
    (0, b"\x89PNG", "an image", "pass a weights file"),
    (0, b"\xff\xd8\xff", "an image", "pass a weights file"),
    (0, b"GIF8", "an image", "pass a weights file"),
    (4, b"ftyp", "a video or an image", "pass a weights file"),
    (0, b"\x1a\x45\xdf\xa3", "a video", "pass a weights file"),
    (0, b"RIFF", "a video, an image or audio", "pass a weights file"),
)
_SUFFIXES = {
    ".onnx": ("an ONNX model", "pass the model folder that it was exported from"),
    ".pb": ("a TensorFlow graph", "get the weights in PyTorch format"),
    ".msgpack": ("a Flax file", "get the weights in PyTorch format"),
    ".engine": ("a TensorRT engine", "get the weights in PyTorch format"),
    ".index": ("a part of a TensorFlow checkpoint", "get the weights in PyTorch format"),
}
_MAX_HEADER_BYTES = 100_000_000
"""Of the header of safetensors; their reader refuses a longer one."""
_BAD_ZIP = (
    zipfile.BadZipFile, OSError, ValueError, NotImplementedError, struct.error, OverflowError, EOFError, MemoryError,
)  # fmt: skip
_LFS = re.compile(rb"version https://(?:git-lfs|hawser)\.github\.com/spec/.*?\nsize (\d+)", re.DOTALL)


def describe_file(path: Path) -> str:
    """Describe a file that holds no weights, with a remedy; empty if it may hold weights.

    Args:
        path: A file that exists.

    Raises:
        OSError: The file cannot be read.
    """
    with open(path, "rb") as file:
        head, size = file.read(HEAD_BYTES), os.fstat(file.fileno()).st_size
    if looks_like_safetensors(head):
        return _truncated_safetensors(path, head, size)
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08")):
        return _in_zip(path, size)
    for describe in (_empty, _pointer, _by_signature, _text):
        if description := describe(head, size):
            return description
    suffix = ".index" if re.search(r"\.data-\d+-of-\d+$", path.name) else path.suffix.lower()
    what, cure = _SUFFIXES.get(suffix, ("", ""))
    return f"is {what}: {cure}" if what else ""


def looks_like_safetensors(head: bytes) -> bool:
    """Whether a file starts like safetensors: the length of a header, then its brace."""
    return len(head) > 8 and head[8:9] == b"{" and int.from_bytes(head[:8], "little") < 2**32


def is_torch_zip(path: Path) -> bool:
    """Whether a file is a zip archive written by `torch.save`."""
    return any(name.endswith("/data.pkl") for name in _zip_names(path))


def _empty(head: bytes, size: int) -> str:
    if size == 0:
        return "is empty: the download or copy did not finish; repeat it"
    if not any(head):
        return "starts with zeros only: the download or copy did not finish; repeat it"
    return ""


def _pointer(head: bytes, size: int) -> str:
    lfs = _LFS.match(head)
    if lfs:
        return f"is a Git LFS pointer to {int(lfs[1])} bytes of weights, not the weights: run `git lfs pull` there"
    if b"annex/objects/" in head and size < HEAD_BYTES:
        return "is a git-annex pointer, not the weights: run `git annex get` there"
    return ""


def _by_signature(head: bytes, size: int) -> str:
    for offset, signature, what, cure in _SIGNATURES:
        if head[offset:].startswith(signature):
            return f"is {what}: {cure}"
    return ""


def _text(head: bytes, size: int) -> str:
    text = _decode(head)
    start = text.lstrip("\ufeff").lstrip()
    if not start:
        return ""
    if re.match(r"(?i)<!doctype html|<html|<head|<body|<script|<!--", start):
        title = re.search(r"(?is)<title[^>]*>\s*(.*?)\s*</title>", start)
        named = f" ({' '.join(title[1].split())[:60]!r})" if title and title[1] else ""
        return (
            f"is a web page{named}, not weights: the URL led to a page about the file, a login or a warning; "
            f"download the file itself"
        )
    if start.startswith("<?xml") or re.match(r"<[A-Za-z]+[\s>]", start):
        return "is XML, not weights: often the error message of a storage server; download the file itself"
    if start[0] in "{[":
        return "is JSON, not weights: pass the model folder or its weights file"
    line = start.splitlines()[0][:60]
    return f"is a text file that starts with {line!r}, not weights"


def _decode(head: bytes) -> str:
    """The start of a file as text; empty if it is not text."""
    if head[:2] in (b"\xff\xfe", b"\xfe\xff"):
        text = head[: len(head) // 2 * 2].decode("utf-16", errors="replace")
    else:
        # the last character may be incomplete
        text = head.decode("utf-8", errors="replace").rstrip("\ufffd")
    plain = all(character.isprintable() or character in "\t\r\n\f\ufeff" for character in text)
    return text if plain and "\ufffd" not in text else ""


def _truncated_safetensors(path: Path, head: bytes, size: int) -> str:
    """Why safetensors are incomplete; empty if they are complete or their header is unreadable."""
    length = int.from_bytes(head[:8], "little")
    needed = 8 + length
    if needed <= size and length <= _MAX_HEADER_BYTES:
        with open(path, "rb") as file:
            file.seek(8)
            needed += _end_of_tensors(file.read(length))
    return _truncated(size, needed) if needed > size else ""


def _end_of_tensors(header: bytes) -> int:
    try:
        entries = json.loads(header)
        return max((entry["data_offsets"][1] for name, entry in entries.items() if name != "__metadata__"), default=0)
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return 0


def _truncated(size: int, needed: int) -> str:
    return f"is truncated: it has {size:,} of {needed:,} bytes; download or copy it again"


def _zip_names(path: Path) -> list[str]:
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.namelist()
    except _BAD_ZIP:
        return []


def expanded_bytes(path: Path) -> int:
    """Bytes of the members of a zip archive when unpacked; 0 if it is not one."""
    try:
        with zipfile.ZipFile(path) as archive:
            return sum(info.file_size for info in archive.infolist())
    except _BAD_ZIP:
        return 0


def _in_zip(path: Path, size: int) -> str:
    """Describe a zip archive; empty for one written by `torch.save`."""
    names = _zip_names(path)
    bases = [name.rpartition("/")[2] for name in names]
    state = "save the tensors of the model it was made from: torch.save(model.state_dict(), 'weights.pth')"
    if not names:
        return f"is truncated or damaged: a zip archive without its end ({size:,} bytes); download or copy it again"
    if "constants.pkl" in bases:
        return f"is a TorchScript program (torch.jit.save), not weights; {state}"
    if any(base == "archive_format" or base.startswith("serialized_exported_program") for base in bases):
        return f"is a program of torch.export, not weights; {state}"
    if "data.pkl" in bases:
        return ""
    if all(base.endswith(".npy") for base in bases):
        return (
            "is a NumPy archive (.npz), the format of Google's ViT weights: load it into a timm model and save its "
            "state_dict()"
        )
    if any(base.endswith(".h5") for base in bases):
        return "is a Keras model: convert it to PyTorch first"
    inside = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    return f"is a zip archive of {inside}: unpack it and pass a file inside"
