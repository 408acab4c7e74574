"""Learning from the mean probabilities of trained models."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from timesformer.cli.main import main
from timesformer.config.info import ModelInfo
from timesformer.config.io import read_config
from timesformer.config.run import AugmentConfig, RunConfig
from timesformer.config.schema import ClipConfig, ModelConfig
from timesformer.errors import ConfigError
from timesformer.model.timesformer import TimeSformer
from timesformer.training import distillation
from timesformer.training.dataloaders import Batch
from timesformer.training.distillation import Teachers, load_teachers
from timesformer.training.lightning_module import ClipClassifier
from timesformer.training.mixup import mix_batch
from timesformer.training.train import train
from timesformer.weights.model_folder import save
from tiny import random_weights
from training_runs import Stopped, are_equal, quiet, raise_at, weights_of

CPU = torch.device("cpu")
LABELS = ("move_left", "move_right", "grow")
CLIP = ClipConfig(sampling="segment", num_crops=1)
STUDENT = ModelConfig(
    num_frames=3, image_size=16, patch_size=8, embed_dim=16, depth=1, num_heads=2, num_classes=3, drop_path=0.0,
    initialization="scratch",
)  # fmt: skip


def make_teacher(seed: int = 0, *, labels: tuple[str, ...] = LABELS, clip: ClipConfig = CLIP, **changes: Any):
    """A random teacher with smaller patches and more blocks than the student."""
    config = replace(STUDENT, **{"patch_size": 4, "depth": 2, "embed_dim": 8, "num_classes": len(labels)} | changes)
    return random_weights(TimeSformer(config), seed=seed).eval(), ModelInfo(clip=clip, labels=labels)


@pytest.fixture
def teachers(tmp_path: Path) -> list[Path]:
    """Folders of two teachers; the second has its classes in another order."""
    folders = []
    for seed, labels in enumerate((LABELS, ("grow", "move_left", "move_right"))):
        model, info = make_teacher(seed, labels=labels)
        model.info = info
        folders.append(save(model, tmp_path / f"teacher{seed}"))
    return folders


def distilled(run: RunConfig, teachers: list[Path], **optim: float) -> RunConfig:
    return replace(
        run, distill_from=tuple(map(str, teachers)), optim=replace(run.optim, **optim) if optim else run.optim
    )


def clips_of(count: int = 4) -> torch.Tensor:
    return torch.randn(count, 3, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def test_targets_are_the_mean_of_the_probabilities_in_the_order_of_the_run(teachers: list[Path]):
    found = load_teachers(distilled(RunConfig(model=STUDENT, clip=CLIP), teachers), labels=LABELS, device=CPU)
    assert isinstance(found, Teachers)
    with torch.no_grad():
        first, second = (make_teacher(seed)[0](clips_of()) / 2.0 for seed in (0, 1))
    expected = (first.softmax(dim=1) + second[:, [1, 2, 0]].softmax(dim=1)) / 2
    torch.testing.assert_close(found.probabilities(clips_of()), expected)


@pytest.mark.parametrize(("weight", "temperature"), [(0.25, 1.0), (0.8, 3.0), (1.0, 2.0)])
def test_loss_is_the_weighted_sum_of_cross_entropy_and_divergence(teachers, weight: float, temperature: float):
    run = distilled(
        RunConfig(model=STUDENT, clip=CLIP, seed=5), teachers, distill_weight=weight, distill_temperature=temperature
    )
    held = load_teachers(run, labels=LABELS, device=CPU)
    assert held is not None
    module = ClipClassifier(random_weights(TimeSformer(STUDENT)), run=run, total_steps=3, teachers=held)
    clips, labels = clips_of(), torch.tensor([0, 2, 1, 1])
    logits, targets = module.model(clips), held.probabilities(clips)
    cross_entropy = F.cross_entropy(logits, labels)
    divergence = (targets * (targets.log() - (logits / temperature).log_softmax(dim=1))).sum(dim=1).mean()
    expected = (1 - weight) * cross_entropy + weight * temperature**2 * divergence
    torch.testing.assert_close(module.training_step(Batch(clips, labels), 0), expected)


def test_teachers_see_the_mixed_clips(teachers: list[Path], monkeypatch: pytest.MonkeyPatch):
    run = replace(distilled(RunConfig(model=STUDENT, clip=CLIP), teachers), augment=AugmentConfig(mixup=0.8))
    held = load_teachers(run, labels=LABELS, device=CPU)
    module = ClipClassifier(random_weights(TimeSformer(STUDENT)), run=run, total_steps=3, teachers=held)
    seen = []
    probabilities = Teachers.probabilities
    monkeypatch.setattr(Teachers, "probabilities", lambda self, x: seen.append(x) or probabilities(self, x))
    batch = Batch(clips_of(), torch.tensor([0, 2, 1, 1]))
    module.training_step(batch, 0)
    generator = np.random.default_rng(np.random.SeedSequence([0, 0, 0]).spawn(1)[0])
    expected, _ = mix_batch(
        *batch[:2], run.augment, num_classes=3, label_smoothing=0.0, generator=generator
    )  # fmt: skip
    torch.testing.assert_close(seen, [expected])
    assert not torch.equal(expected, batch.clips)


def test_teachers_are_neither_trained_nor_saved(teachers: list[Path]):
    run = distilled(RunConfig(model=STUDENT, clip=CLIP), teachers)
    held = load_teachers(run, labels=LABELS, device=CPU)
    assert held is not None
    module = ClipClassifier(TimeSformer(STUDENT), run=run, total_steps=3, teachers=held)
    assert {name.partition(".")[0] for name in module.state_dict()} == {"model"}
    module.train()
    assert not any(model.training for model in held.models)
    assert not any(parameter.requires_grad for model in held.models for parameter in model.parameters())


def test_nothing_is_loaded_without_teachers(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(distillation, "load", lambda source: pytest.fail("loads"))
    assert load_teachers(RunConfig(), labels=LABELS, device=CPU) is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": ("move_left", "move_right")}, r"lacks the class 'grow': the classes of a teacher must be those of"),
        ({"labels": (*LABELS, "spin")}, r"has the class 'spin', which the run lacks: the classes of a teacher must"),
        ({"clip": replace(CLIP, std=(0.5, 0.5, 0.5))}, r"has clip.std=\(0.5, 0.5, 0.5\), not \(0.225, 0.225, 0.225\):"),
        (
            {"clip": replace(CLIP, channel_order="time")},
            r"has clip.channel_order='time', not 'rgb': a teacher sees the",
        ),
        (
            {"num_frames": 4},
            r"has model.num_frames=4, not 3: a teacher sees the clips of the run, so both need the same",
        ),
        ({"image_size": (16, 24)}, r"has model.image_size=\(16, 24\), not \(16, 16\)"),
    ],
)
def test_a_teacher_of_other_classes_or_clips_is_refused(tmp_path: Path, changes: dict[str, Any], message: str):
    model, model.info = make_teacher(**changes)
    run = distilled(RunConfig(model=STUDENT, clip=CLIP), [save(model, tmp_path / "other")])
    with pytest.raises(ConfigError, match=f"^distill_from: .*other {message}"):
        load_teachers(run, labels=LABELS, device=CPU)


def test_a_teacher_without_names_of_its_classes_is_refused(tmp_path: Path):
    model, _ = make_teacher()
    model.info = ModelInfo(clip=CLIP)
    run = distilled(RunConfig(model=STUDENT, clip=CLIP), [save(model, tmp_path / "nameless")])
    with pytest.raises(ConfigError, match=r"^distill_from: .*nameless does not say the names of its classes$"):
        load_teachers(run, labels=LABELS, device=CPU)


def test_other_views_at_test_are_no_other_clips(tmp_path: Path):
    model, model.info = make_teacher(clip=replace(CLIP, num_crops=3, fusion="logits"))
    run = distilled(RunConfig(model=STUDENT, clip=CLIP), [save(model, tmp_path / "views")])
    assert load_teachers(run, labels=LABELS, device=CPU) is not None


@pytest.mark.parametrize("optim", [{}, {"distill_weight": 0.9}, {"distill_temperature": 1.0}])
def test_distillation_changes_the_weights(run: RunConfig, teachers: list[Path], tmp_path: Path, optim):
    lines: list[str] = []
    for name, changes in (("plain", None), ("base", {}), ("changed", optim)):
        made = replace(run, epochs=1, output=str(tmp_path / name))
        train(made if changes is None else distilled(made, teachers, **changes), on_message=lines.append)
    assert lines[0].endswith("on cpu")
    assert "; distilled from 2 models" in "\n".join(lines)
    plain, base, changed = (weights_of(tmp_path / name) for name in ("plain", "base", "changed"))
    assert not are_equal(plain, base)
    assert are_equal(base, changed) == (not optim)


def test_an_interrupted_run_ends_with_the_weights_of_an_uninterrupted_one(run, teachers, tmp_path):
    whole = distilled(replace(run, output=str(tmp_path / "whole")), teachers)
    train(whole, on_message=quiet)
    cut = replace(whole, output=str(tmp_path / "cut"))
    with pytest.raises(Stopped):
        train(cut, on_message=raise_at("epoch 2", Stopped()))
    train(cut, resume=True, on_message=quiet)
    assert are_equal(weights_of(tmp_path / "cut"), weights_of(tmp_path / "whole"))
    with pytest.raises(ConfigError, match=r"distill_from was \['.*teacher0', '.*teacher1'\] and is \['.*teacher1'\]"):
        train(distilled(cut, teachers[1:]), resume=True, on_message=quiet)


def test_the_command_line_takes_the_settings_of_the_first_teacher(finished: RunConfig, teachers, tmp_path, capsys):
    names = f"{finished.output},{teachers[1]}"
    command = ["train", finished.data.train, "--distill-from", names, "--epochs", "1", "--output", str(tmp_path / "s")]
    with pytest.raises(SystemExit) as ended:
        main([*command, "--set", "optim.distill_weight=0.7"])
    assert ended.value.code == 0, capsys.readouterr().err
    found = read_config(tmp_path / "s" / "config.toml", kind=RunConfig)
    assert found.distill_from == (finished.output, str(teachers[1]))
    assert (found.optim.distill_weight, found.epochs, found.output) == (0.7, 1, str(tmp_path / "s"))
    assert (replace(found.model, num_classes=400), found.clip) == (finished.model, finished.clip)
    assert (tmp_path / "s" / "model" / "config.json").exists()


def test_the_model_of_the_run_may_be_another_than_that_of_its_teachers(teachers, finished, capsys):
    command = ["train", finished.data.train, "--dry-run", "--distill-from", str(teachers[0])]
    with pytest.raises(SystemExit) as ended:
        main(command)
    out = capsys.readouterr().out
    assert ended.value.code == 0
    assert f"teachers      {teachers[0]}" in out
    assert "clip of 3 frames of 16 x 16, 3 classes" in out


def test_a_teacher_that_does_not_exist_is_one_line(finished, tmp_path, capsys):
    command = ["train", finished.data.train, "--distill-from", str(tmp_path / "none"), "--output", str(tmp_path / "s")]
    with pytest.raises(SystemExit) as ended:
        main(command)
    assert ended.value.code == 1
    err = capsys.readouterr().err
    assert err.startswith(f"error: {tmp_path / 'none'}") and err.count("\n") == 1
    assert not (tmp_path / "s").exists()
