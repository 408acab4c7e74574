import math

import pytest
import torch
import torch.nn.functional as F

from timesformer.config.run import OptimConfig, RunConfig
from timesformer.config.schema import ModelConfig
from timesformer.errors import DecodeError, TimeSformerError
from timesformer.model.timesformer import TimeSformer
from timesformer.training.module import ClipClassifier, Tally
from timesformer.training.sources import Batch

LOGITS = torch.tensor([[9.0, 1, 2, 3, 4, 5, 6], [0, 1, 2, 3, 4, 5, 6], [6, 5, 4, 3, 2, 1, 0], [6, 5, 4, 3, 2, 1, 0]])
LABELS = torch.tensor([0, 5, 5, 1])
_PLAIN = OptimConfig()


def _module(optim: OptimConfig = _PLAIN, *, dropout: float = 0.0, num_classes: int = 3) -> ClipClassifier:
    torch.manual_seed(0)
    config = ModelConfig(
        num_frames=2,
        image_size=8,
        patch_size=4,
        embed_dim=8,
        depth=1,
        num_heads=2,
        num_classes=num_classes,
        dropout=dropout,
        drop_path=0.0,
    )
    return ClipClassifier(TimeSformer(config), run=RunConfig(optim=optim, seed=5), total_steps=10)


def _batch(size: int = 4) -> Batch:
    generator = torch.Generator().manual_seed(2)
    return Batch(torch.randn(size, 3, 2, 8, 8, generator=generator), torch.arange(size) % 3, ())


def test_tally_counts_hits_among_the_best_one_and_five():
    tally = Tally()
    tally.add(LOGITS, LABELS, loss=1.0)
    assert (tally.count, tally.top1, tally.top5) == (4, 1, 3)


def test_tally_weighs_samples_and_not_batches():
    whole, parts = Tally(), Tally()
    whole.add(LOGITS, LABELS, loss=F.cross_entropy(LOGITS, LABELS).item())
    for part in (slice(0, 3), slice(3, 4)):
        parts.add(LOGITS[part], LABELS[part], loss=F.cross_entropy(LOGITS[part], LABELS[part]).item())
    assert (parts.count, parts.top1, parts.top5) == (whole.count, whole.top1, whole.top5)
    assert parts.loss == pytest.approx(whole.loss)


def test_top_five_of_two_classes_is_everything():
    tally = Tally()
    tally.add(torch.tensor([[0.0, 1.0], [0.0, 1.0]]), torch.tensor([0, 1]), loss=0.0)
    assert (tally.top1, tally.top5) == (1, 2)


def test_loss_is_the_cross_entropy_with_smoothed_labels():
    module = _module(OptimConfig(label_smoothing=0.3))
    clips, labels, _ = batch = _batch()
    logits = module.model(clips)
    targets = 0.7 * F.one_hot(labels, 3) + 0.3 / 3
    expected = -(targets * logits.log_softmax(dim=1)).sum(dim=1).mean()
    torch.testing.assert_close(module.training_step(batch, 0), expected)


def test_validation_does_not_smooth():
    module = _module(OptimConfig(label_smoothing=0.3)).eval()
    clips, labels, _ = batch = _batch()
    module.on_validation_epoch_start()
    module.validation_step(batch, 0)
    assert module._val.loss / module._val.count == pytest.approx(F.cross_entropy(module.model(clips), labels).item())


def test_dropout_depends_on_seed_and_step_and_not_on_what_was_drawn_before():
    module = _module(dropout=0.5)
    first = module.training_step(_batch(), 0)
    torch.rand(3)
    torch.testing.assert_close(module.training_step(_batch(), 0), first)


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("step", ["training_step", "validation_step"])
def test_loss_that_is_not_finite_stops_with_advice(step: str, value: float):
    module = _module(OptimConfig(lr=0.25))
    batch = _batch()
    torch.nn.init.constant_(module.model.head.bias, value)
    with pytest.raises(TimeSformerError, match=r"the loss is nan at step \d .epoch 1.: training has diverged.*0\.25"):
        getattr(module, step)(batch, 0)


@pytest.mark.parametrize("step", ["training_step", "validation_step"])
def test_error_of_a_video_is_raised_as_it_is(step: str):
    error = DecodeError("a.mp4: no video")
    with pytest.raises(DecodeError) as caught:
        getattr(_module(), step)(error, 0)
    assert caught.value is error
