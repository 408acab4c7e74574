"""`timesformer convert`"""

from dataclasses import replace
from pathlib import Path
from typing import Literal

from timesformer.cli.console import print_json, say
from timesformer.cli.options import AsJson, Overrides, Overwrite, model_overrides
from timesformer.errors import ConfigError
from timesformer.weights.bundle import save
from timesformer.weights.convert import save_released, save_transformers
from timesformer.weights.load import load

_WRITERS = {"native": save, "released": save_released, "transformers": save_transformers}


def convert(
    source: str,
    target: Path,
    /,
    *,
    to: Literal["native", "released", "transformers"] = "native",
    labels: Path | None = None,
    overwrite: Overwrite = False,
    json: AsJson = False,
    overrides: Overrides = (),
) -> None:
    """Write weights in another layout, and say what became of every tensor.

    Example: `timesformer convert TimeSformer_divST_8x32_224_K400.pyth models/k400`

    Parameters
    ----------
    source
        A model folder, a released `.pyth`, a `transformers` folder or hub id, an mmaction2 `.pth`, an image ViT.
    target
        A folder, or for `released` a `.pyth` file.
    to
        The layout to write.
    labels
        A file of class names, a line each in index order, to store with the weights.
    """
    model = load(source, **model_overrides(overrides))
    if labels is not None:
        model.info = replace(model.info, labels=read_label_file(labels, num_classes=model.config.num_classes))
    written = _WRITERS[to](model, target, overwrite=overwrite)
    say(str(model.load_report))
    say(f"licence of these weights: {model.info.licence}")
    if json:
        print_json({"written": str(written), "layout": to, "licence": model.info.licence})
    else:
        print(written)


def read_label_file(path: Path, *, num_classes: int) -> tuple[str, ...]:
    """Class names of a text file, a line each.

    Raises:
        ConfigError: The file cannot be read, or has another number of names than the model has classes.
    """
    try:
        names = tuple(line.strip() for line in path.read_text("utf-8-sig").splitlines() if line.strip())
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read as a list of class names: {error}") from error
    if len(names) != num_classes:
        raise ConfigError(f"{path}: has {len(names)} names, the model has num_classes={num_classes}")
    return names
