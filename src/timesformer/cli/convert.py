"""`timesformer convert`"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from timesformer.cli.console import note, print_json
from timesformer.cli.options import MODEL, OUTPUT, OUTPUT_NAMES, AsJson, Overrides, Overwrite, model_overrides
from timesformer.config.class_names_file import read_class_names
from timesformer.outputs import check_folder, refuse_inputs
from timesformer.weights.formats.released import check_released_target, save_released
from timesformer.weights.formats.transformers import save_transformers
from timesformer.weights.load import load, model_files
from timesformer.weights.model_folder import check_model_target, save

_WRITERS = {"native": save, "released": save_released, "transformers": save_transformers}


def convert(
    source: Annotated[str, Parameter(group=MODEL)],
    /,
    output: Annotated[Path, OUTPUT_NAMES],
    *,
    labels: Annotated[Path | None, Parameter(group=MODEL)] = None,
    overrides: Overrides = (),
    to: Annotated[Literal["native", "released", "transformers"], Parameter(group=OUTPUT)] = "native",
    overwrite: Overwrite = False,
    json: AsJson = False,
) -> None:
    """Convert weights to another layout.

    A note says what became of every tensor.

    Example: `timesformer convert TimeSformer_divST_8x32_224_K400.pyth --output models/k400`

    Parameters
    ----------
    source
        Model folder, released `.pyth`, `transformers` folder or hub id, mmaction2 `.pth`, or image ViT.
    output
        Folder to write, or a `.pyth` file with `--to released`.
    to
        Layout to write.
    labels
        Class names to store with the weights: a file with one name per line in index order, lines such as
        `0 abseiling`, a table with the columns name and index, or JSON.
    """
    _check_target(output, to=to, reads=[*model_files(source), *filter(None, [labels])], overwrite=overwrite)
    model = load(source, **model_overrides(overrides))
    if labels is not None:
        model.info = model.info.with_labels(read_class_names(labels, num_classes=model.config.num_classes))
    written = _WRITERS[to](model, output, overwrite=overwrite)
    note(str(model.load_report))
    note(f"license of these weights: {model.info.license}")
    if json:
        print_json({"written": str(written), "layout": to, "license": model.info.license})
    else:
        print(written)


def _check_target(target: Path, *, to: str, reads: Sequence[Path], overwrite: bool) -> None:
    """Refuse, before weights are read, a target that cannot be written or that holds what is read."""
    refuse_inputs([target], reads)
    if target.is_dir():
        refuse_inputs(list(target.iterdir()), reads)
    check = check_released_target if to == "released" else check_model_target
    check(target, overwrite=overwrite)
    check_folder(target.parent)
