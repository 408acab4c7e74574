"""Peak memory of one forward pass of the base model with joint attention over 96 frames of 224 pixels, as JSON.

    python benchmarks/joint_memory.py

An implementation that builds the attention matrix needs 12 heads x 18817 x 18817 numbers for it: 17 GB in fp32, more
than once.
"""

import json
import resource
import time
from dataclasses import replace

import torch

from timesformer.bench.result import describe_machine
from timesformer.config.presets import PRESETS
from timesformer.model.cost import cost
from timesformer.model.fast import FastTimeSformer
from timesformer.model.timesformer import TimeSformer


def main() -> None:
    """Build the model, classify one clip of noise and print JSON."""
    config = replace(PRESETS["large"], scheme="joint_space_time")
    model = FastTimeSformer(TimeSformer(config))
    clip = torch.randn(1, config.in_channels, config.num_frames, *config.image_size)
    start = time.perf_counter()
    logits = model(clip)
    seconds = time.perf_counter() - start
    tokens = cost(config).tokens
    found = {
        "machine": describe_machine(),
        "scheme": config.scheme,
        "clip": f"{config.num_frames} x {config.image_size[0]}",
        "tokens": tokens,
        "finite": bool(logits.isfinite().all()),
        "seconds": seconds,
        "peak_rss_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9,
        "attention_matrix_gb": 4 * config.num_heads * tokens**2 / 1e9,
    }
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
