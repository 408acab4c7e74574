"""`timesformer bench`"""

from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from timesformer.cli.bench_explain import EXPLAIN, run_explain
from timesformer.cli.console import print_json, progress
from timesformer.cli.options import COMPUTE, LIST, MODEL, OUTPUT, OUTPUT_NAMES, AsJson, ComputeIn, Device, Overwrite
from timesformer.config.schema import PrecisionName
from timesformer.errors import ConfigError
from timesformer.outputs import check_files

BENCHMARKS = ("model", "memory", "train", "predict", "cost", "explain")
SCRIPTS = {"decode": "benchmarks/decode.py", "loader": "benchmarks/loader.py"}
"""Benchmarks that are scripts of the source tree."""


def bench(
    what: Annotated[
        str,
        Parameter(
            help="`model` (a forward pass), `memory` (of a forward pass), `cost` (a forward pass by clip size), "
            "`train` (a training step), `predict` (from file to label) or `explain` (explanation methods on planted "
            "evidence)."
        ),
    ],
    /,
    *,
    preset: Annotated[str, Parameter(name=("--model", "-m", "--preset"), group=MODEL)] = "base",
    rounds: Annotated[int, Parameter(group=COMPUTE)] = 7,
    only: Annotated[
        tuple[str, ...],
        LIST,
        Parameter(group=COMPUTE, metavar="NAME,...", help="Baselines to compare with (default: all)."),
    ] = (),
    device: Device = "cpu",
    precision: ComputeIn = "fp32",
    clips: Annotated[int | None, Parameter(group=COMPUTE)] = None,
    schemes: Annotated[tuple[str, ...], LIST, Parameter(group=EXPLAIN, metavar="NAME,...", show_default=False)] = (),
    methods: Annotated[tuple[str, ...], LIST, Parameter(group=EXPLAIN, metavar="NAME,...", show_default=False)] = (),
    models: Annotated[Path | None, Parameter(group=EXPLAIN, metavar="DIR")] = None,
    plot: Annotated[Path | None, Parameter(group=OUTPUT)] = None,
    output: Annotated[Path | None, OUTPUT_NAMES] = None,
    overwrite: Overwrite = False,
    json: AsJson = False,
) -> None:
    """Benchmark speed and memory on this machine against other implementations, and explanations against evidence.

    Every round runs each implementation once, with the same weights and the same inputs; outputs are compared.
    Implementations whose library is not installed are named and left out.

    Example: `timesformer bench model --model base`

    Parameters
    ----------
    preset
        The model, with random weights: a preset, as listed by `timesformer info`, a recipe (a `.toml` or `.json` file
        of `train --config`) or a model folder. `predict` accepts presets alone.
    rounds
        Timed rounds; medians, quartiles and ratios are taken over them.
    clips
        Clips per forward pass (`model`, `memory`, `cost`, default 1) or per step (`train`, default 2); test clips of
        each model (`explain`, default 64).
    schemes
        Attention schemes of the models to train and explain (default: the paper's five).
    methods
        Explanation methods: attention, rollout, rollout_norm, class, contribution, occlusion (default: all).
    models
        Folder of trained models: those in it are reused, missing ones are trained and saved (default: none is saved).
    plot
        A PNG file for the plot of `cost`.
    output
        A JSON file for the result of `explain`.
    """
    _check_name(what)
    own = {"schemes": schemes, "methods": methods, "models": models, "output": output}
    if what == "explain":
        _refuse_without_effect("explain", preset=preset, rounds=rounds, only=only, precision=precision, plot=plot)
        chosen = {} if clips is None else {"clips": clips}
        run_explain(**own, device=device, overwrite=overwrite, json=json, **chosen)
        return
    _refuse_without_effect(what, **own)
    _check_plot(what, plot, overwrite=overwrite)
    compute_options = _compute_options(what, device=device, precision=precision, clips=clips)
    run: Callable[..., Any] = import_module(f"timesformer.bench.{what}").run
    with progress(f"bench {what}", unit="runs") as on_progress:
        result = run(preset=preset, rounds=rounds, only=only, on_progress=on_progress, **compute_options).to_dict()
    if plot is not None:
        import_module("timesformer.bench.plot").draw_cost(result, plot, overwrite=overwrite)
    if json:
        print_json(result)
    else:
        print_table(result)


