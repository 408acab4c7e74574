"""TimeSformer: video classification by space-time attention alone."""

from typing import Any

import torch
import torch.nn.functional as F
from einops import reduce
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from timesformer.config.info import ModelInfo
from timesformer.config.schema import ModelConfig
from timesformer.errors import ConfigError
from timesformer.model.attention import SCHEMES, Scheme
from timesformer.model.block import Block, Step
from timesformer.model.embedding import Embedding, fold_frames, set_sinusoids


class BatchStandardization(nn.BatchNorm1d):
    """Every number less its mean and over its deviation: those of the batch in training, running ones otherwise.

    A batch of one has no deviation and is standardised by the running ones. A linear map after it can take it in:
    `folded_head`.
    """

    def __init__(self, size: int) -> None:
        super().__init__(size, affine=False)

    def forward(self, input: Float[Tensor, "b d"]) -> Float[Tensor, "b d"]:
        """Standardised features; in training the running mean and deviation follow, a tenth at a time."""
        if self.training and len(input) == 1:
            return F.batch_norm(input, self.running_mean, self.running_var, eps=self.eps)
        return super().forward(input)


class TimeSformer(nn.Module):
    """A video classifier that only attends.

    Built with freshly initialised weights; `timesformer.load` reads trained ones. Frame count and image size of the
    input may differ from the config's: the embeddings are then resized.

    Args:
        config: The architecture; with equal configs and an equal global torch seed two models are equal.
        info: Preprocessing, label names and licence; kept beside the weights, no part of the computation.

    Raises:
        ConfigError: The config holds a knob that its scheme cannot take.

    Source: Bertasius et al. 2021, "Is Space-Time Attention All You Need for Video Understanding?", ICML.
    """

    checkpoint_activations: bool
    """Whether each block keeps only its input for the backward pass and is then computed again: less memory, a third
    more work, the same numbers. False at first; it counts in training mode only."""
    load_report: Any
    """What became of every tensor when weights were loaded: a `timesformer.weights.LoadReport`, set by `load`."""

    def __init__(self, config: ModelConfig, *, info: ModelInfo | None = None) -> None:
        super().__init__()
        self.config = config
        self.info = info or ModelInfo()
        self.checkpoint_activations = False
        self.scheme = scheme_of(config)
        self.embedding = Embedding(config, has_time=not self.scheme.per_frame)
        rates = [config.drop_path * i / max(config.depth - 1, 1) for i in range(config.depth)]
        *blocks, last = [Block(config, scheme=self.scheme, drop_path=rate) for rate in rates]
        last.answers_cls = self.scheme.ends_in_cls
        self.blocks = nn.ModuleList([*blocks, last])
        self.norm = nn.LayerNorm(config.embed_dim, eps=config.norm_eps)
        self.head_norm = BatchStandardization(config.embed_dim) if config.head_norm == "batch" else nn.Identity()
        self.head_dropout = nn.Dropout(config.head_dropout)
        self.head = nn.Linear(config.embed_dim, config.num_classes)
        initialize(self)

    def features(self, clips: Float[Tensor, "b c t height width"]) -> Float[Tensor, "b d"]:
        """The class token after the last norm: what the classifier sees.

        Args:
            clips: Normalised clips; any number of frames, any height and width that are multiples of the patch.

        Raises:
            ConfigError: The clips have other channels, or sides that patches do not tile.
        """
        x, grid = self.embedding(clips)
        frames = grid.t if self.scheme.per_frame else 1
        if self.scheme.per_frame:
            x, grid = fold_frames(x, grid)
        for block in self.blocks:
            recomputes = self.checkpoint_activations and block.training and torch.is_grad_enabled()
            x = checkpoint(block, x, grid, use_reentrant=False) if recomputes else block(x, grid)
        cls = reduce(x[:, 0], "(b t) d -> b d", "mean", t=frames)
        return self.norm(cls)

    def forward(self, clips: Float[Tensor, "b c t height width"]) -> Float[Tensor, "b k"]:
        """Logits of the clips, one for each class. See `features` for what it takes and raises."""
        return self.head(self.head_dropout(self.head_norm(self.features(clips))))


@torch.no_grad()
def folded_head(model: TimeSformer) -> tuple[Float[Tensor, "k d"], Float[Tensor, " k"]]:
    """Weight and bias of the linear map from `features` to logits in eval mode: the head's, with its norm taken in.

    Folded in float64, given in the head's own precision.
    """
    norm, weight, bias = model.head_norm, model.head.weight, model.head.bias
    if not isinstance(norm, BatchStandardization):
        return weight, bias
    assert norm.running_mean is not None  # it tracks both
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
    """The linear map of raw numbers that gives what `weight` and `bias` give of standardised ones."""
    folded = weight.double() * (variance.double() + eps).rsqrt()
    return folded.to(weight.dtype), (bias.double() - folded @ mean.double()).to(bias.dtype)


def scheme_of(config: ModelConfig) -> Scheme:
    """The scheme of a config, with the class token where the config wants it.

    Raises:
        ConfigError: `cls_in_time` is set and the scheme has no attention over time without the class token.
    """
    scheme = SCHEMES[config.scheme]
    if not config.cls_in_time:
        return scheme
    changed = scheme.with_cls_in_time()
    if changed == scheme:
        raise ConfigError(f"cls_in_time=True has no effect on scheme={config.scheme!r}: it has no step over time")
    return changed


@torch.no_grad()
def initialize(model: TimeSformer) -> None:
    """Set all weights anew, in place, as `model.config.initialization` says; the patch convolution keeps its default.

    `released`: linear maps, class token and position from a normal of std 0.02 cut at two; time embedding and every
    `fc` zero, so that a divided model starts as the image model whose weights it is given.

    `scratch`: linear maps by Xavier's rule, `fc` included, and position and time as sinusoids, learned from there on.
    From the released start a small model without pretraining learns the axis of a motion but not its direction.

    Source: released code for `released`; `benchmarks/initialization.py` for `scratch`.
    """
    scratch = model.config.initialization == "scratch"
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear):
            _initialize_linear(module, xavier=scratch and name != "head")
    embedding = model.embedding
    nn.init.trunc_normal_(embedding.cls_token, std=0.02)
    if hasattr(embedding, "position"):
        nn.init.trunc_normal_(embedding.position, std=0.02)
    if hasattr(embedding, "time"):
        nn.init.zeros_(embedding.time)
    if scratch:
        set_sinusoids(embedding)
    else:
        for module in model.modules():
            if isinstance(module, Step) and isinstance(module.fc, nn.Linear):
                nn.init.zeros_(module.fc.weight)


def _initialize_linear(module: nn.Linear, *, xavier: bool) -> None:
    if xavier:
        nn.init.xavier_uniform_(module.weight)
    else:
        nn.init.trunc_normal_(module.weight, std=0.02)
    if module.bias is not None:
        nn.init.zeros_(module.bias)
