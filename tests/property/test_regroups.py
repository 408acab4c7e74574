"""Every step of every scheme compared with dense attention under a mask that is written here, token by token.

Patches are numbered by time, row, column, after the class token. A rule says whether a patch sees another one; `GROUPS`
says what the class token is averaged over.
"""

from collections.abc import Callable
from dataclasses import replace
from itertools import product
from typing import NamedTuple

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from timesformer.config.schema import ModelConfig
from timesformer.model.block import Block
from timesformer.model.layers import Attention
from timesformer.model.schemes import REGROUPS, SCHEMES, Grid, Regroup
from tiny import SCHEME_NAMES, random_clips, random_model, tiny_config

Position = tuple[int, int, int]
GRIDS = st.builds(Grid, st.integers(1, 5), st.integers(1, 5), st.integers(1, 5))


class Rule(NamedTuple):
    """A step as rules: `sees(a, b, grid)` for two patches, and the group in which the class token meets a patch.

    `group` is None where the class token neither sees nor is seen. `cls_sees` says which patches of a group it sees.
    """

    sees: Callable[[Position, Position, Grid], bool]
    group: Callable[[Position, Grid], object] | None
    cls_sees: Callable[[Position, Grid], bool] = lambda position, grid: True


def one_group(position: Position, grid: Grid) -> object:
    return ()


def quadrant(position: Position, grid: Grid) -> object:
    _, row, column = position
    upper_rows = grid.h - grid.h // 2  # the larger half first
    left_columns = grid.w - grid.w // 2
    return row < upper_rows, column < left_columns


def residue(position: Position, grid: Grid) -> object:
    return tuple(index % 2 for index in position)


def window(index: int, side: int) -> range:
    """Half of a side, rounded up, around an index and inside the side."""
    length = side - side // 2
    first = index - length // 2
    while first < 0:
        first += 1
    while first + length > side:
        first -= 1
    return range(first, first + length)


def in_window(a: Position, b: Position, grid: Grid) -> bool:
    return b[1] in window(a[1], grid.h) and b[2] in window(a[2], grid.w)


def on_lattice(position: Position, grid: Grid) -> bool:
    return residue(position, grid) == (0, 0, 0)


ALL = Rule(lambda a, b, grid: True, one_group)
TIME = Rule(lambda a, b, grid: a[1:] == b[1:], None)
TIME_WITH_CLS = Rule(lambda a, b, grid: a[1:] == b[1:], lambda position, grid: position[1:])
SPACE = Rule(lambda a, b, grid: a[0] == b[0], lambda position, grid: position[0])
WIDTH = Rule(lambda a, b, grid: a[:2] == b[:2], lambda position, grid: position[:2])
HEIGHT = Rule(lambda a, b, grid: (a[0], a[2]) == (b[0], b[2]), lambda position, grid: (position[0], position[2]))
QUADRANT = Rule(lambda a, b, grid: quadrant(a, grid) == quadrant(b, grid), quadrant)
STRIDE = Rule(lambda a, b, grid: residue(a, grid) == residue(b, grid), residue)
NEIGHBORHOOD = Rule(in_window, one_group)
SHARED_LATTICE = Rule(lambda a, b, grid: on_lattice(b, grid), one_group, on_lattice)

# In each scheme, stages in order; the steps of one stage read the same tokens. All but one step have an fc.
RULES: dict[str, list[dict[str, Rule]]] = {
    "space_only": [{"space": ALL}],
    "joint_space_time": [{"joint": ALL}],
    "divided_space_time": [{"time": TIME}, {"space": SPACE}],
    "sparse_local_global": [{"local": QUADRANT}, {"sparse": STRIDE}],
    "sparse_local_global_centered": [{"local": NEIGHBORHOOD}, {"sparse": SHARED_LATTICE}],
    "axial": [{"time": TIME}, {"width": WIDTH}, {"height": HEIGHT}],
    "space_time_reversed": [{"space": SPACE}, {"time": TIME}],
    "parallel": [{"time": TIME, "space": SPACE}],
}
OWNS_NO_FC = {scheme: list(stages[-1])[-1] for scheme, stages in RULES.items()} | {"space_time_reversed": "space"}
STEPS = [
    (SCHEMES[scheme].steps[name], rule) for scheme in RULES for stage in RULES[scheme] for name, rule in stage.items()
]
STEPS.append((replace(REGROUPS["time"], with_cls=True), TIME_WITH_CLS))
STEP_IDS = [f"{scheme}-{name}" for scheme in RULES for stage in RULES[scheme] for name in stage] + ["time-with-cls"]


