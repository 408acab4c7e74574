import weakref
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from timesformer.config.run import AugmentConfig, OptimConfig, RunConfig
from timesformer.config.schema import ModelConfig
from timesformer.model.timesformer import TimeSformer
from timesformer.training import memory
from timesformer.training.lightning_module import ClipClassifier
from timesformer.training.memory import MemoryEstimate, estimate_memory, free_memory, gigabytes, memory_advice

CPU = torch.device("cpu")
TINY = ModelConfig(
    num_frames=3, image_size=(32, 48), patch_size=8, embed_dim=32, depth=4, num_heads=4, num_classes=5, drop_path=0.0
)
RUN = RunConfig(model=TINY, batch_size=6, accumulate=2)


class _Peak(TorchDispatchMode):
    """Peak bytes of the tensors that operations create."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0
        self._now = 0
        self._known: set[int] = set()

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor):
                self._add(leaf.untyped_storage())
        return result

    def _add(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key not in self._known:
            self._known.add(key)
            self._now += size
            self.bytes = max(self.bytes, self._now)
            weakref.finalize(storage, self._remove, key, size)

    def _remove(self, key: int, size: int) -> None:
        self._known.discard(key)
        self._now -= size


def _measured(run: RunConfig) -> int:
    """Peak of the second step of a plain loop; the first step has no moments yet."""
    with _Peak() as peak:
        model = TimeSformer(run.model).train()
        optimizer = ClipClassifier(model, run=run, total_steps=2).configure_optimizers()["optimizer"]
        for _ in range(2):
            clips = torch.randn(run.batch_size // run.accumulate, 3, run.model.num_frames, *run.model.image_size)
            optimizer.zero_grad()
            F.cross_entropy(model(clips), torch.zeros(len(clips), dtype=torch.int64)).backward()
            optimizer.step()
    return peak.bytes


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"batch_size": 16},
        {"model": replace(TINY, scheme="joint_space_time")},
        {"model": replace(TINY, scheme="space_only")},
        {"checkpoint_activations": True, "batch_size": 16},
        {"optim": OptimConfig(freeze="blocks:2")},
        {"optim": OptimConfig(freeze="backbone")},
        {"optim": OptimConfig(optimizer="sgd")},
    ],
    ids=["plain", "large batch", "joint", "space only", "recomputed", "half frozen", "head alone", "sgd"],
)
def test_estimate_is_the_peak_of_a_step_or_up_to_a_quarter_more(changes: dict[str, Any]):
    run = replace(RUN, **changes)
    assert 1 <= estimate_memory(run, CPU).total / _measured(run) < 1.25


def test_fixed_part_is_as_computed_by_hand():
    parameters = sum(parameter.numel() for parameter in TimeSformer(TINY).parameters())
    plain = estimate_memory(RUN, CPU)
    assert (plain.gradients, plain.optimizer) == (4 * parameters, 8 * parameters)
    # plus, in each block, the merged projection and fc and the mask of eight packed sequences over time; and one
    # table of positions
    assert plain.weights == pytest.approx(4 * (parameters + 4 * 32 * 32 + 4 * 24 * 24), rel=0.01)
    sgd = estimate_memory(replace(RUN, optim=OptimConfig(optimizer="sgd", ema_decay=0.9)), CPU)
    assert sgd.optimizer == 4 * parameters
    assert sgd.weights - plain.weights == 4 * parameters
    assert plain.clips == 3
    assert plain.total == plain.fixed + 3 * plain.activations_per_clip


def test_init_from_is_assumed_to_be_an_image_model_whose_new_parameters_learn_in_frozen_blocks():
    frozen = replace(RUN, optim=OptimConfig(freeze="blocks:2"))
    from_image = estimate_memory(replace(frozen, init_from="vit.safetensors"), CPU)
    assert from_image.activations_per_clip > estimate_memory(frozen, CPU).activations_per_clip
    # a frozen linear layer does not keep its input; all else down to the time embedding is kept
    assert from_image.activations_per_clip > 0.8 * estimate_memory(RUN, CPU).activations_per_clip
    new = TINY.num_frames * 32 + 2 * (32 * 32 + 32)  # the time embedding, and fc of the frozen blocks
    assert from_image.gradients == estimate_memory(frozen, CPU).gradients + 4 * new


def test_advice_never_gives_micro_batches_of_one_clip_if_features_are_standardized(monkeypatch: pytest.MonkeyPatch):
    run = replace(RUN, batch_size=3, accumulate=1, model=replace(TINY, head_norm="batch"))
    estimate = estimate_memory(run, None)
    monkeypatch.setattr(memory, "free_memory", lambda device: estimate.fixed + estimate.activations_per_clip + 9)
    assert "accumulate=3 fits" in str(memory_advice(replace(run, model=TINY), CPU))
    assert "accumulate=3 fits" not in str(memory_advice(run, CPU))


def test_frozen_parameters_need_neither_gradients_nor_moments_nor_activations():
    head = 32 * 5 + 5
    probe = estimate_memory(replace(RUN, optim=OptimConfig(freeze="backbone")), CPU)
    assert (probe.gradients, probe.optimizer) == (4 * head, 8 * head)
    whole = estimate_memory(RUN, CPU)
    lower = estimate_memory(replace(RUN, optim=OptimConfig(freeze="blocks:2")), CPU)
    assert (
        0.1 < probe.activations_per_clip / whole.activations_per_clip < 0.3
    )  # the temporary tensors of one of 4 blocks
    assert 0.5 < lower.activations_per_clip / whole.activations_per_clip < 0.7


def test_half_precision_and_recomputation_keep_less():
    deep = replace(RUN, model=replace(TINY, depth=8))
    whole = estimate_memory(deep, CPU).activations_per_clip
    half = estimate_memory(replace(deep, precision="bf16"), CPU).activations_per_clip
    less = estimate_memory(replace(deep, checkpoint_activations=True), CPU).activations_per_clip
    assert 0.4 < half / whole < 0.75
    assert 1.75 / 8 < less / whole < 0.4


def test_attention_keeps_nothing_per_pair_of_tokens():
    joint = ModelConfig(scheme="joint_space_time", num_frames=8, image_size=160, embed_dim=32, depth=1, num_heads=4)
    tokens = 1 + 8 * 100
    assert estimate_memory(replace(RUN, model=joint), CPU).activations_per_clip < 4 * 4 * tokens**2


def test_fitting_batch_is_free_memory_over_that_of_one_clip():
    estimate = MemoryEstimate(
        weights=100, gradients=100, optimizer=200, activations_per_clip=70, clips=4, available=700
    )
    assert estimate.total == 680
    assert estimate.fitting_batch == 4
    assert replace(estimate, available=679).fitting_batch == 3
    assert replace(estimate, available=300).fitting_batch == 0
    assert replace(estimate, available=None).fitting_batch is None


@pytest.mark.parametrize(
    ("fitting", "repeats", "advice"),
    [
        (5, 1, "accumulate=3 fits"),
        (5, 2, "accumulate=3 fits"),
        (3, 2, "accumulate=6 fits"),
        (0, 1, "no micro-batch fits"),
    ],
)
def test_advice_names_the_smallest_accumulate_that_fits(
    monkeypatch: pytest.MonkeyPatch, fitting: int, repeats: int, advice: str
):
    run = replace(RUN, batch_size=12, accumulate=1, augment=AugmentConfig(repeats=repeats))
    estimate = estimate_memory(run, CPU)
    available = estimate.fixed + fitting * estimate.activations_per_clip + 1
    monkeypatch.setattr(memory, "free_memory", lambda device: available)
    text = memory_advice(run, CPU)
    assert text is not None and advice in text
    assert f"a step needs about {gigabytes(estimate.total)} for 12 clips of 3 frames of 32 x 48" in text


def test_no_advice_if_the_step_fits_or_free_memory_is_unknown(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(memory, "free_memory", lambda device: estimate_memory(RUN, None).total)
    assert memory_advice(RUN, CPU) is None
    monkeypatch.setattr(memory, "free_memory", lambda device: None)
    assert memory_advice(RUN, CPU) is None


def test_small_runs_are_not_estimated_on_fake_tensors(monkeypatch: pytest.MonkeyPatch):
    def fail(*_: object) -> None:
        raise AssertionError("takes a second, for nothing")

    monkeypatch.setattr(memory, "free_memory", lambda device: 10**9)
    monkeypatch.setattr(memory, "estimate_memory", fail)
    assert memory_advice(RUN, CPU) is None


def test_free_memory_of_a_container_is_its_limit_less_what_it_uses(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr(memory, "_CGROUP", tmp_path)
    monkeypatch.setattr(memory, "_system_memory", lambda: 10_000)
    assert free_memory(CPU) == 10_000
    for name, text in {
        "memory.max": "5000\n",
        "memory.current": "3000\n",
        "memory.stat": "anon 1\ninactive_file 500\n",
    }.items():
        (tmp_path / name).write_text(text)
    assert free_memory(CPU) == 2500
    (tmp_path / "memory.max").write_text("max\n")
    assert free_memory(CPU) == 10_000


def test_free_memory_of_the_system_is_between_nothing_and_all_of_it():
    available = memory._system_memory()
    assert available is not None and 0 < available < 2**50


def test_free_memory_of_a_gpu_is_asked_of_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (int(device.index), 99))
    assert free_memory(torch.device("cuda:3")) == 3
    monkeypatch.setattr(
        torch, "mps", SimpleNamespace(recommended_max_memory=lambda: 10, driver_allocated_memory=lambda: 4)
    )
    assert free_memory(torch.device("mps")) == 6
