"""`timesformer`: finds the verb, runs it, and turns every expected error into one line and an exit status."""

import logging
import os
import re
import sys
from collections.abc import Mapping, MutableMapping, Sequence
from itertools import pairwise
from typing import Any

from cyclopts import App, Parameter

from timesformer._version import __version__
from timesformer.cli.streams import finish_streams, prepare_streams, say, stdout_error
from timesformer.errors import ConfigError, DependencyError, TimeSformerError
from timesformer.processes import read_process_info

VERBS = {
    "demo": "Make a small video data set, train on it, and look at the result: the whole way in minutes.",
    "check": "Find what is wrong with a data set before you train on it.",
    "train": "Train a classifier on your own videos.",
    "predict": "Classify video files.",
    "evaluate": "Measure a model on labeled videos.",
    "bench": "Benchmark speed and memory on this machine against other implementations.",
    "info": "Show what a model is, what it costs, and what the paper's models cost.",
    "export": "Write a model as one ONNX file, in fp32 or int8, for ONNX Runtime.",
    "convert": "Write weights in another layout: ours, the released one, or that of transformers.",
    "reproduce": "Run the paper's experiments, at the size of a laptop or in full.",
    "shard": "Pack a data set into tar files for network storage and clusters.",
    "synth": "Write a data set of synthetic motion clips.",
}

_SHARED = ("evaluate",)
"""Verbs that several processes do together."""


_NO_MEMORY = "the memory of this machine is full: take a smaller batch, fewer frames or a smaller picture"
_LEAST_COLUMNS = 20


def build_app(verb: str = "") -> App:
    """The command line; the help of `verb` is its own docstring, that of the others their line in the list of verbs.

    A docstring is known only when its module is imported, which for most verbs means torch.
    """
    app = App(
        name="timesformer",
        version=__version__,
        help="Video classification with space-time attention alone.\n\nStart with `timesformer demo`; every verb has "
        "`--help` with an example. Results go to stdout, progress and errors to stderr; exit status 0 is done, "
        "1 failed, 2 wrong usage.",
        help_format="markdown",
        default_parameter=Parameter(show_default=_default_worth_showing),
    )
    for name, summary in VERBS.items():
        app.command(f"timesformer.cli.{name}:{name}", name=name, help=None if name == verb else summary)
    return app


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit: 0 done, 1 failed, 2 wrong usage, 130 interrupted."""
    arguments = sys.argv[1:] if arguments is None else arguments
    prepare_streams()
    _widen(os.environ)
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    logging.getLogger("timesformer.training").setLevel(logging.INFO)  # where there is no terminal for a progress bar
    sys.exit(finish_streams(_run(arguments)))


def _widen(environment: MutableMapping[str, str]) -> None:
    """Let `COLUMNS` be at least what a table needs: the help is never done where there is no room for a letter."""
    columns = environment.get("COLUMNS", "")
    if columns.isdecimal() and int(columns) < _LEAST_COLUMNS:
        environment["COLUMNS"] = str(_LEAST_COLUMNS)


def _run(arguments: list[str]) -> int:
    """Run the command line; gives the exit status."""
    verb = arguments[0] if arguments else ""
    try:
        _refuse_empty(arguments)
        if verb in VERBS and not {"--help", "-h"} & set(arguments):
            refuse_several_processes(verb, os.environ)
        return build_app(verb)(arguments, result_action="return_int_as_exit_code_else_zero")
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except TimeSformerError as error:
        return _fail(str(error), status=2 if isinstance(error, ConfigError) else 1)
    except ImportError as error:  # cyclopts wraps what the module of a verb raises
        if not isinstance(error.__cause__, DependencyError):
            raise
        return _fail(str(error.__cause__))
    except KeyboardInterrupt:
        say("interrupted")
        return 130
    except MemoryError:
        return _fail(_NO_MEMORY)
    except RuntimeError as error:
        if "DefaultCPUAllocator: can't allocate memory" in str(error):
            return _fail(_NO_MEMORY)
        if type(error).__name__ != "OutOfMemoryError":  # torch's, which is not imported here
            raise
        return _fail("the memory of the GPU is full: take a smaller --batch-size, or --device cpu")
    except BrokenPipeError:  # the reader of a pipe has had enough
        return 1
    except OSError as error:  # a place that no verb expected to be out of reach
        return 1 if stdout_error() else _fail(str(error))


def _refuse_empty(arguments: Sequence[str]) -> None:
    """Refuse empty texts: as paths they would mean the working folder, as values that nothing was given.

    Raises:
        ConfigError: One is there, most often from a variable of the shell that is not set.
    """
    for before, argument in pairwise(["", *arguments]):
        name = re.fullmatch(r"(--[\w-]+)=", argument)
        if name or not argument:
            place = name[1] if name else before if before.startswith("--") else "an argument"
            raise ConfigError(
                f"{place} is empty: give it a value or leave it out (is a variable of the shell not set?)"
            )


def _fail(message: str, *, status: int = 1) -> int:
    stdout_error()  # what was printed before comes first
    if message:
        say(f"error: {message}")
    return status


def refuse_several_processes(verb: str, environment: Mapping[str, str]) -> None:
    """Refuse a verb that several processes would each do on their own, at the same time and in the same place.

    Raises:
        ConfigError: A launcher such as torchrun started several; the message is empty but in process 0.
    """
    if verb in _SHARED:
        return
    place = read_process_info(environment)
    name, size = place.launcher_variable or "WORLD_SIZE", str(place.num_processes)
    if not place.launcher_variable and environment.get("WORLD_SIZE", "").isdecimal():
        size = environment["WORLD_SIZE"]
    if int(size) > 1:
        raise ConfigError(
            f"{name}={size}: `timesformer {verb}` runs in one process, and each of {size} would do all of it; start it "
            f"without torchrun, srun or mpirun. Only {', '.join(_SHARED)} shares its work among processes"
            if place.rank == 0
            else ""
        )


def _default_worth_showing(default: Any) -> str | None:
    """A default for the help; none where it is that nothing is given."""
    return None if default is None or default is False or default in ("", ()) else str(default)
