"""The one idea of the paper: which tokens attend to which, and nothing else.

A *regroup* decides which tokens form a sequence, calls `attend` on the sequences and puts the answers back. A *scheme*
is an ordered set of regroups. Every other part of the model (attention, norms, MLP, weights) is shared by all of them,
so a new scheme is one more entry of `SCHEMES`.

The same regroup serves more than the forward pass: with the identity for tokens and a sum for `attend` it gives the
attention mask, with a counter the cost (`timesformer.model.cost`), with attention weights the rollout.

Tokens are `[b, 1 + t·h·w, d]`: the class token, then patches in the order time, row, column.

Source: Bertasius et al. 2021, section 3 and figure 2; einops patterns are read `b (t h w) d -> sequences`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from itertools import product
from types import MappingProxyType
from typing import NamedTuple

import torch
import torch.nn.functional as F
from einops import einsum, pack, rearrange, repeat
from jaxtyping import Bool, Float
from torch import Tensor, nn


class Grid(NamedTuple):
    """Number of frames, and of rows and columns of patches in each."""

    t: int
    h: int
    w: int


Attend = Callable[..., Tensor]
"""Maps sequences `[b, n, d]`, and optionally a mask `[n, n]` (row may see column), to sequences `[b, n, d]`."""

Regroup = Callable[[Tensor, Grid, Attend], Tensor]
"""Maps tokens `[b, 1 + t·h·w, d]`, their grid and an `Attend` to the answer for every token, in the same order."""


class Attention(nn.Module):
    """Multi-head self-attention over each sequence of a batch.

    Args:
        dim: Width of a token.
        num_heads: Number of heads; divides `dim`.
        qkv_bias: Whether queries, keys and values have a bias.
        attention_dropout: Dropout of the attention weights.
        dropout: Dropout after the projection.

    Source: Bertasius et al. 2021, equations 5 to 9; rows of `qkv` are queries, keys, values, each by head, as released.
    """

    def __init__(
        self,
        dim: int,
        *,
        num_heads: int,
        qkv_bias: bool = True,
        attention_dropout: float = 0.0,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.attention_dropout = attention_dropout
        self.qkv = nn.Linear(dim, 3 * dim, bias=qkv_bias)
        self.proj = nn.Linear(dim, dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Float[Tensor, "b n d"], mask: Bool[Tensor, "n n"] | None = None) -> Float[Tensor, "b n d"]:
        """Answer for every token from the tokens of its sequence that `mask` lets it see (all, without one)."""
        q, k, v = self.qkv(x).chunk(3, dim=-1)
        return self.dropout(self.proj(self.mix(q, k, v, mask)))

    def mix(
        self,
        q: Float[Tensor, "b m d"],
        k: Float[Tensor, "b n d"],
        v: Float[Tensor, "b n d"],
        mask: Bool[Tensor, "m n"] | None = None,
    ) -> Float[Tensor, "b m d"]:
        """Values that each query sees, weighted by head, before the projection."""
        dropout_p = self.attention_dropout if self.training else 0.0
        groups = _groups(q, k) if mask is None and not dropout_p else 1
        if groups > 1:
            mask = torch.eye(groups, dtype=torch.bool).repeat_interleave(q.shape[1], 0).repeat_interleave(q.shape[1], 1)
        pattern = "(b g) n (heads d) -> b heads (g n) d"
        q, k, v = (rearrange(x, pattern, g=groups, heads=self.num_heads) for x in (q, k, v))
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=dropout_p)
        return rearrange(y, "b heads (g n) d -> (b g) n (heads d)", g=groups)

    def mix_first(self, x: Float[Tensor, "b n d"], mask: Bool[Tensor, "n n"] | None = None) -> Float[Tensor, "b 1 d"]:
        """What `mix` gives the first token where queries, keys and values are those of tokens `x`, by less work."""
        to_query, to_key, to_value = (part.unflatten(0, (self.num_heads, -1)) for part in self.qkv.weight.chunk(3))
        query = einsum(x[:, 0], to_query, "b d, heads c d -> b heads c")
        if self.qkv.bias is not None:
            query_bias, _, value_bias = self.qkv.bias.unflatten(0, (3, self.num_heads, -1))
            query = query + query_bias
        weights = attend_from_one(query, to_key, x, None if mask is None else mask[0])
        weights = F.dropout(weights, self.attention_dropout, training=self.training)
        answer = einsum(weights @ x, to_value, "b heads d, heads c d -> b heads c")
        if self.qkv.bias is not None:
            answer = answer + weights.sum(dim=-1, keepdim=True) * value_bias
        return rearrange(answer, "b heads c -> b 1 (heads c)")


def attend_from_one(
    query: Float[Tensor, "b heads c"],
    to_key: Float[Tensor, "heads c d"],
    x: Float[Tensor, "b n d"],
    mask: Bool[Tensor, " n"] | None = None,
) -> Float[Tensor, "b heads n"]:
    """Attention of one query in each sequence of tokens, whose keys would be `to_key` of them, without building one.

    `q · (K n) = (Kᵀ q) · n`. A bias of the keys would shift all scores alike, which softmax undoes.
    """
    asked = einsum(query, to_key, "b heads c, heads c d -> b heads d")
    scores = asked @ x.mT * query.shape[-1] ** -0.5
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf)
    return scores.softmax(dim=-1)


_FEW = 32
"""Tokens that attend at a time at least, on a CPU: its kernel of attention takes twice as long over eight."""


def _groups(q: Float[Tensor, "b n d"], k: Float[Tensor, "b n d"]) -> int:
    """How many short sequences to take as one, with a mask that keeps them apart."""
    if q.device.type != "cpu" or q.shape != k.shape or torch.compiler.is_compiling():
        return 1
    batch, length, _ = q.shape
    return max(count for count in range(1, max(_FEW // length, 1) + 1) if batch % count == 0)


# --- Regroups -------------------------------------------------------------------------------------------------------


def over_clip(x: Float[Tensor, "b n d"], grid: Grid, attend: Attend) -> Float[Tensor, "b n d"]:
    """All tokens of the clip, class token included, in one sequence."""
    return attend(x)


def _by_pattern(sequences: str) -> Regroup:
    """A regroup of patches into `sequences`: einops names of clip, sequence and place in it, the class token in each.

    The class token is repeated for every sequence and its answers are averaged, as in the released spatial step.
    """
    pattern = f"b (t h w) d -> {sequences} d"
    inverse = f"{sequences} d -> b (t h w) d"

    def regroup(x: Float[Tensor, "b n d"], grid: Grid, attend: Attend) -> Float[Tensor, "b n d"]:
        cls, patches = _split_cls(x)
        patches = rearrange(patches, pattern, **grid._asdict())
        groups = patches.shape[:2]
        cls = repeat(cls, "b 1 d -> b g 1 d", g=groups[1])
        answer = attend(torch.cat([cls, patches], dim=2).flatten(0, 1))
        cls, patches = _split_cls(answer)
        cls = cls.unflatten(0, groups).mean(dim=1)
        patches = rearrange(patches.unflatten(0, groups), inverse, **grid._asdict())
        return torch.cat([cls, patches], dim=1)

    return regroup


def _split_cls(x: Float[Tensor, "b n d"]) -> tuple[Float[Tensor, "b 1 d"], Float[Tensor, "b n-1 d"]]:
    """The class token and the patches: in one call, whose gradients are put together in one, too."""
    cls, patches = x.split([1, x.shape[1] - 1], dim=1)
    return cls, patches


def over_time(x: Float[Tensor, "b n d"], grid: Grid, attend: Attend) -> Float[Tensor, "b n d"]:
    """The patches at one place of all frames; the class token neither sees nor is seen, as released."""
    sequences = rearrange(_split_cls(x)[1], "b (t h w) d -> (b h w) t d", **grid._asdict())
    patches = rearrange(attend(sequences), "(b h w) t d -> b (t h w) d", h=grid.h, w=grid.w)
    return F.pad(patches, (0, 0, 1, 0))  # a zero for the class token: it stays as it is


over_time_with_cls = _by_pattern("b (h w) t")  # equations 11 and 13 of the paper
over_space = _by_pattern("b t (h w)")
over_width = _by_pattern("b (t h) w")
over_height = _by_pattern("b (t w) h")

Tile = tuple[slice, slice, slice]


def _by_tiles(tiles: Callable[[Grid], list[Tile]]) -> Regroup:
    """A regroup of patches into sub-volumes of the clip, of any and unequal sizes, with the class token in each."""

    def regroup(x: Float[Tensor, "b n d"], grid: Grid, attend: Attend) -> Float[Tensor, "b n d"]:
        cls, patches = _split_cls(x)
        volume = rearrange(patches, "b (t h w) d -> b t h w d", **grid._asdict())
        patches, cls_answers = torch.empty_like(volume), []
        for t, h, w in tiles(grid):
            tile = volume[:, t, h, w]
            answer = attend(pack([cls, tile], "b * d")[0])
            cls_answers.append(answer[:, 0])
            patches[:, t, h, w] = answer[:, 1:].reshape(tile.shape)
        cls = torch.stack(cls_answers, dim=1).mean(dim=1, keepdim=True)
        return torch.cat([cls, rearrange(patches, "b t h w d -> b (t h w) d")], dim=1)

    return regroup


def _quadrants(grid: Grid) -> list[Tile]:
    """The four quarters of the frame, through all frames; the first half is the larger one where a side is odd."""
    halves = [[slice(0, -(-side // 2)), slice(-(-side // 2), side)] for side in (grid.h, grid.w)]
    return [(slice(None), h, w) for h, w in product(*halves) if grid.h > h.start and grid.w > w.start]


def _lattices(grid: Grid) -> list[Tile]:
    """The eight sets of patches that a stride of 2 along time, rows and columns visits."""
    starts = product(*(range(min(2, side)) for side in grid))
    return [(slice(t, None, 2), slice(h, None, 2), slice(w, None, 2)) for t, h, w in starts]


over_quadrant = _by_tiles(_quadrants)
over_stride = _by_tiles(_lattices)


def _by_mask(mask: Callable[[Grid], Bool[Tensor, "n n"]]) -> Regroup:
    """A regroup that keeps one sequence and masks it; the class token sees and is seen as `mask` has it."""

    def regroup(x: Float[Tensor, "b n d"], grid: Grid, attend: Attend) -> Float[Tensor, "b n d"]:
        return attend(x, mask(grid).to(x.device))

    return regroup


def _neighbourhood(grid: Grid) -> Bool[Tensor, "n n"]:
    """Mask: a patch sees a window of half the rows and half the columns around it, in all frames.

    The window is moved inside the frame at its borders.
    """

    def near(side: int) -> Bool[Tensor, "side side"]:
        window = -(-side // 2)
        place = torch.arange(side)
        start = (place - window // 2).clamp(0, side - window)
        return (place >= start[:, None]) & (place < start[:, None] + window)

    in_frame = rearrange(near(grid.h), "h k -> h 1 k 1") & rearrange(near(grid.w), "w l -> 1 w 1 l")
    patches = repeat(in_frame, "h w k l -> (t h w) (s k l)", t=grid.t, s=grid.t)
    return F.pad(patches, (1, 0, 1, 0), value=True)


def _shared_lattice(grid: Grid) -> Bool[Tensor, "n n"]:
    """Mask: every token sees the patches at even frames, rows and columns, and the class token."""
    even = [torch.arange(side) % 2 == 0 for side in grid]
    seen = (even[0][:, None, None] & even[1][:, None] & even[2]).flatten()
    return repeat(F.pad(seen, (1, 0), value=True), "n -> m n", m=1 + seen.numel())


over_neighbourhood = _by_mask(_neighbourhood)
over_shared_lattice = _by_mask(_shared_lattice)


# --- Schemes --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Scheme:
    """What a block does before its MLP: stages in turn, and in each stage steps that read the same tokens.

    Step names are identifiers and become parameter names. The image step is the one that an image ViT has too; every
    other step owns an extra linear map, `fc`, so that it can start from nothing beside pretrained image weights.
    """

    stages: tuple[Mapping[str, Regroup], ...]
    image_step: str
    per_frame: bool = False
    """Whether frames are folded into the batch before the blocks and the class token is averaged over them after."""

    @property
    def steps(self) -> dict[str, Regroup]:
        """All steps in order, by name."""
        return {name: regroup for stage in self.stages for name, regroup in stage.items()}

    @property
    def ends_in_cls(self) -> bool:
        """Whether the class token takes part in every step of the last stage, so that each of them learns from it."""
        return over_time not in self.stages[-1].values()

    def with_cls_in_time(self) -> "Scheme":
        """The same scheme with the class token in its attention over time."""
        stages = tuple(
            {name: over_time_with_cls if regroup is over_time else regroup for name, regroup in stage.items()}
            for stage in self.stages
        )
        return replace(self, stages=stages)


SCHEMES: Mapping[str, Scheme] = MappingProxyType(
    {
        "space_only": Scheme(({"space": over_clip},), "space", per_frame=True),
        "joint_space_time": Scheme(({"joint": over_clip},), "joint"),
        "divided_space_time": Scheme(({"time": over_time}, {"space": over_space}), "space"),
        "sparse_local_global": Scheme(({"local": over_quadrant}, {"sparse": over_stride}), "sparse"),
        "sparse_local_global_centred": Scheme(
            ({"local": over_neighbourhood}, {"sparse": over_shared_lattice}), "sparse"
        ),
        "axial": Scheme(({"time": over_time}, {"width": over_width}, {"height": over_height}), "height"),
        # The two orders of the paper's ablation, section 4.
        "space_time_reversed": Scheme(({"space": over_space}, {"time": over_time}), "space"),
        "parallel": Scheme(({"time": over_time, "space": over_space},), "space"),
    }
)
"""The schemes of the paper and its ablation by name; the released code has the first three."""
