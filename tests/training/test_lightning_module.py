import copy
import logging
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from lightning.pytorch import Trainer
from torch import Tensor
from torch.utils.data import DataLoader

from timesformer.config.run import AugmentConfig, OptimConfig, RunConfig
from timesformer.config.schema import ModelConfig
from timesformer.errors import ConfigError, DataError, DecodeError, TimeSformerError
from timesformer.model.timesformer import TimeSformer
from timesformer.training.dataloaders import Batch
from timesformer.training.lightning_module import ClipClassifier
from timesformer.training.mixup import mix_batch
from timesformer.training.tally import Tally

LOGITS = torch.tensor([[9.0, 1, 2, 3, 4, 5, 6], [0, 1, 2, 3, 4, 5, 6], [6, 5, 4, 3, 2, 1, 0], [6, 5, 4, 3, 2, 1, 0]])
LABELS = torch.tensor([0, 5, 5, 1])
TINY = ModelConfig(
    num_frames=2,
    image_size=8,
    patch_size=4,
    embed_dim=8,
    depth=2,
    num_heads=2,
    num_classes=3,
    drop_path=0.0,
    initialization="scratch",
)


def _module(optim: OptimConfig | None = None, *, model: ModelConfig = TINY, **changes: Any) -> ClipClassifier:
    torch.manual_seed(0)
    run = RunConfig(model=model, optim=optim or OptimConfig(), seed=5, **changes)
    return ClipClassifier(TimeSformer(model), run=run, total_steps=10)


def _batch(size: int = 4, *, seed: int = 2, skipped: tuple[str, ...] = ()) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    return Batch(torch.randn(size, 3, 2, 8, 8, generator=generator), torch.arange(size) % 3, skipped)


def test_tally_counts_hits_among_the_best_one_and_five():
    tally = Tally()
    tally.add(LOGITS, LABELS, loss=1.0)
    assert (tally.count, tally.top1, tally.top5) == (4, 1, 3)


def test_tally_weights_samples_not_batches():
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
    clips, labels, *_ = batch = _batch()
    logits = module.model(clips)
    targets = 0.7 * F.one_hot(labels, 3) + 0.3 / 3
    expected = -(targets * logits.log_softmax(dim=1)).sum(dim=1).mean()
    torch.testing.assert_close(module.training_step(batch, 0), expected)


def test_validation_does_not_smooth():
    module = _module(OptimConfig(label_smoothing=0.3)).eval()
    clips, labels, *_ = batch = _batch()
    module.on_validation_epoch_start()
    module.validation_step(batch, 0)
    assert module._val.loss / module._val.count == pytest.approx(F.cross_entropy(module.model(clips), labels).item())


def test_dropout_depends_on_seed_and_step_and_not_on_what_was_drawn_before():
    module = _module(model=replace(TINY, dropout=0.5))
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
def test_error_of_a_video_is_raised_unchanged(step: str):
    error = DecodeError("a.mp4: no video")
    with pytest.raises(DecodeError) as caught:
        getattr(_module(), step)(error, 0)
    assert caught.value is error


# --- Micro-batches ----------------------------------------------------------------------------------------------------


def _fit(module: ClipClassifier, batches: list[Batch], **options: Any) -> Trainer:
    """Train on batches for an epoch, without validation."""
    trainer = Trainer(
        accelerator="cpu",
        max_epochs=1,
        limit_val_batches=0,
        accumulate_grad_batches=module._run.accumulate,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **options,
    )
    trainer.fit(module, DataLoader(batches, batch_size=None, collate_fn=lambda batch: batch))
    return trainer


quiet_trainer = pytest.mark.filterwarnings(
    "ignore:.*does not have many workers",
    "ignore:.*in eval mode at the start of training",
    "ignore:.*have no `val_dataloader`",
    "ignore:.*LeafSpec",
    "ignore:.*returned `None`",
)


def _weights(module: ClipClassifier) -> dict[str, Tensor]:
    return {name: parameter.detach().clone() for name, parameter in module.model.named_parameters()}


def test_micro_batches_of_a_step_draw_different_dropout():
    module = _module(model=replace(TINY, dropout=0.5), accumulate=2)
    first, second, third = (module.training_step(_batch(8), index) for index in range(3))
    assert first != second
    assert first == third  # the first micro-batch of the same step


