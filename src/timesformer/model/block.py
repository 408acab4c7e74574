"""A block: the attention steps of a scheme, stage by stage, then an MLP."""

from collections.abc import Mapping
from functools import reduce
from operator import add
from typing import cast

from jaxtyping import Bool, Float
from torch import Tensor, nn

from timesformer.config.schema import ModelConfig
from timesformer.model import fused
from timesformer.model.layers import MLP, Attention, DropPath
from timesformer.model.schemes import Grid, Scheme, Stage


class Step(nn.Module):
    """One attention step of a scheme: norm, attention within each sequence and, unless it is the image step, `fc`.

    Stochastic depth comes before `fc`, so that a dropped step still adds the bias of `fc`, as released.
    """

    def __init__(self, config: ModelConfig, *, drop_path: float, has_fc: bool) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(config.embed_dim, eps=config.norm_eps)
        self.attention = Attention(config)
        self.drop_path = DropPath(drop_path)
        self.fc = nn.Linear(config.embed_dim, config.embed_dim) if has_fc else nn.Identity()

    def forward(self, x: Float[Tensor, "b n d"], mask: Bool[Tensor, "n n"] | None = None) -> Float[Tensor, "b n d"]:
        """The output for every token of its sequences."""
        if fused.applies_to(self):
            return fused.all_tokens(self, x, mask)
        return self.fc(self.drop_path(self.attention(self.norm(x), mask)))

    def first(self, x: Float[Tensor, "b n d"], mask: Bool[Tensor, "n n"] | None = None) -> Float[Tensor, "b 1 d"]:
        """The output for the first token of each sequence, computed for it alone."""
        return fused.first_token(self, x, mask)


class Block(nn.Module):
    """The stages of a scheme, each adding the outputs of its steps to the tokens that they read; then the MLP.

    Learned, folded and exported models share this class. They differ in the modules of their steps and MLPs.

    Args:
        scheme: The scheme whose stages to compute.
        steps: A module for each step of the scheme, with `forward` and `first` as in `Step`.
        mlp_norm: The norm before the MLP, separate from it as in released weights.
        mlp: A module with `add_to` as in `MLP`; it may change the tokens in place.

    Source: Bertasius et al. 2021, equations 8 to 13; released code for the position of `fc` and of stochastic depth.
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
        """The class token after the stages and the MLP; its last stage and the MLP are computed for it alone."""
        stages = self.scheme.stages_to_cls
        for stage in stages[:-1]:
            x = self._add_stage(stage, x, grid)
        cls = x[:, :1]
        for stage in stages[-1:]:
            steps = {name: cast(Step, self.steps[name]) for name in stage}
            cls = cls + reduce(add, [regroup.cls(x, grid, steps[name].first) for name, regroup in stage.items()])
        return self.add_mlp(cls)

    def add_mlp(self, x: Float[Tensor, "... d"]) -> Float[Tensor, "... d"]:
        """Tokens plus their MLP."""
        return cast(MLP, self.mlp).add_to(x, cast(nn.LayerNorm, self.mlp_norm))

    def updates(self, stage: Stage, x: Float[Tensor, "b n d"], grid: Grid) -> dict[str, Float[Tensor, "b n d"]]:
        """What each step of a stage adds to the tokens."""
        return {name: regroup(x, grid, self.steps[name]) for name, regroup in stage.items()}

    def _add_stage(self, stage: Stage, x: Float[Tensor, "b n d"], grid: Grid) -> Float[Tensor, "b n d"]:
        return x + reduce(add, self.updates(stage, x, grid).values())


def learned_block(config: ModelConfig, scheme: Scheme, *, drop_path: float) -> Block:
    """A block to train, with its own rate of stochastic depth."""
    steps = {name: Step(config, drop_path=drop_path, has_fc=name != scheme.image_step) for name in scheme.steps}
    mlp_norm = nn.LayerNorm(config.embed_dim, eps=config.norm_eps)
    return Block(scheme, steps=steps, mlp_norm=mlp_norm, mlp=MLP(config, drop_path=drop_path))
