"""The folded model written for ONNX Runtime: nothing in place, and each attention as its one fused operator."""

from typing import cast

import torch
import torch.nn.functional as F
from einops import reduce
from jaxtyping import Bool, Float
from torch import Tensor, nn

from timesformer.model.attention import Grid
from timesformer.model.embedding import fold_frames
from timesformer.model.fast import FastTimeSformer, FoldedBlock, FoldedMLP, FoldedStep


class OrtForm(nn.Module):
    """The same logits as a `FastTimeSformer`, through the regroups of its scheme; to be traced, not to be run.

    Args:
        fast: The model to take the folded weights of.
    """

    def __init__(self, fast: FastTimeSformer) -> None:
        super().__init__()
        self.scheme, self.embedding, self.norm, self.head = fast.scheme, fast.embedding, fast.norm, fast.head
        *blocks, last = cast(list[FoldedBlock], list(fast.blocks))
        self.blocks = nn.ModuleList([_Block(block) for block in blocks])
        self.last = last
        self.eval()

    def forward(self, clips: Float[Tensor, "b c t height width"]) -> Float[Tensor, "b k"]:
        """Logits of the clips."""
        x, grid = self.embedding(clips)
        frames = grid.t if self.scheme.per_frame else 1
        if self.scheme.per_frame:
            x, grid = fold_frames(x, grid)
        for block in self.blocks:
            x = block(x, grid)
        cls = self.last.cls_before_mlp(x, grid)
        cls = cls + _mlp(self.last.mlp, cls)
        return self.head(self.norm(reduce(cls, "(b t) d -> b d", "mean", t=frames)))


class _Block(nn.Module):
    """A folded block with nothing changed in place."""

    def __init__(self, block: FoldedBlock) -> None:
        super().__init__()
        self.stages, self.regroups, self.mlp = block.stages, block.regroups, block.mlp
        steps = cast(dict[str, FoldedStep], dict(block.steps.items()))
        self.steps = nn.ModuleDict({name: _Step(step) for name, step in steps.items()})

    def forward(self, x: Float[Tensor, "b n d"], grid: Grid) -> Float[Tensor, "b n d"]:
        for stage in self.stages:
            x = sum((self.regroups[name](x, grid, self.steps[name]) for name in stage), start=x)
        return x + _mlp(self.mlp, x)


class _Step(nn.Module):
    """A folded step whose queries, keys and values are three products: the operator wants them apart in memory."""

    def __init__(self, step: FoldedStep) -> None:
        super().__init__()
        self.num_heads, self.norm, self.out, self.query_bias = step.num_heads, step.norm, step.out, step.query_bias
        # copies, since a part of a weight would be cut out again at every call, and not be quantised
        self.query, self.key, self.value = (
            nn.Parameter(part.clone(), requires_grad=False) for part in step.qkv.chunk(3)
        )

    def forward(self, x: Float[Tensor, "b n d"], mask: Bool[Tensor, "n n"] | None = None) -> Float[Tensor, "b n d"]:
        normal = self.norm(x)
        q = F.linear(normal, self.query, self.query_bias)
        k, v = F.linear(normal, self.key), F.linear(normal, self.value)
        scores = [] if mask is None else [None, None, torch.where(mask, 0.0, -torch.inf)[None, None]]  # added to them
        y = torch.onnx.ops.symbolic(
            "com.microsoft::MultiHeadAttention",
            [q, k, v, *scores],
            attrs={"num_heads": self.num_heads},
            dtype=q.dtype,
            shape=q.shape,
            version=1,
        )
        return self.out(y)


def _mlp(mlp: FoldedMLP, x: Float[Tensor, "... d"]) -> Float[Tensor, "... d"]:
    return mlp.fc2(F.gelu(mlp.fc1(mlp.norm(x))))
