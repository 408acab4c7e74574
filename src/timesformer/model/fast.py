"""Exact fast inference: the function of a trained `TimeSformer`, with less work.

What is saved, and why the answer stays the same up to rounding:

* Consecutive linear maps are one. The affine part of a norm goes into the map after it, `fc` into the projection before
  it; products are taken in float64 and kept in the weights' own precision.
* Biases that cannot matter are gone. One of the keys shifts all scores of a query alike, which softmax undoes; one of
  the values comes out of attention as it went in, since weights sum to one, and moves into the output's bias.
* The last block computes what the classifier reads: the class token. It asks its one query of normalised tokens
  directly, `q · (K n) = (Kᵀ q) · n`, and sums those, so that no key and no value is built.
* Biases are added in place after a product: torch's own way copies them over the whole result before it.
* Nothing is copied between steps. Tokens lie as `[t, b, 1 + h·w, d]`, the class token once in each frame: then the
  sequences over time and those within a frame are both strided views, which fused attention reads in place, and every
  linear map sees one matrix.
* Long clips go through in parts, so that only the tokens themselves are ever whole.

Schemes whose steps are taken over time or within a frame, one after the other, have that layout; the others go through
their regroups, with all else above.
"""

from collections.abc import Callable
from copy import deepcopy
from typing import cast

import torch
import torch.nn.functional as F
from einops import einsum, rearrange, reduce, repeat
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from timesformer.config.schema import ModelConfig
from timesformer.errors import ConfigError
from timesformer.model.attention import Grid, Regroup, attend_from_one, over_space, over_time
from timesformer.model.block import Block, Step
from timesformer.model.embedding import fold_frames
from timesformer.model.timesformer import TimeSformer, folded_head

_ROWS = 2048
"""Tokens that go through a linear map at a time: enough for its full speed, few enough to stay in the cache."""


class FastTimeSformer(nn.Module):
    """The same logits as a `TimeSformer` in eval mode, to rounding, faster and in less memory; it cannot be trained.

    It holds weights of its own: changes of the model after it was made do not reach it.

    Args:
        model: The model to take the weights, the config and the info of.

    Raises:
        ConfigError: The model has hooks, which would not run.
    """

    def __init__(self, model: TimeSformer) -> None:
        super().__init__()
        if has_hooks(model):
            raise ConfigError("a model with hooks cannot be folded: they would not run")
        self.config, self.info, self.scheme = model.config, model.info, model.scheme
        self.load_report = getattr(model, "load_report", None)
        self.embedding = deepcopy(model.embedding)
        self.blocks = nn.ModuleList([FoldedBlock(cast(Block, block)) for block in model.blocks])
        self.norm = deepcopy(model.norm)
        weight, bias = folded_head(model)
        self.head = _linear(weight.double(), bias.double(), like=model.head.weight)
        self.eval().requires_grad_(False)

    @torch.no_grad()
    def forward(self, clips: Float[Tensor, "b c t height width"]) -> Float[Tensor, "b k"]:
        """Logits of the clips, one for each class; takes and raises what `TimeSformer.features` does."""
        return self.head(self.features(clips))

    @torch.no_grad()
    def features(self, clips: Float[Tensor, "b c t height width"]) -> Float[Tensor, "b d"]:
        """The class token after the last norm. See `TimeSformer.features`."""
        return self.norm(self._in_frames(clips) if self._is_framed else self._by_regroups(clips))

    @property
    def _is_framed(self) -> bool:
        """Whether each stage is one step that can be taken in place in that layout."""
        return all(len(stage) == 1 and set(stage.values()) <= set(IN_FRAMES) for stage in self.scheme.stages)

    def _in_frames(self, clips: Float[Tensor, "b c t height width"]) -> Float[Tensor, "b d"]:
        x = self._frames(clips)
        *blocks, last = self._blocks
        for block in blocks:
            block.in_frames(x)
        return last.last_in_frames(x)

    def _frames(self, clips: Float[Tensor, "b c t height width"]) -> Float[Tensor, "t b n d"]:
        """Tokens frame by frame, the class token first in each."""
        tokens, grid = self.embedding(clips)
        cls = repeat(tokens[:, :1], "b 1 d -> t b 1 d", t=grid.t)
        return torch.cat([cls, rearrange(tokens[:, 1:], "b (t n) d -> t b n d", t=grid.t)], dim=2)

    def _by_regroups(self, clips: Float[Tensor, "b c t height width"]) -> Float[Tensor, "b d"]:
        x, grid = self.embedding(clips)
        frames = grid.t if self.scheme.per_frame else 1
        if self.scheme.per_frame:
            x, grid = fold_frames(x, grid)
        *blocks, last = self._blocks
        for block in blocks:
            x = block(x, grid)
        return reduce(last.last(x, grid), "(b t) d -> b d", "mean", t=frames)

    @property
    def _blocks(self) -> "list[FoldedBlock]":
        return cast(list[FoldedBlock], list(self.blocks))


