"""A trainer that takes no time, for tests of what trains several runs."""

from pathlib import Path

import torch

from timesformer.config.info import ModelInfo
from timesformer.config.run import RunConfig
from timesformer.config.schema import ModelConfig
from timesformer.model.timesformer import TimeSformer
from timesformer.training.dataloaders import load_data
from timesformer.weights.model_folder import save
from tiny import random_weights

CLASSES = ("move_left", "move_right", "shrink")
PERSONS = ("ana", "ben", "cem", "dua", "eli", "fay")
_FIELDS = ("num_frames", "image_size", "patch_size", "embed_dim", "depth", "num_heads")


class FakeTrainer:
    """Writes a model with random weights instead of training, and keeps what it was called with."""

    def __init__(self, *, fails_at: int = 0) -> None:
        self.runs: list[RunConfig] = []
        self._fails_at = fails_at

    def __call__(self, run: RunConfig) -> Path:
        self.runs.append(run)
        if len(self.runs) == self._fails_at:
            raise KeyboardInterrupt
        train, _ = load_data(run.data, seed=run.seed)
        torch.manual_seed(0)
        sizes = {name: getattr(run.model, name) for name in _FIELDS}
        config = ModelConfig(**sizes, num_classes=len(train.class_names))
        model = TimeSformer(config, info=ModelInfo(clip=run.clip, labels=train.class_names))
        seed = len(train.samples) + 100 * run.data.fold
        return save(random_weights(model, seed=seed), Path(run.output) / "model", overwrite=True).parent
