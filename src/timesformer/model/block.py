"""A block: the attention steps of a scheme, then an MLP, each added to what it read."""

from collections.abc import Mapping
from typing import Protocol, cast, runtime_checkable

from jaxtyping import Bool, Float
from torch import Tensor, nn

from timesformer.config.schema import ModelConfig
from timesformer.model import kernels
from timesformer.model.layers import MLP, Attention, DropPath
from timesformer.model.schemes import Grid, Scheme, Stage


class Step(nn.Module):
    """One attention step of a scheme on its sequences: norm, attention and, unless it is the image step, `fc`."""

    def __init__(self, config: ModelConfig, *, drop_path: float, has_fc: bool) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(config.embed_dim, eps=config.norm_eps)
        self.attention = Attention(
            config.embed_dim,
            num_heads=config.num_heads,
            qkv_bias=config.qkv_bias,
            attention_dropout=config.attention_dropout,
            dropout=config.dropout,
        )
        self.drop_path = DropPath(drop_path)
        self.fc = nn.Linear(config.embed_dim, config.embed_dim) if has_fc else nn.Identity()

    @property
    def is_fused(self) -> bool:
        """Whether this step is computed by `timesformer.model.kernels` now."""
        attention = self.attention
        replaced = (self.norm, attention.qkv, attention.proj, attention.dropout, self.fc)
        return type(attention) is Attention and kernels.can_fuse(self, replacing=replaced)

    def forward(self, x: Float[Tensor, "b n d"], mask: Bool[Tensor, "n n"] | None = None) -> Float[Tensor, "b n d"]:
        """What this step adds to every token of its sequences; `fc` keeps its bias in a dropped path, as released."""
        if not self.is_fused:
            return self.fc(self.drop_path(self.attention(self.norm(x), mask)))
        attention = self.attention
        q, k, v = kernels.norm_linear(x, self.norm, attention.qkv, parts=3)
        y = kernels.attention(q, k, v, num_heads=attention.num_heads, mask=mask, dropout_p=attention.dropout_p)
        return self._project(y)

    def first(self, x: Float[Tensor, "b n d"], mask: Bool[Tensor, "n n"] | None = None) -> Float[Tensor, "b 1 d"]:
        """What this step adds to the first token of each sequence, computed for it alone."""
        attention = self.attention
        y = kernels.attention_from_first(
            self.norm(x), attention.qkv, num_heads=attention.num_heads, mask=mask, dropout_p=attention.dropout_p
        )
        return self._project(y)

    def _project(self, y: Float[Tensor, "b m d"]) -> Float[Tensor, "b m d"]:
        """Output projection, drop path and `fc`; projection and `fc` are merged unless dropout lies between them."""
        proj, dropout = self.attention.proj, self.attention.dropout
        if isinstance(self.fc, nn.Identity) or dropout.p:
            return self.fc(self.drop_path(dropout(proj(y))))
        if not self.drop_path.rate:
            return kernels.merged_linear(y, proj, self.fc)
        return self.drop_path(kernels.merged_linear(y, proj, self.fc, has_bias=False)) + self.fc.bias


@runtime_checkable
class StepLike(Protocol):
    """What a block needs of a step, however it computes."""

    def __call__(self, x: Float[Tensor, "b n d"], mask: Bool[Tensor, "n n"] | None = None) -> Float[Tensor, "b n d"]:
        """What the step adds to every token of its sequences."""
        ...

    def first(self, x: Float[Tensor, "b n d"], mask: Bool[Tensor, "n n"] | None = None) -> Float[Tensor, "b 1 d"]:
        """What the step adds to the first token of each sequence."""
        ...


@runtime_checkable
class MLPLike(Protocol):
    """What a block needs of its MLP, however it computes."""

    def add_to(self, x: Float[Tensor, "b n d"], norm: nn.LayerNorm) -> Float[Tensor, "b n d"]:
        """Tokens plus the MLP of the normalized tokens; may change `x`."""
        ...


class Block(nn.Module):
    """The steps of a scheme and an MLP, with residual connections and norms before each.

    This is the wiring of every kind of block: learned, folded, exported. They differ in the steps and the MLP alone.

    Args:
        scheme: The scheme whose stages to compute.
        steps: A module for each step of the scheme: a `StepLike`.
        mlp_norm: The norm before the MLP, which has a name of its own in released weights.
        mlp: A module: an `MLPLike`.

    Source: Bertasius et al. 2021, equations 8 to 13; released code for the place of `fc` and of stochastic depth.
    """

    def __init__(self, scheme: Scheme, *, steps: Mapping[str, nn.Module], mlp_norm: nn.Module, mlp: nn.Module) -> None:
        super().__init__()
        self.scheme = scheme
        self.steps = nn.ModuleDict(dict(steps))
        self.mlp_norm = mlp_norm
        self.mlp = mlp

    def forward(self, x: Float[Tensor, "b n d"], grid: Grid) -> Float[Tensor, "b n d"]:
        """All tokens after the stages and the MLP."""
        for stage in self.scheme.stages:
            x = self._add_stage(stage, x, grid)
        return self.add_mlp(x)

    def cls(self, x: Float[Tensor, "b n d"], grid: Grid) -> Float[Tensor, "b 1 d"]:
        """The class token after the stages and the MLP, computed for it alone where no other token needs it."""
        stages = self.scheme.stages_to_cls
        for stage in stages[:-1]:
            x = self._add_stage(stage, x, grid)
        cls = x[:, :1]
        for stage in stages[-1:]:
            cls = cls + _total([regroup.cls(x, grid, self._step(name).first) for name, regroup in stage.items()])
        return self.add_mlp(cls)

    def add_mlp(self, x: Float[Tensor, "... d"]) -> Float[Tensor, "... d"]:
        """Tokens plus their MLP."""
        return cast(MLPLike, self.mlp).add_to(x, cast(nn.LayerNorm, self.mlp_norm))

    def _add_stage(self, stage: Stage, x: Float[Tensor, "b n d"], grid: Grid) -> Float[Tensor, "b n d"]:
        return x + _total([regroup(x, grid, self._step(name)) for name, regroup in stage.items()])

    def _step(self, name: str) -> StepLike:
        return cast(StepLike, self.steps[name])


def learned_block(config: ModelConfig, scheme: Scheme, *, drop_path: float) -> Block:
    """A block to be trained, with a stochastic depth rate of its own."""
    steps = {name: Step(config, drop_path=drop_path, has_fc=name != scheme.image_step) for name in scheme.steps}
    mlp_norm = nn.LayerNorm(config.embed_dim, eps=config.norm_eps)
    return Block(scheme, steps=steps, mlp_norm=mlp_norm, mlp=MLP(config, drop_path=drop_path))


def _total(outputs: list[Tensor]) -> Tensor:
    return sum(outputs[1:], start=outputs[0])
