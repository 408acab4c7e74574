"""What one step of training and of validation is."""

import logging
import math
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR

from timesformer.config.run import RunConfig
from timesformer.data.clips.transforms import model_input
from timesformer.errors import DataError, TimeSformerError
from timesformer.model.timesformer import TimeSformer
from timesformer.training.dataloaders import Batch
from timesformer.training.ema import averaged_copy, update_average
from timesformer.training.init_weights import fresh_parameters
from timesformer.training.mixup import mix_batch
from timesformer.training.optim import build_optimizer, freeze_parts, lr_factor

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Tally:
    """Sums over samples, so that means do not depend on how samples were put into batches."""

    count: int = 0
    loss: float = 0.0
    top1: int = 0
    top5: int = 0
    skipped: list[str] = field(default_factory=list)
    """What is wrong with each video that was left out, each once."""

    def add(self, logits: Float[Tensor, "b k"], labels: Int[Tensor, " b"], *, loss: float) -> None:
        """Count a batch; `loss` is its mean. With fewer than five classes all of them are the top five."""
        best = logits.detach().topk(min(5, logits.shape[1])).indices
        hits = (best == labels[:, None]).sum(dim=0).tolist()
        self.count += len(labels)
        self.loss += loss * len(labels)
        self.top1 += hits[0]
        self.top5 += sum(hits)

    def skip(self, messages: Sequence[str]) -> None:
        """Count videos that were left out."""
        self.skipped += [message for message in dict.fromkeys(messages) if message not in self.skipped]

    def check_not_empty(self, kind: str) -> None:
        """Refuse an epoch of nothing.

        Raises:
            DataError: All videos were left out.
        """
        if not self.count:
            first = f"; the first: {self.skipped[0]}" if self.skipped else ""
            raise DataError(f"no {kind} video of the epoch could be decoded, {len(self.skipped)} were left out{first}")


