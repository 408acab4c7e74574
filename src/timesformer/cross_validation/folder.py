"""The folder of a cross-validation or a curve: its files, what it was started with, checks before it is written."""

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from timesformer.config.io import dump_toml, read_config
from timesformer.config.run import RunConfig
from timesformer.data.manifest.manifest import Manifest
from timesformer.errors import ConfigError
from timesformer.files import replacing_durably
from timesformer.outputs import check_folder, locked, refuse_existing, writing
from timesformer.training.run_folder import (
    RunFolder,
    anchored,
    check_keeps_inputs,
    config_differences,
    replace_text,
)

Kind = Literal["folds", "curve"]
_STATES: Mapping[Kind, str] = {"folds": "cross_validation.json", "curve": "learning_curve.json"}
_NAMES: Mapping[Kind, str] = {"folds": "a cross-validation", "curve": "a curve over numbers of videos"}


@dataclass(frozen=True, slots=True)
class Study:
    """Paths of the files of a cross-validation (`folds`) or of a curve over numbers of training videos (`curve`)."""

    root: Path
    kind: Kind

    @property
    def name(self) -> str:
        """What it is, for messages."""
        return _NAMES[self.kind]

    @property
    def state(self) -> Path:
        """What it was started with, besides the run."""
        return self.root / _STATES[self.kind]

    @property
    def parts(self) -> Path:
        """The folder of the run folders: `folds/1`, `folds/2`, ... or `curve/25`, `curve/50`, `curve/100`."""
        return self.root / self.kind

    @property
    def config(self) -> Path:
        """The whole `RunConfig` that the runs share."""
        return self.parts / "config.toml"

    @property
    def predictions(self) -> Path:
        """The prediction for each video by the model of the fold that it is kept out of."""
        return self.root / "predictions.csv"

    @property
    def picture(self) -> Path:
        """The curve over numbers of training videos."""
        return self.root / "curve.png"

    @property
    def page(self) -> Path:
        """The report."""
        return self.root / "report.html"

    @property
    def outputs(self) -> tuple[Path, ...]:
        """The files of the result."""
        return (self.page, self.predictions) if self.kind == "folds" else (self.page, self.picture)

    def run(self, part: int) -> Path:
        """The run folder of a fold, from 1, or of a percentage of the training videos."""
        return self.parts / str(part)

    def outcomes(self, part: int) -> Path:
        """The probabilities of the videos that a run is evaluated on; the part is finished once it exists."""
        return self.run(part) / "held_out.json"


