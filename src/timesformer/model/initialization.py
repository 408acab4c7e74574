"""Initial weights of a model."""

from typing import cast

import torch
from einops import repeat
from jaxtyping import Float
from torch import Tensor, nn

from timesformer.model.block import Step
from timesformer.model.embedding import Embedding


@torch.no_grad()
def initialize(model: nn.Module) -> None:
    """Initialize a `TimeSformer` in place by `initialization` of its config; the patch convolution keeps its weights.

    `released`: linear layers, class token and position from a normal distribution of std 0.02, truncated at 2; time
    embedding and every `fc` zero, so that a divided model with image weights starts as that image model.

    `scratch`: linear layers by Xavier's rule, `fc` included; position and time start as sinusoids. Small models without
    pretraining that start as `released` learn the axis of a motion, but not its direction.

    Source: released code for `released`; `benchmarks/initialization.py` for `scratch`.
    """
    embedding = cast(Embedding, model.embedding)
    scratch = embedding.config.initialization == "scratch"
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear):
            _initialize_linear(module, xavier=scratch and name != "head")
    nn.init.trunc_normal_(embedding.cls_token, std=0.02)
    if hasattr(embedding, "position"):
        nn.init.trunc_normal_(embedding.position, std=0.02)
    if hasattr(embedding, "time"):
        nn.init.zeros_(embedding.time)
    if scratch:
        set_sinusoids(embedding)
    else:
        for module in model.modules():
            if isinstance(module, Step) and isinstance(module.fc, nn.Linear):
                nn.init.zeros_(module.fc.weight)


def _initialize_linear(module: nn.Linear, *, xavier: bool) -> None:
    if xavier:
        nn.init.xavier_uniform_(module.weight)
    else:
        nn.init.trunc_normal_(module.weight, std=0.02)
    if module.bias is not None:
        nn.init.zeros_(module.bias)


def set_sinusoids(embedding: Embedding) -> None:
    """Write sinusoids into the position embedding (half of the width for rows, half for columns) and into the time's.

    Neighbors start alike, and the slow waves grow with the index.
    """
    config = embedding.config
    frames, rows, columns = config.grid
    if hasattr(embedding, "position"):
        half = config.embed_dim // 2
        row = repeat(sinusoids(rows, dim=half), "h d -> (h w) d", w=columns)
        column = repeat(sinusoids(columns, dim=config.embed_dim - half), "w d -> (h w) d", h=rows)
        embedding.position[0, 1:].copy_(torch.cat([row, column], dim=1))
    if hasattr(embedding, "time"):
        embedding.time[0].copy_(sinusoids(frames, dim=config.embed_dim))


def sinusoids(length: int, *, dim: int, slowest: float = 30.0) -> Float[Tensor, "length dim"]:
    """Sines, then cosines, of the indices 0 to `length - 1`, with periods from 2 pi to 2 pi times `slowest`."""
    waves = -(-dim // 2)
    angle = torch.arange(length)[:, None] * slowest ** (-torch.arange(waves) / waves)
    return torch.cat([angle.sin(), angle.cos()], dim=1)[:, :dim]
