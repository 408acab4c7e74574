"""The folder of a run: its files, and the checks before they are written."""

import os
import shutil
import tempfile
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from timesformer.config.io import dump_toml, flatten_keys, read_config, to_dict
from timesformer.config.run import RunConfig
from timesformer.data.manifest.inputs import list_files
from timesformer.errors import ConfigError
from timesformer.files import replacing_durably
from timesformer.outputs import locked, refuse_inputs, writing
from timesformer.training.shards import SHARDS, remove_unused
from timesformer.weights.load import model_files
from timesformer.weights.model_folder import is_model_folder

_LOCK = ".training.lock"
"""File that a training process keeps locked, and removes at its end."""
_FREE_TO_CHANGE = ("output", "device", "strategy", "data.num_workers", "data.cache", "checkpoint_every", "trackers")
"""Keys that may differ when a run is resumed: they do not change the result."""
_PATHS = ("data.train", "data.val", "init_from", "init_head", "distill_from")
"""Keys with paths, which are compared as absolute paths."""


@dataclass(frozen=True, slots=True)
class RunFolder:
    """Paths of the files of a run."""

    root: Path

    @property
    def config(self) -> Path:
        """The whole `RunConfig`."""
        return self.root / "config.toml"

    @property
    def metrics(self) -> Path:
        """One row of metrics per epoch."""
        return self.root / "metrics.csv"

    @property
    def curve(self) -> Path:
        """The learning curve."""
        return self.root / "curve.png"

    @property
    def model(self) -> Path:
        """The model folder of the best or the last epoch (`run.keep`)."""
        return self.root / "model"

    @property
    def checkpoints(self) -> Path:
        """The folder of checkpoints."""
        return self.root / "checkpoints"

    @property
    def last(self) -> Path:
        """The last checkpoint: at the end of an epoch, or within one if `checkpoint_every` is set."""
        return self.checkpoints / "last.ckpt"

    @property
    def best(self) -> Path:
        """The checkpoint at the end of the best epoch."""
        return self.checkpoints / "best.ckpt"

    @property
    def shards(self) -> list[Path]:
        """Folders with the tensors of sharded checkpoints."""
        return sorted(self.checkpoints.glob(f"{SHARDS}-*"))

    @property
    def tensorboard(self) -> Path:
        """The folder of TensorBoard files."""
        return self.root / "tensorboard"

    @property
    def files(self) -> tuple[Path, ...]:
        """All files of a run outside its model folder."""
        return self.config, self.metrics, self.curve, self.last, self.best

    def holds_run(self) -> bool:
        """Whether any file of a run exists."""
        return self.model.exists() or any(path.exists() for path in self.files)


def check_is_free(folder: RunFolder) -> None:
    """Refuse a folder that holds a run.

    Raises:
        ConfigError: A file of a run exists.
    """
    if folder.holds_run():
        raise ConfigError(
            f"output={str(folder.root)!r} already holds a run: name another folder, or pass resume=True (--resume) or "
            f"overwrite=True (--overwrite)"
        )


def alone_in(folder: RunFolder) -> AbstractContextManager[None]:
    """Lock a folder against training by other processes, until this one ends in any way; has no effect on Windows.

    Raises:
        ConfigError: Another process is training into it.
    """
    message = f"output={str(folder.root)!r}: another process is training into it: name another folder"
    return locked(folder.root / _LOCK, message=message)


def check_same_run(folder: RunFolder, run: RunConfig) -> None:
    """Refuse to resume a run that differs from the one in the folder.

    Raises:
        ConfigError: There is no run, or its config differs in keys that change the result; the message names them.
    """
    if not folder.config.exists():
        raise ConfigError(
            f"output={str(folder.root)!r} holds no run to resume: it has no {folder.config.name}; start it without "
            f"resume=True (--resume){', with overwrite=True (--overwrite)' if folder.holds_run() else ''}"
        )
    changes = differences(folder, run)
    if changes:
        raise ConfigError(
            f"{folder.config}: the run to resume has another config: {'; '.join(changes)}. Resume it unchanged, or "
            f"pass overwrite=True (--overwrite) to replace it"
        )


def differences(folder: RunFolder, run: RunConfig, *, ignored: tuple[str, ...] = ()) -> list[str]:
    """Differences between a run and the run in the folder, in keys that change the result.

    Args:
        ignored: More keys that may differ, such as `model.num_classes` before the data is known.

    Raises:
        ConfigError: The config in the folder cannot be read.
    """
    return config_differences(read_config(folder.config, kind=RunConfig), run, ignored=ignored)


def config_differences(before: RunConfig, run: RunConfig, *, ignored: tuple[str, ...] = ()) -> list[str]:
    """Differences between two runs, in keys that change the result; `ignored` as in `differences`."""
    old, new = flatten_keys(to_dict(before)), flatten_keys(to_dict(run))
    compared = [key for key in new if key not in (*_FREE_TO_CHANGE, *ignored)]
    return [f"{key} was {old[key]!r} and is {new[key]!r}" for key in compared if not _is_same(key, old, new)]


