"""Base runs of experiments, and the sizes that they vary."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from timesformer.config.presets import PRESETS
from timesformer.config.run import DataConfig, OptimConfig, RunConfig
from timesformer.config.schema import ClipConfig

SizeName = Literal["laptop", "own", "full"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """Sizes of an experiment, relative to its base run."""

    name: SizeName
    """`laptop`: synthetic videos; `own`: the user's videos; `full`: the paper's models and schedule."""
    crops: tuple[float, ...]
    """Figure 5: crop sides relative to the base."""
    frames: tuple[float, ...]
    """Figure 5: frames relative to the base."""
    long_frames: tuple[float, ...]
    """Table 8: frames relative to the base."""
    least_stride: int = 1
    """Least stride when the number of frames grows at constant clip duration."""


SIZES: Mapping[SizeName, Size] = {
    "laptop": Size(name="laptop", crops=(0.5, 0.75, 1, 1.5), frames=(0.25, 0.5, 1, 2), long_frames=(0.5, 1, 2, 4)),
    "own": Size(name="own", crops=(0.5, 0.75, 1, 1.5), frames=(0.25, 0.5, 1, 2), long_frames=(0.5, 1, 2, 4)),
    "full": Size(name="full", crops=(1, 1.5, 2, 2.5), frames=(1, 4, 8, 12), long_frames=(1, 4, 8, 12), least_stride=4),
}


# small sets need more epochs: learning the order of frames takes about 600 steps
_LAPTOP_EPOCHS = {"schemes": 16, "pretraining": 8, "data-scale": 20, "tokens": 24, "clips": 24, "order": 20, "long": 24}


def laptop_run(name: str) -> RunConfig:
    """Base run that learns the order of frames in minutes on two cores."""
    return RunConfig(
        model=PRESETS["tiny"],
        clip=ClipConfig(sampling="uniform", num_crops=1, test_scale=1.0),
        data=DataConfig(scale_range=(1.0, 1.2), num_workers=0, cache=True),
        optim=OptimConfig(lr=2e-3),
        epochs=_LAPTOP_EPOCHS.get(name, 14),
        batch_size=16,
        keep="last",
    )


def paper_run() -> RunConfig:
    """The paper's run: base model, SGD, 15 epochs, the rate divided by ten at epochs 11 and 14, batches of 16 clips.

    Source: Bertasius et al. 2021, section 4.
    """
    return RunConfig(
        model=PRESETS["base"],
        clip=ClipConfig(sampling="center"),
        data=DataConfig(num_workers=8),
        optim=OptimConfig(
            optimizer="sgd", lr=0.005, weight_decay=1e-4, schedule="steps", warmup_fraction=0.0, clip_grad_norm=0.0
        ),
        epochs=15,
        batch_size=16,
        keep="last",
    )
