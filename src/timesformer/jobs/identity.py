"""Which job a folder holds: written by the first driver, and compared by all others."""

import os
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from timesformer.errors import ConfigError
from timesformer.files import printable
from timesformer.jobs.folder import JobFolder, read_job, versions, write_job
from timesformer.jobs.ids import salt
from timesformer.jobs.manifest import JobManifest, read_manifest
from timesformer.jobs.task import Task


def claim(folder: JobFolder, task: Task, manifest: JobManifest) -> int:
    """Make a folder that of a job, or check that it is.

    Returns:
        Items in each chunk, as the first driver has cut them.

    Raises:
        ConfigError: The folder holds another job; the message names the differences.
        DataError: A file of the job is damaged.
        TimeSformerError: The disk refused.
    """
    identity = _identity(task, manifest)
    stored = read_job(folder)
    if stored is None:
        manifest.write(folder.manifest)
        write_job(folder, identity)
        stored = read_job(folder) or identity
    changes = [*_differences(stored, identity), *_item_differences(folder, stored, task=task, manifest=manifest)]
    if changes:
        raise ConfigError(
            f"job={str(folder.root)!r}: holds another job: {'; '.join(changes)}. Repeat the command that started it, "
            "name another folder, or pass overwrite=True (--overwrite) to remove it"
        )
    return stored["chunk_size"]


def _identity(task: Task, manifest: JobManifest) -> dict[str, Any]:
    return {
        "verb": task.verb,
        "model_sha256": task.model_sha256,
        "settings": dict(task.settings),
        "columns": [f"{field.name}: {field.type}" for field in task.schema],
        "manifest": {"sha256": manifest.sha256, "num_items": len(manifest)},
        "working_folder": printable(os.getcwd()) if manifest.has_relative_paths() else "",
        "chunk_size": task.chunk_size,
        "versions": versions(),
    }


def _differences(stored: Mapping[str, Any], given: Mapping[str, Any]) -> Iterator[str]:
    old, new = stored["settings"], given["settings"]
    for key in ("verb", "model_sha256", "columns", "working_folder"):
        if stored[key] != given[key]:
            yield f"{key} was {_short(stored[key])} and is {_short(given[key])}"
    for key in sorted({*old, *new}):
        if old.get(key) != new.get(key):
            yield f"{key} was {_short(old.get(key))} and is {_short(new.get(key))}{_remedy(key, old)}"


def _remedy(key: str, old: Mapping[str, Any]) -> str:
    """How to go on with a setting that depends on the machine; empty for the others."""
    if key != "precision":
        return ""
    return (
        f" (precision={old.get(key)!r}, --precision {old.get(key)}, goes on with the job; auto depends on the machine)"
    )


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _item_differences(
    folder: JobFolder, stored: Mapping[str, Any], *, task: Task, manifest: JobManifest
) -> Iterator[str]:
    if stored["manifest"]["sha256"] == manifest.sha256:
        return
    old = read_manifest(folder.manifest, salt=salt(task))
    added, removed = ~np.isin(manifest.ids, old.ids), ~np.isin(old.ids, manifest.ids)
    for count, name, items, which in (
        (added.sum(), "added", manifest, added),
        (removed.sum(), "removed", old, removed),
    ):
        if count:
            first = int(np.argmax(which))
            yield f"{count} items were {name} (such as {printable(items.items(first, first + 1)[0].path)})"
    if not (added.any() or removed.any()):
        has_moved = not np.array_equal(manifest.ids, old.ids)
        yield "its items were in another order" if has_moved else "labels or groups of its items were others"