def multiply_accumulates(config: ModelConfig) -> int:
    """Multiply-accumulates of one clip on the fast path, head included, counted as the operations are sent."""
    with torch.device("meta"):
        model = FastTimeSformer(TimeSformer(config))
        clip = torch.empty(1, config.in_channels, config.num_frames, *config.image_size)
    with FlopCounterMode(display=False, custom_mapping={torch.ops.aten.addmm_: _product}) as counter:
        model(clip)
    return counter.get_total_flops() // 2


def _product(x: torch.Size, left: torch.Size, right: torch.Size, **_: object) -> int:
    """Operations of a product of matrices of these shapes, two for each multiply-accumulate."""
    return 2 * left[0] * left[1] * right[1]


def has_hooks(model: nn.Module) -> bool:
    """Whether something listens to the computation of a module or of one inside it, and would miss a faster one."""
    return any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


# --- Blocks ---------------------------------------------------------------------------------------------------------


class FoldedBlock(nn.Module):
    """A block in eval mode, with its steps and its MLP folded."""

    def __init__(self, block: Block) -> None:
        super().__init__()
        self.stages = block.stages
        steps = cast(dict[str, Step], dict(block.steps.items()))
        self.regroups = {name: step.regroup for name, step in steps.items()}
        self.reach_cls = frozenset(name for name, step in steps.items() if _reaches_cls(step.regroup))
        self.steps = nn.ModuleDict({name: FoldedStep(step) for name, step in steps.items()})
        self.mlp = FoldedMLP(block)

    def forward(self, x: Float[Tensor, "b n d"], grid: Grid) -> Float[Tensor, "b n d"]:
        """Tokens after the block, through the regroups; `x` may be changed."""
        for stage in self.stages:
            answers = [self.regroups[name](x, grid, self.steps[name]) for name in stage]
            x = sum(answers, start=x)
        return self.mlp(x)

    def last(self, x: Float[Tensor, "b n d"], grid: Grid) -> Float[Tensor, "b d"]:
        """The class token after the block, through the regroups."""
        return self.mlp(self.cls_before_mlp(x, grid))

    def cls_before_mlp(self, x: Float[Tensor, "b n d"], grid: Grid) -> Float[Tensor, "b d"]:
        """The class token after all stages, through the regroups."""
        stages = list(self.stages)
        while stages and self.reach_cls.isdisjoint(stages[-1]):
            stages.pop()  # its answer to the class token is zero
        for stage in stages[:-1]:
            x = sum((self.regroups[name](x, grid, self.steps[name]) for name in stage), start=x)
        cls = x[:, 0]
        for name in stages[-1] if stages else ():
            if name in self.reach_cls:
                cls = cls + self.regroups[name](x, grid, self._step(name).first)[:, 0]
        return cls

    def in_frames(self, x: Float[Tensor, "t b n d"]) -> None:
        """Change tokens in place to those after the block."""
        for name in self._names():
            IN_FRAMES[self.regroups[name]](self._step(name), x)
        self.mlp(x)

    def last_in_frames(self, x: Float[Tensor, "t b n d"]) -> Float[Tensor, "b d"]:
        """The class token after the block; `x` is changed."""
        names = self._names()
        while names and names[-1] not in self.reach_cls:
            names.pop()  # its answer to the class token is zero
        for name in names[:-1]:
            IN_FRAMES[self.regroups[name]](self._step(name), x)
        cls = x[0, :, 0].clone()
        for name in names[-1:]:
            cls += self._step(name).cls_of_frames(x)
        return self.mlp(cls)

    def _step(self, name: str) -> "FoldedStep":
        return cast(FoldedStep, self.steps[name])

    def _names(self) -> list[str]:
        return [name for stage in self.stages for name in stage]


