"""Stochastic depth: whole rows at the right rate, and what a row is in each step."""

import pytest
import torch
from torch import Tensor, nn

from timesformer.model import TimeSformer
from timesformer.model.layers import DropPath
from timesformer.model.schemes import Grid
from tiny import random_clips, random_model, tiny_config

ROWS = {  # of 2 clips of 3 frames of 2 x 5 patches
    "divided_space_time": {"steps.time": 2 * 10, "steps.space": 2 * 3, "mlp": 2},
    "joint_space_time": {"steps.joint": 2, "mlp": 2},
    "space_only": {"steps.space": 2 * 3, "mlp": 2 * 3},
    "axial": {"steps.time": 2 * 10, "steps.width": 2 * 3 * 2, "steps.height": 2 * 3 * 5, "mlp": 2},
}


def test_row_is_dropped_whole_or_scaled_up():
    x = torch.rand(64, 3, 5) + 1
    y = DropPath(0.25).train()(x)
    ratio = y / x
    dropped = ratio[:, 0, 0] == 0
    torch.testing.assert_close(ratio, torch.where(dropped, 0.0, 1 / 0.75)[:, None, None].expand_as(x))
    assert 4 <= int(dropped.sum()) <= 28


def test_mean_over_many_rows_does_not_change():
    y = DropPath(0.25).train()(torch.ones(20_000, 1, 1))
    assert y.mean().item() == pytest.approx(1, abs=0.02)
    assert (y == 0).float().mean().item() == pytest.approx(0.25, abs=0.02)


def test_nothing_is_dropped_in_eval_mode_or_at_rate_0():
    x = torch.rand(8, 3, 5)
    assert DropPath(0.9).eval()(x) is x
    assert DropPath(0.0).train()(x) is x


def rows_dropped_from(model: TimeSformer, clips: Tensor) -> dict[str, int]:
    """Rows that reach each DropPath of the second block."""
    rows: dict[str, int] = {}

    def note(name: str) -> object:
        def hook(module: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
            rows[name] = len(inputs[0])

        return hook

    for name, module in model.blocks[1].named_modules():
        if isinstance(module, DropPath):
            module.register_forward_hook(note(name.removesuffix("drop_path").rstrip(".")))
    model.train()(clips)
    return rows


@pytest.mark.parametrize("scheme", ROWS)
def test_row_is_a_position_over_time_a_frame_over_space_and_a_clip_in_the_mlp(scheme: str):
    config = tiny_config(scheme, drop_path=0.5)
    assert rows_dropped_from(random_model(config), random_clips(config)) == ROWS[scheme]


def test_rate_grows_linearly_over_the_blocks():
    model = TimeSformer(tiny_config(depth=5, drop_path=0.2))
    rates = [[module.rate for module in block.modules() if isinstance(module, DropPath)] for block in model.blocks]
    assert rates == [pytest.approx([rate] * 3) for rate in (0, 0.05, 0.1, 0.15, 0.2)]


def test_model_of_one_block_drops_nothing():
    model = TimeSformer(tiny_config(depth=1, drop_path=0.2))
    assert model.blocks[0].mlp.drop_path.rate == 0


@torch.no_grad()
def test_dropped_path_still_adds_the_bias_of_fc():
    model = random_model(tiny_config())
    step = model.blocks[0].steps["time"].train()
    step.drop_path.rate = 1 - 1e-9
    answer = model.scheme.steps["time"](torch.randn(2, 31, 24), Grid(3, 2, 5), step)
    torch.testing.assert_close(answer[:, 1:], step.fc.bias.expand(2, 30, -1))
    torch.testing.assert_close(answer[:, 0], torch.zeros(2, 24))
