"""Plot of a curve over numbers of training videos."""

from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator, PercentFormatter

from timesformer.cross_validation.curve_result import VideoCurve

_COLOR, _SOFT = "#c8102e", "#7a8794"


def draw_video_curve(curve: VideoCurve, path: str | Path) -> None:
    """Plot accuracy with its 95 % interval over the number of training videos as a PNG, next to chance.

    Args:
        curve: The curve.
        path: The file to write; an existing one is replaced.

    Raises:
        OSError: The file cannot be written.
    """
    figure = Figure(figsize=(6.4, 4), layout="constrained")
    FigureCanvasAgg(figure)  # no window, no global state of matplotlib
    axes = figure.subplots()
    counts = [point.num_train for point in curve.points]
    accuracies = [point.evaluation.top1 for point in curve.points]
    intervals = [point.evaluation.top1_interval for point in curve.points]
    errors = [
        [value - low for value, (low, _) in zip(accuracies, intervals, strict=True)],
        [high - value for value, (_, high) in zip(accuracies, intervals, strict=True)],
    ]
    axes.errorbar(counts, accuracies, yerr=errors, color=_COLOR, marker="o", linewidth=1.8, capsize=4)
    for count, accuracy in zip(counts, accuracies, strict=True):
        axes.annotate(f"{accuracy:.1%}", (count, accuracy), xytext=(7, 6), textcoords="offset points", fontsize=9)
    chance = 1 / len(curve.points[-1].evaluation.class_names)
    axes.axhline(chance, color=_SOFT, linewidth=1, linestyle="--")
    axes.text(0.995, chance - 0.02, "chance", transform=axes.get_yaxis_transform(), color=_SOFT, ha="right", va="top")
    axes.set_xscale("log", base=2)
    axes.set_xlim(counts[0] / 1.25, counts[-1] * 1.45)
    axes.xaxis.set_major_locator(FixedLocator(counts))
    axes.xaxis.set_major_formatter(FixedFormatter([_tick(point.num_train, point.num_groups) for point in curve.points]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_ylim(0, 1.05)
    axes.yaxis.set_major_formatter(PercentFormatter(xmax=1, decimals=0))
    axes.set_xlabel("training videos")
    axes.set_title("Top-1 accuracy on the same videos", loc="left")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="#e3e7ea", linewidth=0.8)
    axes.set_axisbelow(True)
    figure.savefig(path, dpi=120, format="png")


def _tick(num_train: int, num_groups: int) -> str:
    return f"{num_train}\n({num_groups} group{'s' * (num_groups > 1)})" if num_groups else str(num_train)