def positions_of(grid: Grid) -> list[Position]:
    return list(product(range(grid.t), range(grid.h), range(grid.w)))


def patch_mask(rule: Rule, grid: Grid) -> Tensor:
    """The tokens that each patch sees: one row per patch, the class token in column 0."""
    positions, sees_cls = positions_of(grid), rule.group is not None
    return torch.tensor([[sees_cls] + [rule.sees(a, b, grid) for b in positions] for a in positions])


def cls_masks(rule: Rule, grid: Grid) -> list[Tensor]:
    """The tokens that the class token sees in each group: itself and the patches of the group."""
    positions = positions_of(grid)
    if rule.group is None:
        return []
    groups = {rule.group(position, grid) for position in positions}
    return [
        torch.tensor([True] + [rule.group(p, grid) == group and rule.cls_sees(p, grid) for p in positions])
        for group in groups
    ]


def dense(attention: Attention, x: Tensor, mask: Tensor) -> Tensor:
    """Softmax attention of every token, by its definition, over the tokens that its row of `mask` admits."""
    weight, bias = attention.qkv.weight.chunk(3), attention.qkv.bias.chunk(3)
    q, k, v = (x @ weight[i].T + bias[i] for i in range(3))
    width = x.shape[-1] // attention.num_heads
    heads = []
    for head in range(attention.num_heads):
        own = slice(head * width, (head + 1) * width)
        scores = q[..., own] @ k[..., own].transpose(1, 2) / width**0.5
        heads.append(scores.masked_fill(~mask, -torch.inf).softmax(-1) @ v[..., own])
    return torch.cat(heads, dim=-1) @ attention.proj.weight.T + attention.proj.bias


def dense_step(attention: Attention, x: Tensor, rule: Rule, grid: Grid) -> Tensor:
    """The output of a step for every token; that of the class token is averaged over its groups."""
    everything = torch.ones(1, x.shape[1], dtype=torch.bool)
    patches = dense(attention, x, torch.cat([everything, patch_mask(rule, grid)]))[:, 1:]
    rows = [dense(attention, x, mask.expand(x.shape[1], -1))[:, :1] for mask in cls_masks(rule, grid)]
    cls = torch.stack(rows).mean(dim=0) if rows else torch.zeros_like(x[:, :1])
    return torch.cat([cls, patches], dim=1)


def random_attention(dim: int) -> Attention:
    attention = Attention(ModelConfig(embed_dim=dim, num_heads=2))
    for parameter in attention.parameters():
        torch.nn.init.normal_(parameter, std=0.7)
    return attention.eval()


def seen(regroup: Regroup, grid: Grid) -> Tensor:
    """The tokens that reach each token, as weights: one-hot tokens, summed over their sequence."""

    def total(x: Tensor, mask: Tensor | None = None) -> Tensor:
        return x.sum(dim=1, keepdim=True).expand_as(x) if mask is None else mask.float() @ x

    tokens = torch.eye(1 + grid.t * grid.h * grid.w)
    return regroup(tokens[None], grid, total)[0]


def test_every_step_of_every_scheme_has_a_rule_here():
    described = {scheme: [tuple(stage) for stage in stages] for scheme, stages in RULES.items()}
    assert described == {name: [tuple(stage) for stage in scheme.stages] for name, scheme in SCHEMES.items()}


@pytest.mark.parametrize(("regroup", "rule"), STEPS, ids=STEP_IDS)
@settings(max_examples=25)
@given(grid=GRIDS)
@torch.no_grad()
def test_step_equals_dense_attention_under_its_mask_on_every_grid(regroup: Regroup, rule: Rule, grid: Grid):
    torch.manual_seed(0)
    attention, x = random_attention(4), torch.randn(2, 1 + grid.t * grid.h * grid.w, 4)
    torch.testing.assert_close(
        regroup(x, grid, attention), dense_step(attention, x, rule, grid), rtol=1e-4, atol=1e-5
    )  # sums of fp32 in another order


