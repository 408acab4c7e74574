"""The folded model in a form that can be traced: no in-place operations, any number of clips and frames."""

from collections.abc import Callable
from typing import Any, cast

import torch
import torch.nn.functional as F
from einops import einsum, rearrange
from jaxtyping import Bool, Float
from torch import Tensor, nn

from timesformer.config.schema import ModelConfig
from timesformer.model.attention import first_attention
from timesformer.model.block import Block
from timesformer.model.embedding import Embedding
from timesformer.model.fast import FastTimeSformer
from timesformer.model.folding import FoldedMLP, FoldedStep
from timesformer.model.schemes import REGROUPS, Grid
from timesformer.model.timesformer import class_token, scheme_of

AttentionOperator = Callable[..., Tensor]
"""Maps queries, already scaled, keys and values `[b, n, d]`, `num_heads` and a mask `[n, n]` or None to outputs `[b, n, d]`."""

_LEAST_WITH_LATTICES = 4
"""Both halves of a stride of 2 must have several frames, because the tracer takes a size of 1 for a constant."""


def least_frames(config: ModelConfig) -> int | None:
    """Smallest number of frames that an export accepts; None if its number of frames is fixed.

    The sub-lattices of the step `sparse` are other ones for a single frame, and cannot be traced for fewer than four.
    """
    if REGROUPS["sparse"] not in scheme_of(config).steps.values():
        return 1
    return _LEAST_WITH_LATTICES if config.num_frames >= _LEAST_WITH_LATTICES else None


def onnxruntime_attention(
    q: Float[Tensor, "b n d"],
    k: Float[Tensor, "b n d"],
    v: Float[Tensor, "b n d"],
    *,
    num_heads: int,
    mask: Bool[Tensor, "n n"] | None = None,
) -> Float[Tensor, "b n d"]:
    """Attention of scaled queries as one operator of ONNX Runtime; to be traced, not run."""
    scores = [] if mask is None else [None, None, torch.where(mask, 0.0, -torch.inf)[None, None]]  # added to the scores
    return torch.onnx.ops.symbolic(
        "com.microsoft::MultiHeadAttention",
        [q, k, v, *scores],
        attrs={"num_heads": num_heads, "scale": 1.0},
        dtype=q.dtype,
        shape=q.shape,
        version=1,
    )


def torch_attention(
    q: Float[Tensor, "b n d"],
    k: Float[Tensor, "b n d"],
    v: Float[Tensor, "b n d"],
    *,
    num_heads: int,
    mask: Bool[Tensor, "n n"] | None = None,
) -> Float[Tensor, "b n d"]:
    """Attention of scaled queries as one operator of torch."""
    q, k, v = (rearrange(x, "b n (heads d) -> b heads n d", heads=num_heads) for x in (q, k, v))
    y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=1.0)
    return rearrange(y, "b heads n d -> b n (heads d)")


class TracedForm(nn.Module):
    """A `FastTimeSformer` through the regroups of its scheme, with the same logits.

    Args:
        fast: Source of the folded weights.
        attention: How attention is computed.
    """

    def __init__(self, fast: FastTimeSformer, *, attention: AttentionOperator = onnxruntime_attention) -> None:
        super().__init__()
        self.scheme, self.norm, self.head = fast.scheme, fast.norm, fast.head
        self.embedding = _Embedding(fast.embedding)
        self.blocks = nn.ModuleList([_block(cast(Block, block), attention) for block in fast.blocks])
        self.eval()

    def forward(self, clips: Float[Tensor, "b c t height width"]) -> Float[Tensor, "b k"]:
        """Logits of the clips."""
        *blocks, last = cast(list[Block], list(self.blocks))
        functions = [*blocks, last.cls]
        cls = class_token(clips, embedding=self.embedding, per_frame=self.scheme.per_frame, blocks=functions)
        return self.head(self.norm(cls))


