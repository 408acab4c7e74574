"""Recomputing activations changes memory and nothing else."""

import pytest
import torch
from torch import Tensor, nn

from timesformer.model.timesformer import TimeSformer
from tiny import SCHEME_NAMES, random_clips, random_model, tiny_config


def _gradients(scheme: str, *, recompute: bool) -> tuple[Tensor, dict[str, Tensor], int]:
    """Logits and gradients with every kind of dropout, and how often a block was run."""
    config = tiny_config(scheme, dropout=0.2, attention_dropout=0.1, head_dropout=0.3, drop_path=0.4)
    model = random_model(config).train()
    model.checkpoint_activations = recompute
    calls = _count_calls(model.blocks[1])
    torch.manual_seed(3)
    logits = model(random_clips(config, batch=3))
    logits.square().sum().backward()
    return logits.detach(), {name: p.grad for name, p in model.named_parameters() if p.grad is not None}, len(calls)


def _count_calls(module: nn.Module) -> list[None]:
    calls: list[None] = []
    module.register_forward_pre_hook(lambda *_: calls.append(None))
    return calls


@pytest.mark.parametrize("scheme", SCHEME_NAMES)
def test_recomputed_blocks_give_the_same_bits_with_dropout(scheme: str):
    logits, gradients, calls = _gradients(scheme, recompute=False)
    again, recomputed, more_calls = _gradients(scheme, recompute=True)
    assert (calls, more_calls) == (1, 2)
    torch.testing.assert_close(again, logits, rtol=0, atol=0)
    torch.testing.assert_close(recomputed, gradients, rtol=0, atol=0)


def _saved_bytes(model: TimeSformer, clips: Tensor) -> int:
    sizes = []

    def pack(tensor: Tensor) -> Tensor:
        sizes.append(tensor.nbytes)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        model(clips)
    return sum(sizes)


def test_recomputed_blocks_keep_only_their_input():
    config = tiny_config(depth=4)
    model, clips = random_model(config).train(), random_clips(config, batch=3)
    whole = _saved_bytes(model, clips)
    model.checkpoint_activations = True
    assert _saved_bytes(model, clips) < whole / 4


@pytest.mark.parametrize("mode", ["eval", "no grad", "frozen"])
def test_nothing_is_recomputed_without_training(mode: str, monkeypatch: pytest.MonkeyPatch):
    config = tiny_config()
    model = random_model(config).train(mode != "eval")
    model.checkpoint_activations = True
    if mode == "frozen":
        model.blocks.eval()

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError

    monkeypatch.setattr("timesformer.model.timesformer.checkpoint", refuse)
    with torch.set_grad_enabled(mode != "no grad"):
        model(random_clips(config))
