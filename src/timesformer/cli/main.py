"""`timesformer`: finds the verb, runs it, and turns every expected error into one line and an exit status."""

import logging
import sys

from cyclopts import App

from timesformer._version import __version__
from timesformer.errors import ConfigError, TimeSformerError

VERBS = {
    "demo": "Make a small video data set, train on it, and look at the result: the whole way in minutes.",
    "train": "Train a classifier on your own videos.",
    "predict": "Classify video files.",
    "evaluate": "Measure a model on labelled videos.",
    "info": "Show what a model is, what it costs, and what the paper's models cost.",
    "convert": "Write weights in another layout: ours, the released one, or that of transformers.",
    "synth": "Write a data set of synthetic motion clips.",
}

app = App(
    name="timesformer",
    version=__version__,
    help="Video classification with space-time attention alone.\n\nStart with `timesformer demo`; every verb has "
    "`--help` with an example. Results go to stdout, progress and errors to stderr; exit status 0 is done, 1 failed, "
    "2 wrong usage.",
    help_format="plaintext",
)
for _verb, _summary in VERBS.items():
    app.command(f"timesformer.cli.{_verb}:{_verb}", name=_verb, help=_summary)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit: 0 done, 1 failed, 2 wrong usage, 130 interrupted."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    logging.getLogger("timesformer.training").setLevel(logging.INFO)  # where there is no terminal for a progress bar
    try:
        sys.exit(app(arguments, result_action="return_int_as_exit_code_else_zero"))
    except TimeSformerError as error:
        sys.stdout.flush()
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2 if isinstance(error, ConfigError) else 1)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:  # the reader of a pipe has had enough
        sys.stderr.close()
        sys.exit(1)
