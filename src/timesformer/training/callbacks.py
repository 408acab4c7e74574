"""Trainer callbacks: metrics, checkpoints and the kept model of each epoch, and a progress bar."""

import shutil
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, cast

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from timesformer.config.run import RunConfig
from timesformer.errors import TimeSformerError
from timesformer.files import replacing_durably
from timesformer.outputs import writing
from timesformer.signals import EndRequest
from timesformer.training.curve import draw_curve
from timesformer.training.history import EpochRecord, best_epoch, format_metrics, is_over, read_record
from timesformer.training.lightning_module import ClipClassifier
from timesformer.training.ranks import ALONE, Ranks
from timesformer.training.resume import DataSize
from timesformer.training.run_folder import RunFolder, replace_text
from timesformer.training.sharding import gathered
from timesformer.training.shards import complete, remove_unused
from timesformer.training.throughput import DataWaitMeter
from timesformer.weights.model_folder import save

_REFRESH_S = 0.2
_REDRAW_S = 30.0


class DirectCheckpointIO(TorchCheckpointIO):
    """Holds a checkpoint until `write` writes it directly to its path; the caller makes the write atomic.

    The default implementation copies the checkpoint to memory and to the temporary folder, where a killed process
    leaves it. All ranks take part in making a checkpoint; only then rank 0 writes it, which may fail.
    """

    def __init__(self) -> None:
        super().__init__()
        self._held: dict[str, Any] = {}

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None) -> None:
        """Hold the checkpoint, without a copy."""
        self._held = checkpoint

    def write(self, path: str | Path) -> None:
        """Write the file.

        Raises:
            OSError: The disk refused, for example because it is full.
        """
        try:
            with open(path, "wb") as file:
                torch.save(self._held, file)
        except RuntimeError as error:
            if isinstance(error.__context__, OSError):  # torch hides the cause of the failure
                raise error.__context__ from error
            raise
        finally:
            self._held = {}

    def load_checkpoint(self, path: str | Path, *arguments: Any, **options: Any) -> dict[str, Any]:
        """Read a checkpoint, and its tensors if they lie in a folder of shards.

        Raises:
            WeightsError: That folder is missing or damaged.
        """
        return complete(super().load_checkpoint(path, *arguments, **options), Path(path))


class Recorder(Checkpoint):
    """Writes the output of every epoch: the kept model, checkpoints, metrics, the learning curve.

    It is a `Checkpoint` so that the trainer calls it after all metrics of the epoch are known. The model and
    `best.ckpt` are written before `last.ckpt`: an epoch interrupted in between is repeated. The table is written after
    it: an epoch in the table is complete.

    Args:
        folder: The folder to write to.
        run: The run.
        size: Number of videos of the run, stored in the checkpoint.
        on_epoch: Functions called at the end of each epoch with its record.
        end: Whether a signal has asked to end: the run then ends after the present step, or after the validation.
        ranks: The ranks of the run, of which the first one writes and calls `on_epoch`.
    """

    def __init__(
        self,
        folder: RunFolder,
        *,
        run: RunConfig,
        size: DataSize,
        on_epoch: Sequence[Callable[[EpochRecord], None]],
        end: EndRequest,
        ranks: Ranks = ALONE,
    ) -> None:
        self.history: list[EpochRecord] = []
        self._ranks = ranks
        self._folder = folder
        self._run = run
        self._size = size
        self._on_epoch = on_epoch
        self._end = end
        self._batches = 0
        self._epoch_start = time.monotonic()
        self._last_drawing = time.monotonic()
        self._wait_meter = DataWaitMeter()

    @property
    def steps(self) -> int:
        """Optimizer steps of the next epoch in the last checkpoint."""
        return self._batches // self._run.accumulate

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Listen to signals: the trainer's own handler of SIGTERM leaves within a step, without a checkpoint."""
        self._end.listen_again()

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the timers of the epoch."""
        self._epoch_start = time.monotonic()
        self._wait_meter.start()

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """End the wait for the batch."""
        self._wait_meter.begin_step()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Write a checkpoint within the epoch if one is due or the run has to end; always right after a step.

        Raises:
            TimeSformerError: The disk refused; the previous checkpoint is intact.
            SystemExit: A signal has asked to end.
        """
        self._wait_meter.end_step()
        done, every = batch_idx + 1, self._run.checkpoint_every * self._run.accumulate
        if done % self._run.accumulate or done >= trainer.num_training_batches:
            return
        must_end = self._must_end()
        if must_end or (every and done % every == 0):
            self._batches = done
            self._save_checkpoints(trainer, is_best=False)
            self._wait_meter.pause()
        if must_end:
            raise SystemExit(self._end.status)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write everything, and stop the run if its patience is exhausted.

        Raises:
            SystemExit: A signal has asked to end.
            TimeSformerError: The disk refused; the previous files are intact.
            WeightsError: The disk refused the model folder.
        """
        assert isinstance(pl_module, ClipClassifier)
        with writing(self._folder.checkpoints):  # a share that has gone: its folder would be made again in its place
            self._folder.checkpoints.stat()
        self.history.append(self._record(trainer))
        self._batches = 0
        is_best = best_epoch(self.history) is self.history[-1]
        if is_best or self._run.keep == "last":
            model = gathered(pl_module.kept_model)
            with self._ranks.agreed():
                if model is not None and self._ranks.is_first:
                    save(model, self._folder.model, overwrite=True)
        self._save_checkpoints(trainer, is_best=is_best)
        with self._ranks.agreed():
            if self._ranks.is_first:
                self._write_epoch()
        if is_over(self.history, epochs=self._run.epochs, patience=self._run.patience):
            trainer.should_stop = True
        elif self._must_end():
            raise SystemExit(self._end.status)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw the learning curve."""
        with self._ranks.agreed():
            self._draw()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Draw the learning curve of a run that fails or is interrupted."""
        with suppress(TimeSformerError):  # a full disk must not hide the error that stopped the run
            self._draw()

    def state_dict(self) -> dict[str, Any]:
        """Progress of the run and its number of videos, as read by `read_resume_state`."""
        history = [asdict(record) for record in self.history]
        return {"history": history, "batches": self._batches, "size": asdict(self._size)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the epochs of a checkpoint."""
        self.history = [read_record(record) for record in state_dict["history"]]

    def _must_end(self) -> bool:
        """Whether a signal has asked any process of the run to end."""
        if not self._ranks.total(int(self._end.number > 0)):
            return False
        self._end.number = max(self._ranks.gather(self._end.number))
        return True

    def _record(self, trainer: Trainer) -> EpochRecord:
        names = {field.name for field in fields(EpochRecord)}
        wait_fraction = max(self._ranks.gather(self._wait_meter.fraction))  # all wait for the slowest rank
        metrics = {name: value.item() for name, value in trainer.callback_metrics.items() if name in names}
        return EpochRecord(
            epoch=trainer.current_epoch + 1,
            step=trainer.global_step,
            seconds=time.monotonic() - self._epoch_start,
            train_skipped=int(metrics.pop("train_skipped", 0)),
            val_skipped=int(metrics.pop("val_skipped", 0)),
            data_wait_fraction=wait_fraction,
            **metrics,
        )

    def _save_checkpoints(self, trainer: Trainer, *, is_best: bool) -> None:
        trainer.save_checkpoint(self._folder.last, weights_only=False)  # held by `DirectCheckpointIO`
        with self._ranks.agreed():
            if self._ranks.is_first:
                self._write_checkpoints(cast(DirectCheckpointIO, trainer.strategy.checkpoint_io), is_best=is_best)

    def _write_checkpoints(self, held: DirectCheckpointIO, *, is_best: bool) -> None:
        last, best = self._folder.last, self._folder.best
        with writing(last), replacing_durably(last) as partial:
            held.write(partial)
            if is_best:
                with writing(best), replacing_durably(best) as copy:
                    shutil.copyfile(partial, copy)
        with writing(self._folder.checkpoints):
            remove_unused(self._folder.shards, (last, best))

    def _write_epoch(self) -> None:
        replace_text(self._folder.metrics, format_metrics(self.history))
        # not every epoch: drawing takes as long as several steps of a tiny model
        if time.monotonic() - self._last_drawing > _REDRAW_S:
            self._draw()
        for on_epoch in self._on_epoch:
            on_epoch(self.history[-1])

    def _draw(self) -> None:
        if self.history and self._ranks.is_first:
            write_curve(self._folder, self.history)
            self._last_drawing = time.monotonic()


