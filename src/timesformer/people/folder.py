"""The folder of a pretraining: its files, and what is checked before they are written."""

import csv
import io
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch

from timesformer.config.io import dump_toml, flatten_keys, read_config, read_table, to_dict
from timesformer.errors import ConfigError, DependencyError, WeightsError
from timesformer.files import replacing, replacing_durably, sync_folder
from timesformer.outputs import writing
from timesformer.people.config import PeopleRun
from timesformer.training.resume import check_bytes
from timesformer.weights.model_folder import is_model_folder
from timesformer.weights.pickles import DAMAGED

Record = Mapping[str, float]
"""Means over some steps, and the number of steps done."""

_FREE_TO_CHANGE = ("output", "device")
"""Keys that may differ when a run is resumed."""
_PANELS = {
    "Losses": ("joints_loss", "motion_loss", "match_loss"),
    "Joints: share of the variance explained": ("r2_joints",),
    "Accuracy": ("motion_accuracy", "match_accuracy"),
}
_COLORS = ("#c8102e", "#1f4e79", "#7a8794")


@dataclass(frozen=True, slots=True)
class PeopleFolder:
    """Paths of the files of a pretraining."""

    root: Path

    @property
    def config(self) -> Path:
        """The whole `PeopleRun`."""
        return self.root / "config.toml"

    @property
    def metrics(self) -> Path:
        """One row for every 50 steps."""
        return self.root / "metrics.csv"

    @property
    def curve(self) -> Path:
        """Losses and accuracies over the steps."""
        return self.root / "curve.png"

    @property
    def sheet(self) -> Path:
        """A picture of what is drawn."""
        return self.root / "people.png"

    @property
    def model(self) -> Path:
        """The model folder of the last checkpoint."""
        return self.root / "model"

    @property
    def checkpoint(self) -> Path:
        """The state to resume from."""
        return self.root / "checkpoint.pt"

    @property
    def files(self) -> tuple[Path, ...]:
        """All files outside the model folder."""
        return self.config, self.metrics, self.curve, self.sheet, self.checkpoint

    def holds_run(self) -> bool:
        """Whether any file of a run exists."""
        return self.model.exists() or any(path.exists() for path in self.files)


def check_is_free(folder: PeopleFolder) -> None:
    """Refuse a folder that holds a run, of this kind or another.

    Raises:
        ConfigError: A file of a run exists.
    """
    if folder.holds_run() or (folder.root / "checkpoints").exists():
        raise ConfigError(
            f"output={str(folder.root)!r} already holds a run: name another folder, or pass resume=True (--resume) or "
            f"overwrite=True (--overwrite)"
        )


def check_is_ours(folder: PeopleFolder) -> None:
    """Refuse to replace a folder that holds something else than a pretraining.

    Raises:
        ConfigError: Its config is not that of a pretraining, or its model folder is none.
    """
    if folder.holds_run() and not has_our_config(folder):
        raise ConfigError(f"output={str(folder.root)!r}: holds a run of another kind: name another folder")
    if folder.model.exists() and not is_model_folder(folder.model):
        raise ConfigError(f"{folder.model}: is not a model folder: refusing to remove it")


def has_our_config(folder: PeopleFolder) -> bool:
    """Whether the config in the folder is that of a pretraining."""
    if not folder.config.exists():
        return False
    return read_table(folder.config).keys() == {field.name for field in fields(PeopleRun)}


