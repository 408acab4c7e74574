"""Configuration of a pretraining on generated people, as a frozen dataclass."""

from dataclasses import dataclass, field
from typing import Literal

from timesformer.config.checks import (
    MOST_SEED,
    check_choice,
    check_count,
    check_not_negative,
    check_positive,
    check_utf8,
    refuse,
)
from timesformer.config.schema import ModelConfig

Appearance = Literal["both", "depth", "color"]
PretrainingPrecision = Literal["auto", "fp32", "bf16"]

_LEAST_SIDE, _MOST_SIDE = 32, 256
_MOST_BATCH = 4096
_IN_HEAD = {"num_classes": 2, "head_norm": "none", "head_dropout": 0.0}
"""Keys of the model without effect on a pretraining, and their values."""


def _small_model() -> ModelConfig:
    return ModelConfig(
        num_frames=8,
        image_size=(96, 64),
        patch_size=8,
        embed_dim=192,
        depth=4,
        num_heads=4,
        drop_path=0.0,
        initialization="scratch",
        num_classes=2,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class PeopleRun:
    """A pretraining on generated people. The same config gives the same weights, on a device that is deterministic.

    Raises:
        ConfigError: A value is out of range, or has no effect.
    """

    init_from: str = ""
    """Weights to start from, such as an earlier pretraining with another appearance; empty starts from new ones."""
    steps: int = 10_000
    """Optimizer steps. Each draws a new batch; the learning rate falls to 0 over all of them."""
    batch_size: int = 32
    """Clips of a step, an even number: each motion is done by two bodies."""
    appearance: Appearance = "both"
    """`depth`, `color`, or `both`: one body of each motion as a depth camera shows it, the other in color."""
    lr: float = 1e-3
    """Peak learning rate, after a warm-up of 100 steps."""
    weight_decay: float = 0.05
    """Weight decay of matrices."""
    seed: int = 0
    """Seed of weights and batches."""
    device: str = "auto"
    """`auto`, `cpu`, `cuda`, `cuda:N` or `mps`; clips are drawn on it, too."""
    precision: PretrainingPrecision = "auto"
    """Floating-point type of the model: `auto` is `bf16` on a device that computes it faster, and `fp32` on others."""
    output: str = "runs/people"
    """Folder of the run."""
    model: ModelConfig = field(default_factory=_small_model)
    """Architecture. `num_frames` counts frames of three moments each."""

    def __post_init__(self) -> None:
        check_count("steps", self.steps, most=100_000_000)
        check_count("batch_size", self.batch_size, least=4, most=_MOST_BATCH)
        refuse(self.batch_size % 2 != 0, f"batch_size={self.batch_size} must be even: two bodies do each motion")
        check_choice("appearance", self.appearance, Appearance)
        check_choice("precision", self.precision, PretrainingPrecision)
        check_positive("lr", self.lr)
        check_not_negative("weight_decay", self.weight_decay)
        check_count("seed", self.seed, least=0, most=MOST_SEED)
        refuse(not self.output, "output is empty: name a folder for the run")
        for name in ("init_from", "output"):
            check_utf8(name, getattr(self, name))
        self._check_model()

    def _check_model(self) -> None:
        model = self.model
        refuse(model.in_channels != 3, f"model.in_channels={model.in_channels} must be 3: three moments each")
        sides = (*model.image_size,)
        refuse(
            not all(_LEAST_SIDE <= side <= _MOST_SIDE for side in sides),
            f"model.image_size={model.image_size} must lie between {_LEAST_SIDE} and {_MOST_SIDE} pixels",
        )
        refuse(model.num_frames > 64, f"model.num_frames={model.num_frames} must be at most 64")
        for name, value in _IN_HEAD.items():
            given = getattr(model, name)
            refuse(
                given != value,
                f"model.{name}={given!r} has no effect: the head is not pretrained; set it in the run that starts "
                f"from these weights",
            )
