"""Which tokens attend to which: the one idea of the paper.

A *regroup* splits the patches of a clip into sequences, and attention runs within each. It also says whether the class
token joins the sequences, and which tokens of a sequence see each other. A *scheme* orders regroups into the stages of
a block. Attention, norms, MLP and weights are the same for every scheme: a new one is one more entry of `SCHEMES`.

A regroup is data. The forward pass, the class token alone, the attention mask and the cost (`timesformer.model.cost`)
are all derived from it.

Tokens are `[b, 1 + t·h·w, d]`: the class token, then the patches in the order time, row, column.

Source: Bertasius et al. 2021, section 3 and figure 2.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from math import prod
from types import MappingProxyType
from typing import NamedTuple, Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from jaxtyping import Bool, Float
from torch import Tensor


class Grid(NamedTuple):
    """Number of frames, and of rows and columns of patches per frame."""

    t: int
    h: int
    w: int


Attend = Callable[..., Tensor]
"""Maps sequences `[b, n, d]`, and optionally a mask `[n, n]` (row sees column), to outputs `[b, n, d]`, or to
`[b, 1, d]`, the output for the first token of each sequence."""


@runtime_checkable
class Partition(Protocol):
    """A split of the patches of a clip into sequences; every patch is in exactly one."""

    def split(self, patches: Float[Tensor, "b p d"], grid: Grid) -> list[Float[Tensor, "b _g _n d"]]:
        """`g` sequences of `n` patches per clip; one entry per length."""

    def join(self, sequences: list[Float[Tensor, "b _g _n d"]], grid: Grid) -> Float[Tensor, "b p d"]:
        """The inverse of `split`."""


@dataclass(frozen=True, slots=True)
class Axes:
    """Sequences along axes of the clip, as an einops pattern: batch, sequence, position in the sequence.

    `Axes("b (h w) t")` makes a sequence over time of the patches at each row and column.
    """

    pattern: str

    def split(self, patches: Float[Tensor, "b p d"], grid: Grid) -> list[Float[Tensor, "b _g _n d"]]:
        """See `Partition`."""
        return [rearrange(patches, f"b (t h w) d -> {self.pattern} d", **grid._asdict())]

    def join(self, sequences: list[Float[Tensor, "b _g _n d"]], grid: Grid) -> Float[Tensor, "b p d"]:
        """See `Partition`."""
        return rearrange(sequences[0], f"{self.pattern} d -> b (t h w) d", **grid._asdict())


Tile = tuple[slice, slice, slice]
"""A sub-volume of the clip: frames, rows and columns."""


@dataclass(frozen=True, slots=True)
class Tiles:
    """Sequences that are sub-volumes of the clip, of equal or unequal sizes."""

    tiles: Callable[[Grid], list[Tile]]

    def split(self, patches: Float[Tensor, "b p d"], grid: Grid) -> list[Float[Tensor, "b _g _n d"]]:
        """See `Partition`."""
        volume = rearrange(patches, "b (t h w) d -> b t h w d", **grid._asdict())
        return [rearrange(volume[:, t, h, w], "b t h w d -> b 1 (t h w) d") for t, h, w in self.tiles(grid)]

    def join(self, sequences: list[Float[Tensor, "b _g _n d"]], grid: Grid) -> Float[Tensor, "b p d"]:
        """See `Partition`."""
        batch, *_, dim = sequences[0].shape
        volume = sequences[0].new_empty(batch, *grid, dim)
        for (t, h, w), sequence in zip(self.tiles(grid), sequences, strict=True):
            tile = volume[:, t, h, w]
            volume[:, t, h, w] = sequence.reshape(tile.shape)
        return rearrange(volume, "b t h w d -> b (t h w) d")


class Workload(NamedTuple):
    """Sequences of one length, and the pairs of tokens in each that see each other."""

    sequences: int
    length: int
    pairs: int


@dataclass(frozen=True, slots=True)
class Regroup:
    """Which tokens form a sequence, and which of them see each other."""

    partition: Partition
    """The sequences of patches."""
    with_cls: bool = True
    """Whether the class token is the first token of every sequence; its outputs are then averaged, as in the released
    spatial step. If not, it neither sees nor is seen, and its output is zero."""
    mask: Callable[[Grid], Bool[Tensor, "n n"]] | None = None
    """Boolean mask over a sequence, its class token included: row sees column. All tokens see each other if None."""

    def __call__(self, x: Float[Tensor, "b n d"], grid: Grid, attend: Attend) -> Float[Tensor, "b n d"]:
        """The output of attention for every token, in the order of `x`."""
        outputs = self._attend(x, grid, attend)
        if not self.with_cls:
            return F.pad(self.partition.join(outputs, grid), (0, 0, 1, 0))
        cls, patches = zip(*(output.split([1, output.shape[2] - 1], dim=2) for output in outputs), strict=True)
        return torch.cat([torch.cat(cls, dim=1).mean(dim=1), self.partition.join(list(patches), grid)], dim=1)

    def cls(self, x: Float[Tensor, "b n d"], grid: Grid, attend: Attend) -> Float[Tensor, "b 1 d"]:
        """The output for the class token alone; `attend` computes the first token of each sequence."""
        if not self.with_cls:
            return torch.zeros_like(x[:, :1])
        return torch.cat(self._attend(x, grid, attend), dim=1).mean(dim=1)

    def sequences(self, x: Float[Tensor, "b n d"], grid: Grid) -> list[Float[Tensor, "b _g _m d"]]:
        """The tokens that attend to each other, the class token included; one entry per length."""
        cls, patches = x.split([1, prod(grid)], dim=1)
        sequences = self.partition.split(patches, grid)
        if not self.with_cls:
            return sequences
        return [torch.cat([repeat(cls, "b 1 d -> b g 1 d", g=s.shape[1]), s], dim=2) for s in sequences]

    def workload(self, grid: Grid) -> list[Workload]:
        """The work of attention for one clip."""
        shapes = [s.shape for s in self.sequences(torch.empty(1, 1 + prod(grid), 1, device="cpu"), grid)]
        return [Workload(g, n, n**2 if self.mask is None else int(self.mask(grid).sum())) for _, g, n, _ in shapes]

    def _attend(self, x: Float[Tensor, "b n d"], grid: Grid, attend: Attend) -> list[Float[Tensor, "b _g _m d"]]:
        mask = () if self.mask is None else (self.mask(grid).to(x.device),)
        return [attend(s.flatten(0, 1), *mask).unflatten(0, s.shape[:2]) for s in self.sequences(x, grid)]


def _quadrants(grid: Grid) -> list[Tile]:
    """The four quarters of the frame, through all frames; of an odd side the first half is the larger."""
    halves = [[slice(0, -(-side // 2)), slice(-(-side // 2), side)] for side in (grid.h, grid.w)]
    return [(slice(None), h, w) for h, w in product(*halves) if grid.h > h.start and grid.w > w.start]


def _lattices(grid: Grid) -> list[Tile]:
    """The eight sub-lattices of stride 2 along time, rows and columns."""
    starts = product(*(range(min(2, side)) for side in grid))
    return [(slice(t, None, 2), slice(h, None, 2), slice(w, None, 2)) for t, h, w in starts]


def _neighborhood(grid: Grid) -> Bool[Tensor, "n n"]:
    """A patch sees a window of half the rows and half the columns, in all frames: around it, but inside the frame."""

    def near(side: int) -> Bool[Tensor, "side side"]:
        window = -(-side // 2)
        index = torch.arange(side)
        start = (index - window // 2).clamp(0, side - window)
        return (index >= start[:, None]) & (index < start[:, None] + window)

    in_frame = rearrange(near(grid.h), "h k -> h 1 k 1") & rearrange(near(grid.w), "w l -> 1 w 1 l")
    patches = repeat(in_frame, "h w k l -> (t h w) (s k l)", t=grid.t, s=grid.t)
    return F.pad(patches, (1, 0, 1, 0), value=True)


def _shared_lattice(grid: Grid) -> Bool[Tensor, "n n"]:
    """Every token sees the patches at even frames, rows and columns, and the class token."""
    even = [torch.arange(side) % 2 == 0 for side in grid]
    seen = (even[0][:, None, None] & even[1][:, None] & even[2]).flatten()
    return repeat(F.pad(seen, (1, 0), value=True), "n -> m n", m=1 + seen.numel())


REGROUPS: Mapping[str, Regroup] = MappingProxyType(
    {
        "joint": Regroup(Axes("b 1 (t h w)")),
        "time": Regroup(Axes("b (h w) t"), with_cls=False),  # as released; equations 11 and 13 have the class token
        "space": Regroup(Axes("b t (h w)")),
        "width": Regroup(Axes("b (t h) w")),
        "height": Regroup(Axes("b (t w) h")),
        "local": Regroup(Tiles(_quadrants)),
        "sparse": Regroup(Tiles(_lattices)),
        "neighborhood": Regroup(Axes("b 1 (t h w)"), mask=_neighborhood),
        "shared_lattice": Regroup(Axes("b 1 (t h w)"), mask=_shared_lattice),
    }
)
"""The regroups of the paper, by the names that `ModelConfig.scheme` accepts."""


# --- Schemes --------------------------------------------------------------------------------------------------------

Stage = Mapping[str, Regroup]
"""Attention steps by name. All read the same tokens, and their outputs are added."""


@dataclass(frozen=True)
class Scheme:
    """The attention of a block: its stages, in order, before the MLP.

    Step names are identifiers and become parameter names. The image step is the one that an image ViT has, too. Every
    other step has an extra linear layer, `fc`, so that it can start at zero next to pretrained image weights.
    """

    stages: tuple[Stage, ...]
    image_step: str
    per_frame: bool = False
    """Whether each frame passes through the blocks by itself; the class token is then averaged over frames."""

    @property
    def steps(self) -> dict[str, Regroup]:
        """All steps in order, by name."""
        return {name: regroup for stage in self.stages for name, regroup in stage.items()}

    @property
    def stages_to_cls(self) -> tuple[Stage, ...]:
        """The stages that reach the class token: all up to the last one that it takes part in."""
        last = max((i for i, stage in enumerate(self.stages) if any(r.with_cls for r in stage.values())), default=-1)
        return self.stages[: last + 1]

    @property
    def ends_in_cls(self) -> bool:
        """Whether the class token takes part in every step of the last stage, so that each of them learns from it."""
        return all(regroup.with_cls for regroup in self.stages[-1].values())

    def with_cls_in_time(self) -> "Scheme":
        """The same scheme with the class token in its attention over time (equations 11 and 13 of the paper)."""
        time = REGROUPS["time"]
        with_cls = replace(time, with_cls=True)
        stages = tuple({name: with_cls if r == time else r for name, r in stage.items()} for stage in self.stages)
        return replace(self, stages=stages)


def scheme_from(stages: Sequence[Sequence[str]]) -> Scheme:
    """A scheme of known regroups; its image step is `space` or `joint` if present, otherwise the last step."""
    steps = [name for stage in stages for name in stage]
    image_step = next((name for name in ("space", "joint") if name in steps), steps[-1])
    return Scheme(tuple({name: REGROUPS[name] for name in stage} for stage in stages), image_step)


SCHEMES: Mapping[str, Scheme] = MappingProxyType(
    {
        "space_only": Scheme(({"space": REGROUPS["joint"]},), "space", per_frame=True),
        "joint_space_time": scheme_from([["joint"]]),
        "divided_space_time": scheme_from([["time"], ["space"]]),
        "sparse_local_global": scheme_from([["local"], ["sparse"]]),
        "sparse_local_global_centered": Scheme(
            ({"local": REGROUPS["neighborhood"]}, {"sparse": REGROUPS["shared_lattice"]}), "sparse"
        ),
        "axial": scheme_from([["time"], ["width"], ["height"]]),
        # The two orders of the paper's ablation, section 4.
        "space_time_reversed": scheme_from([["space"], ["time"]]),
        "parallel": scheme_from([["time", "space"]]),
    }
)
"""The schemes of the paper and its ablation, by name; the released code has the first three."""
