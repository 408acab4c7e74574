"""TimeSformer: video classification by space-time attention alone."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, cast

import torch
import torch.nn.functional as F
from einops import reduce
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from timesformer.config.info import ModelInfo
from timesformer.config.schema import ModelConfig
from timesformer.errors import ConfigError
from timesformer.model import kernels
from timesformer.model.block import Block, Step, learned_block
from timesformer.model.embedding import Embedding, fold_frames
from timesformer.model.initialization import initialize
from timesformer.model.schemes import SCHEMES, Grid, Scheme, scheme_from

BlockFunction = Callable[[Tensor, Grid], Tensor]
"""Maps tokens and their grid to tokens."""


def class_token(
    clips: Float[Tensor, "b c t height width"],
    *,
    embedding: Callable[[Tensor], tuple[Tensor, Grid]],
    per_frame: bool,
    blocks: Sequence[BlockFunction],
) -> Float[Tensor, "b d"]:
    """The trunk: embed the clips, apply the blocks, and take the class token, averaged over frames if `per_frame`.

    The learned, the folded and the exported model all go through here; they differ in the blocks that they pass. The
    last block may give the class token alone.
    """
    x, grid = embedding(clips)
    num_frames = grid.t if per_frame else 1
    if per_frame:
        x, grid = fold_frames(x, grid)
    for block in blocks:
        x = block(x, grid)
    return reduce(x[:, 0], "(b t) d -> b d", "mean", t=num_frames)


class BatchStandardization(nn.BatchNorm1d):
    """Every number less its mean and over its deviation: those of the batch in training, running ones otherwise.

    A batch of one has no deviation and is standardized by the running ones. A linear map after it can take it in:
    `timesformer.model.fast.folded_head`.
    """

    def __init__(self, size: int) -> None:
        super().__init__(size, affine=False)

    def forward(self, input: Float[Tensor, "b d"]) -> Float[Tensor, "b d"]:
        """Standardized features; in training the running mean and deviation follow, a tenth at a time."""
        if self.training and len(input) == 1:
            return F.batch_norm(input, self.running_mean, self.running_var, eps=self.eps)
        return super().forward(input)


class TimeSformer(nn.Module):
    """A video classifier that only attends.

    Built with freshly initialized weights; `timesformer.load` reads trained ones. Frame count and image size of the
    input may differ from the config's: the embeddings are then resized.

    Args:
        config: The architecture; with equal configs and an equal global torch seed two models are equal.
        info: Preprocessing, label names and license; kept with the weights, no part of the computation.
        scheme: Attention steps made of regroups of your own, instead of those that `config.scheme` names. Such a model
            trains and predicts; it cannot be saved, since its config does not determine it.

    Raises:
        ConfigError: The config holds a knob that its scheme cannot take.

    Source: Bertasius et al. 2021, "Is Space-Time Attention All You Need for Video Understanding?", ICML.
    """

    checkpoint_activations: bool
    """Whether each block keeps only its input for the backward pass and is then computed again: less memory, a third
    more work, the same numbers. False at first; it counts in training mode only."""
    load_report: Any
    """What became of every tensor when weights were loaded: a `timesformer.weights.LoadReport`, set by `load`."""

    def __init__(self, config: ModelConfig, *, info: ModelInfo | None = None, scheme: Scheme | None = None) -> None:
        super().__init__()
        self.config = config
        self.info = info or ModelInfo()
        self.checkpoint_activations = False
        self.scheme = scheme_of(config) if scheme is None else scheme
        self.embedding = Embedding(config, has_time=not self.scheme.per_frame)
        rates = [config.drop_path * i / max(config.depth - 1, 1) for i in range(config.depth)]
        self.blocks = nn.ModuleList([learned_block(config, self.scheme, drop_path=rate) for rate in rates])
        self.norm = nn.LayerNorm(config.embed_dim, eps=config.norm_eps)
        self.head_norm = BatchStandardization(config.embed_dim) if config.head_norm == "batch" else nn.Identity()
        self.head_dropout = nn.Dropout(config.head_dropout)
        self.head = nn.Linear(config.embed_dim, config.num_classes)
        initialize(self)

    def features(self, clips: Float[Tensor, "b c t height width"]) -> Float[Tensor, "b d"]:
        """The class token after the last norm: what the classifier sees.

        Args:
            clips: Normalized clips; any number of frames, any height and width that are multiples of the patch.

        Raises:
            ConfigError: The clips have other channels, or sides that patches do not tile.
        """
        cls = class_token(
            clips, embedding=self.embedding, per_frame=self.scheme.per_frame, blocks=self._block_functions()
        )
        return self.norm(cls)

    def forward(self, clips: Float[Tensor, "b c t height width"]) -> Float[Tensor, "b k"]:
        """Logits of the clips, one for each class. See `features` for what it takes and raises."""
        return self.head(self.head_dropout(self.head_norm(self.features(clips))))

    def _block_functions(self) -> list[BlockFunction]:
        blocks = cast(list[Block], list(self.blocks))
        functions = [*blocks[:-1], blocks[-1].cls if self._computes_cls_alone(blocks[-1]) else blocks[-1]]
        recomputes = self.checkpoint_activations and torch.is_grad_enabled()
        return [
            partial(checkpoint, function, use_reentrant=False) if recomputes and block.training else function
            for block, function in zip(blocks, functions, strict=True)
        ]

    def _computes_cls_alone(self, last: Block) -> bool:
        """Whether the last block skips the tokens that nobody reads: in fused training, if every step learns from the
        class token. Otherwise a step would get no gradient instead of zero, which weight decay tells apart."""
        steps = [cast(Step, last.steps[name]) for name in self.scheme.stages[-1]]
        return self.scheme.ends_in_cls and all(step.is_fused for step in steps) and not kernels.has_hooks(last)


def scheme_of(config: ModelConfig) -> Scheme:
    """The scheme of a config, with the class token where the config wants it.

    Raises:
        ConfigError: `cls_in_time` is set and the scheme has no attention over time without the class token.
    """
    scheme = SCHEMES[config.scheme] if isinstance(config.scheme, str) else scheme_from(config.scheme)
    if not config.cls_in_time:
        return scheme
    changed = scheme.with_cls_in_time()
    if changed == scheme:
        raise ConfigError(f"cls_in_time=True has no effect on scheme={config.scheme!r}: it has no step over time")
    return changed
