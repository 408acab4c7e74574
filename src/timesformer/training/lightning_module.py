"""One training step and one validation step, as a LightningModule."""

import logging
import math
from collections.abc import Collection, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor
from torch.optim.lr_scheduler import LambdaLR

from timesformer.config.run import RunConfig
from timesformer.data.clips.transforms import model_input
from timesformer.errors import TimeSformerError
from timesformer.model.standardization import BatchStandardization
from timesformer.model.timesformer import TimeSformer
from timesformer.training.dataloaders import Batch
from timesformer.training.distillation import Teachers
from timesformer.training.ema import ema_copy, update_ema
from timesformer.training.init_weights import newly_initialized_parameters
from timesformer.training.mixup import mix_batch
from timesformer.training.optim import build_optimizer, freeze, lr_factor
from timesformer.training.ranks import ALONE, Ranks
from timesformer.training.shared_norm import SharedMoments
from timesformer.training.tally import Tally

logger = logging.getLogger(__name__)


class ClipClassifier(LightningModule):
    """A model with its loss, optimizer and metrics.

    An optimizer step uses `run.accumulate` micro-batches. All clips of a step have the same weight, independent of
    micro-batches and skipped videos (but `head_norm="batch"` computes its statistics per micro-batch). Modules frozen
    by `optim.freeze` have no gradients, are not in the optimizer, and stay in eval mode, without dropout and stochastic
    depth; with `blocks:N`, their newly initialized parameters are trained.

    Logs at the end of each epoch: `train_loss`, `train_accuracy` (on the augmented clips during the epoch, with the
    original labels for mixed clips), `lr` (of the last step, at the head), `val_loss`, `val_accuracy`,
    `val_top5_accuracy` (of `kept_model`), `train_skipped`, `val_skipped` (numbers of videos). Accuracies are from 0 to
    1.

    Args:
        model: The model to train; it is put in training mode, and modules are frozen.
        run: The run.
        total_steps: Optimizer steps in the whole run.
        newly_initialized: Names of the parameters without pretrained values; by default read from the model's load
            report.
        ranks: The ranks that train together, each on its share of every micro-batch.
        teachers: Models whose probabilities are learned in addition to the labels.

    Raises:
        ConfigError: `optim.freeze` names more blocks than the model has.
    """

    def __init__(
        self,
        model: TimeSformer,
        *,
        run: RunConfig,
        total_steps: int,
        newly_initialized: Collection[str] | None = None,
        ranks: Ranks = ALONE,
        teachers: Teachers | None = None,
    ) -> None:
        super().__init__()
        self.model = model
        self.average = ema_copy(model) if run.optim.ema_decay else None  # its name is in checkpoints
        self._run = run
        self._total_steps = total_steps
        self._train = Tally()
        self._val = Tally()
        self._step_clips = 0
        self._ranks = ranks
        self._teachers = teachers
        self._moments = SharedMoments(ranks)
        if isinstance(model.head_norm, BatchStandardization) and not ranks.is_alone:
            model.head_norm.moments = self._moments
        self._failure: TimeSformerError | None = None
        self._warned: set[str] = set()
        if newly_initialized is None:
            newly_initialized = newly_initialized_parameters(model)
        self._newly_initialized = newly_initialized
        self._frozen = freeze(model, run.optim.freeze, newly_initialized=newly_initialized)
        model.checkpoint_activations = run.checkpoint_activations
        self.train()

    @property
    def kept_model(self) -> TimeSformer:
        """The model that is validated and saved: the moving average if there is one, else the trained model."""
        return self.model if self.average is None else self.average

    def train(self, mode: bool = True) -> "ClipClassifier":
        """Set the mode of all modules except the frozen ones and the average, which are always in eval mode."""
        super().train(mode)
        for module in self._frozen:
            module.eval()
        if self.average is not None:
            self.average.eval()
        return self

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """The optimizer and its per-step schedule."""
        optimizer = build_optimizer(
            self.model,
            optim=self._run.optim,
            precision=self._run.precision,
            newly_initialized=self._newly_initialized,
        )
        # checkpoints store no functions, but they would store the attributes of a bound method's object
        schedule = LambdaLR(optimizer, lambda step: self._lr_factor(step))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_after_batch_transfer(self, batch: Batch | TimeSformerError, dataloader_idx: int) -> Batch | TimeSformerError:
        """Normalize the 8-bit clips of a batch on the device."""
        if isinstance(batch, TimeSformerError):
            return batch
        return batch._replace(clips=model_input(batch.clips, self._run.clip))

    def training_step(self, batch: Batch | TimeSformerError, batch_index: int) -> Float[Tensor, ""] | None:
        """Cross entropy of a micro-batch in fp32, with the run's label smoothing, mixing and teachers.

        Args:
            batch: Clips and labels, or the error raised by reading them.
            batch_index: Index of the micro-batch in its epoch.

        Returns:
            The mean over the clips, scaled down in proportion for a smaller micro-batch; None if all its videos were
            skipped.

        Raises:
            DecodeError: A video of the batch cannot be decoded.
            TimeSformerError: The loss is not finite.
        """
        micro_batch = batch_index % self._run.accumulate
        if micro_batch == 0:
            self._step_clips = 0
        clips, labels, _, partners = self._unwrap(batch, self._train)
        if len(clips) == 0:
            return None if self._ranks.is_alone else self._no_loss()
        # a function of seed, step and micro-batch only, so that a resumed run draws the same numbers
        draw = [self._run.seed, self.global_step, micro_batch]
        source = np.random.SeedSequence(draw)
        # the dropout of each rank is its own: the same draws would give its clips the masks of another rank's clips
        own = source if self._ranks.is_first else np.random.SeedSequence([*draw, self._ranks.rank])
        torch.manual_seed(int(own.generate_state(1)[0]))
        clips, targets = self._mix(clips, labels, partners, generator=np.random.default_rng(source.spawn(1)[0]))
        logits = self.model(clips).float()
        smoothing = 0.0 if targets.is_floating_point() else self._run.optim.label_smoothing
        loss = F.cross_entropy(logits, targets, label_smoothing=smoothing)
        if self._teachers is not None:
            loss = self._teachers.loss(loss, logits, clips)
        self._train.add(logits, labels, loss=self._finite(loss, step=self.global_step + 1))
        return self._weighted(loss, num_clips=len(clips))

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Rescale the gradients of a step with fewer clips than `batch_size` to the mean over its clips.

        Raises:
            TimeSformerError: A rank has failed in this step.
        """
        num_clips = self._ranks.total(self._step_clips, failure=self._failure)
        is_scaled = self._run.accumulate == 1 and self._ranks.is_alone  # by the loss itself
        if is_scaled or num_clips == self._run.batch_size:
            return
        for parameter in self.model.parameters():
            if num_clips == 0:
                parameter.grad = None  # as in one process, where nothing was computed
            elif parameter.grad is not None:
                parameter.grad.mul_(self._run.batch_size / num_clips)

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip the norm of all gradients together, which are those of all ranks by now.

        Raises:
            TimeSformerError: The norm is not finite; in fp16 such a step is skipped instead.
        """
        gradients = {weight: weight.grad for weight in self.model.parameters() if weight.grad is not None}
        if self._run.optim.clip_grad_norm:
            norm = torch.nn.utils.clip_grad_norm_(gradients, self._run.optim.clip_grad_norm)
        else:
            norm = torch.nn.utils.get_total_norm(gradients.values())
        norm = norm.full_tensor() if isinstance(norm, DTensor) else norm
        if self._run.precision != "fp16" and not torch.isfinite(norm):
            raise self._diverged(f"the norm of the gradients is {norm.item()}", step=self.global_step + 1)

    def optimizer_step(self, *arguments: Any, **options: Any) -> None:
        """Take a step and update the moving average."""
        super().optimizer_step(*arguments, **options)
        if self.average is not None:
            # the trainer increments global_step later
            update_ema(self.average, self.model, step=self.global_step + 1, decay=self._run.optim.ema_decay)

    def validation_step(self, batch: Batch | TimeSformerError, batch_index: int) -> None:
        """Add the loss, without label smoothing, and the accuracy of a batch to the epoch.

        Raises:
            DecodeError: A video of the batch cannot be decoded.
            TimeSformerError: The loss is not finite.
        """
        clips, labels, *_ = self._unwrap(batch, self._val)
        self._ranks.check(self._failure)
        if len(clips) == 0:
            if isinstance(self.kept_model, FSDPModule):
                self._compute_nothing(self.kept_model)
            return
        logits = self.kept_model(clips).float()
        loss = F.cross_entropy(logits, labels)
        self._val.add(logits, labels, loss=self._finite(loss, step=self.global_step))

    def on_train_epoch_start(self) -> None:
        """Reset the training sums."""
        self._train = Tally()

    def on_validation_epoch_start(self) -> None:
        """Reset the validation sums."""
        self._val = Tally()

    def on_validation_epoch_end(self) -> None:
        """Log the validation metrics.

        Raises:
            DataError: All videos were skipped.
        """
        self._ranks.check(self._failure)
        tally = self._sum_over_ranks(self._val)
        tally.check_not_empty("validation")
        self.log("val_loss", tally.loss / tally.count)
        self.log("val_accuracy", tally.top1 / tally.count)
        self.log("val_top5_accuracy", tally.top5 / tally.count)
        self.log("val_skipped", float(len(tally.skipped)))

    def on_train_epoch_end(self) -> None:
        """Log the training metrics of the epoch.

        Raises:
            DataError: All videos were skipped.
        """
        tally = self._sum_over_ranks(self._train)
        tally.check_not_empty("training")
        self.log("train_loss", tally.loss / tally.count)
        self.log("train_accuracy", tally.top1 / tally.count)
        self.log("train_skipped", float(len(tally.skipped)))
        self.log("lr", self._run.optim.lr * self._lr_factor(self.global_step - 1))

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Save the training sums, to resume within the epoch."""
        checkpoint["train_tally"] = asdict(self._sum_over_ranks(self._train))

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore the training sums, which rank 0 continues."""
        if self._ranks.is_first:
            self._train = Tally(**checkpoint.get("train_tally", {}))

    def _lr_factor(self, step: int) -> float:
        return lr_factor(step, total_steps=self._total_steps, optim=self._run.optim)

    def _unwrap(self, batch: Batch | TimeSformerError, tally: Tally) -> Batch:
        """A batch, empty if reading it failed. Counts its skipped videos and warns about each once per run."""
        if isinstance(batch, TimeSformerError):
            self._fail(batch)
            return Batch(torch.empty(0, 3, 1, 1, 1), torch.empty(0, dtype=torch.int64))
        tally.skip(batch.skipped)
        if self._ranks.is_first:
            self._warn(batch.skipped)
        return batch

    def _warn(self, skipped: Sequence[str]) -> None:
        for message in skipped:
            if message not in self._warned:
                logger.warning("skipped: %s", message)
                self._warned.add(message)

    def _fail(self, error: TimeSformerError) -> None:
        """Raise an error now if there is one rank, otherwise when the ranks meet next."""
        if self._ranks.is_alone:
            raise error
        self._failure = self._failure or error

    def _sum_over_ranks(self, tally: Tally) -> Tally:
        """The sums of all ranks; rank 0 warns about the skipped videos of the others."""
        if self._ranks.is_alone:
            return tally
        total = Tally()
        for part in self._ranks.gather(tally):
            total.merge(part)
        if self._ranks.is_first:
            self._warn(total.skipped)
        return total

    def _no_loss(self) -> Float[Tensor, ""]:
        """A loss of weight zero for a rank without clips, which takes part in the reduction of gradients."""
        return 0.0 * self._compute_nothing(self.model).float().sum()

    def _compute_nothing(self, model: TimeSformer) -> Float[Tensor, "1 k"]:
        """Run a model on a clip of zeros, for a rank without clips, whose shards the other ranks need."""
        config = model.config
        shape = (1, config.in_channels, config.num_frames, *config.image_size)
        self._moments.is_idle = True
        logits = model(torch.zeros(shape, device=self.device))
        self._moments.is_idle = False
        return logits

    def _mix(
        self,
        clips: Float[Tensor, "b 3 t h w"],
        labels: Int[Tensor, " b"],
        partners: Int[Tensor, " b"] | None,
        *,
        generator: np.random.Generator,
    ) -> tuple[Float[Tensor, "b 3 t h w"], Float[Tensor, "b k"] | Int[Tensor, " b"]]:
        """Mixed clips and their soft targets; clips and labels unchanged if the run mixes nothing."""
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
            partners=partners,
        )

    def _weighted(self, loss: Float[Tensor, ""], *, num_clips: int) -> Float[Tensor, ""]:
        """The loss scaled by the number of its clips; the mean over micro-batches and ranks is taken of it."""
        self._step_clips += num_clips
        count = self._run.accumulate * self._ranks.size
        return loss if count == 1 else loss * (num_clips * count / self._run.batch_size)

    def _finite(self, loss: Float[Tensor, ""], *, step: int) -> float:
        value = loss.item()
        if not math.isfinite(value):
            self._fail(self._diverged(f"the loss is {value}", step=step))
        return value

    def _diverged(self, what: str, *, step: int) -> TimeSformerError:
        optim = self._run.optim
        return TimeSformerError(
            f"{what} at step {step} (epoch {self.current_epoch + 1}): training has diverged. Try a lower "
            f"optim.lr (now {optim.lr:g}), a larger optim.warmup_fraction (now {optim.warmup_fraction:g}) or a lower "
            f"optim.clip_grad_norm (now {optim.clip_grad_norm:g}; 0 does not clip)"
        )
