"""Fast inference: the logits of a trained `TimeSformer`, up to rounding, with less work.

* Consecutive linear layers are merged. The affine part of a norm is folded into the layer after it, `fc` into the
  projection before it; products are computed in float64 and stored in the precision of the weights.
* Biases without effect are dropped. A bias of the keys shifts all scores of a query alike, which softmax undoes. A
  bias of the values passes through attention unchanged, since weights sum to one, and moves into the output's bias.
* The last block computes the class token alone. Its one query is compared with the normalized tokens directly,
  `q · (K n) = (Kᵀ q) · n`, and their weighted sum is projected, so that neither keys nor values exist.
* Biases are added in place after a product; torch's `linear` first copies them over the whole result.
* Divided attention and its reverse use the frame layout (`FrameLayout`), where nothing is copied between steps. Other
  schemes use their regroups.
* Long clips are computed in chunks; only the tokens themselves exist in full.
"""

from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import ClassVar, NamedTuple, cast

import torch
import torch.nn.functional as F
from einops import einsum, rearrange, reduce, repeat
from jaxtyping import Bool, Float
from torch import Tensor, nn

from timesformer.errors import ConfigError
from timesformer.model import kernels
from timesformer.model.attention import first_attention
from timesformer.model.block import Block, Step
from timesformer.model.layers import MLP
from timesformer.model.schemes import REGROUPS, Grid, Regroup, Scheme, Stage
from timesformer.model.standardization import BatchStandardization
from timesformer.model.timesformer import TimeSformer, class_token

_ROWS = 2048
"""Tokens per chunk of a linear layer: enough for full speed, few enough to stay in the cache."""


class FastTimeSformer(nn.Module):
    """The logits of a `TimeSformer` in eval mode, up to rounding, faster and in less memory; it cannot be trained.

    It owns its weights: later changes to the model do not affect it.

    Args:
        model: The source of weights, config and info.

    Raises:
        ConfigError: The model has hooks, which would not run.
    """

    def __init__(self, model: TimeSformer) -> None:
        super().__init__()
        if kernels.has_hooks(model):
            raise ConfigError("a model with hooks cannot be folded: they would not run")
        self.config, self.info, self.scheme = model.config, model.info, model.scheme
        self.load_report = getattr(model, "load_report", None)
        self.embedding = deepcopy(model.embedding)
        self.blocks = nn.ModuleList([folded_block(cast(Block, block)) for block in model.blocks])
        self.norm = deepcopy(model.norm)
        weight, bias = folded_head(model)
        self.head = _linear(weight.double(), bias.double(), like=model.head.weight)
        self.eval().requires_grad_(False)

    @torch.no_grad()
    def forward(self, clips: Float[Tensor, "b c t height width"]) -> Float[Tensor, "b k"]:
        """Logits of the clips, one per class. For arguments and errors see `TimeSformer.features`."""
        return self.classify(self.features(clips))

    @torch.no_grad()
    def classify(self, features: Float[Tensor, "b d"]) -> Float[Tensor, "b k"]:
        """Logits of what `features` returned."""
        return self.head(features)

    @torch.no_grad()
    def features(self, clips: Float[Tensor, "b c t height width"]) -> Float[Tensor, "b d"]:
        """The class token after the last norm. See `TimeSformer.features`."""
        *blocks, last = cast(list[Block], list(self.blocks))
        if FrameLayout.fits(self.scheme):
            embedding = partial(FrameLayout.embed, self.embedding)
            functions = [*(FrameLayout(block).all_tokens for block in blocks), FrameLayout(last).cls]
        else:
            embedding, functions = self.embedding, [*blocks, last.cls]
        cls = class_token(clips, embedding=embedding, per_frame=self.scheme.per_frame, blocks=functions)
        return self.norm(cls)


def layout_of(scheme: Scheme) -> str:
    """The memory layout of a scheme's tokens in fast inference, for people."""
    if FrameLayout.fits(scheme):
        return "frames: every step works in place"
    return "sequences: every step copies its tokens into sequences and back"


# --- Modules of a folded block --------------------------------------------------------------------------------------


def folded_block(block: Block) -> Block:
    """The eval-mode function of a block, with its steps and its MLP folded."""
    steps = {name: FoldedStep(cast(Step, step)) for name, step in block.steps.items()}
    norm, mlp = cast(nn.LayerNorm, block.mlp_norm), cast(MLP, block.mlp)
    return Block(block.scheme, steps=steps, mlp_norm=_without_affine(norm), mlp=FoldedMLP(mlp, norm))


