"""`timesformer export`"""

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from timesformer.cli.console import note, print_json
from timesformer.cli.export_page import export_page, refuse_with_page
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
from timesformer.export.onnx import export_onnx
from timesformer.export.program import export_program
from timesformer.export.written import Exported, check_target, target_files
from timesformer.model.timesformer import TimeSformer
from timesformer.outputs import check_folder, refuse_inputs
from timesformer.weights.load import load, model_files

Kind = Literal["onnx", "program"]

_SUFFIX = {"onnx": ".onnx", "program": ".pt2"}


def export(
    model: Annotated[str, MODEL_NAMES],
    *,
    overrides: Overrides = (),
    output: Annotated[Path | None, OUTPUT_NAMES] = None,
    web: Annotated[Path | None, Parameter(group=OUTPUT)] = None,
    runtime: Annotated[Path | None, Parameter(group=OUTPUT)] = None,
    to: Annotated[Kind, Parameter(group=OUTPUT)] = "onnx",
    int8: Annotated[bool, FLAG, Parameter(group=OUTPUT)] = False,
    runner: Annotated[bool, FLAG, Parameter(group=OUTPUT)] = False,
    overwrite: Overwrite = False,
    json: AsJson = False,
) -> None:
    """Export a model: ONNX, int8, torch.export, or a web page.

    The outputs of the file are compared with those of torch before it is written. It takes any batch size and number of
    frames. A JSON file next to it holds labels and preprocessing. `predict`, `evaluate` and `info` accept an ONNX file
    as `--model`. ONNX needs `pip install 'timesformer[export]'`.

    Example: `timesformer export runs/mine --int8 --runner --output mine.onnx`

    Parameters
    ----------
    model
        Model folder, run folder, released `.pyth`, `transformers` folder or hub id, mmaction2 `.pth`, or preset.
    output
        File to write; its name ends in `.onnx`, or in `.pt2` for a program.
    web
        Folder to write instead: a static page that classifies a file or the camera in the browser.
    runtime
        Tgz file or folder of onnxruntime-web for the page; without it, npm downloads the pinned version.
    to
        Format of the file: `onnx`, or `program`, which `torch.export.load` opens without this package.
    int8
        Quantize linear layers to 8 bits: about twice as fast on a CPU and a quarter of the size, with slightly
        different outputs; compare both with `evaluate`. On a CPU with AMX, `predict --precision auto` is faster still.
    runner
        Also write `run_NAME.py`, which classifies videos with the file like `predict`; needs numpy, av and onnxruntime
        only.
    """
    if web is not None:
        refuse_with_page(to, output=output, runner=runner)
        export_page(model, web, overrides, runtime=runtime, int8=int8, overwrite=overwrite, json=json)
        return
    output = _named(output, runtime=runtime)
    _refuse_without_effect(to, int8=int8, runner=runner)
    refuse_inputs(target_files(output, with_runner=runner), model_files(model))
    check_target(output, suffix=_SUFFIX[to], overwrite=overwrite, with_runner=runner)
    check_folder(output.parent)
    loaded = load(model, **model_overrides(overrides))
    done = _export(loaded, output, to=to, int8=int8, runner=runner, overwrite=overwrite)
    note(
        f"on random clips the logits differ from torch's by {done.difference:.2g} of their spread, "
        f"cosine {done.cosine:.6f}"
    )
    if json:
        print_json({**done.to_dict(), "to": to})
        return
    for path in filter(None, (done.path, done.sidecar, done.runner)):
        print(path)


def _named(output: Path | None, *, runtime: Path | None) -> Path:
    """The file to write.

    Raises:
        ConfigError: None is given, or `--runtime` is, which has no effect on it.
    """
    if runtime is not None:
        raise ConfigError("--runtime has no effect without --web DIR, the page that it is copied to")
    if output is None:
        raise ConfigError("nothing to write: give --output FILE, or --web DIR for a page")
    return output.expanduser()


def _refuse_without_effect(to: Kind, *, int8: bool, runner: bool) -> None:
    """Refuse options that a program cannot follow.

    Raises:
        ConfigError: One is given.
    """
    if to == "program" and int8:
        raise ConfigError("--int8 has no effect with --to program, only with --to onnx: a program is in fp32")
    if to == "program" and runner:
        raise ConfigError("--runner has no effect with --to program, only with --to onnx, which it runs")


def _export(model: TimeSformer, output: Path, *, to: Kind, int8: bool, runner: bool, overwrite: bool) -> Exported:
    if to == "program":
        return export_program(model, output, overwrite=overwrite)
    precision = "int8" if int8 else "fp32"
    return export_onnx(model, output, precision=precision, runner=runner, overwrite=overwrite)
