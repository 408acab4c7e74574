"""TimeSformer: video classification by space-time attention alone."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, cast

import torch
from einops import reduce
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from timesformer.config.info import ModelInfo
from timesformer.config.schema import ModelConfig
from timesformer.errors import ConfigError
from timesformer.model import fused
from timesformer.model.block import Block, learned_block
from timesformer.model.embedding import Embedding, fold_frames
from timesformer.model.initialization import initialize
from timesformer.model.schemes import SCHEMES, Grid, Scheme, scheme_from
from timesformer.model.standardization import BatchStandardization

BlockFunction = Callable[[Tensor, Grid], Tensor]
"""Maps tokens and their grid to tokens."""


def embed(
    clips: Float[Tensor, "b c t height width"], *, embedding: Callable[[Tensor], tuple[Tensor, Grid]], per_frame: bool
) -> tuple[Tensor, Grid, Any]:
    """Tokens of the first block, their grid, and the number of frames that `per_frame` folds into the batch.

    In a trace by `torch.export` the number may be a symbol.
    """
    x, grid = embedding(clips)
    return (*fold_frames(x, grid), grid.t) if per_frame else (x, grid, 1)


def class_token(
    clips: Float[Tensor, "b c t height width"],
    *,
    embedding: Callable[[Tensor], tuple[Tensor, Grid]],
    per_frame: bool,
    blocks: Sequence[BlockFunction],
) -> Float[Tensor, "b d"]:
    """The trunk: the class token after the embedding and all blocks, averaged over frames if `per_frame`.

    Learned, folded and exported models share it and differ in the blocks that they pass. The last block may return the
    class token alone.
    """
    x, grid, num_frames = embed(clips, embedding=embedding, per_frame=per_frame)
    for block in blocks:
        x = block(x, grid)
    return reduce(x[:, 0], "(b t) d -> b d", "mean", t=num_frames)


class TimeSformer(nn.Module):
    """A video classifier made of attention, without convolution over space or time.

    Its weights are newly initialized; `timesformer.load` reads trained ones. Clips may have another number of frames
    and another size than the config says: the embeddings are resized.

    Args:
        config: The architecture; equal configs and equal global torch seeds give equal models.
        info: Preprocessing, label names and license; saved with the weights, not used in the computation.
        scheme: A scheme of your own regroups, used instead of `config.scheme`. The model trains and predicts, but
            cannot be saved, because its config does not determine it.

    Raises:
        ConfigError: The config sets a knob that has no effect on its scheme.

    Source: Bertasius et al. 2021, "Is Space-Time Attention All You Need for Video Understanding?", ICML.
    """

    checkpoint_activations: bool
    """Whether each block keeps only its input for the backward pass and is then computed again: less memory, a third
    more work, the same numbers. False by default; training mode only."""
    load_report: Any
    """The source of every tensor, set by `timesformer.load`: a `timesformer.weights.LoadReport`."""

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
        """The class token after the last norm, which the head classifies.

        Args:
            clips: Normalized clips; any number of frames, height and width multiples of the patch size.

        Raises:
            ConfigError: The clips have another number of channels, or sides that patches do not tile.
        """
        blocks = self._block_functions()
        return self.norm(class_token(clips, embedding=self.embedding, per_frame=self.scheme.per_frame, blocks=blocks))

    def forward(self, clips: Float[Tensor, "b c t height width"]) -> Float[Tensor, "b k"]:
        """Logits of the clips, one per class. For arguments and errors see `features`."""
        return self.classify(self.features(clips))

    def classify(self, features: Float[Tensor, "b d"]) -> Float[Tensor, "b k"]:
        """Logits of what `features` returned."""
        return self.head(self.head_dropout(self.head_norm(features)))

    def _block_functions(self) -> list[BlockFunction]:
        *blocks, last = cast(list[Block], list(self.blocks))
        functions = [*blocks, last.cls if fused.skips_patches(last, self.scheme) else last]
        recomputes = self.checkpoint_activations and torch.is_grad_enabled()
        return [
            partial(checkpoint, function, use_reentrant=False) if recomputes and block.training else function
            for block, function in zip(self.blocks, functions, strict=True)
        ]


def scheme_of(config: ModelConfig) -> Scheme:
    """The scheme of a config, with the class token in its attention over time if `cls_in_time`.

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
