"""`timesformer export`"""

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from timesformer.cli.console import print_json, say
from timesformer.cli.options import AsJson, Overrides, Overwrite, model_overrides
from timesformer.export.onnx import check_onnx_target, export_onnx
from timesformer.outputs import check_folder, refuse_inputs
from timesformer.weights.load import load, model_files


def export(
    model: str,
    /,
    *,
    output: Path,
    to: Literal["onnx"] = "onnx",
    int8: Annotated[bool, Parameter(negative=())] = False,
    overwrite: Overwrite = False,
    json: AsJson = False,
    overrides: Overrides = (),
) -> None:
    """Write a model as one file that ONNX Runtime runs, and check its answers against torch before it is there.

    The file holds labels and preprocessing too: `predict` and `evaluate` take it as `--model`. Clip sizes are fixed in
    it, the number of clips is not. Needs `pip install 'timesformer[export]'`.

    Example: `timesformer export runs/mine --int8 --output mine.onnx`

    Parameters
    ----------
    model
        Anything that `predict --model` takes, except an ONNX file.
    output
        The file to write, which ends in .onnx.
    to
        The format.
    int8
        Linear maps in 8 bits: about twice as fast on a CPU, a quarter of the size, answers slightly different; compare
        both by `evaluate`.
    """
    output = output.expanduser()
    refuse_inputs([output], model_files(model))
    check_onnx_target(output, overwrite=overwrite)
    check_folder(output.parent)
    loaded = load(model, **model_overrides(overrides))
    done = export_onnx(loaded, output, precision="int8" if int8 else "fp32", overwrite=overwrite)
    say(
        f"on random clips it differs from torch by {done.difference:.2g} of the spread of the logits, "
        f"cosine {done.cosine:.6f}"
    )
    if json:
        print_json({**done.to_dict(), "to": to})
    else:
        print(done.path)
