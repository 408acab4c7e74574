"""An experiment: trainings, measurements of their models, and the paper's numbers."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from timesformer.config.io import apply_overrides
from timesformer.config.run import RunConfig
from timesformer.config.schema import ClipConfig

FrameOrder = Literal["given", "reversed", "shuffled", "one"]
"""Order of the frames of a test clip: unchanged, reversed, shuffled per clip, or the middle frame repeated."""

MAIN = "videos"
"""Name of the set that an experiment is measured on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Motions:
    """A synthetic training set of motions, in pairs that differ in the order of frames alone."""

    num_frames: int = 8
    """Frames of a video."""
    size: int = 32
    """Side of a video in pixels."""
    clips: int = 1200
    """Training videos; one third as many are held out."""
    seed_offset: int = 0
    """Added to the seed of the run; another offset gives other objects."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """One model to train: its changes to the base run of the experiment."""

    name: str
    """Folder of the run, inside the folder of the experiment."""
    overrides: tuple[str, ...] = ()
    """Changes of the base `RunConfig`, as `key=value`."""
    fraction: float = 1.0
    """Fraction of the training videos of each class; smaller fractions are subsets of larger ones."""
    videos: str = MAIN
    """Name of the set to train on."""
    start: str = ""
    """Training whose model to start from; empty starts like the base run."""

    def run(self, base: RunConfig) -> RunConfig:
        """The base run with the changes of this training; data and output are not set yet.

        Raises:
            ConfigError: A change does not fit the base.
        """
        return apply_overrides(base, self.overrides, source=f"variant {self.name}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """One row of the table: a trained model and one test."""

    label: str
    """Name of the row."""
    training: Training
    """Training of the model; several variants can share it."""
    series: str = ""
    """Line of the plot, or group of bars."""
    panel: str = ""
    """Panel of a line plot, named after the unit of `x`."""
    x: float = 0.0
    """Position on the axis of the panel; unused in a bar plot."""
    test: tuple[str, ...] = ()
    """Changes of the `ClipConfig` for the test, as `key=value`."""
    frames: FrameOrder = "given"
    """Order of the frames of a test clip."""
    paper: Mapping[str, float] = field(default_factory=dict)
    """The paper's numbers for this row, by column."""
    remarks: Mapping[str, str] = field(default_factory=dict)
    """Additional cells of this row, by column."""

    def test_clip(self, clip: ClipConfig) -> ClipConfig:
        """The clips of the test.

        Raises:
            ConfigError: A change does not fit the clips of the model.
        """
        return apply_overrides(clip, self.test, source=f"variant {self.label}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Experiment:
    """A table or figure of the paper, at some size."""

    name: str
    """Name on the command line."""
    shows: str
    """Part of the paper, such as `Table 3`."""
    title: str
    """Heading of table and plot."""
    base: RunConfig
    """Base run of all trainings."""
    variants: tuple[Variant, ...]
    """Rows of the table."""
    motions: Mapping[str, Motions] = field(default_factory=dict)
    """Synthetic sets by name, used if no videos are given; the experiment is measured on `MAIN`."""
    prerequisites: tuple[Training, ...] = ()
    """Trainings whose models only initialize others."""
    notes: tuple[str, ...] = ()
    """Sentences below the table."""

    @property
    def trainings(self) -> tuple[Training, ...]:
        """Each training once, after the one that it starts from."""
        return (*self.prerequisites, *{variant.training.name: variant.training for variant in self.variants}.values())
