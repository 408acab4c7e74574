"""A block: the attention steps of a scheme, then an MLP, each added to what it read."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from timesformer.config.schema import ModelConfig
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

    def attend(self, x: Float[Tensor, "b n d"], mask: Bool[Tensor, "n n"] | None = None) -> Float[Tensor, "b n d"]:
        """Answer to sequences. A dropped path still adds the bias of `fc`, as released."""
        return self.fc(self.drop_path(self.attention(self.norm(x), mask)))

    def forward(self, x: Float[Tensor, "b n d"], grid: Grid) -> Float[Tensor, "b n d"]:
        """What this step adds to every token."""
        return self.regroup(x, grid, self.attend)


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

    Source: Bertasius et al. 2021, equations 8 to 13; released code for the place of `fc` and of stochastic depth.
    """

    def __init__(self, config: ModelConfig, *, scheme: Scheme, drop_path: float) -> None:
        super().__init__()
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

    def forward(self, x: Float[Tensor, "b n d"], grid: Grid) -> Float[Tensor, "b n d"]:
        """Tokens after all stages and the MLP. Steps of one stage read the same tokens."""
        for stage in self.stages:
            answers = [self.steps[name](x, grid) for name in stage]
            x = x + sum(answers[1:], start=answers[0])
        return x + self.drop_path(self.mlp(self.mlp_norm(x)))
