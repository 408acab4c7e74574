"""Fast inference: the logits of a trained `TimeSformer`, up to rounding, with less work.

* Consecutive linear layers are merged, and biases without effect dropped (`timesformer.model.folding`).
* The last block computes the class token alone. Its one query is compared with the normalized tokens directly,
  `q · (K n) = (Kᵀ q) · n`, and their weighted sum is projected, so that neither keys nor values exist.
* Matrix products are those of the fastest library (`timesformer.model.matmul`), attention is fused or two products
  (`timesformer.model.attention`).
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
from einops import rearrange, reduce, repeat
from jaxtyping import Float
from torch import Tensor, nn

from timesformer.errors import ConfigError
from timesformer.model import kernels
from timesformer.model.block import Block
from timesformer.model.folding import FoldedMLP, FoldedStep, chunk_size, folded_block, folded_head, linear_from
from timesformer.model.schemes import REGROUPS, Grid, Regroup, Scheme, Stage
from timesformer.model.timesformer import TimeSformer, class_token


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
        self.head = linear_from(weight.double(), bias.double(), like=model.head.weight)
        self.eval().requires_grad_(False)

    def pack(self) -> "FastTimeSformer":
        """Reorder the weights for the matrix products of this processor, once instead of in every product.

        Afterwards the model computes as before, but can be neither moved nor cast. Without effect on a GPU, and on a
        processor whose products read weights as they are.
        """
        last = cast(Block, self.blocks[-1])
        for block in cast(list[Block], list(self.blocks)):
            cast(FoldedMLP, block.mlp).pack()
            for name, step in block.steps.items():
                if block is not last or name not in self.scheme.stages_to_cls[-1]:  # which reads parts of its weights
                    cast(FoldedStep, step).pack()
        return self

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


# --- Frame layout ---------------------------------------------------------------------------------------------------


def _add_over_time(step: FoldedStep, x: Float[Tensor, "t b n d"]) -> None:
    """Add the outputs of the sequences over time; the class token of each frame does not change."""
    cls = x[0, :, 0].clone()
    sequences = x.flatten(1, 2)
    for chunk in sequences.split(chunk_size(x, sequences.shape[1]), dim=1):
        step.add_output(chunk, step.attend(chunk, dim=0))
    x[:, :, 0] = cls


def _add_over_space(step: FoldedStep, x: Float[Tensor, "t b n d"]) -> None:
    """Add the outputs of the sequences within a frame; those of the class token are averaged over frames."""
    for chunk in _chunks_of_frames(x):
        step.add_output(chunk, step.attend(chunk, dim=1))
    x[:, :, 0] = x[:, :, 0].mean(dim=0)


def _cls_over_space(step: FoldedStep, x: Float[Tensor, "t b n d"]) -> Float[Tensor, "b d"]:
    """The output that `_add_over_space` adds to the class token."""
    seen = torch.cat([step.seen_by_first(chunk) for chunk in _chunks_of_frames(x)])
    return step.output_of(reduce(seen, "(t b) h d -> b h d", "mean", t=len(x)))


def _chunks_of_frames(x: Float[Tensor, "t b n d"]) -> tuple[Float[Tensor, "f n d"], ...]:
    frames = x.flatten(0, 1)
    return frames.split(chunk_size(frames, len(frames)))


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
