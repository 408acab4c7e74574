"""`timesformer info`"""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from timesformer.cli.console import print_json
from timesformer.cli.options import MODEL_NAMES, AsJson, Overrides, model_overrides
from timesformer.config.io import from_dict, to_dict
from timesformer.config.presets import PRESETS
from timesformer.config.schema import ModelConfig
from timesformer.inference.onnx_model import Classifier, OnnxModel, open_model
from timesformer.model.cost import cost
from timesformer.model.fast import layout_of
from timesformer.model.schemes import SCHEMES
from timesformer.model.timesformer import scheme_of


def info(model: Annotated[str, MODEL_NAMES] = "", *, overrides: Overrides = (), json: AsJson = False) -> None:
    """Show config, size and cost of a model, or of the paper's models.

    Example: `timesformer info base --set scheme=axial --set num_classes=174`

    Parameters
    ----------
    model
        Weights, an exported `.onnx` file or a preset (default: the paper's models; `base` with `--set`).
    """
    if not model and not overrides:
        _show_paper(as_json=json)
        return
    content = describe(model or "base", model_overrides(overrides))
    if json:
        print_json(content)
    else:
        _show_sections(content)


def describe(name: str, overrides: dict[str, Any]) -> dict[str, Any]:
    """Config, cost, clips, labels and license of a model or preset; a preset is not built."""
    if name in PRESETS and not Path(name).exists():
        config = from_dict({**to_dict(PRESETS[name]), **overrides}, kind=ModelConfig, source="info")
        return {"model": to_dict(config), "cost": _cost(config), "layout": layout_of(scheme_of(config))}
    model = open_model(name, **overrides)
    return {
        "model": to_dict(model.config),
        "cost": _cost(model.config),
        "layout": layout_of(scheme_of(model.config)),
        "clip": to_dict(model.info.clip),
        "license": model.info.license,
        "source": model.info.source,
        "clip_seconds": model.info.clip_seconds,
        "labels": list(model.info.labels),
        "weights": _origin(name, model),
    }


def _origin(name: str, model: Classifier) -> str:
    if isinstance(model, OnnxModel):
        return f"ONNX file {name}, {Path(name).expanduser().stat().st_size:,} bytes"
    return str(model.load_report)


def _cost(config: ModelConfig) -> dict[str, float]:
    return {**asdict(cost(config)), "tmacs_of_3_views": 3 * cost(config).macs / 1e12}


def paper_rows() -> dict[str, list[dict[str, Any]]]:
    """Costs of the paper's schemes (table 1: 8 frames of 224 pixels, 174 classes) and of its models (table 5)."""
    schemes = {name: replace(PRESETS["base"], scheme=name, num_classes=174) for name in SCHEMES}
    models = {name: PRESETS[name] for name in ("base", "hr", "large")}
    return {
        "schemes": [{"scheme": name, **_cost(config)} for name, config in schemes.items()],
        "models": [
            {"model": name, "clip": f"{config.num_frames} x {config.image_size[0]}", **_cost(config)}
            for name, config in models.items()
        ],
    }


def _show_paper(*, as_json: bool) -> None:
    rows = paper_rows()
    if as_json:
        print_json(rows)
        return
    console = Console()
    console.print(_table("Table 1: attention schemes, 8 frames of 224 pixels, 174 classes", "scheme", rows["schemes"]))
    console.print(_table("Tables 2 and 5: the three models, divided, 400 classes", "model", rows["models"]))


def _table(title: str, key: str, rows: list[dict[str, Any]]) -> Table:
    table = Table(box=SIMPLE_HEAD, collapse_padding=True, pad_edge=False, title=title)  # fits 80 columns, names whole
    table.add_column(key, no_wrap=True)
    for header in ("params", "GMAC, 1 view", "TMAC, 3 views", "weights", "training, a clip"):
        table.add_column(header, justify="right")
    for row in rows:
        name = f"{row[key]} ({row['clip']})" if "clip" in row else row[key]
        table.add_row(
            name,
            f"{row['parameters'] / 1e6:.1f} M",
            f"{row['macs'] / 1e9:.0f}",
            f"{row['tmacs_of_3_views']:.2f}",
            f"{row['weight_bytes'] / 2**20:.0f} MiB",
            f"{row['activation_bytes'] / 2**30:.1f} GiB",
        )
    return table


def _show_sections(content: dict[str, Any]) -> None:
    console = Console(highlight=False)
    for section, values in content.items():
        if isinstance(values, dict):
            console.print(f"[bold]{section}[/bold]")
            for key, value in values.items():
                console.print(f"  {key:22} {_readable(key, value)}", markup=False, soft_wrap=True)
        elif section == "labels":
            console.print(f"[bold]labels[/bold] {len(values)}", end="")
            console.print(
                f": {', '.join(values[:8])}{', ...' if len(values) > 8 else ''}" if values else "",
                markup=False,
                soft_wrap=True,
            )
        elif values:
            console.print(f"[bold]{section}[/bold]", end=" ")
            console.print(str(values), markup=False, soft_wrap=True)


def _readable(key: str, value: Any) -> str:
    if key.endswith("_bytes"):
        return f"{value / 2**20:,.1f} MiB"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
