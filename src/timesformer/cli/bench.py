"""`timesformer bench`"""

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from timesformer.cli.console import print_json, progress
from timesformer.cli.options import AsJson, ComputeIn, Device, Overwrite
from timesformer.errors import ConfigError
from timesformer.outputs import check_files

What = Literal["model", "memory", "train", "predict", "decode", "loader", "cost"]


def bench(
    what: Annotated[
        What,
        Parameter(
            help="model (a forward pass), memory (of one), cost (of one by size of clip), train (a step), predict "
            "(file to label), decode (a clip of a file), loader."
        ),
    ],
    /,
    *,
    preset: str = "base",
    rounds: int = 7,
    only: Annotated[str, Parameter(help="Ways to run beside ours, with commas between; all by default.")] = "",
    device: Device = "cpu",
    precision: ComputeIn = "fp32",
    clips: int | None = None,
    plot: Path | None = None,
    overwrite: Overwrite = False,
    json: AsJson = False,
) -> None:
    """Measure speed and memory on this machine, beside what else you could take.

    Every round runs each way once, on the same weights and the same inputs, and answers are compared. Ways whose
    library is not installed are named and left out.

    Example: `timesformer bench model --preset base`

    Parameters
    ----------
    preset
        The model: a name that `timesformer info` lists.
    rounds
        Rounds that count; medians, quartiles and ratios are taken over them.
    clips
        Clips at a time, for `model` (1 by default) and `train` (2).
    plot
        A PNG to draw the seconds of `cost` into.
    """
    if plot is not None and what != "cost":
        raise ConfigError(f"--plot has no effect on `bench {what}`: only cost has a plot")
    if plot is None and overwrite:
        raise ConfigError("--overwrite has no effect without --plot, the only file that `bench` writes")
    if plot is not None:
        check_files(plot, overwrite=overwrite)
    place = _place(what, device=device, precision=precision, clips=clips)
    run: Callable[..., Any] = import_module(f"timesformer.bench.{what}").run
    with progress(f"bench {what}", unit="runs") as on_round:
        result = run(preset=preset, rounds=rounds, only=_names(only), on_round=on_round, **place).to_dict()
    if plot is not None:
        import_module("timesformer.bench.plot").draw_cost(result, plot, overwrite=overwrite)
    if json:
        print_json(result)
    else:
        _show(result)


def _place(what: What, *, device: str, precision: str, clips: int | None) -> dict[str, Any]:
    """Where a model computes, in which numbers and how many clips; videos are read by the processor in any case.

    Raises:
        ConfigError: One is set where it would have no effect.
    """
    if clips is not None and what not in ("model", "train"):
        raise ConfigError(f"--clips has no effect on `bench {what}`")
    if what in ("model", "train", "cost"):
        return {"device": device, "precision": precision} | ({} if clips is None else {"clips": clips})
    if (device, precision) != ("cpu", "fp32"):
        raise ConfigError(f"--device and --precision have no effect on `bench {what}`")
    return {}


def _names(text: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    if text and not names:
        raise ConfigError(f"--only {text!r} names nothing; separate names by commas")
    return names


def _show(result: dict[str, Any]) -> None:
    console = Console()
    table = Table(box=SIMPLE_HEAD, title=result["title"], title_justify="left")
    details = list(dict.fromkeys(key for way in result["ways"].values() for key in way if key not in _TIMES))
    for column in ("", "median", "ours is", "differs by", *details):
        table.add_column(column, justify="left" if not column else "right")
    for name, way in result["ways"].items():
        faster = result["speedup_of_ours"].get(name)
        differs = result["agreement"].get(name)
        table.add_row(
            name,
            f"{way['median_s']:.3f} s" if "median_s" in way else "",
            f"{faster['median']:.2f}x" if faster else "",
            f"{differs:.1e}" if differs is not None else "",
            *(f"{way[key]:.4g}" if isinstance(way.get(key), int | float) else str(way.get(key, "")) for key in details),
        )
    console.print(table)
    for text in (*result["notes"], *(f"{name}: left out, {why}" for name, why in result["absent"].items())):
        console.print(text, highlight=False)


_TIMES = ("median_s", "quartiles_s", "rounds")
