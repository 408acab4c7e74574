"""The command line of the benchmarks that print a table, or JSON with `--json`."""

import argparse
from collections.abc import Callable

from timesformer.bench.result import BenchmarkResult
from timesformer.cli.bench import print_table
from timesformer.cli.console import print_json, progress
from timesformer.errors import TimeSformerError


def run_benchmark(run: Callable[..., BenchmarkResult], description: str) -> None:
    """Parse the arguments, run the benchmark and print its result; usage errors exit with status 2."""
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    parser.add_argument("--preset", default="base", help="whose clips and image size (default: base)")
    parser.add_argument("--rounds", type=int, default=7, help="timed rounds (default: 7)")
    parser.add_argument("--only", default="", help="comma-separated readers to compare with (default: all)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    only = tuple(name.strip() for name in options.only.split(",") if name.strip())
    try:
        with progress(parser.prog, unit="runs") as on_progress:
            result = run(preset=options.preset, rounds=options.rounds, only=only, on_progress=on_progress).to_dict()
    except TimeSformerError as error:
        parser.error(str(error))
    if options.json:
        print_json(result)
    else:
        print_table(result)
