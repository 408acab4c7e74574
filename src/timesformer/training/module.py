"""What one step of training and of validation is."""

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR

from timesformer.config.run import OptimConfig
from timesformer.errors import TimeSformerError
from timesformer.model.timesformer import TimeSformer
from timesformer.training.optim import build_optimizer, lr_factor

Batch = tuple[Float[Tensor, "b 3 t h w"], Int[Tensor, " b"]] | TimeSformerError
"""Clips and labels, or the error that reading them raised."""


@dataclass(slots=True)
class Tally:
    """Sums over samples, so that means do not depend on how samples were put into batches."""

    count: int = 0
    loss: float = 0.0
    top1: int = 0
    top5: int = 0

    def add(self, logits: Float[Tensor, "b k"], labels: Int[Tensor, " b"], *, loss: float) -> None:
        """Count a batch; `loss` is its mean. With fewer than five classes all of them are the top five."""
        best = logits.detach().topk(min(5, logits.shape[1])).indices
        hits = (best == labels[:, None]).sum(dim=0).tolist()
        self.count += len(labels)
        self.loss += loss * len(labels)
        self.top1 += hits[0]
        self.top5 += sum(hits)


class ClipClassifier(LightningModule):
    """A model, its loss, its optimiser and what is measured on the way.

    Logs at the end of each epoch: `train_loss`, `train_accuracy` (on the augmented clips, as they were seen), `lr` (of
    the last step), `val_loss`, `val_accuracy`, `val_top5_accuracy`. Accuracies are shares from 0 to 1.

    Args:
        model: The model to train.
        optim: Optimiser, schedule and label smoothing.
        total_steps: Steps of the whole run.
        seed: Seed of dropout and stochastic depth.
    """

    def __init__(self, model: TimeSformer, *, optim: OptimConfig, total_steps: int, seed: int) -> None:
        super().__init__()
        self.model = model
        self._optim = optim
        self._total_steps = total_steps
        self._seed = seed
        self._train = Tally()
        self._val = Tally()

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """The optimiser, and its schedule by step."""
        optimizer = build_optimizer(self.model, optim=self._optim)
        # a function is left out of checkpoints; of a method, its attributes would be stored
        schedule = LambdaLR(optimizer, lambda step: self._lr_factor(step))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def training_step(self, batch: Batch, batch_index: int) -> Float[Tensor, ""]:
        """Cross entropy of a batch of clips, with label smoothing.

        Raises:
            DecodeError: A video of the batch cannot be decoded.
            TimeSformerError: The loss is not finite.
        """
        clips, labels = _unwrap(batch)
        # from seed and step alone, so that a resumed run draws what an uninterrupted one does
        torch.manual_seed(_step_seed(self._seed, self.global_step))
        logits = self.model(clips)
        loss = F.cross_entropy(logits, labels, label_smoothing=self._optim.label_smoothing)
        self._train.add(logits, labels, loss=self._finite(loss, step=self.global_step + 1))
        return loss

    def validation_step(self, batch: Batch, batch_index: int) -> None:
        """Count loss, without label smoothing, and hits of a batch of clips.

        Raises:
            DecodeError: A video of the batch cannot be decoded.
            TimeSformerError: The loss is not finite.
        """
        clips, labels = _unwrap(batch)
        logits = self.model(clips)
        loss = F.cross_entropy(logits, labels)
        self._val.add(logits, labels, loss=self._finite(loss, step=self.global_step))

    def on_train_epoch_start(self) -> None:
        """Start counting training clips anew."""
        self._train = Tally()

    def on_validation_epoch_start(self) -> None:
        """Start counting validation clips anew."""
        self._val = Tally()

    def on_validation_epoch_end(self) -> None:
        """Log what validation has found."""
        count = self._val.count
        self.log("val_loss", self._val.loss / count)
        self.log("val_accuracy", self._val.top1 / count)
        self.log("val_top5_accuracy", self._val.top5 / count)

    def on_train_epoch_end(self) -> None:
        """Log what the epoch has found."""
        count = self._train.count
        self.log("train_loss", self._train.loss / count)
        self.log("train_accuracy", self._train.top1 / count)
        self.log("lr", self._optim.lr * self._lr_factor(self.global_step - 1))

    def _lr_factor(self, step: int) -> float:
        return lr_factor(step, total_steps=self._total_steps, optim=self._optim)

    def _finite(self, loss: Float[Tensor, ""], *, step: int) -> float:
        value = loss.item()
        if math.isfinite(value):
            return value
        optim = self._optim
        raise TimeSformerError(
            f"the loss is {value} at step {step} (epoch {self.current_epoch + 1}): training has diverged. Try a lower "
            f"optim.lr (it is {optim.lr:g}), a longer optim.warmup_fraction ({optim.warmup_fraction:g}) or a lower "
            f"optim.clip_grad_norm ({optim.clip_grad_norm:g}; 0 does not clip)"
        )


def _unwrap(batch: Batch) -> tuple[Float[Tensor, "b 3 t h w"], Int[Tensor, " b"]]:
    if isinstance(batch, TimeSformerError):
        raise batch
    clips, labels = batch
    return clips, labels


def _step_seed(seed: int, step: int) -> int:
    return int(np.random.SeedSequence([seed, step]).generate_state(1)[0])