def _is_same(key: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    first, second = old[key], new[key]
    if key not in _PATHS or not first or not second:
        return first == second
    pair = [[each] if isinstance(each, str) else each for each in (first, second)]
    return [*map(_absolute, pair[0])] == [*map(_absolute, pair[1])]


def _absolute(path: str) -> str:
    """The absolute path; unchanged if it has characters that a config file cannot hold."""
    absolute = os.path.abspath(os.path.expanduser(path))
    return absolute if absolute.isprintable() else path


def anchored(run: RunConfig) -> RunConfig:
    """The same run with absolute paths, independent of the working folder."""
    data = replace(run.data, **{key: _absolute(path) for key in ("train", "val") if (path := getattr(run.data, key))})
    start, head, *teachers = (
        _absolute(name) if name and Path(name).expanduser().exists() else name
        for name in (run.init_from, run.init_head, *run.distill_from)
    )
    starts = {"init_from": start, "init_head": head, "distill_from": tuple(teachers)}
    return replace(run, data=data, output=_absolute(run.output), **starts)


def check_keeps_inputs(folder: RunFolder, run: RunConfig) -> None:
    """Refuse a folder in which the run would overwrite its own inputs.

    Raises:
        ConfigError: The run reads a file of the folder, or the folder holds its videos.
    """
    root = folder.root.resolve()
    for source in filter(None, (run.data.train, run.data.val)):
        data = Path(source).expanduser().resolve()
        is_inside = data in root.parents and not folder.config.exists()
        holds_others = is_inside and root.is_dir() and any(path.name != _LOCK for path in root.iterdir())
        if data.is_dir() and (root == data or holds_others):
            raise ConfigError(
                f"output={str(folder.root)!r}: is a folder of the data set {source}; name a folder outside it"
            )
    models = (file for source in (run.init_from, run.init_head, *run.distill_from) for file in model_files(source))
    reads = (*models, *list_files(run.data.train, run.data.val))
    refuse_inputs([*folder.files, *folder.model.glob("*")], reads)


def check_can_write(folder: RunFolder, *, num_bytes: int) -> None:
    """Create the folder, and refuse it if it cannot be written to or its disk has too little free space.

    Args:
        num_bytes: Space that the run needs, including that of the files it replaces.

    Raises:
        ConfigError: The folder cannot be created or written to, or its disk has too little free space.
    """
    with writing(folder.root, error=ConfigError):
        folder.root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder.root):
            free = shutil.disk_usage(folder.root).free
    replaced = [*folder.files, *folder.model.glob("*"), *folder.checkpoints.glob(f"{SHARDS}-*/*")]
    used = sum(path.stat().st_size for path in replaced if path.is_file())
    if free + used < num_bytes:
        raise ConfigError(
            f"output={str(folder.root)!r}: the run needs up to {_size(num_bytes)} and the disk has "
            f"{_size(free + used)} free"
        )


def _size(num_bytes: int) -> str:
    return f"{num_bytes / 1e9:.1f} GB" if num_bytes >= 1e9 else f"{num_bytes / 1e6:.3g} MB"


def tidy(folder: RunFolder) -> None:
    """Remove partial files of a killed process, and restore a model folder that it was about to replace.

    Raises:
        ConfigError: The disk refused.
    """
    with writing(folder.root, error=ConfigError):
        for retired in folder.root.glob(f".{folder.model.name}-old-*/model"):
            if not folder.model.exists():
                retired.rename(folder.model)
        for path in folder.files:
            for partial in path.parent.glob(f".{path.name}.*.part"):
                partial.unlink(missing_ok=True)
        remove_unused(folder.shards, (folder.last, folder.best))
        for staging in folder.root.glob(f".{folder.model.name}-*"):
            shutil.rmtree(staging)


def clear(folder: RunFolder) -> None:
    """Remove the files of a run, and nothing else.

    Raises:
        ConfigError: `model` is not a model folder, or a file cannot be removed.
    """
    with writing(folder.root, error=ConfigError):
        if folder.model.exists() and not is_model_folder(folder.model):
            raise ConfigError(f"{folder.model}: is not a model folder: refusing to remove it")
        # checkpoints first, the best before the last, and the config last: if killed here, the remains are a run that
        # goes on from its last checkpoint or starts from the beginning
        for path in (folder.best, folder.last):
            path.unlink(missing_ok=True)
        for tree in (*folder.shards, folder.model, folder.tensorboard):
            if tree.exists():
                shutil.rmtree(tree)
        for path in (folder.curve, folder.metrics, folder.config):
            path.unlink(missing_ok=True)


def begin(folder: RunFolder, run: RunConfig, *, marks: str = "") -> None:
    """Remove an existing run, and write the config of the new one.

    Args:
        folder: The folder.
        run: The new run.
        marks: Comments for its config.

    Raises:
        ConfigError: `model` is not a model folder, or a file cannot be removed.
        TimeSformerError: The disk refused.
    """
    tidy(folder)
    clear(folder)
    with writing(folder.checkpoints):
        folder.checkpoints.mkdir(parents=True, exist_ok=True)
    write_config(folder, run, marks=marks)


def write_config(folder: RunFolder, run: RunConfig, *, marks: str) -> None:
    """Write the config of a new run.

    Raises:
        TimeSformerError: The disk refused.
    """
    header = "# The full configuration of this run.\n"
    replace_text(folder.config, header + marks + dump_toml(run))


def replace_text(path: Path, text: str) -> None:
    """Write a text file atomically.

    Raises:
        TimeSformerError: The disk refused.
    """
    with writing(path), replacing_durably(path) as partial:
        partial.write_text(text, encoding="utf-8")
