"""Models of the Hugging Face hub: one revision, and every file checked against the hash that the hub states for it.

The hub's own client checks sizes alone.
"""

import hashlib
import logging
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from timesformer.errors import WeightsError
from timesformer.files import sha256_of

logger = logging.getLogger(__name__)

_FILES = [
    "config.json",
    "preprocessor_config.json",
    "*.safetensors",
    "*.safetensors.index.json",
    "video_preprocessor_config.json",
    "processor_config.json",
    "labels.txt",
    "timesformer.json",
    "README.md",
]
_PICKLES = ["pytorch_model*.bin", "pytorch_model.bin.index.json"]
"""Fetched only from a model without safetensors."""
_COMMIT = re.compile(r"[0-9a-f]{40}")
_HASH = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_GIT_BLOB_BYTES = 2**26
"""Largest file that is read whole for git's hash; the hub keeps larger ones in LFS."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A folder with the files of one commit of a hub model, and the names of those whose hash was checked."""

    folder: Path
    commit: str
    verified: tuple[str, ...]


def fetch(name: str, *, revision: str | None = None) -> Snapshot:
    """Download a hub model once, later take it from the cache, and check its files each time.

    Args:
        name: Hub id, `owner/name`.
        revision: Branch, tag or commit hash; the hub's main branch if None. A commit hash is the only one that
            always names the same files.

    Raises:
        WeightsError: The hub has no such model or revision, it cannot be reached and the model is not in the cache,
            or a file is not the one that the hub states.
    """
    folder = _download(name, revision, _FILES)
    if not any(folder.rglob("*.safetensors")):
        folder = _download(name, folder.name if _COMMIT.fullmatch(folder.name) else revision, _PICKLES)
    if not folder.is_dir():
        raise WeightsError(f"{name}: has neither a config.json nor weights on the Hugging Face hub")
    commit = folder.name if _COMMIT.fullmatch(folder.name) else ""
    return Snapshot(folder, commit, _verify(folder, name, commit))


def _download(name: str, revision: str | None, patterns: list[str]) -> Path:
    from huggingface_hub import snapshot_download  # here: importing it takes a third of a second
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, RevisionNotFoundError

    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=patterns))
    except RevisionNotFoundError as error:
        raise WeightsError(f"{name}: the Hugging Face hub has no revision {revision!r} of this model") from error
    except (OSError, HfHubHTTPError, HFValidationError, LocalEntryNotFoundError) as error:
        what = f"revision {revision!r} of this model" if revision else "model of this name"
        raise WeightsError(
            f"{name}: no such folder, and the Hugging Face hub returned no {what} "
            f"({type(error).__name__}); without network access, download it elsewhere and pass the folder"
        ) from error


def _verify(folder: Path, name: str, commit: str) -> tuple[str, ...]:
    """Names of the files that equal what the hub states; a file for which nothing is known is named in a warning."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    stated = {path: path.resolve().name for path in files if path.is_symlink()}
    # the cache names a file by the hash that the hub stated for it, unless the file system has no links
    stated = {path: digest for path, digest in stated.items() if _HASH.fullmatch(digest)}
    if commit and len(stated) < len(files):
        stated |= _ask_hub(folder, [path for path in files if path not in stated], name, commit)
    for path, expected in stated.items():
        found = sha256_of(path) if len(expected) == 64 else _git_hash(path)
        if found != expected:
            raise WeightsError(
                f"{path}: its hash is {found}, but the Hugging Face hub states {expected} for it: the download is "
                f"damaged or was changed; delete {path.resolve()} and load the model again"
            )
    if commit and len(stated) < len(files):
        unknown = ", ".join(path.name for path in files if path not in stated)
        logger.warning("%s: not checked, because the hub cannot be asked for their hashes: %s", name, unknown)
    return tuple(path.relative_to(folder).as_posix() for path in stated)


def _ask_hub(folder: Path, files: list[Path], name: str, commit: str) -> dict[Path, str]:
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    names = [path.relative_to(folder).as_posix() for path in files]
    try:
        entries: list[Any] = HfApi().get_paths_info(name, names, revision=commit)
    except (OSError, HfHubHTTPError, OfflineModeIsEnabled):
        return {}
    return {folder / entry.path: entry.lfs.sha256 if entry.lfs else entry.blob_id for entry in entries}


def _git_hash(path: Path) -> str:
    """The hash by which git names a file's content."""
    size = os.path.getsize(path)
    if size > _GIT_BLOB_BYTES:
        raise WeightsError(f"{path}: has {size} bytes, but the Hugging Face hub states no SHA-256 for it")
    return hashlib.sha1(f"blob {size}\0".encode() + path.read_bytes(), usedforsecurity=False).hexdigest()
