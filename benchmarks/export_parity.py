"""Logits of every export format compared with torch, and the runner script compared with `predict`.

    python benchmarks/export_parity.py --model runs/utd27_depth_vit_s --videos depth112/videos --count 10

Formats are the program of `torch.export`, ONNX and ONNX in int8; sizes are 1 to 4 clips of 4 to 16 frames, whatever the
model was made for. The schemes of the paper are compared with tiny random models, and `--model` with its own weights.
Differences are the largest of any logit, in standard deviations of the logits. The runner runs in a process that can
import neither torch nor this package. Prints JSON; nothing in it is a time.
"""

import argparse
import io
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from machine import describe_machine
from timesformer.config.schema import ModelConfig
from timesformer.export.onnx import export_onnx
from timesformer.export.parity import Size, compare, eager_logits, random_clips
from timesformer.export.program import export_program
from timesformer.export.sidecar import versions
from timesformer.inference.onnx_model import read_onnx
from timesformer.inference.predictor import Predictor
from timesformer.model.timesformer import TimeSformer
from timesformer.weights.load import load

SCHEMES = ("space_only", "joint_space_time", "divided_space_time", "sparse_local_global", "axial")
BATCHES = (1, 2, 3, 4)
FRAMES = (4, 5, 8, 11, 16)
_BLOCKED = ("torch", "timesformer")
_TINY = {
    "num_frames": 8,
    "image_size": (32, 48),
    "patch_size": 8,
    "embed_dim": 48,
    "depth": 2,
    "num_heads": 3,
    "num_classes": 7,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="a trained model; without it the table is of tiny models alone")
    parser.add_argument("--videos", type=Path, help="folder of videos for the runner; needs --model")
    parser.add_argument("--count", type=int, default=10, help="videos of the folder, evenly spread")
    parser.add_argument("--schemes", nargs="*", default=SCHEMES, help="schemes of the tiny models")
    arguments = parser.parse_args()
    found: dict[str, Any] = {"machine": {**describe_machine(), **versions()}, "batches": BATCHES, "frames": FRAMES}
    found["schemes"] = {scheme: measure(tiny(scheme)) for scheme in arguments.schemes}
    if arguments.model:
        found["model"] = measure(load(arguments.model))
    if arguments.videos:
        found["runner"] = compare_runner(arguments.model, evenly(arguments.videos, arguments.count))
    print(json.dumps(found, indent=2))


@torch.no_grad()
def tiny(scheme: str) -> TimeSformer:
    """A small model whose every weight is random."""
    torch.manual_seed(0)
    model = TimeSformer(ModelConfig(scheme=scheme, **_TINY)).eval()  # ty: ignore[invalid-argument-type]
    for name, parameter in model.named_parameters():
        center = 1.0 if "norm" in name and name.endswith("weight") else 0.0
        parameter.copy_(center + 0.1 * torch.randn(parameter.shape))
    return model


def measure(model: TimeSformer) -> dict[str, Any]:
    """Differences of every format, by size, and the largest."""
    rows: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        formats = exported(model, Path(folder))
        for batch, frames in product(BATCHES, FRAMES):
            clips = random_clips(model.config, Size(batch, frames))
            wanted = eager_logits(model, clips)
            for name, logits in formats.items():
                deviation = compare(logits(clips), wanted)
                rows.setdefault(name, {})[f"{batch}x{frames}"] = deviation.difference
    return {name: {"largest": max(cells.values()), "sizes": cells} for name, cells in rows.items()}


def exported(model: TimeSformer, folder: Path) -> Mapping[str, Callable[[Tensor], Tensor]]:
    """The model in every format."""
    program = torch.export.load(io.BytesIO(Path(export_program(model, folder / "m.pt2").path).read_bytes())).module()
    return {
        "program": program,
        "onnx": read_onnx(export_onnx(model, folder / "m.onnx").path),
        "int8": read_onnx(export_onnx(model, folder / "i.onnx", precision="int8").path),
    }


def evenly(folder: Path, count: int) -> list[str]:
    """Some files of a folder, evenly spread over their names."""
    files = sorted(str(path) for path in folder.iterdir() if path.is_file())
    return [files[i * len(files) // count] for i in range(min(count, len(files)))]


def compare_runner(model: str, videos: Sequence[str]) -> dict[str, Any]:
    """The runner's answers compared with those of `Predictor`, in fp32 and int8."""
    wanted = Predictor(model, device="cpu")(videos)
    found = {}
    for precision in ("fp32", "int8"):
        with tempfile.TemporaryDirectory() as folder:
            done = export_onnx(load(model), Path(folder) / "m.onnx", precision=precision, runner=True)
            answers = run_runner(done.runner, videos)
        pairs = list(zip(answers, wanted, strict=True))
        found[precision] = {
            "videos": len(pairs),
            "same_top_5": sum(tuple(answer["labels"]) == each.labels for answer, each in pairs),
            "same_top_1": sum(answer["labels"][0] == each.label for answer, each in pairs),
            "largest_difference_of_probability": max(
                abs(probability - dict(zip(each.labels, each.probabilities, strict=True))[label])
                for answer, each in pairs
                for label, probability in zip(answer["labels"], answer["probabilities"], strict=True)
                if label in each.labels
            ),
        }
    return found


def run_runner(script: str, videos: Sequence[str]) -> list[dict[str, Any]]:
    """What the script prints where torch and this package cannot be imported."""
    with tempfile.TemporaryDirectory() as folder:
        for name in _BLOCKED:
            (Path(folder) / f"{name}.py").write_text(f"raise ImportError('{name} is blocked')\n")
        done = subprocess.run(
            [sys.executable, script, *videos, "--json"],
            env={**os.environ, "PYTHONPATH": folder},
            stdout=subprocess.PIPE,
            check=True,
            text=True,
        )
    return [json.loads(line) for line in done.stdout.splitlines()]


if __name__ == "__main__":
    main()
