"""A block: the attention steps of a scheme, then an MLP, each added to what it read."""

from typing import cast

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from timesformer.config.schema import ModelConfig
from timesformer.model import lean
from timesformer.model.attention import Attention, Grid, Regroup, Scheme


class DropPath(nn.Module):
    """Stochastic depth: in training, zero a whole row of the batch at a rate, and scale up the rest.

    A row is whatever the step made one: a place in time attention, a frame in spatial attention, a clip in the MLP.

    Source: released code; Huang et al. 2016, "Deep Networks with Stochastic Depth".
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Float[Tensor, "b n d"]) -> Float[Tensor, "b n d"]:
        """Rows kept as they are or zeroed; all kept in eval mode."""
        if not self.training or self.rate == 0:
            return x
        keep = torch.empty(x.shape[0], 1, 1, device=x.device, dtype=x.dtype).bernoulli_(1 - self.rate)
        return x * keep / (1 - self.rate)


class Step(nn.Module):
    """One attention step of a scheme: norm, attention and, unless it is the image step, `fc`, on regrouped tokens."""

    def __init__(self, config: ModelConfig, *, regroup: Regroup, drop_path: float, has_fc: bool) -> None:
        super().__init__()
        self.regroup = regroup
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
    def is_lean(self) -> bool:
        """Whether this step is computed by `timesformer.model.lean` now."""
        attention = self.attention
        parts = (self.norm, attention.qkv, attention.proj, attention.dropout, self.fc)
        return type(attention) is Attention and lean.applies_to(self, replacing=parts)

    def attend(self, x: Float[Tensor, "b n d"], mask: Bool[Tensor, "n n"] | None = None) -> Float[Tensor, "b n d"]:
        """Answer to sequences. A dropped path still adds the bias of `fc`, as released."""
        if self.is_lean:
            q, k, v = lean.norm_linear(x, self.norm, self.attention.qkv, parts=3)
            return self._project(self.attention.mix(q, k, v, mask))
        return self.fc(self.drop_path(self.attention(self.norm(x), mask)))

    def attend_first(
        self, x: Float[Tensor, "b n d"], mask: Bool[Tensor, "n n"] | None = None
    ) -> Float[Tensor, "b n d"]:
        """Answer to the first token of each sequence, computed for it alone, and zeros for the others."""
        answer = self._project(self.attention.mix_first(self.norm(x), mask))
        return F.pad(answer, (0, 0, 0, x.shape[1] - 1))

    def _project(self, x: Float[Tensor, "b m d"]) -> Float[Tensor, "b m d"]:
        """What follows the attention, with `fc` and the projection as one map where nothing random is between them."""
        proj, dropout = self.attention.proj, self.attention.dropout
        if isinstance(self.fc, nn.Identity) or dropout.p:
            return self.fc(self.drop_path(dropout(proj(x))))
        if not self.drop_path.rate:
            return lean.merged_linear(x, proj, self.fc)
        return self.drop_path(lean.merged_linear(x, proj, self.fc, has_bias=False)) + self.fc.bias

    def forward(self, x: Float[Tensor, "b n d"], grid: Grid) -> Float[Tensor, "b n d"]:
        """What this step adds to every token."""
        return self.regroup(x, grid, self.attend)

    def forward_cls(self, x: Float[Tensor, "b n d"], grid: Grid) -> Float[Tensor, "b 1 d"]:
        """What this step adds to the class token, computed leanly for it alone."""
        return self.regroup(x, grid, self.attend_first)[:, :1]


class MLP(nn.Module):
    """Two linear maps with an exact GELU between them."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.fc1 = nn.Linear(config.embed_dim, config.mlp_dim)
        self.activation = nn.GELU()
        self.fc2 = nn.Linear(config.mlp_dim, config.embed_dim)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Float[Tensor, "b n d"]) -> Float[Tensor, "b n d"]:
        """Map every token alone."""
        return self.dropout(self.fc2(self.dropout(self.activation(self.fc1(x)))))


class Block(nn.Module):
    """The steps of a scheme and an MLP, with residual connections and norms before each.

    Args:
        config: The model's configuration.
        scheme: The scheme whose steps to take.
        drop_path: Stochastic depth rate of this block.
        answers_cls: Whether nobody reads other tokens than the class token, which every step of the last stage reads.

    Source: Bertasius et al. 2021, equations 8 to 13; released code for the place of `fc` and of stochastic depth.
    """

    def __init__(self, config: ModelConfig, *, scheme: Scheme, drop_path: float, answers_cls: bool = False) -> None:
        super().__init__()
        self.answers_cls = answers_cls
        self.stages = [tuple(stage) for stage in scheme.stages]
        self.steps = nn.ModuleDict(
            {
                name: Step(config, regroup=regroup, drop_path=drop_path, has_fc=name != scheme.image_step)
                for name, regroup in scheme.steps.items()
            }
        )
        self.mlp_norm = nn.LayerNorm(config.embed_dim, eps=config.norm_eps)
        self.mlp = MLP(config)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Float[Tensor, "b n d"], grid: Grid) -> Float[Tensor, "b m d"]:
        """Tokens after all stages and the MLP. Steps of one stage read the same tokens.

        Where it `answers_cls`, and can do so leanly, tokens are the class token alone: `[b, 1, d]`.
        """
        *stages, last = self.stages
        for stage in stages:
            x = x + self._answer(stage, x, grid)
        steps = [cast(Step, self.steps[name]) for name in last]
        if self.answers_cls and all(step.is_lean for step in steps):
            x = x[:, :1] + _total([step.forward_cls(x, grid) for step in steps])
        else:
            x = x + self._answer(last, x, grid)
        return x + self.drop_path(self._mlp(x))

    def _answer(self, stage: tuple[str, ...], x: Float[Tensor, "b n d"], grid: Grid) -> Float[Tensor, "b n d"]:
        return _total([self.steps[name](x, grid) for name in stage])

    def _mlp(self, x: Float[Tensor, "b n d"]) -> Float[Tensor, "b n d"]:
        mlp = self.mlp
        parts = (self.mlp_norm, mlp.fc1, mlp.activation, mlp.fc2, mlp.dropout)
        if type(mlp) is MLP and not mlp.dropout.p and lean.applies_to(self.mlp_norm, mlp, replacing=parts):
            return lean.norm_mlp(x, self.mlp_norm, mlp.fc1, mlp.fc2)
        return mlp(self.mlp_norm(x))


def _total(answers: list[Tensor]) -> Tensor:
    return sum(answers[1:], start=answers[0])
