"""`timesformer export --web`"""

from collections.abc import Sequence
from pathlib import Path

from timesformer.cli.console import note, print_json
from timesformer.cli.options import model_overrides
from timesformer.errors import ConfigError
from timesformer.export.web_page import check_web_target, export_web
from timesformer.outputs import check_folder, refuse_inputs
from timesformer.weights.load import load, model_files

_MIB = 2**20


def refuse_with_page(to: str, *, output: Path | None, runner: bool) -> None:
    """Refuse options that a page cannot follow.

    Raises:
        ConfigError: One is given.
    """
    if output is not None:
        raise ConfigError("--output and --web are two results: give one, and export again for the other")
    if to != "onnx" or runner:
        given = "--runner" if runner else f"--to {to}"
        raise ConfigError(f"{given} has no effect with --web: a page holds one ONNX file")


def export_page(
    model: str,
    folder: Path,
    overrides: Sequence[str],
    *,
    runtime: Path | None,
    int8: bool,
    overwrite: bool,
    json: bool,
) -> None:
    """Write the page of a model, and say how large it is and how to open it.

    Raises:
        ConfigError: The folder cannot be written, or holds something else.
    """
    folder = folder.expanduser()
    refuse_inputs([folder], model_files(model))
    check_web_target(folder, overwrite=overwrite)
    check_folder(folder.parent)
    done = export_web(
        load(model, **model_overrides(overrides)),
        folder,
        title=Path(model.split("#")[0]).name or "TimeSformer",
        precision="int8" if int8 else "fp32",
        runtime=runtime,
        overwrite=overwrite,
    )
    note(
        f"model {done.model_bytes / _MIB:.1f} MiB, onnxruntime-web {done.runtime_bytes / _MIB:.1f} MiB, in all "
        f"{done.total_bytes / _MIB:.1f} MiB"
    )
    if done.has_large_file:
        note("model.onnx exceeds 100 MiB, which GitHub Pages and some other hosts refuse: --int8 makes it a quarter")
    note(f"to see it: python -m http.server --directory {done.path}, then http://localhost:8000")
    if json:
        print_json({**done.to_dict(), "to": "web"})
    else:
        print(done.path)