class ClipClassifier(LightningModule):
    """A model, its loss, its optimizer and what is measured on the way.

    A step of the optimizer takes `run.accumulate` batches, its parts; each clip of a step counts the same, however the
    step is divided and whatever was left out (but `head_norm="batch"` takes its statistics of a part). What
    `optim.freeze` names has no gradients and is not in the optimizer, but for what the weights did not give, and stays
    in eval mode while the rest trains: frozen blocks take no dropout and no stochastic depth.

    Logs at the end of each epoch: `train_loss`, `train_accuracy` (on the augmented clips, as they were seen, by their
    own labels where clips are mixed), `lr` (of the last step, at the head), `val_loss`, `val_accuracy`,
    `val_top5_accuracy` (of `kept_model`), `train_skipped`, `val_skipped` (videos that were left out). Accuracies are
    shares from 0 to 1.

    Args:
        model: The model to train; it is put in training mode, and what is to be frozen is frozen.
        run: The run.
        total_steps: Steps of the optimizer in the whole run.
        fresh: Names of the parameters that no earlier training has set; by default what the model's report says.

    Raises:
        ConfigError: `optim.freeze` names more blocks than the model has.
    """

    def __init__(
        self, model: TimeSformer, *, run: RunConfig, total_steps: int, fresh: Collection[str] | None = None
    ) -> None:
        super().__init__()
        self.model = model
        self.average = averaged_copy(model) if run.optim.ema_decay else None
        self._run = run
        self._total_steps = total_steps
        self._train = Tally()
        self._val = Tally()
        self._step_clips = 0
        self._warned: set[str] = set()
        self._fresh = fresh_parameters(model) if fresh is None else fresh
        self._frozen = freeze_parts(model, run.optim.freeze, fresh=self._fresh)
        model.checkpoint_activations = run.checkpoint_activations
        self.train()

    @property
    def kept_model(self) -> TimeSformer:
        """The model that is validated and kept: the average of the weights where the run has one."""
        return self.model if self.average is None else self.average

    def train(self, mode: bool = True) -> "ClipClassifier":
        """Set the mode of all but what is frozen and the average, which are always in eval mode."""
        super().train(mode)
        for part in self._frozen:
            part.eval()
        if self.average is not None:
            self.average.eval()
        return self

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """The optimizer, and its schedule by step."""
        optimizer = build_optimizer(self.model, optim=self._run.optim, precision=self._run.precision, fresh=self._fresh)
        # a function is left out of checkpoints; of a method, its attributes would be stored
        schedule = LambdaLR(optimizer, lambda step: self._lr_factor(step))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_after_batch_transfer(self, batch: Batch | TimeSformerError, dataloader_idx: int) -> Batch | TimeSformerError:
        """Normalize a batch on its device; up to there its clips are 8-bit."""
        if isinstance(batch, TimeSformerError):
            return batch
        return batch._replace(clips=model_input(batch.clips, self._run.clip))

    def training_step(self, batch: Batch | TimeSformerError, batch_index: int) -> Float[Tensor, ""] | None:
        """Cross entropy of a part of a step, in fp32, with label smoothing and mixed clips as the run has them.

        Args:
            batch: Clips and labels, or the error that reading them raised.
            batch_index: Place of the batch in its epoch.

        Returns:
            The mean over the clips; of a part that is smaller than the others, less in proportion. None where all
            videos of the batch were left out.

        Raises:
            DecodeError: A video of the batch cannot be decoded.
            TimeSformerError: The loss is not finite.
        """
        part = batch_index % self._run.accumulate
        if part == 0:
            self._step_clips = 0
        clips, labels = self._unwrap(batch, self._train)
        if len(clips) == 0:
            return None
        # from seed, step and part alone, so that a resumed run draws what an uninterrupted one does
        source = np.random.SeedSequence([self._run.seed, self.global_step, part])
        torch.manual_seed(int(source.generate_state(1)[0]))
        clips, targets = self._mix(clips, labels, generator=np.random.default_rng(source.spawn(1)[0]))
        logits = self.model(clips).float()
        smoothing = 0.0 if targets.is_floating_point() else self._run.optim.label_smoothing
        loss = F.cross_entropy(logits, targets, label_smoothing=smoothing)
        self._train.add(logits, labels, loss=self._finite(loss, step=self.global_step + 1))
        return self._weighted(loss, num_clips=len(clips))

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Make the gradients of a step with fewer clips than `batch_size` the mean over those that it has."""
        if self._run.accumulate == 1 or not 0 < self._step_clips < self._run.batch_size:
            return
        for parameter in self.model.parameters():
            if parameter.grad is not None:
                parameter.grad.mul_(self._run.batch_size / self._step_clips)

    def optimizer_step(self, *arguments: Any, **options: Any) -> None:
        """Take a step, and let the average follow."""
        super().optimizer_step(*arguments, **options)
        if self.average is not None:
            # the trainer counts the step after this
            update_average(self.average, self.model, step=self.global_step + 1, decay=self._run.optim.ema_decay)

    def validation_step(self, batch: Batch | TimeSformerError, batch_index: int) -> None:
        """Count loss, without label smoothing, and hits of a batch of clips.

        Raises:
            DecodeError: A video of the batch cannot be decoded.
            TimeSformerError: The loss is not finite.
        """
        clips, labels = self._unwrap(batch, self._val)
        if len(clips) == 0:
            return
        logits = self.kept_model(clips).float()
        loss = F.cross_entropy(logits, labels)
        self._val.add(logits, labels, loss=self._finite(loss, step=self.global_step))

    def on_train_epoch_start(self) -> None:
        """Start counting training clips anew."""
        self._train = Tally()

    def on_validation_epoch_start(self) -> None:
        """Start counting validation clips anew."""
        self._val = Tally()

    def on_validation_epoch_end(self) -> None:
        """Log what validation has found.

        Raises:
            DataError: All videos were left out.
        """
        tally = self._val
        tally.check_not_empty("validation")
        self.log("val_loss", tally.loss / tally.count)
        self.log("val_accuracy", tally.top1 / tally.count)
        self.log("val_top5_accuracy", tally.top5 / tally.count)
        self.log("val_skipped", float(len(tally.skipped)))

    def on_train_epoch_end(self) -> None:
        """Log what the epoch has found.

        Raises:
            DataError: All videos were left out.
        """
        tally = self._train
        tally.check_not_empty("training")
        self.log("train_loss", tally.loss / tally.count)
        self.log("train_accuracy", tally.top1 / tally.count)
        self.log("train_skipped", float(len(tally.skipped)))
        self.log("lr", self._run.optim.lr * self._lr_factor(self.global_step - 1))

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep what was counted, for a run that goes on within the epoch."""
        checkpoint["train_tally"] = asdict(self._train)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on counting."""
        self._train = Tally(**checkpoint.get("train_tally", {}))

    def _lr_factor(self, step: int) -> float:
        return lr_factor(step, total_steps=self._total_steps, optim=self._run.optim)

    def _unwrap(
        self, batch: Batch | TimeSformerError, tally: Tally
    ) -> tuple[Float[Tensor, "b 3 t h w"], Int[Tensor, " b"]]:
        """Clips and labels of a batch, after its skipped videos were counted and reported, each once in a run."""
        if isinstance(batch, TimeSformerError):
            raise batch
        tally.skip(batch.skipped)
        for message in batch.skipped:
            if message not in self._warned:
                logger.warning("left out: %s", message)
                self._warned.add(message)
        return batch.clips, batch.labels

    def _mix(
        self, clips: Float[Tensor, "b 3 t h w"], labels: Int[Tensor, " b"], *, generator: np.random.Generator
    ) -> tuple[Float[Tensor, "b 3 t h w"], Float[Tensor, "b k"] | Int[Tensor, " b"]]:
        """Mixed clips and their smoothed shares of classes, or everything as it is where nothing is to be mixed."""
        augment = self._run.augment
        if not (augment.mixup or augment.cutmix):
            return clips, labels
        return mix_batch(
            clips,
            labels,
            augment,
            num_classes=self.model.config.num_classes,
            label_smoothing=self._run.optim.label_smoothing,
            generator=generator,
        )

    def _weighted(self, loss: Float[Tensor, ""], *, num_clips: int) -> Float[Tensor, ""]:
        """The share of a part in its step, of which the trainer takes the mean over `accumulate` parts."""
        self._step_clips += num_clips
        parts = self._run.accumulate
        return loss if parts == 1 else loss * (num_clips * parts / self._run.batch_size)

    def _finite(self, loss: Float[Tensor, ""], *, step: int) -> float:
        value = loss.item()
        if math.isfinite(value):
            return value
        optim = self._run.optim
        raise TimeSformerError(
            f"the loss is {value} at step {step} (epoch {self.current_epoch + 1}): training has diverged. Try a lower "
            f"optim.lr (it is {optim.lr:g}), a longer optim.warmup_fraction ({optim.warmup_fraction:g}) or a lower "
            f"optim.clip_grad_norm ({optim.clip_grad_norm:g}; 0 does not clip)"
        )
