"""Results of an experiment next to the paper's numbers, as JSON and as a Markdown table."""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from timesformer.evaluation.intervals import format_interval
from timesformer.files import replacing
from timesformer.outputs import refuse_existing

FILES = ("results.json", "table.md", "plot.png")
"""Files of a result: JSON, Markdown table and plot."""
_RESULT, _TABLE, PLOT = FILES

Quantity = Literal["top-1 accuracy", "TMAC of 3 views"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TableRow:
    """Measured values of one variant."""

    label: str
    """Name of the variant."""
    series: str = ""
    """Line of the plot, or group of bars."""
    panel: str = ""
    """Panel of a plot of lines; empty in a plot of bars."""
    x: float = 0.0
    """Position on the axis of the panel."""
    value: float
    """Top-1 accuracy, 0 to 1 (mean over seeds), or 10^12 multiply-accumulates."""
    interval: tuple[float, float] | None = None
    """95 % interval over the videos or their groups; None for computed values."""
    parameters: int
    """Parameters of the model."""
    seeds: Mapping[int, float] = field(default_factory=dict)
    """Value of each seed."""
    paper: Mapping[str, float] = field(default_factory=dict)
    """The paper's numbers, by column."""
    remarks: Mapping[str, str] = field(default_factory=dict)
    """Additional cells, by column."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """Result of an experiment."""

    name: str
    shows: str
    title: str
    quantity: Quantity
    setting: Mapping[str, str]
    """Size, data, training and hardware, as text."""
    levels: Mapping[str, float] = field(default_factory=dict)
    """Reference levels: chance, and the best accuracy without the order of frames."""
    rows: tuple[TableRow, ...]
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


def check_can_write(
    folder: Path, *, name: str, labels: Collection[str], seeds: Collection[int], overwrite: bool
) -> None:
    """Check that only an earlier result of the same experiment would be replaced.

    Args:
        folder: Where the result will be written.
        name: Name of the experiment.
        labels: Labels of its rows.
        seeds: Its seeds.
        overwrite: Replace any existing files.

    Raises:
        ConfigError: Another result, or an edited table, already exists.
    """
    existing = None if overwrite else _read_result(folder / _RESULT)
    is_contained = (
        existing is not None
        and existing.name == name
        and all(row.label in labels and row.seeds.keys() <= set(seeds) for row in existing.rows)
    )
    if existing is None or not is_contained or not _is_table_of(existing, folder / _TABLE):
        refuse_existing(*(folder / file for file in FILES), overwrite=overwrite)


def _read_result(path: Path) -> Result | None:
    """Read a result that `write_result` wrote; None for any other content."""
    try:
        values: dict[str, Any] = json.loads(path.read_text("utf-8"))
        values["rows"] = tuple(map(_read_row, values["rows"]))
        values["notes"] = tuple(values["notes"])
        return Result(**values)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _read_row(values: dict[str, Any]) -> TableRow:
    changed: dict[str, Any] = {
        "interval": None if values["interval"] is None else tuple(values["interval"]),
        "seeds": {int(seed): value for seed, value in values["seeds"].items()},
    }
    return TableRow(**{**values, **changed})


def _is_table_of(result: Result, path: Path) -> bool:
    """Whether a table is the unchanged table of a result, or absent."""
    try:
        return path.read_text("utf-8") == markdown(result)
    except FileNotFoundError:
        return True
    except (OSError, ValueError):
        return False


def write_result(result: Result, folder: str | Path) -> None:
    """Write `results.json` and `table.md`; existing files are replaced (see `check_can_write`).

    Raises:
        OSError: A file cannot be written.
    """
    texts = {
        _RESULT: json.dumps(result.to_dict(), indent=2, allow_nan=False) + "\n",
        _TABLE: markdown(result),
    }
    for name, text in texts.items():
        with replacing(Path(folder) / name) as partial:
            partial.write_text(text, encoding="utf-8")


def markdown(result: Result) -> str:
    """The result as Markdown: setting, table and notes; columns without values are omitted."""
    setting = [f"{key}: {value}  " for key, value in result.setting.items()]
    levels = [f"{key}: {format_value(value, result.quantity)}  " for key, value in result.levels.items()]
    notes = [f"{note}\n" for note in result.notes]
    heading = f"# {result.title} ({result.shows})"
    return "\n".join([heading, "", *setting, *levels, "", *_table(table_cells(result)), "", *notes]).rstrip() + "\n"


def table_cells(result: Result) -> list[list[str]]:
    """Cells of the table, headings first."""
    printed = list(dict.fromkeys(key for row in result.rows for key in row.paper))
    remarks = list(dict.fromkeys(key for row in result.rows for key in row.remarks))
    head = ["", "parameters", f"ours: {result.quantity}", *printed, *remarks]
    return [head, *(_cells(row, result.quantity, printed, remarks) for row in result.rows)]


def _cells(row: TableRow, quantity: Quantity, printed: Sequence[str], remarks: Sequence[str]) -> list[str]:
    measured = format_value(row.value, quantity)
    if row.interval is not None:
        measured += f" ({format_interval(*row.interval).replace('%', '')})"
    if len(row.seeds) > 1:
        measured += f"; seeds {', '.join(f'{100 * value:.1f}' for value in row.seeds.values())}"
    printed_values = [str(row.paper[key]) if key in row.paper else "" for key in printed]
    return [
        row.label,
        f"{row.parameters / 1e6:.2f} M",
        measured,
        *printed_values,
        *(row.remarks.get(key, "") for key in remarks),
    ]


def format_value(value: float, quantity: Quantity) -> str:
    """A value as text: percent, or 10^12 multiply-accumulates."""
    return f"{100 * value:.1f} %" if quantity == "top-1 accuracy" else f"{value:.2f}"


def _table(cells: Sequence[Sequence[str]]) -> list[str]:
    rows = [f"| {' | '.join(row)} |" for row in cells]
    return [rows[0], "|" + "---|" * len(cells[0]), *rows[1:]]
