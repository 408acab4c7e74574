"""`timesformer convert`"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from timesformer.cli.console import print_json, say
from timesformer.cli.options import AsJson, Overrides, Overwrite, model_overrides
from timesformer.config.class_names import read_class_names
from timesformer.outputs import check_folder, refuse_inputs
from timesformer.weights.formats.released import check_released_target, save_released
from timesformer.weights.formats.transformers import save_transformers
from timesformer.weights.load import load, model_files
from timesformer.weights.model_folder import check_model_target, save

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
        A file of class names to store with the weights: a name a line in index order, `0 abseiling` in every line, a
        table with the columns name and index, or JSON.
    """
    _check_target(target, to=to, reads=[*model_files(source), *filter(None, [labels])], overwrite=overwrite)
    model = load(source, **model_overrides(overrides))
    if labels is not None:
        model.info = replace(model.info, labels=read_class_names(labels, num_classes=model.config.num_classes))
    written = _WRITERS[to](model, target, overwrite=overwrite)
    say(str(model.load_report))
    say(f"license of these weights: {model.info.license}")
    if json:
        print_json({"written": str(written), "layout": to, "license": model.info.license})
    else:
        print(written)


def _check_target(target: Path, *, to: str, reads: Sequence[Path], overwrite: bool) -> None:
    """Refuse, before weights are read, a place that cannot be written to or holds what is read."""
    refuse_inputs([target], reads)
    if target.is_dir():
        refuse_inputs(list(target.iterdir()), reads)
    check = check_released_target if to == "released" else check_model_target
    check(target, overwrite=overwrite)
    check_folder(target.parent)
