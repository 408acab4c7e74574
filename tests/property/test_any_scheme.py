"""Random schemes: evaluation, fused training, folded inference and the form for ONNX Runtime agree on all of them.

They rely on two facts only: every patch is in exactly one sequence, and the class token is the first token of every
sequence or in none.
"""

from dataclasses import dataclass, replace
from itertools import product

import pytest
import torch
import torch.nn.functional as F
from einops import rearrange
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from timesformer.config.schema import ModelConfig
from timesformer.export.traced import TracedForm
from timesformer.model import TimeSformer
from timesformer.model.block import Step
from timesformer.model.fast import FastTimeSformer
from timesformer.model.layers import Attention
from timesformer.model.schemes import REGROUPS, Axes, Grid, Regroup, Scheme, Tile, Tiles
from tiny import random_clips, random_weights, tiny_config

# beartype, which the tests run under, draws the items of a list that it checks
pytestmark = pytest.mark.filterwarnings("ignore:Do not use the `random` module inside strategies")

GRIDS = st.builds(Grid, st.integers(1, 4), st.integers(1, 4), st.integers(1, 4))
TOLERANCE = {"rtol": 0, "atol": 1e-5}
over_time, over_space = REGROUPS["time"], REGROUPS["space"]


@dataclass(frozen=True)
class Strides:
    """Tiles of every `steps`-th frame, row and column."""

    steps: tuple[int, int, int]

    def __call__(self, grid: Grid) -> list[Tile]:
        starts = product(*(range(min(step, side)) for step, side in zip(self.steps, grid, strict=True)))
        return [tuple(slice(first, None, step) for first, step in zip(at, self.steps, strict=True)) for at in starts]


@dataclass(frozen=True)
class Cuts:
    """Tiles left and right of a cut through each axis; a cut at an end makes one tile."""

    at: tuple[int, int, int]

    def __call__(self, grid: Grid) -> list[Tile]:
        halves = [(slice(0, cut), slice(cut, side)) for cut, side in zip(self.at, grid, strict=True)]
        halves = [
            [half for half in pair if half.start < min(half.stop, side)]
            for pair, side in zip(halves, grid, strict=True)
        ]
        return list(product(*halves))


@dataclass(frozen=True)
class RandomMask:
    """Each token sees itself and a random half of its sequence."""

    partition: Axes
    with_cls: bool

    def __call__(self, grid: Grid) -> Tensor:
        patches = torch.empty(1, grid.t * grid.h * grid.w, 1)
        length = self.partition.split(patches, grid)[0].shape[2] + self.with_cls
        generator = torch.Generator().manual_seed(length)
        return (torch.rand(length, length, generator=generator) < 0.5) | torch.eye(length, dtype=torch.bool)


@st.composite
def axes(draw: st.DrawFn) -> Axes:
    order = draw(st.permutations("thw"))
    cut = draw(st.integers(0, 2))
    group = f"({' '.join(order[:cut])})" if cut else "1"
    return Axes(f"b {group} ({' '.join(order[cut:])})")


@st.composite
def regroups(draw: st.DrawFn) -> Regroup:
    with_cls = draw(st.booleans())
    kind = draw(st.sampled_from(["axes", "masked", "strides", "cuts"]))
    sides = draw(st.tuples(*[st.integers(1, 3)] * 3))
    if kind == "strides":
        return Regroup(Tiles(Strides(sides)), with_cls=with_cls)
    if kind == "cuts":
        return Regroup(Tiles(Cuts(sides)), with_cls=with_cls)
    partition = draw(axes())
    mask = RandomMask(partition, with_cls) if kind == "masked" else None
    return Regroup(partition, with_cls=with_cls, mask=mask)


@st.composite
def schemes(draw: st.DrawFn) -> Scheme:
    known = st.sampled_from([over_time, over_space, replace(over_time, with_cls=True)])
    counts = draw(st.lists(st.integers(1, 2), min_size=1, max_size=3))
    names = iter("abcdef")
    stages = tuple({next(names): draw(regroups() | known) for _ in range(count)} for count in counts)
    image_step = draw(st.sampled_from([name for stage in stages for name in stage]))
    return Scheme(stages, image_step, per_frame=draw(st.booleans()))


def attention_operator(name: str, inputs: list[Tensor | None], attrs: dict[str, float], **_: object) -> Tensor:
    """Implements the operator of ONNX Runtime; `torch.onnx.ops.symbolic` only names it."""
    assert name == "com.microsoft::MultiHeadAttention"
    q, k, v, *rest = inputs
    q, k, v = (rearrange(x, "b n (h d) -> b h n d", h=int(attrs["num_heads"])) for x in (q, k, v))
    bias = rest[2][0] if rest else None
    y = F.scaled_dot_product_attention(q, k, v, attn_mask=bias, scale=attrs["scale"])
    return rearrange(y, "b h n d -> b n (h d)")


def model_of(scheme: Scheme, **changes: object) -> TimeSformer:
    return random_weights(TimeSformer(tiny_config(**changes), scheme=scheme))


