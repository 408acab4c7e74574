"""What happens around the steps of a run: the record of its epochs, its checkpoints, and a progress bar."""

import shutil
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from timesformer.config.run import RunConfig
from timesformer.errors import TimeSformerError
from timesformer.training.curve import draw_curve
from timesformer.training.history import EpochRecord, best_epoch, format_metrics, is_over
from timesformer.training.init_weights import DataSize
from timesformer.training.lightning_module import ClipClassifier
from timesformer.training.run_folder import RunFolder, replace_text, replacing
from timesformer.training.throughput import WaitMeter
from timesformer.weights.model_folder import save

_REFRESH_S = 0.2
_REDRAW_S = 30.0


class WholeCheckpoints(TorchCheckpointIO):
    """Writes a checkpoint straight to its path, which the caller puts in place.

    The trainer's own way makes a copy in memory and one in the temporary folder, which a killed process leaves there.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None) -> None:
        """Write the file.

        Raises:
            OSError: The disk refused, such as when it is full.
        """
        try:
            with open(path, "wb") as file:
                torch.save(checkpoint, file)
        except RuntimeError as error:
            if isinstance(error.__context__, OSError):  # torch hides why its writer failed
                raise error.__context__ from error
            raise


class Recorder(Checkpoint):
    """Writes what a run leaves behind at the end of every epoch: metrics, the kept model, checkpoints, the curve.

    It is a `Checkpoint` so that the trainer calls it after all measures of the epoch are known. The model and the best
    checkpoint come before the last one: where a run is cut off in between, the epoch is done again. The table comes
    after it: an epoch that is in it is whole.

    Args:
        folder: Where to write.
        run: The run: which model is kept, how often checkpoints are written, when it is over.
        size: Number of videos of the run, kept in the checkpoint.
        on_epoch: Called, each of them, at the end of each epoch with its record.
    """

    def __init__(
        self, folder: RunFolder, *, run: RunConfig, size: DataSize, on_epoch: Sequence[Callable[[EpochRecord], None]]
    ) -> None:
        self.history: list[EpochRecord] = []
        self._folder = folder
        self._run = run
        self._size = size
        self._on_epoch = on_epoch
        self._batches = 0
        self._epoch_start = time.monotonic()
        self._last_drawing = time.monotonic()
        self._waiting = WaitMeter()

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the epoch's clocks."""
        self._epoch_start = time.monotonic()
        self._waiting.start()

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Stop the clock that measures the wait for the batch."""
        self._waiting.begin_step()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Write a checkpoint within the epoch, where one is due; only ever right after a step of the optimizer.

        Raises:
            TimeSformerError: The disk refused; what was there before is still whole.
        """
        self._waiting.end_step()
        done, every = batch_idx + 1, self._run.checkpoint_every * self._run.accumulate
        if every and done % every == 0 and done < trainer.num_training_batches:
            self._batches = done
            self._save_checkpoints(trainer, is_best=False)
            self._waiting.pause()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write everything, and end the run where its patience is at its end.

        Raises:
            TimeSformerError: The disk refused; what was there before is still whole.
            WeightsError: The same, for the model folder.
        """
        assert isinstance(pl_module, ClipClassifier)
        self.history.append(self._record(trainer))
        self._batches = 0
        is_best = best_epoch(self.history) is self.history[-1]
        if is_best or self._run.keep == "last":
            save(pl_module.kept_model, self._folder.model, overwrite=True)
        self._save_checkpoints(trainer, is_best=is_best)
        replace_text(self._folder.metrics, format_metrics(self.history))
        # not at every epoch: a drawing takes as long as several steps of a tiny model
        if time.monotonic() - self._last_drawing > _REDRAW_S:
            self._draw()
        for listen in self._on_epoch:
            listen(self.history[-1])
        if is_over(self.history, epochs=self._run.epochs, patience=self._run.patience):
            trainer.should_stop = True

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw the whole curve."""
        self._draw()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Draw the curve of a run that stops early."""
        with suppress(TimeSformerError):  # a disk that is full must not hide the error that stopped the run
            self._draw()

    def state_dict(self) -> dict[str, Any]:
        """How far the run is, and the number of its videos, for the checkpoint; see `read_progress`."""
        history = [asdict(record) for record in self.history]
        return {"history": history, "batches": self._batches, "size": asdict(self._size)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from the epochs of a checkpoint."""
        self.history = [EpochRecord(**record) for record in state_dict["history"]]

    def _record(self, trainer: Trainer) -> EpochRecord:
        names = {field.name for field in fields(EpochRecord)}
        measures = {name: value.item() for name, value in trainer.callback_metrics.items() if name in names}
        return EpochRecord(
            epoch=trainer.current_epoch + 1,
            step=trainer.global_step,
            seconds=time.monotonic() - self._epoch_start,
            train_skipped=int(measures.pop("train_skipped", 0)),
            val_skipped=int(measures.pop("val_skipped", 0)),
            waiting_share=self._waiting.share,
            **measures,
        )

    def _save_checkpoints(self, trainer: Trainer, *, is_best: bool) -> None:
        with replacing(self._folder.last) as partial:
            trainer.save_checkpoint(partial, weights_only=False)
            if is_best:
                with replacing(self._folder.best) as copy:
                    shutil.copyfile(partial, copy)

    def _draw(self) -> None:
        if self.history:
            write_curve(self._folder, self.history)
            self._last_drawing = time.monotonic()


def write_curve(folder: RunFolder, history: Sequence[EpochRecord]) -> None:
    """Draw the learning curve of a run into its folder.

    Raises:
        TimeSformerError: The disk refused.
    """
    with replacing(folder.curve) as partial:
        draw_curve(history, partial)


class ProgressBar(Callback):
    """A line at the bottom of the terminal: epoch, steps, loss, validation accuracy, time left; epochs go above it.

    It redraws itself between steps and has no thread, which a forked worker would inherit.
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
        """Print the line of an epoch above the bar."""
        self._progress.update(self._task, val=f"{record.val_accuracy:.1%}")
        self._progress.print(str(record))

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Show the bar, at the step where the run begins or goes on."""
        self._progress.update(self._task, total=trainer.estimated_stepping_batches, completed=trainer.global_step)
        self._progress.start()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Move the bar on, and draw it at most five times a second."""
        description = f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}"
        self._progress.update(self._task, completed=trainer.global_step, description=description)
        if outputs:  # nothing where all videos of a batch were left out
            loss = outputs["loss"].item() * trainer.accumulate_grad_batches  # the trainer divides it
            self._progress.update(self._task, loss=f"{loss:.4f}")
        if time.monotonic() - self._last_refresh >= _REFRESH_S:
            self._refresh()

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Say why no step is taken."""
        self._progress.update(self._task, description="validating")
        self._refresh()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Leave the bar as it is."""
        self._progress.update(self._task, description="trained")
        self._progress.stop()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Give the terminal back."""
        self._progress.stop()

    def _refresh(self) -> None:
        self._progress.refresh()
        self._last_refresh = time.monotonic()


@contextmanager
def counting_bar(console: Console, description: str) -> Generator[Callable[[int, int], None]]:
    """A bar on the terminal, from the first call of the function that it gives, and nothing elsewhere.

    Yields:
        A function to call with the number done and the total.
    """
    with Progress(console=console, transient=True, auto_refresh=False, disable=not console.is_terminal) as progress:

        def count(done: int, total: int) -> None:
            task = progress.tasks[0].id if progress.tasks else progress.add_task(description)
            progress.update(task, completed=done, total=total, refresh=True)

        yield count
