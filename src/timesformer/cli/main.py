"""`timesformer`: finds the verb, runs it, and turns every expected error into one line and an exit status."""

import errno
import logging
import os
import re
import sys
from collections.abc import Mapping, MutableMapping, Sequence
from functools import partial
from itertools import pairwise
from typing import Annotated

from cyclopts import App, Group, Parameter

from timesformer._version import __version__
from timesformer.cli.help import default_worth_showing, make_formatter
from timesformer.cli.streams import STDIN, finish_streams, prepare_streams, say, stdout_error
from timesformer.cli.verbosity import GLOBAL, Quiet, Verbose, verbosity
from timesformer.errors import ConfigError, DependencyError, TimeSformerError
from timesformer.processes import read_process_info
from timesformer.signals import ending_at_once

VERBS = {
    "demo": "Make videos, train, evaluate and predict: all of it in minutes.",
    "check": "Find what is wrong with a data set before you train on it.",
    "train": "Train or fine-tune a model on your videos.",
    "evaluate": "Measure the accuracy of a model on labeled videos.",
    "predict": "Classify videos.",
    "embed": "Write the features of videos to Parquet, for search and training.",
    "search": "Find the clips that are most similar to a clip.",
    "explain": "Show which parts of a video a prediction rests on.",
    "timeline": "Find what happens when in a long video or a live stream.",
    "serve": "Serve a model over HTTP: a page for the browser, and an API.",
    "export": "Export a model: ONNX, int8, torch.export, or a web page.",
    "convert": "Convert weights to another layout.",
    "push": "Publish a model on the Hugging Face hub, with its card.",
    "info": "Show config, size and cost of a model, or of the paper's models.",
    "bench": "Benchmark speed and memory against other implementations.",
    "reproduce": "Run an experiment of the paper, on a laptop or in full.",
    "shard": "Pack a data set into tar files for network storage.",
    "synth": "Write a data set of synthetic motion videos.",
    "people": "Pretrain a model on generated people, as a start on few videos.",
}
"""First lines of the verbs' help, in the order of work."""

_USAGE = {
    "check": "DATA",
    "train": "[DATA]",
    "evaluate": "DATA",
    "predict": "[PATH...]",
    "embed": "[PATH...] --output PATH",
    "search": "[CLIP|ID] --index DIR",
    "explain": "PATH... --output PATH",
    "timeline": "[VIDEO]...",
    "export": "MODEL --output PATH",
    "convert": "SOURCE --output PATH",
    "push": "SOURCE NAME",
    "info": "[MODEL]",
    "bench": "WHAT",
    "reproduce": "EXPERIMENT",
    "shard": "DATA --output PATH",
    "synth": "--output PATH",
}
"""Inputs and required options of the verbs that have any."""

_DISTRIBUTED = ("evaluate", "train")
"""Verbs whose work several processes can share."""

_NO_MEMORY = "out of memory on this machine: use a smaller batch, fewer frames or a smaller image"
_LEAST_COLUMNS = 20


def build_app(verb: str = "") -> App:
    """The command line.

    Args:
        verb: The verb to run. Its help is its own docstring, which is known only once its module is imported, which
            for most verbs means torch; the help of the others is their line in the list of verbs.
    """
    app = App(
        name="timesformer",
        version=__version__,
        help="Classify videos with space-time attention alone.\n\nStart with `timesformer demo`; `timesformer VERB "
        "--help` shows an example of each verb. Results go to stdout, notes, progress and errors to stderr. Exit "
        "status: 0 done, 1 failed, 2 wrong usage.",
        usage="timesformer VERB [OPTIONS]",
        help_format="markdown",
        help_formatter=make_formatter(),
        group_commands=Group("Verbs", sort_key=0),
        group_parameters=Group("Options", sort_key=4),
        default_parameter=Parameter(show_default=default_worth_showing),
    )
    for number, (name, summary) in enumerate(VERBS.items()):
        text = None if name == verb else summary
        usage = " ".join(filter(None, ("timesformer", name, _USAGE.get(name), "[OPTIONS]")))
        app.command(f"timesformer.cli.{name}:{name}", name=name, help=text, usage=usage, sort_key=number)
    app["--help"].group = app["--version"].group = GLOBAL
    app["--help"].help, app["--version"].help = "Show this help.", "Show the version."
    app.meta.default(partial(_launch, app, verb))
    return app