@quiet_trainer
def test_clips_of_a_step_have_equal_weight_however_it_is_divided():
    whole, end = _batch(6), _batch(3, seed=3)
    optim = OptimConfig(optimizer="sgd", lr=0.1)
    once = _module(optim, batch_size=6)
    _fit(once, [whole, end])
    parts = _module(optim, batch_size=6, accumulate=3)
    divided = [Batch(batch.clips[i : i + 2], batch.labels[i : i + 2]) for batch in (whole, end) for i in range(0, 6, 2)]
    trainer = _fit(parts, divided[:5])  # the last step has micro-batches of two clips and of one
    assert trainer.global_step == 2
    torch.testing.assert_close(_weights(parts), _weights(once))
    assert parts._train.loss == pytest.approx(once._train.loss)
    assert parts._train.count == 9


@quiet_trainer
def test_clipped_gradient_is_the_mean_over_the_clips_of_a_step():
    optim = OptimConfig(optimizer="sgd", lr=0.1)
    batch = _batch(2)
    once, part = _module(optim, batch_size=2), _module(optim, batch_size=8, accumulate=4)
    for module in (once, part):
        _fit(module, [batch], gradient_clip_val=0.2)
    torch.testing.assert_close(_weights(part), _weights(once))


# --- Skipped videos --------------------------------------------------------------------------------------------------


def test_skipped_videos_are_counted_and_each_is_reported_once(caplog: pytest.LogCaptureFixture):
    module = _module()
    with caplog.at_level(logging.WARNING):
        module.training_step(_batch(skipped=("a.mp4: no video", "b.mp4: no video")), 0)
        module.validation_step(_batch(skipped=("c.mp4: no video",)), 0)
        module.on_train_epoch_start()
        module.training_step(_batch(skipped=("a.mp4: no video",)), 0)
        module.training_step(_batch(skipped=("a.mp4: no video",)), 1)
    assert [record.getMessage() for record in caplog.records] == [
        f"skipped: {name}.mp4: no video" for name in ("a", "b", "c")
    ]
    assert (module._train.skipped, module._val.skipped) == (["a.mp4: no video"], ["c.mp4: no video"])


@quiet_trainer
def test_batch_without_clips_gives_no_step():
    module = _module(OptimConfig(lr=0.1, warmup_fraction=0.0))
    before = _weights(module)
    with pytest.raises(DataError, match="no training video of the epoch could be decoded, 1 were skipped; the first"):
        _fit(module, [_batch(0, skipped=("a.mp4: no video",))])
    torch.testing.assert_close(_weights(module), before, rtol=0, atol=0)


@quiet_trainer
def test_epoch_continues_after_a_batch_without_clips():
    module = _module()
    trainer = _fit(module, [_batch(), _batch(0, skipped=("a.mp4: no video",)), _batch(2)])
    assert module._train.count == 6
    assert trainer.callback_metrics["train_skipped"] == 1.0


def test_validation_of_nothing_is_refused():
    module = _module()
    module.validation_step(_batch(0, skipped=("a.mp4: no video",)), 0)
    with pytest.raises(DataError, match="no validation video of the epoch could be decoded, 1 were skipped; the first"):
        module.on_validation_epoch_end()


def test_counts_of_an_epoch_travel_in_the_checkpoint():
    module, resumed = _module(), _module()
    module.training_step(_batch(skipped=("a.mp4: no video",)), 0)
    checkpoint: dict[str, Any] = {}
    module.on_save_checkpoint(checkpoint)
    resumed.on_load_checkpoint(copy.deepcopy(checkpoint))
    assert resumed._train == module._train
    assert resumed._train.count == 4


# --- Mixing -----------------------------------------------------------------------------------------------------------


def test_loss_of_mixed_clips_is_the_cross_entropy_with_mixed_labels(monkeypatch: pytest.MonkeyPatch):
    augment = AugmentConfig(mixup=0.8)
    module = _module(OptimConfig(label_smoothing=0.2), augment=augment)
    seen: list[np.random.Generator] = []

    def mix(*arguments: Any, generator: np.random.Generator, **options: Any) -> tuple[Tensor, Tensor]:
        seen.append(copy.deepcopy(generator))
        return mix_batch(*arguments, generator=generator, **options)

    monkeypatch.setattr("timesformer.training.lightning_module.mix_batch", mix)
    batch = _batch()
    loss = module.training_step(batch, 0)
    clips, targets = mix_batch(
        batch.clips, batch.labels, augment, num_classes=3, label_smoothing=0.2, generator=seen[0]
    )
    logits = module.model(clips)
    torch.testing.assert_close(loss, -(targets * logits.log_softmax(dim=1)).sum(dim=1).mean())


