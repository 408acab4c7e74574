"""What the verbs share: results on stdout, notes and progress on stderr, and how much of these is shown."""

import json
import logging
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from timesformer.cli.streams import say

OnProgress = Callable[[int, int], None]
"""Called with the number of items done and the number in total."""

logger = logging.getLogger(__name__)


def print_json(value: Any) -> None:
    """Print one line of JSON to stdout, in ASCII, which is valid on every terminal and for every file name."""
    print(json.dumps(value, allow_nan=False), flush=True)


def note(text: str) -> None:
    """Print a note to stderr, unless `--quiet` is given; errors go through `say`."""
    if logger.isEnabledFor(logging.INFO):
        say(text)


def note_rate(num_videos: int, *, seconds: float, waited_s: float) -> None:
    """Note at the end of a run how fast it was and what limited it, unless the videos are few.

    Args:
        num_videos: Number of videos.
        seconds: Time for all of them.
        waited_s: Time of that in which the model waited for videos.
    """
    from timesformer.inference.throughput import describe_rate  # imports torch, which other verbs do without

    text = describe_rate(num_videos, seconds=seconds, waiting=waited_s / seconds if seconds else 0.0)
    if text:
        note(text)


@contextmanager
def progress(description: str, *, unit: str = "videos") -> Generator[OnProgress]:
    """A progress bar on stderr, if that is a terminal and `--quiet` is not given.

    Yields:
        A function to call with the number done and the total.
    """
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(unit),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    is_shown = console.is_terminal and logger.isEnabledFor(logging.INFO)
    with Progress(*columns, console=console, disable=not is_shown) as bar:
        task = bar.add_task(description, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
