"""`timesformer people`"""

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from timesformer.cli.console import note, print_json, progress
from timesformer.cli.options import (
    COMPUTE,
    FLAG,
    MODEL,
    OPTIMIZATION,
    OUTPUT,
    OUTPUT_NAMES,
    AsJson,
    Overwrite,
    choice,
)
from timesformer.config.io import apply_overrides
from timesformer.people.config import PeopleRun
from timesformer.people.pretrain import pretrain_people

_MODEL = Parameter(group=MODEL)
_OPTIMIZATION = Parameter(group=OPTIMIZATION)
_COMPUTE = Parameter(group=COMPUTE)
_DEFAULT = PeopleRun()


def people(
    *,
    output: Annotated[str, OUTPUT_NAMES] = _DEFAULT.output,
    steps: Annotated[int, _OPTIMIZATION] = _DEFAULT.steps,
    batch_size: Annotated[int, _OPTIMIZATION] = _DEFAULT.batch_size,
    init_from: Annotated[str, Parameter(group=MODEL, metavar="MODEL")] = _DEFAULT.init_from,
    appearance: Annotated[str, choice("appearance", ("both", "depth", "color")), _MODEL] = _DEFAULT.appearance,
    seed: Annotated[int, _OPTIMIZATION] = _DEFAULT.seed,
    overrides: Annotated[tuple[str, ...], FLAG, Parameter(name="--set", group=MODEL, metavar="KEY=VALUE")] = (),
    device: Annotated[str, _COMPUTE] = _DEFAULT.device,
    precision: Annotated[str, choice("precision", ("auto", "fp32", "bf16")), _COMPUTE] = _DEFAULT.precision,
    resume: Annotated[bool, FLAG, Parameter(group=OUTPUT)] = False,
    overwrite: Overwrite = False,
    json: AsJson = False,
) -> None:
    """Pretrain a model on generated people, as a start on few videos.

    Bodies of random size do random motions in front of a camera; the model learns where their joints are, which motion
    it is, and that two bodies do the same. No video of anybody is used.

    Example: `timesformer people --output runs/people --steps 10000`, then `timesformer train data --init-from
    runs/people`

    Parameters
    ----------
    output
        Folder of the run: model, metrics, curves, a picture of what is drawn, and a checkpoint.
    steps
        Optimizer steps; the learning rate falls to 0 over them.
    batch_size
        Clips per step, an even number.
    init_from
        Weights to start from, such as an earlier pretraining with another appearance.
    appearance
        `both`, `depth` (gray, near is bright, black background) or `color` (clothes in front of a background).
    seed
        Random seed of weights and clips.
    overrides
        Change any other field of the run, such as `model.depth=6` or `lr=5e-4`; repeatable.
    device
        Device: `auto`, `cpu`, `cuda`, `cuda:N` or `mps`.
    precision
        Floating-point type: `auto` is `bf16` where the GPU or CPU computes it faster, else `fp32`.
    resume
        Continue the run in the output folder from its last checkpoint.
    """
    given: dict[str, Any] = {
        "output": output,
        "steps": steps,
        "batch_size": batch_size,
        "init_from": init_from,
        "appearance": appearance,
        "seed": seed,
        "device": device,
        "precision": precision,
    }
    run = apply_overrides(replace(_DEFAULT, **given), overrides)
    with progress("pretraining", unit="steps") as on_progress:
        folder = pretrain_people(run, overwrite=overwrite, resume=resume, on_progress=on_progress)
    _show(folder, as_json=json)


def _show(folder: Path, *, as_json: bool) -> None:
    if as_json:
        print_json({"run": str(folder), "model": str(folder / "model"), "sheet": str(folder / "people.png")})
        return
    print(folder)
    note(f"start from it: timesformer train DATA --init-from {folder}")
