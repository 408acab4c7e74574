"""`timesformer`: finds the verb, runs it, and turns every expected error into one line and an exit status."""

import io
import logging
import re
import sys
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from cyclopts import App, Parameter

from timesformer._version import __version__
from timesformer.errors import ConfigError, DependencyError, TimeSformerError

VERBS = {
    "demo": "Make a small video data set, train on it, and look at the result: the whole way in minutes.",
    "check": "Find what is wrong with a data set before you train on it.",
    "train": "Train a classifier on your own videos.",
    "predict": "Classify video files.",
    "evaluate": "Measure a model on labelled videos.",
    "bench": "Measure speed and memory on this machine, beside what else you could take.",
    "info": "Show what a model is, what it costs, and what the paper's models cost.",
    "export": "Write a model as one ONNX file, in fp32 or int8, for ONNX Runtime.",
    "convert": "Write weights in another layout: ours, the released one, or that of transformers.",
    "reproduce": "Run the paper's experiments, at the size of a laptop or in full.",
    "shard": "Pack a data set into tar files for network storage and clusters.",
    "synth": "Write a data set of synthetic motion clips.",
}


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
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    logging.getLogger("timesformer.training").setLevel(logging.INFO)  # where there is no terminal for a progress bar
    _print_any_name()
    try:
        _refuse_empty(arguments)
        app = build_app(arguments[0] if arguments else "")
        sys.exit(app(arguments, result_action="return_int_as_exit_code_else_zero"))
    except TimeSformerError as error:
        sys.stdout.flush()
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2 if isinstance(error, ConfigError) else 1)
    except ImportError as error:  # cyclopts wraps what the module of a verb raises
        if not isinstance(error.__cause__, DependencyError):
            raise
        print(f"error: {error.__cause__}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:  # the reader of a pipe has had enough
        sys.stderr.close()
        sys.exit(1)
    except RuntimeError as error:
        if type(error).__name__ != "OutOfMemoryError":  # torch's, which is not imported here
            raise
        print("error: the memory of the GPU is full: take a smaller --batch-size, or --device cpu", file=sys.stderr)
        sys.exit(1)
    except OSError as error:  # a place that no verb expected to be out of reach
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)


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


def _print_any_name() -> None:
    """Let stdout escape what its encoding lacks: a file can have any name, on a terminal of any kind."""
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")


def _default_worth_showing(default: Any) -> str | None:
    """A default for the help; none where it is that nothing is given."""
    return None if default is None or default is False or default in ("", ()) else str(default)
