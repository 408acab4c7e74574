"""What a configuration costs, without building it: parameters, multiply-accumulates, memory."""

from dataclasses import dataclass
from math import prod

import torch

from timesformer.config.schema import ModelConfig
from timesformer.model.schemes import Grid
from timesformer.model.timesformer import TimeSformer, scheme_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Size and work of a model.

    `macs` are multiply-accumulates of one view through patches, attention and MLP; the head (`embed_dim * num_classes`)
    is left out, as in the paper's numbers. `weight_bytes` and `activation_bytes` are for fp32; the latter is what one
    clip keeps alive in a training step, and an estimate.
    """

    parameters: int
    macs: int
    tokens: int
    weight_bytes: int
    activation_bytes: int


def cost(config: ModelConfig) -> Cost:
    """Parameters, multiply-accumulates and memory of a config; no weight or activation is built.

    Source: Bertasius et al. 2021, tables 1, 2 and 5 (0.59, 5.11 and 7.14 TFLOPs count multiply-accumulates of 3 views).
    """
    grid = Grid(*config.grid)
    pixels = config.in_channels * config.patch_size**2
    frames = grid.t if scheme_of(config).per_frame else 1
    inner = grid._replace(t=1) if frames > 1 else grid
    tokens = frames * (1 + prod(inner))
    macs = prod(grid) * pixels * config.embed_dim + config.depth * frames * _block_macs(config, inner)
    parameters = _parameters(config)
    return Cost(
        parameters=parameters,
        macs=macs,
        tokens=tokens,
        weight_bytes=4 * parameters,
        activation_bytes=4 * (tokens * _saved_per_token(config) + frames * _saved_for_cls(config, inner)),
    )


def _block_macs(config: ModelConfig, grid: Grid) -> int:
    """Multiply-accumulates of one block on one grid: what every regroup sends to attention is counted as it is sent."""
    dim, scheme = config.embed_dim, scheme_of(config)
    macs = 2 * dim * config.mlp_dim * (1 + prod(grid))
    for name, regroup in scheme.steps.items():
        maps = 4 if name == scheme.image_step else 5  # query, key, value, projection, and fc
        for sequences, length, pairs in regroup.workload(grid):
            macs += sequences * (maps * dim**2 * length + 2 * dim * pairs)
    return macs


def _saved_for_cls(config: ModelConfig, grid: Grid) -> int:
    """Numbers that autograd keeps where the class token asks tokens themselves: in each sequence of the last stage and
    for each head what it asks and what it sees."""
    scheme = scheme_of(config)
    regroups = scheme.stages[-1].values() if scheme.ends_in_cls else ()
    sequences = sum(work.sequences for regroup in regroups for work in regroup.workload(grid))
    return 2 * config.num_heads * config.embed_dim * sequences


def _parameters(config: ModelConfig) -> int:
    """Number of parameters, head and biases included: of a model that has shapes, but no content."""
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in TimeSformer(config).parameters())


def _saved_per_token(config: ModelConfig) -> int:
    """Numbers that autograd keeps for one token in all blocks (`timesformer.model.kernels`): of each step what it read,
    qkv and the answer; of the MLP what it read and the hidden layer. Of what answers the class token alone, what it
    read, and that normalized."""
    scheme, dim = scheme_of(config), config.embed_dim
    step, mlp = 5 * dim, dim + config.mlp_dim
    whole = config.depth * (len(scheme.steps) * step + mlp)
    return whole - scheme.ends_in_cls * (len(scheme.stages[-1]) * 3 * dim + mlp)
