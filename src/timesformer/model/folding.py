"""Folding: consecutive linear layers of a trained block merged, and biases without effect dropped.

* The affine part of a norm is folded into the layer after it, the scale of the scores into the queries, and `fc` into
  the projection before it; products are computed in float64 and stored in the precision of the weights.
* A bias of the keys shifts all scores of a query alike, which softmax undoes. A bias of the values passes through
  attention unchanged, since weights sum to one, and moves into the output's bias.
"""

from typing import cast

import torch
from einops import einsum
from jaxtyping import Bool, Float
from torch import Tensor, nn

from timesformer.model.attention import attend_heads, first_attention
from timesformer.model.block import Block, Step
from timesformer.model.layers import MLP
from timesformer.model.matmul import add_linear, equal_chunks, linear, packed
from timesformer.model.standardization import BatchStandardization
from timesformer.model.timesformer import TimeSformer

CHUNK_TOKENS = 2048
"""Tokens per chunk of a linear layer: enough for full speed, few enough to stay in the cache."""


def folded_block(block: Block) -> Block:
    """The eval-mode function of a block, with its steps and its MLP folded."""
    steps = {name: FoldedStep(cast(Step, step)) for name, step in block.steps.items()}
    norm, mlp = cast(nn.LayerNorm, block.mlp_norm), cast(MLP, block.mlp)
    return Block(block.scheme, steps=steps, mlp_norm=_without_affine(norm), mlp=FoldedMLP(mlp, norm))


class FoldedMLP(nn.Module):
    """The MLP of a block, with the affine part of its norm folded in."""

    def __init__(self, mlp: MLP, norm: nn.LayerNorm) -> None:
        super().__init__()
        self.fc1 = linear_from(*_after_norm(mlp.fc1, norm), like=mlp.fc1.weight)
        self.fc2 = linear_from(mlp.fc2.weight.double(), mlp.fc2.bias.double(), like=mlp.fc2.weight)

    def pack(self) -> None:
        """See `FastTimeSformer.pack`."""
        self.fc1.weight, self.fc2.weight = packed(self.fc1.weight), packed(self.fc2.weight)

    def add_to(self, x: Float[Tensor, "... d"], norm: nn.LayerNorm) -> Float[Tensor, "... d"]:
        """Tokens plus the MLP of the normalized tokens: `x`, changed in place."""
        tokens = x.flatten(0, -2)
        for chunk in tokens.split(chunk_size(tokens, len(tokens))):
            hidden = linear(norm(chunk), self.fc1.weight, self.fc1.bias, gelu=True)
            add_linear(chunk, hidden, self.fc2.weight, self.fc2.bias)
        return x


