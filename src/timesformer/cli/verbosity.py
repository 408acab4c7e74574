"""`--quiet` and `--verbose`, the options of every verb, as levels of the loggers of the library."""

import logging
from collections.abc import Generator
from contextlib import contextmanager
from typing import Annotated

from cyclopts import Group, Parameter

from timesformer.errors import ConfigError

GLOBAL = Group("Global options", sort_key=7)
Quiet = Annotated[
    bool,
    Parameter(
        name=("--quiet", "-q"), negative=(), group=GLOBAL, help="Print errors only, without notes and progress bars."
    ),
]
Verbose = Annotated[
    int,
    Parameter(
        name=("--verbose", "-v"),
        count=True,
        show_default=False,
        group=GLOBAL,
        help="Print the library's messages; `-vv` adds details.",
    ),
]

_ROOT = "timesformer"
_NOTES = ("timesformer.cli", "timesformer.training", "timesformer.fine_tuning")
"""Loggers whose notes are shown by default: without a terminal, training has no progress bar."""


@contextmanager
def verbosity(*, quiet: bool, verbose: int) -> Generator[None]:
    """Show errors only, or notes as well (the default), or all messages of the library (INFO, then DEBUG).

    Raises:
        ConfigError: Both are asked for.
    """
    if quiet and verbose:
        raise ConfigError("--quiet and --verbose contradict each other: give one of them")
    if quiet:
        levels = dict.fromkeys((_ROOT, *_NOTES), logging.ERROR)
    elif verbose:
        levels = dict.fromkeys((_ROOT, *_NOTES), logging.INFO if verbose == 1 else logging.DEBUG)
    else:
        levels = dict.fromkeys(_NOTES, logging.INFO)
    before = {name: logging.getLogger(name).level for name in levels}
    try:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
        yield
    finally:
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)