def write_curve(folder: RunFolder, history: Sequence[EpochRecord]) -> None:
    """Draw the learning curve of a run into its folder.

    Raises:
        TimeSformerError: The disk refused.
    """
    with writing(folder.curve), replacing_durably(folder.curve) as partial:
        draw_curve(history, partial)


class ProgressBar(Callback):
    """Progress bar with epoch, steps, loss, validation accuracy and time left; lines of epochs are printed above it.

    It is redrawn between steps, without a thread, which forked workers would inherit.
    """

    def __init__(self, console: Console) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("loss {task.fields[loss]}  val {task.fields[val]}"),
            TimeRemainingColumn(),
            console=console,
            auto_refresh=False,
        )
        self._task = self._progress.add_task("", total=None, loss="-", val="-")
        self._last_refresh = 0.0

    def show(self, record: EpochRecord) -> None:
        """Print the metrics of an epoch above the bar."""
        self._progress.update(self._task, val=f"{record.val_accuracy:.1%}")
        self._progress.print(str(record))

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Show the bar, at the first step or the one to resume from."""
        self._progress.update(self._task, total=trainer.estimated_stepping_batches, completed=trainer.global_step)
        self._progress.start()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Advance the bar, redrawn at most five times a second."""
        description = f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}"
        self._progress.update(self._task, completed=trainer.global_step, description=description)
        if outputs:  # empty if all videos of a batch were skipped
            loss = outputs["loss"].item() * trainer.accumulate_grad_batches  # undo the division by the trainer
            self._progress.update(self._task, loss=f"{loss:.4f}")
        if time.monotonic() - self._last_refresh >= _REFRESH_S:
            self._refresh()

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Show that validation is running."""
        self._progress.update(self._task, description="validating")
        self._refresh()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop the bar and leave it on the screen."""
        self._progress.update(self._task, description="trained")
        self._progress.stop()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Stop the bar."""
        self._progress.stop()

    def _refresh(self) -> None:
        self._progress.refresh()
        self._last_refresh = time.monotonic()


@contextmanager
def counting_bar(console: Console, description: str) -> Generator[Callable[[int, int], None]]:
    """A progress bar that appears with the first call of the yielded function, on terminals only.

    Yields:
        A function of the number done and the total.
    """
    with Progress(console=console, transient=True, auto_refresh=False, disable=not console.is_terminal) as progress:

        def count(done: int, total: int) -> None:
            task = progress.tasks[0].id if progress.tasks else progress.add_task(description)
            progress.update(task, completed=done, total=total, refresh=True)

        yield count
