"""How the weights of a model start."""

from typing import cast

import torch
from einops import repeat
from jaxtyping import Float
from torch import Tensor, nn

from timesformer.model.block import Step
from timesformer.model.embedding import Embedding


@torch.no_grad()
def initialize(model: nn.Module) -> None:
    """Set all weights of a `TimeSformer` in place, as `initialization` in its config says.

    The patch convolution keeps its default.

    `released`: linear layers, class token and position from a normal of std 0.02 cut at two; time embedding and every
    `fc` zero, so that a divided model starts as the image model whose weights it is given.

    `scratch`: linear layers by Xavier's rule, `fc` included, and position and time as sinusoids, learned from there on.
    From the released start a small model without pretraining learns the axis of a motion but not its direction.

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
    """Write sinusoids into the position of patches (half of the width for rows, half for columns) and into the time.

    Neighbors start alike, and the slow waves rise with the index, as order does.
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
    """Sines, then cosines, of each place from 0 to `length - 1`, with periods from 2 pi to 2 pi times `slowest`."""
    waves = -(-dim // 2)
    angle = torch.arange(length)[:, None] * slowest ** (-torch.arange(waves) / waves)
    return torch.cat([angle.sin(), angle.cos()], dim=1)[:, :dim]
