"""What the verbs share: where text goes, and progress that a person can watch."""

import json
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from timesformer.cli.streams import say

__all__ = ["OnProgress", "print_json", "progress", "say"]

OnProgress = Callable[[int, int], None]
"""Called with the number of things done and the number of things to do."""


def print_json(value: Any) -> None:
    """Print one line of JSON to stdout, in ASCII, which every terminal and every file name leaves valid."""
    print(json.dumps(value, allow_nan=False), flush=True)


@contextmanager
def progress(description: str, *, unit: str = "videos") -> Generator[OnProgress]:
    """A progress bar on stderr; nothing where stderr is no terminal.

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
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task(description, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
