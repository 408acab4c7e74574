"""The learning curve of a run as a picture."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from timesformer.training.history import EpochRecord, best_epoch

_TRAIN, _VAL, _MUTED = "#7a8794", "#c8102e", "#5b6670"


def draw_curve(history: Sequence[EpochRecord], path: str | Path) -> None:
    """Draw loss, accuracy and learning rate over the epochs into a PNG, with the best epoch marked.

    Args:
        history: At least one epoch, in order.
        path: The file; one that is there is replaced.

    Raises:
        OSError: The file cannot be written.
    """
    figure = Figure(figsize=(10, 3.4), layout="constrained")
    FigureCanvasAgg(figure)
    loss, accuracy, rate = figure.subplots(1, 3, width_ratios=(3, 3, 2))
    _draw_pair(loss, history, "loss", title="Loss")
    _draw_pair(accuracy, history, "accuracy", title="Accuracy")
    _mark_best(accuracy, history)
    accuracy.yaxis.set_major_formatter(PercentFormatter(xmax=1, decimals=0))
    accuracy.set_ylim(0, 1.05)
    loss.set_ylim(bottom=0)
    rate.plot(_epochs(history), [record.lr for record in history], color=_MUTED, **_style(history))
    rate.set_title("Learning rate", loc="left")
    rate.set_ylim(bottom=0)
    rate.ticklabel_format(axis="y", style="sci", scilimits=(-2, 2))
    for axes in (loss, accuracy, rate):
        _tidy(axes)
    figure.savefig(path, dpi=120, format="png")


def _draw_pair(axes: Axes, history: Sequence[EpochRecord], measure: str, *, title: str) -> None:
    for split, color, label in (("train", _TRAIN, "training"), ("val", _VAL, "validation")):
        values = [getattr(record, f"{split}_{measure}") for record in history]
        axes.plot(_epochs(history), values, color=color, label=label, **_style(history))
    axes.set_title(title, loc="left")
    axes.legend(frameon=False)


def _mark_best(axes: Axes, history: Sequence[EpochRecord]) -> None:
    best = best_epoch(history)
    axes.plot([best.epoch], [best.val_accuracy], "o", color=_VAL, markersize=6)
    axes.set_xlabel(f"best: {best.val_accuracy:.1%} at epoch {best.epoch}")


def _epochs(history: Sequence[EpochRecord]) -> list[int]:
    return [record.epoch for record in history]


def _style(history: Sequence[EpochRecord]) -> dict[str, object]:
    # a single epoch has no line to be seen
    return {"linewidth": 1.8, "marker": "o" if len(history) == 1 else None, "markersize": 4}


def _tidy(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="#e3e7ea", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    if not axes.get_xlabel():
        axes.set_xlabel("epoch")