class FoldedMLP(nn.Module):
    """The MLP of a block, with the affine part of its norm folded in."""

    def __init__(self, mlp: MLP, norm: nn.LayerNorm) -> None:
        super().__init__()
        self.fc1 = _linear(*_after_norm(mlp.fc1, norm), like=mlp.fc1.weight)
        self.fc2 = _linear(mlp.fc2.weight.double(), mlp.fc2.bias.double(), like=mlp.fc2.weight)

    def add_to(self, x: Float[Tensor, "... d"], norm: nn.LayerNorm) -> Float[Tensor, "... d"]:
        """Tokens plus the MLP of the normalized tokens: `x`, changed in place."""
        for chunk in x.flatten(0, -2).split(_ROWS):
            hidden = F.linear(norm(chunk), self.fc1.weight).add_(self.fc1.bias)
            _add_linear(chunk, torch.ops.aten.gelu_(hidden), self.fc2)
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
        self.qkv = nn.Parameter(weight.to(attention.qkv.weight), requires_grad=False)
        self.query_bias = nn.Parameter(query_bias.to(attention.qkv.weight), requires_grad=False)
        out, out_bias = attention.proj.weight.double(), attention.proj.bias.double()
        out_bias = out @ value_bias + out_bias
        if isinstance(step.fc, nn.Linear):
            out, out_bias = step.fc.weight.double() @ out, step.fc.weight.double() @ out_bias + step.fc.bias.double()
        self.out = _linear(out, out_bias, like=attention.proj.weight)

    def forward(self, x: Float[Tensor, "b n d"], mask: Bool[Tensor, "n n"] | None = None) -> Float[Tensor, "b n d"]:
        """See `Step.forward`."""
        return self.out(self.attend(x, dim=1, mask=mask))

    def first(self, x: Float[Tensor, "b n d"], mask: Bool[Tensor, "n n"] | None = None) -> Float[Tensor, "b 1 d"]:
        """See `Step.first`."""
        return self.output_of(self.seen_by_first(x, mask))[:, None]

    def attend(
        self, x: Float[Tensor, "i j d"], *, dim: int, mask: Bool[Tensor, "n n"] | None = None
    ) -> Float[Tensor, "i j d"]:
        """Attention before the output layer, in sequences along one of the first two dimensions."""
        normal = self.norm(x)
        qkv = F.linear(normal, self.qkv)
        qkv[..., : x.shape[-1]] += self.query_bias
        q, k, v = (tensor.movedim(dim, -2) for tensor in qkv.unflatten(-1, (3, self.num_heads, -1)).unbind(2))
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return y.movedim(-2, dim).flatten(2)

    def seen_by_first(
        self, x: Float[Tensor, "b n d"], mask: Bool[Tensor, "n n"] | None = None
    ) -> Float[Tensor, "b heads d"]:
        """Per head, the sum of normalized tokens weighted by the attention of the first token."""
        normal = self.norm(x)
        to_query, to_key, _ = self.qkv.chunk(3)
        query = F.linear(normal[:, 0], to_query, self.query_bias).unflatten(1, (self.num_heads, -1))
        to_key = to_key.unflatten(0, (self.num_heads, -1))
        return first_attention(query, to_key, normal, None if mask is None else mask[0]) @ normal

    def output_of(self, seen: Float[Tensor, "b heads d"]) -> Float[Tensor, "b d"]:
        """The output for a token, from the weighted sum of normalized tokens of each head."""
        to_value = self.qkv.chunk(3)[2].unflatten(0, (self.num_heads, -1))
        return self.out(einsum(seen, to_value, "b heads d, heads c d -> b heads c").flatten(1))


def _add_linear(x: Float[Tensor, "... d"], y: Float[Tensor, "... k"], linear: nn.Linear) -> None:
    """Add `linear(y)` to `x` in place; in the matrix product itself if `x` is contiguous."""
    if x.is_contiguous():
        x.view(-1, x.shape[-1]).addmm_(y.flatten(0, -2), linear.weight.mT).add_(linear.bias)
    else:
        x.add_(F.linear(y, linear.weight)).add_(linear.bias)


# --- Frame layout ---------------------------------------------------------------------------------------------------


