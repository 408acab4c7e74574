"""What an experiment is: trainings, what is measured of their models, and what the paper printed beside it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from timesformer.config.io import apply_overrides
from timesformer.config.run import RunConfig
from timesformer.config.schema import ClipConfig

FrameOrder = Literal["given", "reversed", "shuffled", "one"]
"""How the frames of a test clip reach the model: as they are, backwards, each clip in a random order of its own, or
only the middle one, repeated."""

MAIN = "videos"
"""Name of the videos that an experiment is about."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Motions:
    """A synthetic set of motions to train on, in pairs that only the order of frames tells apart."""

    num_frames: int = 8
    """Frames of a video."""
    size: int = 32
    """Side of a video in pixels."""
    clips: int = 1200
    """Training videos; a third as many are held out."""
    seed_offset: int = 0
    """Added to the seed of the run: sets with another one show other objects."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """One model to train: how it departs from the experiment's base run."""

    name: str
    """Folder of the run, below that of the experiment."""
    sets: tuple[str, ...] = ()
    """Changes of the base `RunConfig`, as `key=value`."""
    share: float = 1.0
    """Share of the training videos of each class that it sees; a smaller share is part of every larger one."""
    videos: str = MAIN
    """Which of the experiment's sets it is trained on."""
    start: str = ""
    """Name of the training whose model it starts from; empty starts as the base run does."""

    def run(self, base: RunConfig) -> RunConfig:
        """The base run with the changes of this training; data and output are not set yet.

        Raises:
            ConfigError: A change does not fit the base.
        """
        return apply_overrides(base, self.sets, source=f"arm {self.name}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """One row of the table: a trained model, measured in one way."""

    label: str
    """Name of the row."""
    training: Training
    """Where the model comes from; several arms can share it."""
    series: str = ""
    """Line of the plot, or group of bars."""
    panel: str = ""
    """Panel of a plot of lines, named as what `x` counts."""
    x: float = 0.0
    """Place on the axis of the panel; without meaning in a plot of bars."""
    test: tuple[str, ...] = ()
    """Changes of the `ClipConfig` for the test, as `key=value`."""
    frames: FrameOrder = "given"
    """How the frames of a test clip reach the model."""
    paper: Mapping[str, float] = field(default_factory=dict)
    """What the paper prints for this row, by the heading of the column."""
    remarks: Mapping[str, str] = field(default_factory=dict)
    """More cells of this row, by the heading of the column."""

    def test_clip(self, clip: ClipConfig) -> ClipConfig:
        """The clips of the test.

        Raises:
            ConfigError: A change does not fit the clips of the model.
        """
        return apply_overrides(clip, self.test, source=f"arm {self.label}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Experiment:
    """A table or figure of the paper, at some scale."""

    name: str
    """Name on the command line."""
    shows: str
    """Which part of the paper."""
    title: str
    """Heading of table and plot."""
    base: RunConfig
    """The run that all trainings depart from."""
    arms: tuple[Arm, ...]
    """Rows of the table."""
    motions: Mapping[str, Motions] = field(default_factory=dict)
    """Synthetic sets by name, where no videos are given; `MAIN` is what the experiment is measured on."""
    earlier: tuple[Training, ...] = ()
    """Trainings that only give others their start."""
    notes: tuple[str, ...] = ()
    """Sentences below the table."""

    @property
    def trainings(self) -> tuple[Training, ...]:
        """Every training once, in an order in which each comes after the one that it starts from."""
        return (*self.earlier, *{arm.training.name: arm.training for arm in self.arms}.values())
