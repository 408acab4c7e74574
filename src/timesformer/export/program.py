"""`export_program`: write a model as a program of `torch.export`, after comparing its logits with torch's."""

import io
from pathlib import Path

import torch

from timesformer.export.graph import trace_program
from timesformer.export.onnx import TOLERANCE, example_clips
from timesformer.export.parity import check_parity, checked_sizes
from timesformer.export.sidecar import embedded, sidecar, to_text
from timesformer.export.traced import TracedForm, least_frames, torch_attention
from timesformer.export.written import Exported, check_target, exported
from timesformer.inference.weights_hash import weights_sha256
from timesformer.model.fast import FastTimeSformer
from timesformer.model.timesformer import TimeSformer
from timesformer.weights.model_folder import check_readable

EXTRA_FILE = "preprocessing.json"
"""Name of the sidecar inside a program, for `extra_files` of `torch.export.load`."""


def export_program(model: TimeSformer, path: str | Path, *, overwrite: bool = False) -> Exported:
    """Write a model as a program of `torch.export` for any batch size and number of frames, all or nothing.

    `torch.export.load(path).module()` computes its logits without this package. The sidecar with preprocessing and
    labels, `NAME.pt2.json`, is also inside it, as the extra file `preprocessing.json`. Weights are in fp32, and numbers
    of frames are those of `export_onnx`.

    Args:
        model: The model.
        path: Target file, which ends in `.pt2`; its parents are created.
        overwrite: Replace existing files.

    Raises:
        WeightsError: The file has another suffix or cannot be written, or there is not one label per class.
        ConfigError: A file exists and `overwrite` is False; or the model has hooks.
        TimeSformerError: The model cannot be traced, or the program's logits differ from torch's at one of several
            sizes.
    """
    path = Path(path).expanduser()
    check_target(path, suffix=".pt2", overwrite=overwrite)
    check_readable(model)
    least = least_frames(model.config)
    properties = {"kind": "program", "precision": "fp32", "dynamic_frames": least is not None, "least_frames": least}
    digest = weights_sha256(model)

    def describe(content: bytes) -> dict[str, object]:
        return sidecar(
            model.config, model.info, file=path.name, content=content, export=properties, weights_sha256=digest
        )

    form = TracedForm(FastTimeSformer(model), attention=torch_attention)
    traced = trace_program(form, example_clips(model, least), least_frames=least)
    content = _saved(traced, extra=to_text(embedded(describe(b""))))
    program, sizes = torch.export.load(io.BytesIO(content)).module(), checked_sizes(model.config, least)
    with torch.no_grad():
        deviation = check_parity(program, model, sizes, tolerance=TOLERANCE["fp32"])
    return exported(path, content, describe(content), deviation, sizes=sizes, least_frames=least)


def _saved(program: torch.export.ExportedProgram, *, extra: str) -> bytes:
    program.example_inputs = None  # megabytes of random clips
    file = io.BytesIO()
    torch.export.save(program, file, extra_files={EXTRA_FILE: extra})
    return file.getvalue()