@pytest.mark.parametrize(("regroup", "rule"), STEPS, ids=STEP_IDS)
@settings(max_examples=25)
@given(grid=GRIDS)
def test_patch_sees_exactly_the_tokens_of_its_group(regroup: Regroup, rule: Rule, grid: Grid):
    torch.testing.assert_close(seen(regroup, grid)[1:], patch_mask(rule, grid).float(), rtol=0, atol=0)


@pytest.mark.parametrize(("regroup", "rule"), STEPS, ids=STEP_IDS)
@settings(max_examples=25)
@given(grid=GRIDS)
def test_class_token_is_the_average_over_groups(regroup: Regroup, rule: Rule, grid: Grid):
    masks = cls_masks(rule, grid)
    want = torch.stack(masks).float().mean(dim=0) if masks else torch.zeros(1 + grid.t * grid.h * grid.w)
    torch.testing.assert_close(seen(regroup, grid)[0], want)


def test_patch_sees_only_its_row_when_attending_over_width():
    grid = Grid(2, 3, 4)
    row = seen(SCHEMES["axial"].steps["width"], grid)[1 + (1 * 3 + 2) * 4 + 1]  # frame 1, row 2, column 1
    assert row.nonzero().flatten().tolist() == [0, 21, 22, 23, 24]


def test_odd_frame_is_cut_into_quarters_with_the_larger_half_first():
    grid = Grid(1, 3, 5)
    first = seen(SCHEMES["sparse_local_global"].steps["local"], grid)[1]  # top left: rows 0 and 1, columns 0 to 2
    assert first.nonzero().flatten().tolist() == [0, 1, 2, 3, 6, 7, 8]


def test_paper_grid_is_cut_into_quarters_of_7_by_7_and_lattices_of_an_eighth():
    steps, grid = SCHEMES["sparse_local_global"].steps, Grid(8, 14, 14)
    lengths: dict[str, set[tuple[int, int]]] = {name: set() for name in steps}
    for name, regroup in steps.items():
        regroup(
            torch.zeros(1, 1 + 8 * 14 * 14, 1), grid, lambda x, name=name: lengths[name].add(tuple(x.shape[:2])) or x
        )
    assert lengths == {"local": {(1, 1 + 8 * 7 * 7)}, "sparse": {(1, 1 + 4 * 7 * 7)}}


@torch.no_grad()
def reference_block(block: Block, x: Tensor, scheme: str, grid: Grid) -> Tensor:
    """A block by definition: stage after stage, `fc` after every step but one, then the MLP."""
    for stage in RULES[scheme]:
        read = x
        for name, rule in stage.items():
            step = block.steps[name]
            answer = dense_step(step.attention, step.norm(read), rule, grid)
            if name != OWNS_NO_FC[scheme]:
                answer = answer @ step.fc.weight.T + step.fc.bias
            if rule.group is None:
                answer[:, 0] = 0
            x = x + answer
    hidden = torch.nn.functional.gelu(block.mlp.fc1(block.mlp_norm(x)))
    return x + block.mlp.fc2(hidden)


@pytest.mark.parametrize("scheme", SCHEME_NAMES)
def test_block_is_its_steps_in_their_order_and_then_an_mlp(scheme: str):
    config = tiny_config(scheme, depth=1)
    model = random_model(config)
    grid = Grid(1 if model.scheme.per_frame else 3, 2, 5)
    x = torch.randn(2, 1 + grid.t * 10, config.embed_dim)
    got = model.blocks[0](x, grid)
    torch.testing.assert_close(got, reference_block(model.blocks[0], x, scheme, grid), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("scheme", SCHEME_NAMES)
def test_model_is_embedding_then_blocks_then_norm_and_head_on_the_class_token(scheme: str):
    config = tiny_config(scheme)
    model, clips = random_model(config), random_clips(config)
    with torch.no_grad():
        if model.scheme.per_frame:
            frames = [model.embedding(clips[:, :, i : i + 1])[0] for i in range(3)]
            cls = torch.stack([_through_blocks(model, x, scheme, Grid(1, 2, 5)) for x in frames]).mean(dim=0)
        else:
            cls = _through_blocks(model, model.embedding(clips)[0], scheme, Grid(3, 2, 5))
        want = model.head(model.norm(cls))
        torch.testing.assert_close(model(clips), want, rtol=1e-4, atol=1e-4)


def _through_blocks(model: torch.nn.Module, x: Tensor, scheme: str, grid: Grid) -> Tensor:
    for block in model.blocks:
        x = reference_block(block, x, scheme, grid)
    return x[:, 0]