@given(regroup=regroups(), grid=GRIDS)
def test_join_undoes_split(regroup: Regroup, grid: Grid):
    tokens = torch.arange(1.0, 2 + grid.t * grid.h * grid.w)[None, :, None].expand(2, -1, 3)
    want = tokens.clone()
    want[:, 0] *= regroup.with_cls  # a class token outside all sequences gets zero
    torch.testing.assert_close(regroup(tokens, grid, lambda x, mask=None: x), want)


@given(regroup=regroups(), grid=GRIDS)
def test_class_token_is_first_in_every_sequence_or_in_none(regroup: Regroup, grid: Grid):
    tokens = torch.arange(1.0 + grid.t * grid.h * grid.w)[None, :, None]
    rows = [row for group in regroup.sequences(tokens, grid) for row in group[0, :, :, 0].tolist()]
    assert all((row[0] == 0) is regroup.with_cls and 0 not in row[1:] for row in rows)
    patches = sorted(token for row in rows for token in row if token)
    assert patches == list(range(1, tokens.shape[1]))  # as floats


@given(regroup=regroups(), grid=GRIDS)
def test_workload_is_what_attention_gets(regroup: Regroup, grid: Grid):
    sent = []

    def attend(x: Tensor, mask: Tensor | None = None) -> Tensor:
        sent.append((*x.shape[:2], x.shape[1] ** 2 if mask is None else int(mask.sum())))
        return x

    regroup(torch.zeros(1, 1 + grid.t * grid.h * grid.w, 1), grid, attend)
    assert regroup.workload(grid) == sent


@settings(deadline=None)
@given(regroup=regroups(), grid=GRIDS)
@torch.no_grad()
def test_class_token_alone_is_the_first_row_of_all_tokens(regroup: Regroup, grid: Grid):
    torch.manual_seed(0)
    step = Step(tiny_config(), drop_path=0.0, has_fc=True)
    x = torch.randn(2, 1 + grid.t * grid.h * grid.w, 24)
    torch.testing.assert_close(regroup.cls(x, grid, step.first), regroup(x, grid, step)[:, :1], **TOLERANCE)


@settings(deadline=None, max_examples=60)
@given(scheme=schemes(), frames=st.integers(1, 3))
def test_evaluation_training_folded_inference_and_the_form_for_onnx_runtime_agree(scheme: Scheme, frames: int):
    model = model_of(scheme, num_frames=frames, num_heads=2, embed_dim=8)
    clips = random_clips(model.config)
    with torch.no_grad():
        want = model(clips)
        folded = FastTimeSformer(model)
        torch.testing.assert_close(folded(clips), want, **TOLERANCE)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(torch.onnx.ops, "symbolic", attention_operator)
            torch.testing.assert_close(TracedForm(folded)(clips), want, **TOLERANCE)
    torch.testing.assert_close(model.train()(clips).detach(), want, **TOLERANCE)  # nothing random in the config


@settings(deadline=None, max_examples=30)
@given(scheme=schemes())
def test_gradients_of_fused_training_are_those_of_the_plain_blocks(scheme: Scheme):
    model = model_of(scheme, num_heads=2, embed_dim=8).train()
    clips = random_clips(model.config)

    def gradients() -> dict[str, Tensor | None]:
        model.zero_grad()
        model(clips).square().sum().backward()
        return {name: parameter.grad for name, parameter in model.named_parameters()}

    fused = gradients()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("timesformer.model.kernels.can_fuse", lambda *_, **__: False)
        plain = gradients()
    for name, want in plain.items():
        scale = 0.0 if want is None else float(want.abs().max())
        torch.testing.assert_close(fused[name], want, rtol=1e-4, atol=1e-5 * scale + 1e-6, msg=name)


def test_scheme_whose_last_step_leaves_the_class_token_out_does_not_end_in_it():
    without_cls = replace(over_space, with_cls=False)
    scheme = Scheme(({"space": over_space}, {"within": without_cls}), "space")
    assert not scheme.ends_in_cls
    assert [list(stage) for stage in scheme.stages_to_cls] == [["space"]]
    model = model_of(scheme).train()
    model(random_clips(model.config)).sum().backward()
    unread = model.blocks[-1].steps["within"]  # a gradient of zero, not None: weight decay tells them apart
    assert all(parameter.grad is not None and not parameter.grad.any() for parameter in unread.parameters())


def test_scheme_whose_steps_all_leave_the_class_token_out_still_classifies():
    model = model_of(Scheme(({"time": over_time},), "time"))
    clips = random_clips(model.config)
    with torch.no_grad():
        torch.testing.assert_close(FastTimeSformer(model)(clips), model(clips), **TOLERANCE)


def test_attention_of_packed_sequences_is_that_of_each_by_itself():
    attention = Attention(ModelConfig(embed_dim=8, num_heads=2)).eval()
    x = torch.randn(12, 5, 8)
    with torch.no_grad():
        torch.testing.assert_close(attention(x), torch.cat([attention(row[None]) for row in x]), **TOLERANCE)
