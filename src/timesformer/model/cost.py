"""What a configuration costs: parameters, multiply-accumulates, memory.

`cost` derives its numbers from the regroups of a scheme, without running anything. Two of them are also counted by
running the model on tensors without content:

* `multiply_accumulates` counts the operations of fast inference. It is less than `cost(...).macs`, the model as in the
  paper; the difference is the work that folding saves.
* `timesformer.training.memory` counts the activations of a run, with its precision, its frozen parts and its
  recomputation. That takes seconds, most of them to import torch's tracing, and `cost` takes milliseconds.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import prod

import torch
from torch.utils.flop_counter import FlopCounterMode

from timesformer.config.schema import ModelConfig
from timesformer.model.fast import FastTimeSformer
from timesformer.model.schemes import Grid, Regroup, Workload
from timesformer.model.timesformer import TimeSformer, scheme_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Size and work of a model."""

    parameters: int
    """Number of parameters, head and biases included."""
    macs: int
    """Multiply-accumulates of one view in patches, attention and MLPs; without the head (`embed_dim * num_classes`),
    as in the paper's numbers."""
    tokens: int
    """Tokens of one view, class tokens included."""
    weight_bytes: int
    """Memory of the weights in fp32."""
    activation_bytes: int
    """Memory that one clip keeps for the backward pass in fp32, to 0.1 %."""


def cost(config: ModelConfig) -> Cost:
    """Parameters, multiply-accumulates and memory of a config.

    Source: Bertasius et al. 2021, tables 1, 2 and 5 (0.59, 5.11 and 7.14 TFLOPs count multiply-accumulates of 3 views).
    """
    grid = Grid(*config.grid)
    frames = grid.t if scheme_of(config).per_frame else 1
    inner = grid._replace(t=1) if frames > 1 else grid
    parameters = _parameters(config)
    pixels = prod(grid) * config.in_channels * config.patch_size**2
    return Cost(
        parameters=parameters,
        macs=pixels * config.embed_dim + config.depth * frames * _block_macs(config, inner),
        tokens=frames * (1 + prod(inner)),
        weight_bytes=4 * parameters,
        activation_bytes=4 * (pixels + frames * _saved_by_blocks(config, inner)),
    )


def multiply_accumulates(config: ModelConfig) -> int:
    """Multiply-accumulates of one clip in fast inference, head included."""
    with torch.device("meta"):
        model = FastTimeSformer(TimeSformer(config))
        clip = torch.empty(1, config.in_channels, config.num_frames, *config.image_size)
    with FlopCounterMode(display=False, custom_mapping={torch.ops.aten.addmm_: _addmm_flops}) as counter:
        model(clip)
    return counter.get_total_flops() // 2


def _addmm_flops(x: torch.Size, left: torch.Size, right: torch.Size, **_: object) -> int:
    return 2 * left[0] * left[1] * right[1]


def _parameters(config: ModelConfig) -> int:
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in TimeSformer(config).parameters())


def _block_macs(config: ModelConfig, grid: Grid) -> int:
    """Multiply-accumulates of one block on one grid."""
    dim, scheme = config.embed_dim, scheme_of(config)
    macs = 2 * dim * config.mlp_dim * (1 + prod(grid))
    for name, regroup in scheme.steps.items():
        maps = 4 if name == scheme.image_step else 5  # query, key, value, projection, and fc
        for sequences, length, pairs in regroup.workload(grid):
            macs += sequences * (maps * dim**2 * length + 2 * dim * pairs)
    return macs


def _saved_by_blocks(config: ModelConfig, grid: Grid) -> int:
    """Numbers that all blocks keep for the backward pass of fused training (`timesformer.model.kernels`)."""
    scheme, mlp = scheme_of(config), config.embed_dim + config.mlp_dim  # per token: input and hidden layer
    block = _saved_by_steps(config, scheme.steps, grid) + mlp * (1 + prod(grid))
    if not scheme.ends_in_cls:
        return config.depth * block
    before = {name: regroup for stage in scheme.stages[:-1] for name, regroup in stage.items()}
    last = _saved_by_steps(config, before, grid) + _saved_for_cls(config, scheme.stages[-1], grid) + mlp
    return (config.depth - 1) * block + last


def _saved_by_steps(config: ModelConfig, steps: Mapping[str, Regroup], grid: Grid) -> int:
    """Per token of a sequence: input, query, key, value and output of attention, and a normalizer of each head."""
    tokens = sum(work.sequences * work.length for work in _workloads(steps, grid))
    return tokens * (5 * config.embed_dim + config.num_heads)


def _saved_for_cls(config: ModelConfig, steps: Mapping[str, Regroup], grid: Grid) -> int:
    """Per token of a sequence: input, normalized input, mean, deviation and a weight of each head. Per sequence: query
    and output of attention and, for each head, the projected query and the sum of the tokens that it sees."""
    dim, heads = config.embed_dim, config.num_heads
    return sum(
        work.sequences * (work.length * (2 * dim + heads + 2) + 2 * dim * (1 + heads))
        for work in _workloads(steps, grid)
    )


def _workloads(steps: Mapping[str, Regroup], grid: Grid) -> Iterable[Workload]:
    return (work for regroup in steps.values() for work in regroup.workload(grid))