def test_mixed_clips_are_correct_if_their_own_label_is_predicted(monkeypatch: pytest.MonkeyPatch):
    def mix(clips: Tensor, labels: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        return clips, F.one_hot((labels + 1) % 3, 3).float()

    monkeypatch.setattr("timesformer.training.lightning_module.mix_batch", mix)
    module = _module(augment=AugmentConfig(cutmix=0.8))
    torch.nn.init.constant_(module.model.head.bias[1:2], 99.0)
    module.training_step(_batch(3)._replace(labels=torch.tensor([1, 1, 0])), 0)
    assert module._train.top1 == 2


def test_mixing_depends_on_seed_step_and_micro_batch_only():
    module = _module(augment=AugmentConfig(mixup=0.8), accumulate=2)
    batch = _batch(8)
    first, second = module.training_step(batch, 0), module.training_step(batch, 1)
    np.random.default_rng().random(3)
    assert first == module.training_step(batch, 0)
    assert first != second


# --- Frozen modules ---------------------------------------------------------------------------------------------------


@quiet_trainer
@pytest.mark.parametrize("freeze", ["blocks:1", "backbone"])
def test_frozen_weights_stay_and_get_no_gradients(freeze: str):
    module = _module(OptimConfig(lr=0.1, warmup_fraction=0.0, weight_decay=0.5, freeze=freeze))
    before = _weights(module)
    _fit(module, [_batch(), _batch(3)])
    trained = ("head.",) if freeze == "backbone" else ("blocks.1.", "norm.", "head.")
    changed = {name for name, weight in _weights(module).items() if not torch.equal(weight, before[name])}
    assert changed == {name for name in before if name.startswith(trained)}
    assert not [name for name, p in module.model.named_parameters() if p.grad is not None and name not in changed]


def test_frozen_modules_have_no_dropout_and_save_no_activations():
    config = replace(TINY, dropout=0.5, drop_path=0.5)
    module = _module(OptimConfig(freeze="blocks:1"), model=config)
    module.eval().train()
    assert not any(each.training for each in (*module.model.embedding.modules(), *module.model.blocks[0].modules()))
    assert all(each.training for each in (*module.model.blocks[1].modules(), module.model.head_dropout))
    x, grid = module.model.embedding(_batch().clips)
    assert not module.model.blocks[0](x, grid).requires_grad


def test_more_frozen_blocks_than_there_are_is_refused():
    with pytest.raises(ConfigError, match=r"optim.freeze='blocks:3' is more than the 2 blocks of the model"):
        _module(OptimConfig(freeze="blocks:3"))


# --- Precision and memory ---------------------------------------------------------------------------------------------


@quiet_trainer
def test_loss_is_in_fp32_if_the_model_computes_in_bf16(monkeypatch: pytest.MonkeyPatch):
    module = _module(OptimConfig(lr=0.01), precision="bf16", model=replace(TINY, drop_path=0.2))
    losses: list[Tensor] = []
    step = ClipClassifier.training_step

    def follow(self: ClipClassifier, *arguments: Any) -> Any:
        assert self.model(arguments[0].clips).dtype == torch.bfloat16
        losses.append(step(self, *arguments))
        return losses[-1]

    monkeypatch.setattr(ClipClassifier, "training_step", follow)
    _fit(module, [_batch()] * 8, precision="bf16-mixed")
    assert {loss.dtype for loss in losses} == {torch.float32}
    assert losses[-1] < losses[0]
    assert {parameter.dtype for parameter in module.model.parameters()} == {torch.float32}


def test_loss_of_half_precision_logits_is_in_fp32():
    module = _module()
    module.model.bfloat16()
    clips, labels, *_ = _batch()
    loss = module.training_step(Batch(clips.bfloat16(), labels), 0)
    assert loss is not None
    assert loss.dtype == torch.float32


@quiet_trainer
def test_recomputed_activations_change_no_weight():
    config = replace(TINY, dropout=0.3, drop_path=0.3)
    plain, again = (_module(model=config, checkpoint_activations=value) for value in (False, True))
    assert again.model.checkpoint_activations
    for module in (plain, again):
        _fit(module, [_batch(), _batch(3)])
    torch.testing.assert_close(_weights(again), _weights(plain), rtol=0, atol=0)