def _check_name(what: str) -> None:
    """Refuse an unknown benchmark.

    Raises:
        ConfigError: It is unknown, or a script of the source tree.
    """
    if what in SCRIPTS:
        raise ConfigError(f"`bench {what}` is a script: run `python {SCRIPTS[what]}` in a checkout of the source")
    if what not in BENCHMARKS:
        raise ConfigError(f"bench {what!r} is not one of {', '.join(map(repr, BENCHMARKS))}")


_DEFAULTS: Mapping[str, object] = {
    "preset": "base",
    "rounds": 7,
    "precision": "fp32",
    "only": (),
    "schemes": (),
    "methods": (),
}


def _refuse_without_effect(what: str, **options: object) -> None:
    """Refuse options that belong to other benchmarks.

    Raises:
        ConfigError: One is not at its default, None if not told otherwise.
    """
    for name, value in options.items():
        if value != _DEFAULTS.get(name):
            flag = "--model" if name == "preset" else f"--{name}"
            raise ConfigError(f"{flag} has no effect on `bench {what}`")


def _check_plot(what: str, plot: Path | None, *, overwrite: bool) -> None:
    """Refuse a plot that would not be drawn, or that must not replace a file."""
    if plot is not None and what != "cost":
        raise ConfigError(f"--plot has no effect on `bench {what}`: only cost has a plot")
    if plot is None and overwrite:
        raise ConfigError("--overwrite has no effect without --plot, the only file that `bench` writes")
    if plot is not None:
        check_files(plot, overwrite=overwrite)


def _compute_options(what: str, *, device: str, precision: PrecisionName, clips: int | None) -> dict[str, Any]:
    """Device, precision and number of clips, for the benchmarks that accept them.

    Raises:
        ConfigError: One is set that has no effect, or there is no such device.
    """
    if what != "predict":
        from timesformer.device import resolve_device, resolve_precision  # imports torch, which --help does not need

        resolved = resolve_precision(precision, resolve_device(device))  # so that the result says which one it was
        return {"device": device, "precision": resolved} | ({} if clips is None else {"clips": clips})
    if clips is not None:
        raise ConfigError(f"--clips has no effect on `bench {what}`")
    if (device, precision) != ("cpu", "fp32"):
        raise ConfigError(f"--device and --precision have no effect on `bench {what}`")
    return {}


def print_table(result: dict[str, Any]) -> None:
    """Print the JSON of a benchmark as a table, with its notes below."""
    console = Console()
    table = Table(box=SIMPLE_HEAD, title=result["title"], title_justify="left")
    rows = result["candidates"]
    details = list(dict.fromkeys(key for row in rows.values() for key in row if key not in _TIMES))
    for column in ("", "median", "speedup", "max diff", *details):
        table.add_column(column, justify="left" if not column else "right")
    for name, row in rows.items():
        speedup = result["speedup_of_ours"].get(name)
        difference = result["max_difference"].get(name)
        table.add_row(
            name,
            f"{row['median_s']:.3f} s" if "median_s" in row else "",
            f"{speedup['median']:.2f}x" if speedup else "",
            f"{difference:.1e}" if difference is not None else "",
            *(f"{row[key]:.4g}" if isinstance(row.get(key), int | float) else str(row.get(key, "")) for key in details),
        )
    console.print(table)
    for text in (*result["notes"], *(f"{name}: left out, {why}" for name, why in result["unavailable"].items())):
        console.print(text, highlight=False)


_TIMES = ("median_s", "quartiles_s", "rounds")
