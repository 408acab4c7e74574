"""A tiny run with a probe, for tests."""

from pathlib import Path

from timesformer.config.run import AugmentConfig, DataConfig, OptimConfig, RunConfig
from timesformer.config.schema import ClipConfig
from tiny import tiny_config

CLASSES = ("grow", "move_left", "move_right")
PERSONS = "abcdefgh"
CLIP = ClipConfig(sampling="segment", num_crops=3, fusion="softmax")


def make_run(persons: Path, weights: Path, output: Path) -> RunConfig:
    """A run with a probe and two epochs, in the given folder."""
    return RunConfig(
        model=tiny_config(num_classes=3),
        clip=CLIP,
        data=DataConfig(train=str(persons), num_workers=0),
        augment=AugmentConfig(temporal_jitter=0.3),
        optim=OptimConfig(lr=1e-3, warmup_fraction=0.2, layer_decay=0.8, ema_decay=0.5),
        init_from=str(weights),
        probe_views=2,
        epochs=2,
        batch_size=5,
        keep="last",
        device="cpu",
        output=str(output),
    )
