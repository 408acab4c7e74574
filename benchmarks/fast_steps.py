"""What each step toward exact fast inference gains: one forward pass, the steps added one after the other.

    python benchmarks/fast_steps.py --preset base --rounds 7

Rounds are interleaved; every way must give the logits of the model. Prints JSON.
"""

import argparse
import json
import sys
from collections.abc import Callable

import torch
from torch import Tensor

from timesformer.bench.baselines import random_weights
from timesformer.bench.result import Bench
from timesformer.bench.timing import interleave
from timesformer.config.presets import preset as preset_config
from timesformer.model import fast
from timesformer.model.fast import FastTimeSformer
from timesformer.model.timesformer import TimeSformer

Logits = Callable[[Tensor], Tensor]


def folded(model: FastTimeSformer, clip: Tensor) -> Tensor:
    """Maps folded, every block whole, tokens through the regroups."""
    x, grid = model.embedding(clip)
    for block in model.blocks:
        x = block(x, grid)
    return model.head(model.norm(x[:, 0]))


def last_block(model: FastTimeSformer, clip: Tensor) -> Tensor:
    """And the last block for the class token alone."""
    return model.head(model.norm(model._by_regroups(clip)))


def whole_layout(model: FastTimeSformer, clip: Tensor) -> Tensor:
    """And no copies between steps; all tokens at once."""
    rows, fast._ROWS = fast._ROWS, sys.maxsize
    try:
        return model(clip)
    finally:
        fast._ROWS = rows


def main() -> None:
    """Time the ways and print what came out."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", default="base")
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    config = preset_config(arguments.preset)
    model = random_weights(TimeSformer(config))
    ours = FastTimeSformer(model)
    clip = torch.randn(1, config.in_channels, config.num_frames, *config.image_size)
    ways: dict[str, Logits] = {
        "block by block": model,
        "maps folded": lambda clip: folded(ours, clip),
        "last block for the class token": lambda clip: last_block(ours, clip),
        "no copies": lambda clip: whole_layout(ours, clip),
        "in parts: all": ours,
    }
    with torch.inference_mode():
        expected = model(clip)
        agreement = {name: float((way(clip) - expected).abs().max()) for name, way in ways.items()}
        timed = {name: lambda way=way: way(clip) for name, way in ways.items()}
        timings = interleave(timed, rounds=arguments.rounds)
    result = Bench(
        name="fast steps",
        title="Exact fast inference, step by step",
        setting={"preset": arguments.preset, "clips": 1, "threads": torch.get_num_threads()},
        timings=timings,
        ours="in parts: all",
        agreement=agreement,
    )
    print(json.dumps(result.to_dict(), indent=1))


if __name__ == "__main__":
    main()