def check_same_run(folder: PeopleFolder, run: PeopleRun) -> None:
    """Refuse to resume a run that differs from the one in the folder.

    Raises:
        ConfigError: There is no run, or its config differs in keys that change the result; the message names them.
    """
    if not folder.config.exists():
        raise ConfigError(
            f"output={str(folder.root)!r} holds no run to resume: it has no {folder.config.name}; start it without "
            f"resume=True (--resume)"
        )
    if not has_our_config(folder):
        raise ConfigError(f"{folder.config}: is the config of a run of another kind: name another folder")
    old, new = (flatten_keys(to_dict(config)) for config in (read_config(folder.config, kind=PeopleRun), run))
    compared = [key for key in new if key not in _FREE_TO_CHANGE]
    changes = [f"{key} was {old[key]!r} and is {new[key]!r}" for key in compared if old[key] != new[key]]
    if changes:
        raise ConfigError(
            f"{folder.config}: the run to resume has another config: {'; '.join(changes)}. Resume it unchanged, or "
            f"pass overwrite=True (--overwrite) to replace it"
        )


def begin(folder: PeopleFolder, run: PeopleRun) -> None:
    """Remove an existing run, and write the config of the new one.

    Raises:
        TimeSformerError: The disk refused.
    """
    with writing(folder.root):
        folder.root.mkdir(parents=True, exist_ok=True)
        folder.checkpoint.unlink(missing_ok=True)  # first: without it the remains start from the beginning
        if folder.model.exists():
            shutil.rmtree(folder.model)
        for path in (folder.metrics, folder.curve, folder.sheet):
            path.unlink(missing_ok=True)
    with writing(folder.config), replacing_durably(folder.config) as partial:
        partial.write_text("# The full configuration of this run.\n" + dump_toml(run), encoding="utf-8")


def write_checkpoint(folder: PeopleFolder, state: Mapping[str, Any]) -> None:
    """Replace the checkpoint, durably.

    Raises:
        TimeSformerError: The disk refused.
    """
    with writing(folder.checkpoint), replacing_durably(folder.checkpoint) as partial:
        torch.save(dict(state), partial)
    sync_folder(folder.root)


def read_checkpoint(folder: PeopleFolder) -> dict[str, Any] | None:
    """The state to resume from; None if the run was killed before its first checkpoint.

    Raises:
        WeightsError: The file is damaged.
    """
    if not folder.checkpoint.exists():
        return None
    try:
        check_bytes(folder.checkpoint)
        return torch.load(folder.checkpoint, map_location="cpu", weights_only=True)
    except (*DAMAGED, OSError) as error:
        raise WeightsError(
            f"{folder.checkpoint}: is not a checkpoint of a pretraining, or damaged: {error}; restore it, or start "
            f"again with overwrite=True (--overwrite)"
        ) from error


def write_metrics(folder: PeopleFolder, history: Sequence[Record]) -> None:
    """Replace `metrics.csv`.

    Raises:
        TimeSformerError: The disk refused.
    """
    text = io.StringIO()
    if history:
        writer = csv.DictWriter(text, fieldnames=list(history[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows({name: f"{value:.7g}" for name, value in record.items()} for record in history)
    with writing(folder.metrics), replacing(folder.metrics) as partial:
        partial.write_text(text.getvalue(), encoding="utf-8")


def draw_curve(folder: PeopleFolder, history: Sequence[Record]) -> None:
    """Replace `curve.png`.

    Raises:
        DependencyError: matplotlib is not installed.
        TimeSformerError: The disk refused.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise DependencyError("people needs matplotlib: pip install 'timesformer[train]'") from error
    figure = Figure(figsize=(11, 3.4), layout="constrained")
    FigureCanvasAgg(figure)  # no window, no global state of matplotlib
    steps = [record["step"] for record in history]
    for axes, (title, names) in zip(figure.subplots(1, 3), _PANELS.items(), strict=True):
        for name, color in zip(names, _COLORS, strict=False):
            label = name.partition("_")[0]
            axes.plot(steps, [record[name] for record in history], color=color, label=label, linewidth=1.6)
        axes.set_title(title, loc="left", fontsize=10)
        axes.set_xlabel("step")
        axes.set_ylim(bottom=0)
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", color="#e3e7ea", linewidth=0.8)
        if len(names) > 1:
            axes.legend(frameon=False)
    with writing(folder.curve), replacing(folder.curve) as partial:
        figure.savefig(partial, dpi=120, format="png")
