"""The layers of a model that know nothing of space and time: attention, MLP and stochastic depth."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from timesformer.config.schema import ModelConfig
from timesformer.model import kernels
from timesformer.model.attention import attend


class Attention(nn.Module):
    """Multi-head self-attention within each sequence of a batch.

    Source: Bertasius et al. 2021, equations 5 to 9; rows of `qkv` are queries, keys, values, each by head, as released.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.num_heads = config.num_heads
        self.attention_dropout = config.attention_dropout
        self.qkv = nn.Linear(config.embed_dim, 3 * config.embed_dim, bias=config.qkv_bias)
        self.proj = nn.Linear(config.embed_dim, config.embed_dim)
        self.dropout = nn.Dropout(config.dropout)

    @property
    def dropout_p(self) -> float:
        """Dropout of the attention weights: zero in eval mode."""
        return self.attention_dropout if self.training else 0.0

    def forward(self, x: Float[Tensor, "b n d"], mask: Bool[Tensor, "n n"] | None = None) -> Float[Tensor, "b n d"]:
        """The output for every token, from the tokens of its sequence that `mask` lets it see (all if None)."""
        q, k, v = self.qkv(x).chunk(3, dim=-1)
        y = attend(q, k, v, num_heads=self.num_heads, mask=mask, dropout_p=self.dropout_p)
        return self.dropout(self.proj(y))


class MLP(nn.Module):
    """Two linear layers with an exact GELU in between."""

    def __init__(self, config: ModelConfig, *, drop_path: float = 0.0) -> None:
        super().__init__()
        self.fc1 = nn.Linear(config.embed_dim, config.mlp_dim)
        self.activation = nn.GELU()
        self.fc2 = nn.Linear(config.mlp_dim, config.embed_dim)
        self.dropout = nn.Dropout(config.dropout)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Float[Tensor, "b n d"]) -> Float[Tensor, "b n d"]:
        """The output for every token, from that token alone."""
        return self.dropout(self.fc2(self.dropout(self.activation(self.fc1(x)))))

    def add_to(self, x: Float[Tensor, "b n d"], norm: nn.LayerNorm) -> Float[Tensor, "b n d"]:
        """Tokens plus the MLP of the normalized tokens; computed by a kernel in training, if possible."""
        replaced = (norm, self.fc1, self.activation, self.fc2, self.dropout)
        if not self.dropout.p and kernels.can_fuse(norm, self, replacing=replaced):
            return x + self.drop_path(kernels.norm_mlp(x, norm, self.fc1, self.fc2))
        return x + self.drop_path(self(norm(x)))


class DropPath(nn.Module):
    """Stochastic depth: in training, zeroes whole rows of the batch at a rate and scales up the others.

    A row is a sequence in an attention step (time: a patch position, space: a frame) and a clip in the MLP.

    Source: released code; Huang et al. 2016, "Deep Networks with Stochastic Depth".
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Float[Tensor, "b n d"]) -> Float[Tensor, "b n d"]:
        """`x` in eval mode; in training, `x` with some rows zeroed."""
        if not self.training or self.rate == 0:
            return x
        keep = torch.empty(x.shape[0], 1, 1, device=x.device, dtype=x.dtype).bernoulli_(1 - self.rate)
        return x * keep / (1 - self.rate)
