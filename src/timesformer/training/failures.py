"""What ends a run early, in one line: a signal, memory that is too small, a data loading process that died."""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

import torch

from timesformer.config.run import RunConfig
from timesformer.data.clips.worker_errors import naming_dead_workers
from timesformer.device import is_out_of_memory
from timesformer.errors import TimeSformerError
from timesformer.signals import EndRequest
from timesformer.training.callbacks import Recorder
from timesformer.training.memory import out_of_memory_advice


@contextmanager
def explaining_failures(run: RunConfig, *, device: torch.device, available: int | None) -> Generator[None]:
    """Turn the errors of too little memory and of dead data loading processes into one line.

    Args:
        run: The run.
        device: Its device.
        available: Free memory of the device before the run, in bytes; None if unknown.

    Raises:
        TimeSformerError: Memory is too small, with the micro-batch that fits; or a process died.
    """
    with naming_dead_workers("data.num_workers"):
        try:
            yield
            return
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
        # here, and not above: the traceback of the error keeps its tensors in memory
        raise TimeSformerError(out_of_memory_advice(run, device, available=available))


@contextmanager
def telling_the_end(
    run: RunConfig, *, root: Path, recorder: Recorder, end: EndRequest, say: Callable[[str], object]
) -> Generator[None]:
    """Say what is kept of a run that is ended or interrupted.

    Args:
        run: The run.
        root: Its folder.
        recorder: Knows what is kept.
        end: The signal, if there was one.
        say: Called with a line.

    Raises:
        SystemExit: A signal asked to end.
        KeyboardInterrupt: For the `SystemExit` that the trainer raises on Ctrl-C.
    """
    try:
        yield
    except SystemExit as stop:
        how = f"ended by {end.name}" if end.number else "interrupted"
        steps = f" and {recorder.steps} steps of the next" if recorder.steps else ""
        message = (
            f"{how} after {len(recorder.history)} of {run.epochs} epochs{steps}; they are kept in {root}: pass "
            "resume=True (--resume) to continue"
        )
        say(message)
        if end.number:
            raise SystemExit(end.status) from stop
        raise KeyboardInterrupt(message) from stop
