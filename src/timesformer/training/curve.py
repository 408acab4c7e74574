"""Plot of the learning curve of a run."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter, StrMethodFormatter

from timesformer.training.history import EpochRecord, best_epoch

_COLORS = {"training": "#7a8794", "validation": "#c8102e", "learning rate": "#5b6670"}


def draw_curve(history: Sequence[EpochRecord], path: str | Path) -> None:
    """Plot loss, accuracy and learning rate over the epochs as a PNG, with the best epoch marked.

    Args:
        history: At least one epoch, in order.
        path: The file to write; an existing one is replaced.

    Raises:
        OSError: The file cannot be written.
    """
    figure = Figure(figsize=(10, 3.4), layout="constrained")
    FigureCanvasAgg(figure)  # no window, no global state of matplotlib
    loss, accuracy, rate = figure.subplots(1, 3, width_ratios=(3, 3, 2))
    losses = {"training": [e.train_loss for e in history], "validation": [e.val_loss for e in history]}
    accuracies = {"training": [e.train_accuracy for e in history], "validation": [e.val_accuracy for e in history]}
    _draw_lines(loss, history, losses, title="Loss")
    _draw_lines(accuracy, history, accuracies, title="Accuracy")
    _draw_lines(rate, history, {"learning rate": [e.lr for e in history]}, title="Learning rate")
    _mark_best(accuracy, history)
    for axes in (loss, accuracy):
        axes.legend(frameon=False)
    accuracy.set_ylim(0, 1.05)
    accuracy.yaxis.set_major_formatter(PercentFormatter(xmax=1, decimals=0))
    rate.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    figure.savefig(path, dpi=120, format="png")


def _draw_lines(
    axes: Axes, history: Sequence[EpochRecord], lines: Mapping[str, Sequence[float]], *, title: str
) -> None:
    epochs = [epoch.epoch for epoch in history]
    marker = "o" if len(epochs) == 1 else ""  # the line of a single epoch is invisible
    for label, values in lines.items():
        axes.plot(epochs, values, color=_COLORS[label], label=label, linewidth=1.8, marker=marker, markersize=5)
    axes.set_ylim(0, 1.1 * max(max(values) for values in lines.values()) or 1.0)
    axes.set_title(title, loc="left")
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="#e3e7ea", linewidth=0.8)
    axes.set_axisbelow(True)


def _mark_best(axes: Axes, history: Sequence[EpochRecord]) -> None:
    best = best_epoch(history)
    axes.plot([best.epoch], [best.val_accuracy], "o", color=_COLORS["validation"], markersize=6)
    axes.set_xlabel(f"epoch (best: {best.val_accuracy:.1%} at {best.epoch})")
