"""The folder of a cross-validation: its files, what it was started with, and the checks before it is written."""

import hashlib
import json
import shutil
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from timesformer.config.io import dump_toml, read_config
from timesformer.config.run import RunConfig
from timesformer.data.manifest.manifest import Manifest
from timesformer.errors import ConfigError
from timesformer.files import replacing_durably
from timesformer.outputs import check_folder, locked, refuse_existing, writing
from timesformer.training.run_folder import RunFolder, anchored, check_keeps_inputs, config_differences, replace_text


@dataclass(frozen=True, slots=True)
class FoldsFolder:
    """Paths of the files of a cross-validation."""

    root: Path

    @property
    def state(self) -> Path:
        """The number of folds, and a hash of the videos."""
        return self.root / "cross_validation.json"

    @property
    def folds(self) -> Path:
        """The folder with a run folder for each fold: `folds/1`, `folds/2`, ..."""
        return self.root / "folds"

    @property
    def predictions(self) -> Path:
        """The prediction for each video by the model of the fold that it is kept out of."""
        return self.root / "predictions.csv"

    @property
    def page(self) -> Path:
        """The report."""
        return self.root / "report.html"

    @property
    def config(self) -> Path:
        """The whole `RunConfig` that the folds share."""
        return self.folds / "config.toml"

    def run(self, fold: int) -> Path:
        """The run folder of a fold, from 1."""
        return self.folds / str(fold)

    def outcomes(self, fold: int) -> Path:
        """The probabilities of the videos of a fold; the fold is finished once it exists."""
        return self.run(fold) / "held_out.json"


def holds_folds(folder: str | Path) -> bool:
    """Whether a folder holds a cross-validation."""
    return FoldsFolder(Path(folder).expanduser()).state.exists()


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """What a cross-validation was started with."""

    run: RunConfig
    num_folds: int
    chooses: bool
    """Whether the runs of the folds choose something by validation videos."""
    videos: str
    """Hash of paths, classes, groups and segments of all videos."""


def hash_videos(manifest: Manifest) -> str:
    """Hash of the videos, in order, and the class names."""
    samples = [(str(sample.path), sample.label, sample.group, sample.segment) for sample in manifest.samples]
    return hashlib.sha256(ascii((samples, manifest.class_names)).encode()).hexdigest()


def read_state(folder: FoldsFolder) -> State:
    """What the cross-validation in a folder was started with.

    Raises:
        ConfigError: There is none, or its file is damaged.
    """
    if not folder.state.exists():
        raise ConfigError(
            f"output={str(folder.root)!r} holds no cross-validation to resume: it has no {folder.state.name}"
        )
    table, run = read_json(folder.state), read_config(folder.config, kind=RunConfig)
    try:
        values = {
            "num_folds": int(table["num_folds"]),
            "chooses": bool(table["chooses"]),
            "videos": str(table["videos"]),
        }
    except (KeyError, TypeError, ValueError) as error:
        raise _damaged(folder.state, error) from error
    return State(run=run, **values)


def read_json(path: Path) -> dict[str, Any]:
    """Read one of the JSON files of a cross-validation.

    Raises:
        ConfigError: It cannot be read.
    """
    try:
        table = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise _damaged(path, error) from error
    if not isinstance(table, dict):
        raise _damaged(path, "it is not a JSON object")
    return table


def _damaged(path: Path, error: object) -> ConfigError:
    return ConfigError(f"{path}: is damaged: {error}; delete it, or start again with overwrite=True (--overwrite)")


def write_json(path: Path, table: Mapping[str, Any]) -> None:
    """Write a JSON file atomically.

    Raises:
        TimeSformerError: The disk refused.
    """
    with writing(path), replacing_durably(path) as partial:
        partial.write_text(json.dumps(table, allow_nan=False) + "\n", "utf-8")


def prepare(folder: FoldsFolder, state: State, *, resume: bool, overwrite: bool) -> None:
    """Check the folder, and write what the cross-validation is started with.

    Raises:
        ConfigError: It holds something else, or a cross-validation that must not be replaced or cannot be resumed.
        TimeSformerError: The disk refused.
    """
    if resume:
        _check_same(folder, state)
        return
    _check_free(folder, overwrite=overwrite)
    check_folder(folder.root)
    if not folder.state.exists():
        check_keeps_inputs(RunFolder(folder.root), state.run)
    with writing(folder.root):
        for path in (folder.predictions, folder.page):
            path.unlink(missing_ok=True)
        if folder.folds.exists():
            shutil.rmtree(folder.folds)
        folder.folds.mkdir(parents=True)
    header = "# The full configuration of the run that each fold trains, without its fold.\n"
    replace_text(folder.config, header + dump_toml(anchored(state.run)))
    write_json(folder.state, {name: getattr(state, name) for name in ("num_folds", "chooses", "videos")})


def _check_free(folder: FoldsFolder, *, overwrite: bool) -> None:
    if RunFolder(folder.root).holds_run():
        raise ConfigError(f"output={str(folder.root)!r} holds a run: name another folder for the cross-validation")
    if folder.state.exists() and not overwrite:
        raise ConfigError(
            f"output={str(folder.root)!r} already holds a cross-validation: name another folder, or pass resume=True "
            "(--resume) or overwrite=True (--overwrite)"
        )
    if not folder.state.exists():
        refuse_existing(folder.folds, overwrite=False)  # not ours
        refuse_existing(folder.predictions, folder.page, overwrite=overwrite)


def _check_same(folder: FoldsFolder, state: State) -> None:
    old = read_state(folder)
    changes = config_differences(old.run, state.run)
    for name in ("num_folds", "chooses"):
        before, now = getattr(old, name), getattr(state, name)
        changes += [f"{name} was {before!r} and is {now!r}"] * (before != now)
    changes += ["the videos, their classes or their groups are others"] * (old.videos != state.videos)
    if changes:
        raise ConfigError(
            f"{folder.state}: the cross-validation to resume has another config: {'; '.join(changes)}. Resume it "
            "unchanged, or pass overwrite=True (--overwrite) to replace it"
        )


def alone_in(folder: FoldsFolder) -> AbstractContextManager[None]:
    """Lock a folder against other processes, until this one ends in any way.

    Raises:
        ConfigError: Another process works in it.
    """
    message = f"output={str(folder.root)!r}: another process is at this cross-validation: name another folder"
    return locked(folder.root / ".folds.lock", message=message)