def _launch(
    app: App,
    verb: str,
    /,
    *tokens: Annotated[str, Parameter(show=False, allow_leading_hyphen=True)],
    quiet: Quiet = False,
    verbose: Verbose = 0,
) -> int:
    """Run a verb with the options that all verbs have."""
    with verbosity(quiet=quiet, verbose=verbose):
        is_shard = any(token.partition("=")[0] == "--shard" for token in tokens)
        if verb in VERBS and not {"--help", "-h"} & set(tokens) and not is_shard:
            refuse_several_processes(verb, os.environ)
        tokens = tuple(_name_stdin(tokens)) if verb == "timeline" else tokens
        return app(tokens, result_action="return_int_as_exit_code_else_zero")


def _name_stdin(tokens: Sequence[str]) -> list[str]:
    """Arguments with `-` as the path of stdin; cyclopts takes it for an option without a name."""
    before = ["", *tokens[:-1]]
    return [
        STDIN if token == "-" and last not in ("--output", "-o") else token
        for last, token in zip(before, tokens, strict=True)
    ]


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit: 0 done, 1 failed, 2 wrong usage, 130 interrupted, 128 + n ended by signal n."""
    arguments = sys.argv[1:] if arguments is None else arguments
    prepare_streams()
    _widen(os.environ)
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    sys.exit(finish_streams(_run(arguments)))


def _widen(environment: MutableMapping[str, str]) -> None:
    """Raise `COLUMNS` to what a table needs: without room for a letter, printing the help would never end."""
    columns = environment.get("COLUMNS", "")
    if columns.isdecimal() and int(columns) < _LEAST_COLUMNS:
        environment["COLUMNS"] = str(_LEAST_COLUMNS)


def _run(arguments: list[str]) -> int:
    """Run the command line and return the exit status."""
    verb = next((argument for argument in arguments if not argument.startswith("-")), "")
    try:
        _refuse_empty(arguments)
        with ending_at_once(say):
            return build_app(verb).meta(arguments, result_action="return_int_as_exit_code_else_zero")
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
        from timesformer.device import is_out_of_memory  # imports torch, which most errors do not need

        if not is_out_of_memory(error):
            raise
        is_on_gpu = type(error).__name__ == "OutOfMemoryError"
        return _fail(
            "out of memory on the GPU: use a smaller --batch-size, or --device cpu" if is_on_gpu else _NO_MEMORY
        )
    except BrokenPipeError:  # the reader of the pipe has gone
        return 1
    except OSError as error:  # of a path that the verb did not check
        return 1 if stdout_error() else _fail(_describe(error))


def _describe(error: OSError) -> str:
    """The error of a file, which comes first; without one, a full disk is that of stdout."""
    name = "stdout" if error.filename is None and error.errno == errno.ENOSPC else error.filename
    return str(error) if name is None else f"{name}: {error.strerror}"


def _refuse_empty(arguments: Sequence[str]) -> None:
    """Refuse empty arguments: as a path one would mean the working folder, as a value it would mean none was given.

    Raises:
        ConfigError: An argument is empty, most often an unset shell variable.
    """
    for before, argument in pairwise(["", *arguments]):
        name = re.fullmatch(r"(--?[\w-]+)=", argument)
        if name or not argument:
            given = name[1] if name else before if before.startswith("-") else "an argument"
            raise ConfigError(f"{given} is empty: give it a value or leave it out (is a shell variable not set?)")


def _fail(message: str, *, status: int = 1) -> int:
    stdout_error()  # what was printed before comes first
    if message:
        say(f"error: {message}")
    return status


def refuse_several_processes(verb: str, environment: Mapping[str, str]) -> None:
    """Refuse to run a verb in several processes, each of which would do all of its work and write the same files.

    Raises:
        ConfigError: A launcher such as torchrun started several; the message is empty except in process 0.
    """
    if verb in _DISTRIBUTED:
        return
    process = read_process_info(environment)
    name, size = process.launcher_variable or "WORLD_SIZE", str(process.num_processes)
    if not process.launcher_variable and environment.get("WORLD_SIZE", "").isdecimal():
        size = environment["WORLD_SIZE"]
    if int(size) > 1:
        raise ConfigError(
            f"{name}={size}: `timesformer {verb}` runs in one process, and each of {size} would do all of the work; "
            f"start it without torchrun, srun or mpirun. Only {' and '.join(_DISTRIBUTED)} can share their work, "
            "and batch jobs with --shard I/N"
            if process.rank == 0
            else ""
        )
