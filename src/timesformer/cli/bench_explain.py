"""`timesformer bench explain`: its run, its JSON file and its tables."""

import json as json_lib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cyclopts import Group
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from timesformer.cli.console import print_json, progress
from timesformer.errors import ConfigError
from timesformer.files import replacing
from timesformer.outputs import check_files, check_folder, writing

EXPLAIN = Group("Explain", sort_key=4)
"""Options of `bench explain` alone."""

_WIDTH = 140
_PERCENT = ("pointing", "mass", "frame")
_COLUMNS = {
    "pointing": "pointing",
    "mass": "mass inside",
    "ratio": "/ share",
    "frame": "right frame",
    "deletion": "deletion",
    "insertion": "insertion",
    "redrawn": "redrawn",
    "other_class": "other class",
}


def run_explain(*, models: Path | None, output: Path | None, overwrite: bool, json: bool, **options: Any) -> None:
    """Run `bench explain` and show its tables; arguments as in `timesformer.bench.explain.run`."""
    if overwrite and output is None:
        raise ConfigError("--overwrite has no effect on `bench explain` without --output")
    if output is not None:
        check_files(output, overwrite=overwrite)
    if models is not None:
        check_folder(models)
    from timesformer.bench import explain

    with progress("bench explain", unit="%") as on_progress:
        result = explain.run(models=models, on_progress=on_progress, **options).to_dict()
    if output is not None:
        with writing(output), replacing(output) as partial:
            partial.write_text(json_lib.dumps(result, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    if json:
        print_json(result)
    else:
        print_tables(result)


def print_tables(result: Mapping[str, Any], *, console: Console | None = None, box: Any = SIMPLE_HEAD) -> None:
    """Print the JSON of `bench explain`: a table for each model, and a summary of all."""
    console = console or Console()
    console.width = max(console.width, _WIDTH)  # a table that is folded cannot be read
    for model in result["tables"]:
        console.print(_model_table(model, box))
    console.print(_summary_table(result, box))
    for line in _notes(result):
        console.print(line, highlight=False)


def _model_table(model: Mapping[str, Any], box: Any) -> Table:
    title = (
        f"{model['evidence']}, {model['scheme']}: accuracy {model['accuracy']:.1%} of {model['drawn']}, "
        f"{model['explained']} clips explained, evidence {model['share']:.2%} of the volume"
    )
    table = _table(title, ("", *_COLUMNS.values(), "clips", "ms"), box)
    for row in model["rows"]:
        cells = [_with_interval(name, row.get(name)) for name in _COLUMNS]
        ms = "" if row["milliseconds"] is None else f"{row['milliseconds']:.0f}"
        table.add_row(_label(row["name"], is_null=row["null_map"]), *cells, str(row["pointing"]["clips"]), ms)
    return table


def _summary_table(result: Mapping[str, Any], box: Any) -> Table:
    goals = ", ".join(f"{_COLUMNS[name]} {_number(name, goal)}" for name, goal in result["goals"].items())
    title = f"All {len(result['tables'])} models: mean (least); goals for the least: {goals}"
    table = _table(title, ("", *_COLUMNS.values(), "goals"), box)
    nulls = {row["name"] for model in result["tables"] for row in model["rows"] if row["null_map"]}
    for name, row in result["summary"].items():
        cells = [
            ""
            if key not in row["mean"]
            else _number(key, row["mean"][key])
            + (f" ({_number(key, row['least'][key])})" if key in row["least"] else "")
            for key in _COLUMNS
        ]
        table.add_row(_label(name, is_null=name in nulls), *cells, "met" if row["meets_goals"] else "missed")
    return table


def _table(title: str, columns: Sequence[str], box: Any) -> Table:
    table = Table(box=box, title=title, title_justify="left")
    for column in columns:
        table.add_column(column, justify="right" if column else "left")
    return table


def _label(name: str, *, is_null: bool) -> str:
    return f"null: {name}" if is_null else name


def _number(name: str, value: float) -> str:
    return f"{value:.1%}" if name in _PERCENT else f"{value:.1f}" if name == "ratio" else f"{value:.2f}"


def _with_interval(name: str, measure: Mapping[str, Any] | None) -> str:
    if measure is None:
        return ""
    if name not in _PERCENT:
        return _number(name, measure["mean"])
    low, high = measure["interval"]
    return f"{measure['mean']:.1%} ({100 * low:.0f}-{100 * high:.0f})"


def _notes(result: Mapping[str, Any]) -> list[str]:
    machine = result["machine"]
    return [
        *(f"{_COLUMNS[name]}: {text}." for name, text in result["measures"].items()),
        "In brackets: 95 % bootstrap interval over clips. null: a map that knows no model.",
        f"{machine.get('gpu', machine['cpu'])}, torch {machine['torch']}, {result['seconds']:.0f} s.",
    ]