def _reaches_cls(regroup: Regroup) -> bool:
    """Whether a step changes the class token: asked of its regroup, with a one as every answer."""
    with torch.device("cpu"):
        ones = regroup(torch.zeros(1, 2, 1), Grid(1, 1, 1), lambda x, mask=None: torch.ones_like(x))
        return bool(ones[0, 0, 0])


class FoldedMLP(nn.Module):
    """Norm and MLP of a block, and the sum with what they read."""

    def __init__(self, block: Block) -> None:
        super().__init__()
        self.norm = _without_affine(block.mlp_norm)
        self.fc1 = _linear(*_after_norm(block.mlp.fc1, block.mlp_norm), like=block.mlp.fc1.weight)
        fc2 = block.mlp.fc2
        self.fc2 = _linear(fc2.weight.double(), fc2.bias.double(), like=fc2.weight)

    def forward(self, x: Float[Tensor, "... d"]) -> Float[Tensor, "... d"]:
        """`x`, changed in place."""
        for part in x.flatten(0, -2).split(_ROWS):
            hidden = F.linear(self.norm(part), self.fc1.weight).add_(self.fc1.bias)
            _add_linear(part, torch.ops.aten.gelu_(hidden), self.fc2)
        return x


class FoldedStep(nn.Module):
    """One attention step: queries, keys and values of normalised tokens, attention, and one map of its answer."""

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
        """What `Step.attend` answers to sequences."""
        return self.out(self._attend(x, along=1, mask=mask))

    def over_time(self, x: Float[Tensor, "t b n d"]) -> None:
        """Add the answers to the sequences over time, in place; the class token of each frame stays as it is."""
        cls = x[0, :, 0].clone()
        places = x.flatten(1, 2)
        for part in places.split(max(_ROWS // len(x), 1), dim=1):
            _add_linear(part, self._attend(part, along=0), self.out)
        x[:, :, 0] = cls

    def over_space(self, x: Float[Tensor, "t b n d"]) -> None:
        """Add the answers to the sequences within a frame, in place; the class token's are averaged over frames."""
        for part in self._frames(x):
            _add_linear(part, self._attend(part, along=1), self.out)
        x[:, :, 0] = x[:, :, 0].mean(dim=0)

    def cls_of_frames(self, x: Float[Tensor, "t b n d"]) -> Float[Tensor, "b d"]:
        """What `over_space` adds to the class token."""
        seen = torch.cat([self._seen_by_first(part) for part in self._frames(x)])
        return self._value(reduce(seen, "(t b) h d -> b h d", "mean", t=len(x)))

    def first(self, x: Float[Tensor, "b n d"], mask: Bool[Tensor, "n n"] | None = None) -> Float[Tensor, "b n d"]:
        """As `forward` for the first token of each sequence, and zeros for the others."""
        answer = torch.zeros_like(x)
        answer[:, 0] = self._value(self._seen_by_first(x, mask))
        return answer

    def _frames(self, x: Float[Tensor, "t b n d"]) -> tuple[Float[Tensor, "f n d"], ...]:
        return x.flatten(0, 1).split(max(_ROWS // x.shape[2], 1))

    def _attend(
        self, x: Float[Tensor, "i j d"], *, along: int, mask: Bool[Tensor, "n n"] | None = None
    ) -> Float[Tensor, "i j d"]:
        """Attention of normalised tokens, before the last map, in sequences along one of two axes."""
        normal = self.norm(x)
        qkv = F.linear(normal, self.qkv)
        qkv[..., : x.shape[-1]] += self.query_bias
        q, k, v = (part.movedim(along, -2) for part in qkv.unflatten(-1, (3, self.num_heads, -1)).unbind(2))
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return y.movedim(-2, along).flatten(2)

    def _seen_by_first(
        self, x: Float[Tensor, "b n d"], mask: Bool[Tensor, "n n"] | None = None
    ) -> Float[Tensor, "b heads d"]:
        """The sum of normalised tokens that each head of the first token takes, weighted by its attention."""
        normal = self.norm(x)
        to_query, to_key, _ = self.qkv.chunk(3)
        query = F.linear(normal[:, 0], to_query, self.query_bias).unflatten(1, (self.num_heads, -1))
        to_key = to_key.unflatten(0, (self.num_heads, -1))
        return attend_from_one(query, to_key, normal, None if mask is None else mask[0]) @ normal

    def _value(self, seen: Float[Tensor, "b heads d"]) -> Float[Tensor, "b d"]:
        """The answer to a token from what it sees."""
        to_value = self.qkv.chunk(3)[2].unflatten(0, (self.num_heads, -1))
        return self.out(einsum(seen, to_value, "b heads d, heads c d -> b heads c").flatten(1))


IN_FRAMES: dict[Regroup, Callable[[FoldedStep, Tensor], None]] = {
    over_time: FoldedStep.over_time,
    over_space: FoldedStep.over_space,
}
"""The steps that can be taken in place on tokens `[t, b, 1 + h·w, d]`."""


def _add_linear(x: Float[Tensor, "... d"], y: Float[Tensor, "... k"], linear: nn.Linear) -> None:
    """Add a linear map of `y` to `x` in place: by the matrix product itself, where `x` is one matrix in memory."""
    if x.is_contiguous():
        x.view(-1, x.shape[-1]).addmm_(y.flatten(0, -2), linear.weight.mT).add_(linear.bias)
    else:
        x.add_(F.linear(y, linear.weight)).add_(linear.bias)


# --- Folding --------------------------------------------------------------------------------------------------------


def _without_affine(norm: nn.LayerNorm) -> nn.LayerNorm:
    """A norm that only standardises. It has a scale of one and a shift of zero all the same: on a CPU torch takes
    several times as long without any."""
    plain = nn.LayerNorm(list(norm.normalized_shape), eps=norm.eps, dtype=norm.weight.dtype, device=norm.weight.device)
    return plain.requires_grad_(False)


def _after_norm(linear: nn.Linear, norm: nn.LayerNorm) -> tuple[Float[Tensor, "k d"], Float[Tensor, " k"]]:
    """Weight and bias, in float64, of a map of what `norm` gives, taken of tokens that are only standardised."""
    weight = linear.weight.double()
    bias = weight @ norm.bias.double()
    return weight * norm.weight.double(), bias if linear.bias is None else bias + linear.bias.double()


def _linear(weight: Float[Tensor, "k d"], bias: Float[Tensor, " k"], *, like: Tensor) -> nn.Linear:
    """A linear map of given float64 numbers, in the precision of another one."""
    outputs, inputs = weight.shape
    linear = nn.Linear(inputs, outputs, device="meta", dtype=like.dtype)
    linear.weight = nn.Parameter(weight.to(like.dtype), requires_grad=False)
    linear.bias = nn.Parameter(bias.to(like.dtype), requires_grad=False)
    return linear
