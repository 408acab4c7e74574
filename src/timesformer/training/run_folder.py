"""The folder of a run: what lies where in it, and when it may be written to."""

import os
import shutil
import tempfile
from collections.abc import Generator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from timesformer import files
from timesformer.config.io import dump_toml, read_config, to_dict
from timesformer.config.run import RunConfig
from timesformer.data.manifest.inputs import list_files
from timesformer.errors import ConfigError, TimeSformerError
from timesformer.outputs import refuse_inputs
from timesformer.weights.load import model_files
from timesformer.weights.model_folder import is_model_folder

_LOCK = ".training.lock"
"""File that a training holds locked while it runs, and removes at its end."""
_FREE_TO_CHANGE = ("output", "device", "data.num_workers", "data.cache", "checkpoint_every", "trackers")
"""What may differ when a run is resumed: it does not change what is computed."""
_PATHS = ("data.train", "data.val", "init_from")
"""Keys that may name the same file from different working folders."""


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
        """A row of measures for each epoch."""
        return self.root / "metrics.csv"

    @property
    def curve(self) -> Path:
        """The learning curve."""
        return self.root / "curve.png"

    @property
    def model(self) -> Path:
        """The model folder of the epoch that is kept: the best or the last."""
        return self.root / "model"

    @property
    def checkpoints(self) -> Path:
        """The folder of what a run is resumed from."""
        return self.root / "checkpoints"

    @property
    def last(self) -> Path:
        """The state at the end of the last epoch, or within an epoch where `checkpoint_every` is set."""
        return self.checkpoints / "last.ckpt"

    @property
    def best(self) -> Path:
        """The state at the end of the best epoch."""
        return self.checkpoints / "best.ckpt"

    @property
    def tensorboard(self) -> Path:
        """The folder of TensorBoard's files."""
        return self.root / "tensorboard"

    @property
    def files(self) -> tuple[Path, ...]:
        """All files of a run, beside its model folder."""
        return self.config, self.metrics, self.curve, self.last, self.best

    def holds_run(self) -> bool:
        """Whether any part of a run is there."""
        return self.model.exists() or any(path.exists() for path in self.files)


def check_is_free(folder: RunFolder) -> None:
    """Refuse a folder that holds a run.

    Raises:
        ConfigError: A file of a run is there.
    """
    if folder.holds_run():
        raise ConfigError(
            f"output={str(folder.root)!r} holds a run already: name another folder, or say whether to resume it "
            f"(--resume) or to overwrite it (--overwrite)"
        )


@contextmanager
def alone_in(folder: RunFolder) -> Generator[None]:
    """Keep other processes from training into a folder; what ends in any way lets go. On Windows, keeps none off.

    Raises:
        ConfigError: Another process trains into it.
    """
    with ExitStack() as stack:
        with suppress(ImportError, OSError):  # a disk without locks; one that cannot be written to is told later
            import fcntl

            folder.root.mkdir(parents=True, exist_ok=True)
            path = folder.root / _LOCK
            file = stack.enter_context(path.open("a"))
            try:
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # of this process alone, not of its workers
                stack.callback(path.unlink, missing_ok=True)
            except (BlockingIOError, PermissionError) as error:
                raise ConfigError(
                    f"output={str(folder.root)!r}: another process trains into it at this moment: name another folder"
                ) from error
        yield


def check_same_run(folder: RunFolder, run: RunConfig) -> None:
    """Refuse to resume another run than the one that the folder holds.

    Raises:
        ConfigError: There is no run, or its config differs in something that changes what is computed; the message
            names the keys.
    """
    if not folder.config.exists():
        raise ConfigError(
            f"output={str(folder.root)!r} holds no run to resume: it has no {folder.config.name}; start it without "
            f"--resume{', with --overwrite' if folder.holds_run() else ''}"
        )
    changes = differences(folder, run)
    if changes:
        raise ConfigError(
            f"{folder.config}: the run to resume is another one: {'; '.join(changes)}. Resume it as it was, or replace "
            f"it (--overwrite)"
        )


def differences(folder: RunFolder, run: RunConfig, *, besides: tuple[str, ...] = ()) -> list[str]:
    """What of a run differs from the run in the folder, apart from what changes nothing that is computed.

    Args:
        besides: More keys that may differ, such as `model.num_classes` before the data is known.

    Raises:
        ConfigError: The config in the folder cannot be read.
    """
    there = _flat(to_dict(read_config(folder.config, kind=RunConfig)))
    here = _flat(to_dict(run))
    compared = [key for key in here if key not in (*_FREE_TO_CHANGE, *besides)]
    return [f"{key} was {there[key]!r} and is {here[key]!r}" for key in compared if not _is_same(key, there, here)]


def _is_same(key: str, there: Mapping[str, Any], here: Mapping[str, Any]) -> bool:
    first, second = there[key], here[key]
    if key in _PATHS and first and second:
        return _absolute(first) == _absolute(second)
    return first == second


