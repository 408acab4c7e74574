"""The gain of each step of exact fast inference: one forward pass, with the steps added one after the other.

    python benchmarks/fast_steps.py --preset base --rounds 7

Rounds are interleaved, and logits are compared with those of the model. Prints JSON.
"""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import cast
from unittest.mock import patch

import torch
from torch import Tensor

from timesformer.bench.baselines import random_weights
from timesformer.bench.candidates import max_differences
from timesformer.bench.result import BenchmarkResult
from timesformer.bench.timing import interleave
from timesformer.config.presets import preset as preset_config
from timesformer.model import folding
from timesformer.model.block import Block
from timesformer.model.fast import FastTimeSformer
from timesformer.model.timesformer import BlockFunction, TimeSformer, class_token

Logits = Callable[[Tensor], Tensor]


def folded(model: FastTimeSformer, clip: Tensor) -> Tensor:
    """Linear layers folded; every block computes all tokens, in sequences."""
    return _through(model, clip, blocks=cast(list[Block], list(model.blocks)))


def last_block(model: FastTimeSformer, clip: Tensor) -> Tensor:
    """And the last block computes the class token alone."""
    *blocks, last = cast(list[Block], list(model.blocks))
    return _through(model, clip, blocks=[*blocks, last.cls])


def _through(model: FastTimeSformer, clip: Tensor, *, blocks: Sequence[BlockFunction]) -> Tensor:
    per_frame = model.scheme.per_frame
    return model.head(model.norm(class_token(clip, embedding=model.embedding, per_frame=per_frame, blocks=blocks)))


def frame_layout(model: FastTimeSformer, clip: Tensor) -> Tensor:
    """And the frame layout, without copies between steps; all tokens at once."""
    with patch.object(folding, "CHUNK_TOKENS", sys.maxsize):
        return model(clip)


def main() -> None:
    """Time the steps and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", default="base")
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    config = preset_config(arguments.preset)
    model = random_weights(TimeSformer(config))
    ours = FastTimeSformer(model)
    clip = torch.randn(1, config.in_channels, config.num_frames, *config.image_size)
    candidates: dict[str, Logits] = {
        "block by block": model,
        "layers folded": partial(folded, ours),
        "last block for the class token": partial(last_block, ours),
        "no copies": partial(frame_layout, ours),
        "in chunks: all": ours,
    }
    with torch.inference_mode():
        outputs = {name: logits(clip) for name, logits in candidates.items()}
        times = interleave(
            {name: partial(logits, clip) for name, logits in candidates.items()}, rounds=arguments.rounds
        )
    result = BenchmarkResult(
        name="fast steps",
        title="Exact fast inference, step by step",
        settings={"preset": arguments.preset, "clips": 1, "threads": torch.get_num_threads()},
        times=times,
        ours="in chunks: all",
        max_difference=max_differences(outputs, reference="block by block"),
    )
    print(json.dumps(result.to_dict(), indent=1))


if __name__ == "__main__":
    main()