def _add_over_time(step: FoldedStep, x: Float[Tensor, "t b n d"]) -> None:
    """Add the outputs of the sequences over time; the class token of each frame does not change."""
    cls = x[0, :, 0].clone()
    for chunk in x.flatten(1, 2).split(max(_ROWS // len(x), 1), dim=1):
        _add_linear(chunk, step.attend(chunk, dim=0), step.out)
    x[:, :, 0] = cls


def _add_over_space(step: FoldedStep, x: Float[Tensor, "t b n d"]) -> None:
    """Add the outputs of the sequences within a frame; those of the class token are averaged over frames."""
    for chunk in _chunks_of_frames(x):
        _add_linear(chunk, step.attend(chunk, dim=1), step.out)
    x[:, :, 0] = x[:, :, 0].mean(dim=0)


def _cls_over_space(step: FoldedStep, x: Float[Tensor, "t b n d"]) -> Float[Tensor, "b d"]:
    """The output that `_add_over_space` adds to the class token."""
    seen = torch.cat([step.seen_by_first(chunk) for chunk in _chunks_of_frames(x)])
    return step.output_of(reduce(seen, "(t b) h d -> b h d", "mean", t=len(x)))


def _chunks_of_frames(x: Float[Tensor, "t b n d"]) -> tuple[Float[Tensor, "f n d"], ...]:
    return x.flatten(0, 1).split(max(_ROWS // x.shape[2], 1))


class InPlace(NamedTuple):
    """A regroup on tokens in the frame layout."""

    add: Callable[[FoldedStep, Tensor], None]
    """Adds the outputs to all tokens, in place."""
    cls: Callable[[FoldedStep, Tensor], Tensor] | None
    """The output for the class token alone; None if the regroup leaves it out."""


@dataclass(frozen=True)
class FrameLayout:
    """A folded block on tokens `[t, b, 1 + h·w, d]`, the class token once in each frame, changed in place.

    The sequences over time and those within a frame are both strided views, which fused attention reads without a copy,
    and every linear layer sees one matrix. A scheme has this layout if each of its stages is one of `STEPS`.
    """

    STEPS: ClassVar[Mapping[Regroup, InPlace]] = MappingProxyType(
        {
            REGROUPS["time"]: InPlace(_add_over_time, None),
            REGROUPS["space"]: InPlace(_add_over_space, _cls_over_space),
        }
    )

    block: Block

    @classmethod
    def fits(cls, scheme: Scheme) -> bool:
        """Whether a scheme has this layout."""
        is_known = all(len(stage) == 1 and set(stage.values()) <= set(cls.STEPS) for stage in scheme.stages)
        return is_known and not scheme.per_frame

    @staticmethod
    def embed(
        embedding: nn.Module, clips: Float[Tensor, "b c t height width"]
    ) -> tuple[Float[Tensor, "t b n d"], Grid]:
        """Tokens of the clips in this layout."""
        tokens, grid = embedding(clips)
        cls = repeat(tokens[:, :1], "b 1 d -> t b 1 d", t=grid.t)
        return torch.cat([cls, rearrange(tokens[:, 1:], "b (t n) d -> t b n d", t=grid.t)], dim=2), grid

    def all_tokens(self, x: Float[Tensor, "t b n d"], grid: Grid) -> Float[Tensor, "t b n d"]:
        """See `Block.forward`; changes `x`."""
        for stage in self.block.scheme.stages:
            self._add(stage, x)
        return self.block.add_mlp(x)

    def cls(self, x: Float[Tensor, "t b n d"], grid: Grid) -> Float[Tensor, "b 1 d"]:
        """See `Block.cls`; changes `x`."""
        stages = self.block.scheme.stages_to_cls
        for stage in stages[:-1]:
            self._add(stage, x)
        cls = x[0, :, :1].clone()
        for stage in stages[-1:]:
            for name, regroup in stage.items():
                output = self.STEPS[regroup].cls
                if output is not None:
                    cls += output(self._step(name), x)[:, None]
        return self.block.add_mlp(cls)

    def _add(self, stage: Stage, x: Float[Tensor, "t b n d"]) -> None:
        for name, regroup in stage.items():
            self.STEPS[regroup].add(self._step(name), x)

    def _step(self, name: str) -> FoldedStep:
        return cast(FoldedStep, self.block.steps[name])


# --- Folding --------------------------------------------------------------------------------------------------------


def _without_affine(norm: nn.LayerNorm) -> nn.LayerNorm:
    """A norm with a scale of one and a shift of zero; without them torch is several times slower on a CPU."""
    plain = nn.LayerNorm(list(norm.normalized_shape), eps=norm.eps, dtype=norm.weight.dtype, device=norm.weight.device)
    return plain.requires_grad_(False)


def _after_norm(linear: nn.Linear, norm: nn.LayerNorm) -> tuple[Float[Tensor, "k d"], Float[Tensor, " k"]]:
    """Float64 weight and bias that compute `linear(norm(x))` from `x` normalized without scale and shift."""
    weight = linear.weight.double()
    bias = weight @ norm.bias.double()
    return weight * norm.weight.double(), bias if linear.bias is None else bias + linear.bias.double()


def _linear(weight: Float[Tensor, "k d"], bias: Float[Tensor, " k"], *, like: Tensor) -> nn.Linear:
    """A linear layer with the given float64 weights, in the precision of `like`."""
    outputs, inputs = weight.shape
    linear = nn.Linear(inputs, outputs, device="meta", dtype=like.dtype)
    linear.weight = nn.Parameter(weight.to(like.dtype), requires_grad=False)
    linear.bias = nn.Parameter(bias.to(like.dtype), requires_grad=False)
    return linear


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