class FoldedStep(nn.Module):
    """An attention step as one linear layer of normalized tokens, attention, and one output layer."""

    def __init__(self, step: Step) -> None:
        super().__init__()
        attention = step.attention
        self.num_heads = attention.num_heads
        self.norm = _without_affine(step.norm)
        weight, bias = _after_norm(attention.qkv, step.norm)
        query_bias, _, value_bias = bias.chunk(3)
        dim = len(query_bias)
        scale = (dim // self.num_heads) ** -0.5
        weight, query_bias = torch.cat([weight[:dim] * scale, weight[dim:]]), query_bias * scale
        self.qkv = nn.Parameter(weight.to(attention.qkv.weight), requires_grad=False)
        self.query_bias = nn.Parameter(query_bias.to(attention.qkv.weight), requires_grad=False)
        out, out_bias = attention.proj.weight.double(), attention.proj.bias.double()
        out_bias = out @ value_bias + out_bias
        if isinstance(step.fc, nn.Linear):
            out, out_bias = step.fc.weight.double() @ out, step.fc.weight.double() @ out_bias + step.fc.bias.double()
        self.out = linear_from(out, out_bias, like=attention.proj.weight)

    def pack(self) -> None:
        """See `FastTimeSformer.pack`."""
        self.qkv, self.out.weight = packed(self.qkv), packed(self.out.weight)

    def forward(self, x: Float[Tensor, "b n d"], mask: Bool[Tensor, "n n"] | None = None) -> Float[Tensor, "b n d"]:
        """See `Step.forward`."""
        return linear(self.attend(x, dim=1, mask=mask), self.out.weight, self.out.bias)

    def first(self, x: Float[Tensor, "b n d"], mask: Bool[Tensor, "n n"] | None = None) -> Float[Tensor, "b 1 d"]:
        """See `Step.first`."""
        return self.output_of(self.seen_by_first(x, mask))[:, None]

    def attend(
        self, x: Float[Tensor, "i j d"], *, dim: int, mask: Bool[Tensor, "n n"] | None = None
    ) -> Float[Tensor, "i j d"]:
        """Attention before the output layer, in sequences along one of the first two dimensions."""
        qkv = linear(self.norm(x), self.qkv, self.query_bias)
        q, k, v = (tensor.movedim(dim, -2) for tensor in qkv.unflatten(-1, (3, self.num_heads, -1)).unbind(2))
        return attend_heads(q, k, v, mask=mask, scale=1.0).movedim(-2, dim).flatten(2)

    def seen_by_first(
        self, x: Float[Tensor, "b n d"], mask: Bool[Tensor, "n n"] | None = None
    ) -> Float[Tensor, "b heads d"]:
        """Per head, the sum of normalized tokens weighted by the attention of the first token."""
        normal = self.norm(x)
        to_query, to_key, _ = self.qkv.chunk(3)
        query = linear(normal[:, 0], to_query, self.query_bias).unflatten(1, (self.num_heads, -1))
        to_key = to_key.unflatten(0, (self.num_heads, -1))
        return first_attention(query, to_key, normal, None if mask is None else mask[0], scale=1.0) @ normal

    def add_output(self, x: Float[Tensor, "i j d"], attended: Float[Tensor, "i j d"]) -> None:
        """Add the output of the step to `x` in place."""
        add_linear(x, attended, self.out.weight, self.out.bias)

    def output_of(self, seen: Float[Tensor, "b heads d"]) -> Float[Tensor, "b d"]:
        """The output for a token, from the weighted sum of normalized tokens of each head."""
        to_value = self.qkv.chunk(3)[2].unflatten(0, (self.num_heads, -1))
        return self.out(einsum(seen, to_value, "b heads d, heads c d -> b heads c").flatten(1))


def _without_affine(norm: nn.LayerNorm) -> nn.LayerNorm:
    """A norm with a scale of one and a shift of zero; without them torch is several times slower on a CPU."""
    plain = nn.LayerNorm(list(norm.normalized_shape), eps=norm.eps, dtype=norm.weight.dtype, device=norm.weight.device)
    return plain.requires_grad_(False)


def _after_norm(linear: nn.Linear, norm: nn.LayerNorm) -> tuple[Float[Tensor, "k d"], Float[Tensor, " k"]]:
    """Float64 weight and bias that compute `linear(norm(x))` from `x` normalized without scale and shift."""
    weight = linear.weight.double()
    bias = weight @ norm.bias.double()
    return weight * norm.weight.double(), bias if linear.bias is None else bias + linear.bias.double()


def linear_from(weight: Float[Tensor, "k d"], bias: Float[Tensor, " k"], *, like: Tensor) -> nn.Linear:
    """A linear layer with the given float64 weights, in the precision of `like`."""
    outputs, inputs = weight.shape
    linear = nn.Linear(inputs, outputs, device="meta", dtype=like.dtype)
    linear.weight = nn.Parameter(weight.to(like.dtype), requires_grad=False)
    linear.bias = nn.Parameter(bias.to(like.dtype), requires_grad=False)
    return linear


def chunk_size(x: Tensor, count: int) -> int:
    """Sequences or single tokens in a chunk, of `count` that `x` holds: cache-sized on a CPU, all of them on a GPU."""
    num_tokens = x.numel() // max(x.shape[-1], 1)
    if x.device.type != "cpu" or not num_tokens:
        return max(count, 1)
    return equal_chunks(count, about=max(CHUNK_TOKENS * count // num_tokens, 1))


@torch.no_grad()
def folded_head(model: TimeSformer) -> tuple[Float[Tensor, "k d"], Float[Tensor, " k"]]:
    """Weight and bias of the head with its norm folded in: the linear map from `features` to logits in eval mode.

    Folded in float64, returned in the precision of the head.
    """
    norm, weight, bias = model.head_norm, model.head.weight, model.head.bias
    if not isinstance(norm, BatchStandardization):
        return weight, bias
    assert norm.running_mean is not None  # both are tracked
    assert norm.running_var is not None
    return fold_standardization(weight, bias, mean=norm.running_mean, variance=norm.running_var, eps=norm.eps)


def fold_standardization(
    weight: Float[Tensor, "k d"],
    bias: Float[Tensor, " k"],
    *,
    mean: Float[Tensor, " d"],
    variance: Float[Tensor, " d"],
    eps: float = 1e-5,
) -> tuple[Float[Tensor, "k d"], Float[Tensor, " k"]]:
    """Weight and bias that compute from raw features what `weight` and `bias` compute from standardized ones."""
    folded = weight.double() * (variance.double() + eps).rsqrt()
    return folded.to(weight.dtype), (bias.double() - folded @ mean.double()).to(bias.dtype)
