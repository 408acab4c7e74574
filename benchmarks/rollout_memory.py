"""Memory and time of attention rollout at 96 frames of 224 pixels, compared with a forward pass, as JSON.

    python benchmarks/rollout_memory.py --threads 1

The peak of each computation is the resident memory above the weights and the clip, measured in a process of its own,
one run each. Times are processor times of all threads, which other processes hardly change. The extra memory of rollout
is its peak minus that of a plain forward pass, compared with one matrix over all tokens in fp32, which rollout by its
definition multiplies once per attention step: 1.4 GB here.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch

from timesformer.bench.baselines import random_weights
from timesformer.bench.peak_memory import measure_peak
from timesformer.bench.result import describe_machine
from timesformer.config.presets import PRESETS
from timesformer.config.schema import ModelConfig
from timesformer.model.contribution import contribution
from timesformer.model.cost import cost
from timesformer.model.fast import FastTimeSformer
from timesformer.model.rollout import class_rollout, rollout
from timesformer.model.timesformer import TimeSformer

EAGER, FAST = "forward", "fast forward"
BUILDERS: dict[str, Callable[[TimeSformer], Callable[[torch.Tensor], object]]] = {
    EAGER: lambda model: model,
    FAST: FastTimeSformer,
    "rollout half": lambda model: partial(rollout, model),
    "rollout norm": lambda model: partial(rollout, model, residual="norm"),
    "class rollout": lambda model: partial(class_rollout, model, target=3),
    "contribution": lambda model: partial(contribution, model, target=3),
}


def measure(name: str, config: ModelConfig) -> dict[str, float]:
    """Peak memory in MB above the weights, and processor time in seconds, of one computation in this process."""
    compute = BUILDERS[name](random_weights(TimeSformer(config)))
    clip = torch.randn(1, config.in_channels, config.num_frames, *config.image_size)
    start = 0.0

    @torch.no_grad()
    def work() -> None:
        nonlocal start
        start = time.process_time()
        compute(clip)

    peak = measure_peak(work)
    return {"peak_mb": peak.above / 1e6, "cpu_seconds": time.process_time() - start}


def summarize(found: dict[str, dict[str, float]], *, matrix_mb: float) -> dict[str, dict[str, float]]:
    """Each computation with its memory above the plain forward pass, and its time in forward passes."""
    plain, fast = found[EAGER], found[FAST]
    return {
        name: {
            **{key: round(value, 2) for key, value in item.items()},
            "extra_mb": round(item["peak_mb"] - plain["peak_mb"], 1),
            "extra_matrices": round((item["peak_mb"] - plain["peak_mb"]) / matrix_mb, 4),
            "forwards": round(item["cpu_seconds"] / plain["cpu_seconds"], 2),
            "fast_forwards": round(item["cpu_seconds"] / fast["cpu_seconds"], 2),
        }
        for name, item in found.items()
    }


def main() -> None:
    """Measure every computation in a new process and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scheme", default="divided_space_time")
    parser.add_argument("--frames", type=int, default=96)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--only", choices=BUILDERS, help="measure one computation in this process")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    config = replace(
        PRESETS["base"], scheme=options.scheme, num_frames=options.frames, image_size=(options.size, options.size)
    )
    if options.only:
        print(json.dumps(measure(options.only, config)))
        return
    tokens = cost(config).tokens
    matrix_mb = 4 * tokens**2 / 1e6
    result = {
        "date": time.strftime("%Y-%m"),
        "machine": describe_machine(),
        "scheme": config.scheme,
        "clip": f"{config.num_frames} x {config.image_size[0]}",
        "threads": options.threads,
        "tokens": tokens,
        "matrix_mb": round(matrix_mb, 1),
        "computations": summarize({name: _apart(name) for name in BUILDERS}, matrix_mb=matrix_mb),
    }
    print(json.dumps(result, indent=2))


def _apart(name: str) -> dict[str, float]:
    done = subprocess.run([sys.executable, *sys.argv, "--only", name], stdout=subprocess.PIPE, text=True, check=True)
    found = json.loads(done.stdout)
    print(f"{name}: {found['peak_mb']:.0f} MB, {found['cpu_seconds']:.1f} s", file=sys.stderr)
    return found


if __name__ == "__main__":
    main()
