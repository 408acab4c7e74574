"""The plot of `timesformer bench cost`: the paper's figure 3, in seconds."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from timesformer.errors import DependencyError
from timesformer.files import replacing
from timesformer.outputs import refuse_existing

_COLORS = {"joint_space_time": "#c8102e", "divided_space_time": "#1f4e79"}
_PANELS = {"num_frames": "frames (224 x 224 pixels)", "side": "side of the frame, pixels (8 frames)"}


def draw_cost(result: Mapping[str, Any], path: str | Path, *, overwrite: bool = False) -> None:
    """Plot the JSON of `bench cost` as a PNG.

    Args:
        result: The JSON.
        path: The file.
        overwrite: Replace an existing file.

    Raises:
        ConfigError: The file already exists and `overwrite` is False.
        DependencyError: matplotlib is not installed.
        OSError: The file cannot be written.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise DependencyError("plots need matplotlib: pip install 'timesformer[train]'") from error
    refuse_existing(Path(path), overwrite=overwrite)
    figure = Figure(figsize=(11, 4), layout="constrained")
    FigureCanvasAgg(figure)  # draws without a window and without matplotlib's global state
    figure.suptitle(f"{result['title']} ({result['machine']['cpu']})", x=0.01, ha="left", fontweight="bold")
    for axes, (axis, label) in zip(figure.subplots(1, 2), _PANELS.items(), strict=True):
        _draw_panel(axes, result["candidates"], axis)
        axes.set_xlabel(label)
    with replacing(Path(path)) as partial:
        figure.savefig(partial, dpi=120, format="png")


def _draw_panel(axes: Any, candidates: Mapping[str, Mapping[str, float]], axis: str) -> None:
    fixed, value = ("side", 224) if axis == "num_frames" else ("num_frames", 8)
    for scheme, color in _COLORS.items():
        line = sorted(
            (point for name, point in candidates.items() if name.startswith(f"{scheme},") and point[fixed] == value),
            key=lambda point: point[axis],
        )
        xs = [point[axis] for point in line]
        axes.plot(
            xs, [point["median_s"] for point in line], "o-", color=color, label=scheme, linewidth=1.8, markersize=5
        )
        axes.plot(xs, [point["closed_form_s"] for point in line], "--", color=color, linewidth=1.2, label="closed form")
        axes.set_xticks(xs)
    axes.set_ylim(bottom=0)
    axes.set_ylabel("seconds")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="#e3e7ea", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.legend(facecolor="white", edgecolor="none", framealpha=0.9, fontsize=8)