def study_in(folder: str | Path) -> Study | None:
    """The cross-validation or the curve that a folder holds; None if it holds none."""
    root = Path(folder).expanduser()
    kinds: tuple[Kind, ...] = ("folds", "curve")
    return next((study for study in (Study(root, kind) for kind in kinds) if study.state.exists()), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """What a cross-validation or a curve was started with."""

    run: RunConfig
    num_folds: int
    """Number of folds; 0 for a curve without."""
    chooses: bool
    """Whether the runs choose something by validation videos."""
    videos: str
    """Hash of paths, classes, groups and segments of all videos."""


def hash_videos(*manifests: Manifest) -> str:
    """Hash of the videos, in order, and the class names."""
    found = [
        (
            [(os.path.abspath(sample.path), sample.label, sample.group, sample.segment) for sample in each.samples],
            each.class_names,
        )
        for each in manifests
    ]
    return hashlib.sha256(ascii(found).encode()).hexdigest()


def read_state(study: Study) -> State:
    """What the cross-validation or curve in a folder was started with.

    Raises:
        ConfigError: There is none, or its file is damaged.
    """
    if not study.state.exists():
        raise ConfigError(
            f"output={str(study.root)!r} holds no {study.name.removeprefix('a ')} to resume: it has no "
            f"{study.state.name}; start it without resume=True (--resume)"
        )
    table, run = read_json(study.state), read_config(study.config, kind=RunConfig)
    try:
        num_folds, chooses = int(table["num_folds"]), bool(table["chooses"])
        return State(run=run, num_folds=num_folds, chooses=chooses, videos=str(table["videos"]))
    except (KeyError, TypeError, ValueError) as error:
        raise damaged(study.state, error) from error


def read_json(path: Path) -> dict[str, Any]:
    """Read one of the JSON files of a cross-validation or curve.

    Raises:
        ConfigError: It cannot be read.
    """
    try:
        table = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise damaged(path, error) from error
    if not isinstance(table, dict):
        raise damaged(path, "it is not a JSON object")
    return table


def damaged(path: Path, error: object) -> ConfigError:
    """The error of a file that is not as it was written."""
    return ConfigError(f"{path}: is damaged: {error}; delete it, or start again with overwrite=True (--overwrite)")


def write_json(path: Path, table: Mapping[str, Any]) -> None:
    """Write a JSON file atomically.

    Raises:
        TimeSformerError: The disk refused.
    """
    with writing(path), replacing_durably(path) as partial:
        partial.write_text(json.dumps(table, allow_nan=False) + "\n", "utf-8")


def prepare(study: Study, state: State, *, resume: bool, overwrite: bool) -> None:
    """Check the folder, and write what is started.

    Raises:
        ConfigError: It holds something else, or something that must not be replaced or cannot be resumed.
        TimeSformerError: The disk refused.
    """
    if resume:
        _check_same(study, state)
        return
    check_free(study, overwrite=overwrite)
    check_folder(study.root)
    if not study.state.exists():
        check_keeps_inputs(RunFolder(study.root), state.run)
    with writing(study.root):
        for path in study.outputs:
            path.unlink(missing_ok=True)
        if study.parts.exists():
            shutil.rmtree(study.parts)
        study.parts.mkdir(parents=True)
    header = "# The full configuration that the runs share: each has a fold or a fraction of the videos of its own.\n"
    replace_text(study.config, header + dump_toml(anchored(state.run)))
    write_json(study.state, {name: getattr(state, name) for name in ("num_folds", "chooses", "videos")})


def check_free(study: Study, *, overwrite: bool) -> None:
    """Refuse a folder that holds something else, or the same and must not be replaced.

    Raises:
        ConfigError: It does.
    """
    other = study_in(study.root)
    if (RunFolder(study.root).config.exists() or RunFolder(study.root).model.exists()) or (
        other is not None and other.kind != study.kind
    ):
        held = other.name if other is not None else "a run"
        raise ConfigError(f"output={str(study.root)!r} holds {held}: name another folder for {study.name}")
    if study.state.exists() and not overwrite:
        raise ConfigError(
            f"output={str(study.root)!r} already holds {study.name}: name another folder, or pass resume=True "
            "(--resume) or overwrite=True (--overwrite)"
        )
    if not study.state.exists():
        if study.parts.exists() and any(path.name != study.config.name for path in visible(study.parts)):
            refuse_existing(study.parts, overwrite=False)  # somebody else's
        refuse_existing(*study.outputs, overwrite=overwrite)


def visible(folder: Path) -> list[Path]:
    """Files and folders in a folder, without hidden ones, which a killed process may have left."""
    return [path for path in folder.iterdir() if not path.name.startswith(".")] if folder.is_dir() else [folder]


def _check_same(study: Study, state: State) -> None:
    old = read_state(study)
    changes = config_differences(old.run, state.run)
    for name in ("num_folds", "chooses"):
        before, now = getattr(old, name), getattr(state, name)
        changes += [f"{name} was {before!r} and is {now!r}"] * (before != now)
    changes += ["the videos, their classes or their groups are others"] * (old.videos != state.videos)
    if changes:
        raise ConfigError(
            f"{study.state}: {study.name} to resume has another config: {'; '.join(changes)}. Resume it unchanged, or "
            "pass overwrite=True (--overwrite) to replace it"
        )


def alone_in(study: Study) -> AbstractContextManager[None]:
    """Lock a folder against other processes, until this one ends in any way.

    Raises:
        ConfigError: Another process works in it.
    """
    message = f"output={str(study.root)!r}: another process works at {study.name} there: name another folder"
    return locked(study.root / ".study.lock", message=message)
