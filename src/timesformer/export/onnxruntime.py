"""The folded model for ONNX Runtime: no in-place operations, and each attention as one fused operator."""

from typing import cast

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from timesformer.model.block import Block
from timesformer.model.fast import FastTimeSformer, FoldedMLP, FoldedStep
from timesformer.model.timesformer import class_token


class OrtForm(nn.Module):
    """A `FastTimeSformer` through the regroups of its scheme, with the same logits; to be traced, not run.

    Args:
        fast: Source of the folded weights.
    """

    def __init__(self, fast: FastTimeSformer) -> None:
        super().__init__()
        self.scheme, self.embedding, self.norm, self.head = fast.scheme, fast.embedding, fast.norm, fast.head
        self.blocks = nn.ModuleList([_block(cast(Block, block)) for block in fast.blocks])
        self.eval()

    def forward(self, clips: Float[Tensor, "b c t height width"]) -> Float[Tensor, "b k"]:
        """Logits of the clips."""
        *blocks, last = cast(list[Block], list(self.blocks))
        functions = [*blocks, last.cls]
        cls = class_token(clips, embedding=self.embedding, per_frame=self.scheme.per_frame, blocks=functions)
        return self.head(self.norm(cls))


def _block(block: Block) -> Block:
    """A folded block without in-place operations."""
    steps = {name: _Step(cast(FoldedStep, step)) for name, step in block.steps.items()}
    return Block(block.scheme, steps=steps, mlp_norm=block.mlp_norm, mlp=_MLP(cast(FoldedMLP, block.mlp)))


class _Step(nn.Module):
    """A folded step with separate query, key and value projections: the operator needs them apart in memory."""

    def __init__(self, step: FoldedStep) -> None:
        super().__init__()
        self.folded = step
        # copies: a weight's slice would be sliced at every call, and not be quantized
        self.query, self.key, self.value = (
            nn.Parameter(weight.clone(), requires_grad=False) for weight in step.qkv.chunk(3)
        )

    def forward(self, x: Float[Tensor, "b n d"], mask: Bool[Tensor, "n n"] | None = None) -> Float[Tensor, "b n d"]:
        normal = self.folded.norm(x)
        q = F.linear(normal, self.query, self.folded.query_bias)
        k, v = F.linear(normal, self.key), F.linear(normal, self.value)
        scores = (
            [] if mask is None else [None, None, torch.where(mask, 0.0, -torch.inf)[None, None]]
        )  # added to the scores
        y = torch.onnx.ops.symbolic(
            "com.microsoft::MultiHeadAttention",
            [q, k, v, *scores],
            attrs={"num_heads": self.folded.num_heads},
            dtype=q.dtype,
            shape=q.shape,
            version=1,
        )
        return self.folded.out(y)

    def first(self, x: Float[Tensor, "b n d"], mask: Bool[Tensor, "n n"] | None = None) -> Float[Tensor, "b 1 d"]:
        return self.folded.first(x, mask)


class _MLP(nn.Module):
    """A folded MLP without in-place operations."""

    def __init__(self, mlp: FoldedMLP) -> None:
        super().__init__()
        self.fc1, self.fc2 = mlp.fc1, mlp.fc2

    def add_to(self, x: Float[Tensor, "... d"], norm: nn.LayerNorm) -> Float[Tensor, "... d"]:
        return x + self.fc2(F.gelu(self.fc1(norm(x))))