class _Embedding(nn.Module):
    """An `Embedding` for frames of the config's size, whose time embedding is resized at every call."""

    def __init__(self, embedding: Embedding) -> None:
        super().__init__()
        self.patch = embedding.patch
        self.mode = embedding.config.position_interpolation
        cls, position = embedding.cls_token, getattr(embedding, "position", None)
        if position is not None:
            cls = cls + position[:, :1]
            self.position = nn.Parameter(position[:, None, 1:].clone(), requires_grad=False)
        self.cls = nn.Parameter(cls.clone(), requires_grad=False)
        if hasattr(embedding, "time"):
            self.time = embedding.time

    def forward(self, clips: Float[Tensor, "b c t height width"]) -> tuple[Float[Tensor, "b n d"], Grid]:
        batch, frames = clips.shape[0], clips.shape[2]
        images = self.patch(rearrange(clips, "b c t height width -> (b t) c height width"))
        patches = rearrange(images, "(b t) d h w -> b t (h w) d", b=batch)
        if hasattr(self, "position"):
            patches = patches + self.position
        if hasattr(self, "time"):
            patches = patches + _resized_time(self.time, frames, mode=self.mode)[:, :, None]
        tokens = torch.cat([self.cls.expand(batch, -1, -1), rearrange(patches, "b t n d -> b (t n) d")], dim=1)
        return tokens, Grid(frames, *images.shape[-2:])


def _resized_time(time: Float[Tensor, "1 n d"], frames: Any, *, mode: str) -> Float[Tensor, "1 m d"]:
    """`timesformer.model.interpolation.resize` of a time embedding, for a number of frames that may be a symbol.

    Written out, because ONNX's own operator interpolates differently if there is one frame.
    """
    old = time.shape[1]
    index = torch.arange(frames, dtype=torch.float32, device=time.device)
    scale = old / torch.full_like(index, frames)
    if mode == "nearest":
        return time[:, (index * scale).floor().clamp(max=old - 1).long()]
    position = ((index + 0.5) * scale - 0.5).clamp(min=0)
    below = position.floor().clamp(max=old - 1)
    weight = (position - below)[:, None]
    first = below.long()
    return time[:, first] * (1 - weight) + time[:, (first + 1).clamp(max=old - 1)] * weight


def _block(block: Block, attention: AttentionOperator) -> Block:
    """A folded block without in-place operations."""
    steps = {name: _Step(cast(FoldedStep, step), attention) for name, step in block.steps.items()}
    return Block(block.scheme, steps=steps, mlp_norm=block.mlp_norm, mlp=_MLP(cast(FoldedMLP, block.mlp)))


class _Step(nn.Module):
    """A folded step with separate query, key and value projections: the operator needs them apart in memory.

    Linear layers see sequences, never single tokens: those would be `Gemm`, which ONNX Runtime's quantization breaks if
    several share a weight.
    """

    def __init__(self, step: FoldedStep, attention: AttentionOperator) -> None:
        super().__init__()
        self.folded, self.attention = step, attention
        # copies: a weight's slice would be sliced at every call, and not be quantized
        self.query, self.key, self.value = (
            nn.Parameter(weight.clone(), requires_grad=False) for weight in step.qkv.chunk(3)
        )

    def forward(self, x: Float[Tensor, "b n d"], mask: Bool[Tensor, "n n"] | None = None) -> Float[Tensor, "b n d"]:
        normal = self.folded.norm(x)
        q = F.linear(normal, self.query, self.folded.query_bias)
        k, v = F.linear(normal, self.key), F.linear(normal, self.value)
        return self.folded.out(self.attention(q, k, v, num_heads=self.folded.num_heads, mask=mask))

    def first(self, x: Float[Tensor, "b n d"], mask: Bool[Tensor, "n n"] | None = None) -> Float[Tensor, "b 1 d"]:
        normal, heads = self.folded.norm(x), self.folded.num_heads
        query = F.linear(normal[:, :1], self.query, self.folded.query_bias)[:, 0].unflatten(-1, (heads, -1))
        row = None if mask is None else mask[0]
        seen = first_attention(query, self.key.unflatten(0, (heads, -1)), normal, row, scale=1.0) @ normal
        y = einsum(seen, self.value.unflatten(0, (heads, -1)), "b heads d, heads c d -> b heads c")
        return self.folded.out(y.flatten(1)[:, None])


class _MLP(nn.Module):
    """A folded MLP without in-place operations."""

    def __init__(self, mlp: FoldedMLP) -> None:
        super().__init__()
        self.fc1, self.fc2 = mlp.fc1, mlp.fc2

    def add_to(self, x: Float[Tensor, "... d"], norm: nn.LayerNorm) -> Float[Tensor, "... d"]:
        return x + self.fc2(F.gelu(self.fc1(norm(x))))
