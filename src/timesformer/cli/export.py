"""`timesformer export`"""

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from timesformer.cli.console import note, print_json
from timesformer.cli.export_page import export_page
from timesformer.cli.options import (
    FLAG,
    MODEL_NAMES,
    OUTPUT,
    OUTPUT_NAMES,
    AsJson,
    Overrides,
    Overwrite,
    model_overrides,
)
from timesformer.errors import ConfigError
from timesformer.export.onnx import check_onnx_target, export_onnx
from timesformer.outputs import check_folder, refuse_inputs
from timesformer.weights.load import load, model_files


def export(
    model: Annotated[str, MODEL_NAMES],
    *,
    overrides: Overrides = (),
    output: Annotated[Path | None, OUTPUT_NAMES] = None,
    web: Annotated[Path | None, Parameter(group=OUTPUT)] = None,
    runtime: Annotated[Path | None, Parameter(group=OUTPUT)] = None,
    to: Annotated[Literal["onnx"], Parameter(group=OUTPUT)] = "onnx",
    int8: Annotated[bool, FLAG, Parameter(group=OUTPUT)] = False,
    overwrite: Overwrite = False,
    json: AsJson = False,
) -> None:
    """Export a model to ONNX, in fp32 or int8.

    The outputs of the file are compared with those of torch before it is written. It also holds labels and
    preprocessing, so `predict` and `evaluate` accept it as `--model`. Its clip size is fixed, its batch size is not.
    Needs `pip install 'timesformer[export]'`.

    Example: `timesformer export runs/mine --int8 --output mine.onnx`

    Parameters
    ----------
    model
        Model folder, run folder, released `.pyth`, `transformers` folder or hub id, mmaction2 `.pth`, or preset.
    output
        File to write; its name ends in `.onnx`.
    web
        Folder to write instead: a static page that classifies a file or the camera in the browser.
    runtime
        Tgz file or folder of onnxruntime-web for the page; without it, npm downloads the pinned version.
    to
        Format of the file.
    int8
        Quantize linear layers to 8 bits: about twice as fast on a CPU and a quarter of the size, with slightly
        different outputs; compare both with `evaluate`.
    """
    if web is not None:
        export_page(
            model,
            web.expanduser(),
            overrides,
            output=output,
            runtime=runtime,
            int8=int8,
            overwrite=overwrite,
            json=json,
        )
        return
    if runtime is not None:
        raise ConfigError("--runtime: is for --web DIR, the runtime of its page")
    if output is None:
        raise ConfigError("nothing to write: give --output FILE.onnx, or --web DIR for a page")
    output = output.expanduser()
    refuse_inputs([output], model_files(model))
    check_onnx_target(output, overwrite=overwrite)
    check_folder(output.parent)
    loaded = load(model, **model_overrides(overrides))
    done = export_onnx(loaded, output, precision="int8" if int8 else "fp32", overwrite=overwrite)
    note(
        f"on random clips the logits differ from torch's by {done.difference:.2g} of their spread, "
        f"cosine {done.cosine:.6f}"
    )
    if json:
        print_json({**done.to_dict(), "to": to})
    else:
        print(done.path)