def _absolute(path: str) -> str:
    """A path that is right from every working folder; as it is, if its folder has a name that no config can hold."""
    absolute = os.path.abspath(os.path.expanduser(path))
    return absolute if absolute.isprintable() else path


def anchored(run: RunConfig) -> RunConfig:
    """The same run with absolute paths, which mean the same from every working folder."""
    data = replace(run.data, **{key: _absolute(path) for key in ("train", "val") if (path := getattr(run.data, key))})
    start = _absolute(run.init_from) if Path(run.init_from).expanduser().exists() else run.init_from
    return replace(run, data=data, init_from=start if run.init_from else "", output=_absolute(run.output))


def check_keeps_inputs(folder: RunFolder, run: RunConfig) -> None:
    """Refuse to begin a run in the place of the one that it starts from, or of its lists of videos.

    Raises:
        ConfigError: A file of the folder is read, or the folder holds the videos.
    """
    root = folder.root.resolve()
    for place in filter(None, (run.data.train, run.data.val)):
        data = Path(place).expanduser().resolve()
        is_inside = data in root.parents and not folder.config.exists()
        holds_others = is_inside and root.is_dir() and any(path.name != _LOCK for path in root.iterdir())
        if data.is_dir() and (root == data or holds_others):
            raise ConfigError(
                f"output={str(folder.root)!r}: is a folder of the data set {place}; name a folder outside"
            )
    reads = (*model_files(run.init_from), *list_files(run.data.train, run.data.val))
    refuse_inputs([*folder.files, *folder.model.glob("*")], reads)


def check_can_write(folder: RunFolder, *, num_bytes: int) -> None:
    """Make the folder, and refuse one that cannot be written to or has too little room.

    Args:
        num_bytes: Room that the run takes, that of files which it replaces included.

    Raises:
        ConfigError: The folder cannot be made or written to, or its disk has too little free space.
    """
    with writing(folder.root, error=ConfigError):
        folder.root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder.root):
            free = shutil.disk_usage(folder.root).free
    used = sum(path.stat().st_size for path in (*folder.files, *folder.model.glob("*")) if path.is_file())
    if free + used < num_bytes:
        raise ConfigError(
            f"output={str(folder.root)!r}: the run takes up to {num_bytes / 1e9:.1f} GB and the disk has "
            f"{(free + used) / 1e9:.1f} GB free"
        )


def tidy(folder: RunFolder) -> None:
    """Remove what a killed process left half-written, and put back a model folder that it was about to replace.

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
        for staging in folder.root.glob(f".{folder.model.name}-*"):
            shutil.rmtree(staging)


def clear(folder: RunFolder) -> None:
    """Remove the files of a run, and nothing else.

    Raises:
        ConfigError: What is called `model` is no model folder, or a file cannot be removed.
    """
    with writing(folder.root, error=ConfigError):
        if folder.model.exists() and not is_model_folder(folder.model):
            raise ConfigError(f"{folder.model}: is not a model folder: refusing to remove it")
        # checkpoints first and the config last: what a process leaves that is killed here is a run that starts anew
        for path in (folder.last, folder.best):
            path.unlink(missing_ok=True)
        for tree in (folder.model, folder.tensorboard):
            if tree.exists():
                shutil.rmtree(tree)
        for path in (folder.curve, folder.metrics, folder.config):
            path.unlink(missing_ok=True)


def begin(folder: RunFolder, run: RunConfig) -> None:
    """Remove the run that was there, and write the config of a new one.

    Raises:
        ConfigError: What is called `model` is no model folder, or a file cannot be removed.
        TimeSformerError: The disk refused.
    """
    tidy(folder)
    clear(folder)
    with writing(folder.checkpoints):
        folder.checkpoints.mkdir(parents=True, exist_ok=True)
    header = "# The whole configuration of this run.\n"
    replace_text(folder.config, header + dump_toml(run))


def replace_text(path: Path, text: str) -> None:
    """Write a text file, all of it or nothing.

    Raises:
        TimeSformerError: The disk refused.
    """
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8")


@contextmanager
def replacing(path: Path) -> Generator[Path]:
    """As `files.replacing`, on the disk before it takes its place, and with an error that names the file.

    Raises:
        TimeSformerError: The disk refused.
    """
    with writing(path), files.replacing(path) as partial:
        yield partial
        with open(partial, "rb+") as file:
            os.fsync(file.fileno())


@contextmanager
def writing(path: Path, *, error: type[TimeSformerError] = TimeSformerError) -> Generator[None]:
    """Say which path could not be written where the disk refuses.

    Raises:
        TimeSformerError: In place of an `OSError`.
    """
    try:
        yield
    except OSError as cause:
        raise error(f"{path}: cannot be written: {cause.strerror or cause}") from cause


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat
