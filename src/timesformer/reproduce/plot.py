"""Plot of a result: bars with the paper's numbers, or lines."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator, PercentFormatter, StrMethodFormatter

from timesformer.files import replacing
from timesformer.reproduce.result import Result, TableRow, format_value

_COLORS = ("#c8102e", "#1f4e79", "#7a8794", "#d98e04")
_MARKERS = ("D", "o", "s", "^", "v")
_ACCURACY = "top-1 accuracy"


def draw(result: Result, path: str | Path) -> None:
    """Draw a result as a PNG; replaces an existing file.

    Rows without a panel are drawn as bars, with the paper's accuracies as markers; other rows as lines, one panel per x
    axis.

    Raises:
        OSError: The file cannot be written.
    """
    panels = list(dict.fromkeys(row.panel for row in result.rows))
    is_bars = panels == [""]
    height = 1.6 + 0.55 * len(result.rows) if is_bars else 4.0
    figure = Figure(figsize=(9 if is_bars or len(panels) == 1 else 11, height), layout="constrained")
    FigureCanvasAgg(figure)  # no window and no global state of matplotlib
    figure.suptitle(f"{result.title} ({result.shows})", x=0.01, ha="left", fontweight="bold")
    all_axes = figure.subplots(1, len(panels), squeeze=False)[0]
    for axes, panel in zip(all_axes, panels, strict=True):
        if is_bars:
            _draw_bars(axes, result)
        else:
            _draw_lines(axes, [row for row in result.rows if row.panel == panel], result)
    with replacing(Path(path)) as partial:
        figure.savefig(partial, dpi=120, format="png")


def _draw_bars(axes: Axes, result: Result) -> None:
    rows = result.rows
    positions = range(len(rows))
    axes.barh(positions, [row.value for row in rows], height=0.55, color=_COLORS[0], label="ours")
    for position, row in zip(positions, rows, strict=True):
        low, high = row.interval or (row.value, row.value)
        axes.plot([low, high], [position, position], color="black", linewidth=1.2)
        text = format_value(row.value, result.quantity)
        axes.text(min(high, 1.0), position - 0.29, text, ha="right", va="bottom", fontsize=8)
    _mark_printed(axes, rows)
    axes.set_yticks(list(positions), [row.label for row in rows])
    axes.invert_yaxis()
    axes.set_xlim(0, 1.02)
    axes.xaxis.set_major_formatter(PercentFormatter(xmax=1, decimals=0))
    axes.set_xlabel("top-1 accuracy (the black line is the 95 % interval)")
    for (name, level), style in zip(result.levels.items(), ("dotted", "dashed"), strict=False):
        axes.axvline(level, color="black", linestyle=style, linewidth=1, label=name)
    _finish(axes, grid="x")
    axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize=8)


def _mark_printed(axes: Axes, rows: Sequence[TableRow]) -> None:
    """Mark the paper's accuracies, without its numbers of parameters."""
    columns = list(dict.fromkeys(key for row in rows for key in row.paper if "params" not in key))
    for column, marker in zip(columns, _MARKERS, strict=False):
        found = [(row.paper[column] / 100, position) for position, row in enumerate(rows) if column in row.paper]
        xs, ys = zip(*found, strict=True)
        axes.plot(xs, ys, marker, color="white", markeredgecolor="black", markersize=6, label=column)


def _draw_lines(axes: Axes, rows: Sequence[TableRow], result: Result) -> None:
    names = list(dict.fromkeys(row.series for row in rows))
    for number, name in enumerate(names):
        line = sorted((row for row in rows if row.series == name), key=lambda row: row.x)
        _draw_line(axes, line, label=name, number=number)
    xs = sorted({row.x for row in rows})
    axes.xaxis.set_major_locator(FixedLocator(xs))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.set_xlabel(rows[0].panel)
    _scale_values(axes, rows, result)
    _finish(axes, grid="y")
    axes.legend(facecolor="white", edgecolor="none", framealpha=0.9, fontsize=8)


def _draw_line(axes: Axes, line: Sequence[TableRow], *, label: str, number: int) -> None:
    color, xs, values = _COLORS[number % len(_COLORS)], [row.x for row in line], [row.value for row in line]
    axes.plot(xs, values, "o-", color=color, label=label, linewidth=1.8, markersize=5)
    measured = [row for row in line if row.interval is not None]
    if measured:
        lows, highs = zip(*(row.interval for row in measured if row.interval), strict=True)
        axes.fill_between([row.x for row in measured], lows, highs, color=color, alpha=0.15, linewidth=0)
    printed = [(row.x, value) for row in line for key, value in row.paper.items() if key.startswith("paper TMAC")]
    if printed:
        xs, values = zip(*printed, strict=True)
        axes.plot(xs, values, "D", color="white", markeredgecolor="black", markersize=8, label="paper, printed")


def _scale_values(axes: Axes, rows: Sequence[TableRow], result: Result) -> None:
    if result.quantity != _ACCURACY:
        axes.set_ylim(0, 1.08 * max(row.value for row in rows))
        axes.set_ylabel("10$^{12}$ multiply-accumulates, 3 views")
        return
    axes.set_ylim(0, 1.05)
    axes.yaxis.set_major_formatter(PercentFormatter(xmax=1, decimals=0))
    axes.set_ylabel("top-1 accuracy")
    _draw_levels(axes, result.levels)


def _draw_levels(axes: Axes, levels: Mapping[str, float]) -> None:
    for (name, level), style in zip(levels.items(), ("dotted", "dashed"), strict=False):
        axes.axhline(level, color="black", linestyle=style, linewidth=1, label=name)


def _finish(axes: Axes, *, grid: Literal["x", "y"]) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis=grid, color="#e3e7ea", linewidth=0.8)
    axes.set_axisbelow(True)
