"""Weights under another config: tensors resized, copied, newly initialized, dropped or refused."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from timesformer.config.info import ModelInfo
from timesformer.errors import WeightsError
from timesformer.model import SCHEMES, TimeSformer
from timesformer.model.interpolation import resize_patches
from timesformer.weights import save
from timesformer.weights.load import load
from tiny import SCHEME_NAMES, random_clips, random_model, tiny_config

LABELS = tuple("abcdefg")
ONE_STEP = ("space_only", "joint_space_time")


@pytest.fixture
def stored(tmp_path: Path) -> Callable[..., Path]:
    def store(scheme: str = "divided_space_time", **changes: Any) -> Path:
        model = random_model(tiny_config(scheme, **changes), info=ModelInfo(labels=LABELS))
        return save(model, tmp_path / scheme)

    return store


@torch.no_grad()
def logits(model: TimeSformer, clips: Tensor) -> Tensor:
    return model(clips)


# --- Sizes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["bicubic", "nearest"])
@pytest.mark.parametrize("scheme", SCHEME_NAMES)
def test_model_resized_at_load_answers_as_one_resized_at_each_call(stored: Callable, scheme: str, mode: str):
    folder, sizes = stored(scheme), {"num_frames": 5, "image_size": (16, 12)}
    late = load(folder, position_interpolation=mode)
    early = load(folder, position_interpolation=mode, **sizes)
    clips = random_clips(early.config)
    torch.testing.assert_close(logits(early, clips), logits(late, clips), rtol=1e-5, atol=1e-5)


def test_resizes_are_reported_with_sizes_and_kind(stored: Callable):
    folder = stored()
    report = load(folder, num_frames=5, image_size=(16, 12)).load_report
    assert report.resized == {
        "embedding.position": "2x5 to 4x3 patches, bicubic",
        "embedding.time": "3 to 5 frames, linear",
    }
    nearest = load(folder, num_frames=5, position_interpolation="nearest").load_report
    assert nearest.resized == {"embedding.time": "3 to 5 frames, nearest"}


def test_positions_move_to_another_grid_of_equally_many_patches(stored: Callable):
    model = load(stored(), image_size=(20, 8), position_interpolation="nearest")  # 2 x 5 patches become 5 x 2
    old = random_model(tiny_config()).embedding.position.detach()[0, 1:].unflatten(0, (2, 5))
    want = old[[0, 0, 0, 1, 1]][:, [0, 2]].flatten(0, 1)
    torch.testing.assert_close(model.embedding.position.detach()[0, 1:], want, rtol=0, atol=0)
    assert model.load_report.resized == {"embedding.position": "2x5 to 5x2 patches, nearest"}


def test_class_token_keeps_its_position_when_patches_move(stored: Callable):
    model = load(stored(), image_size=(16, 12))
    want = random_model(tiny_config()).embedding.position[:, 0]
    torch.testing.assert_close(model.embedding.position[:, 0], want, rtol=0, atol=0)


@torch.no_grad()
def test_other_channels_answer_as_before_when_all_are_equal(stored: Callable):
    folder = stored()
    three, one = load(folder), load(folder, in_channels=1)
    gray = torch.randn(2, 1, 3, 8, 20)
    torch.testing.assert_close(one(gray), three(gray.expand(-1, 3, -1, -1, -1)), rtol=1e-4, atol=1e-5)
    assert one.load_report.resized == {"embedding.patch.weight": "3 to 1 channels"}


@pytest.mark.parametrize("size", [1, 2, 3, 4, 6, 8])
def test_projection_of_other_patches_answers_as_for_the_enlarged_ones(size: int):
    weight = torch.randn(5, 3, 4, 4)
    small, large = min(size, 4), max(size, 4)
    patches = torch.randn(7, 3, small, small)
    enlarged = functional.interpolate(patches, size=(large, large), mode="bilinear")
    old, new = (patches, enlarged) if size > 4 else (enlarged, patches)
    expected = torch.einsum("nchw,dchw->nd", old, weight)
    found = torch.einsum("nchw,dchw->nd", new, resize_patches(weight, size))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_smaller_patches_answer_as_larger_ones_on_enlarged_patches(stored: Callable):
    folder = stored()
    model, finer = load(folder), load(folder, patch_size=2, image_size=(4, 10))
    assert finer.load_report.resized == {"embedding.patch.weight": "patches of 4 to 2 pixels"}
    clip = torch.randn(2, 3, 3, 4, 10)
    patches = clip.unfold(3, 2, 2).unfold(4, 2, 2).reshape(-1, 1, 2, 2)
    large = functional.interpolate(patches, size=(4, 4), mode="bilinear")
    large = large.reshape(2, 3, 3, 2, 5, 4, 4).permute(0, 1, 2, 3, 5, 4, 6).reshape(2, 3, 3, 8, 20)
    torch.testing.assert_close(finer(clip), model(large), rtol=1e-4, atol=1e-5)


def test_other_patches_and_channels_are_reported_together(stored: Callable):
    report = load(stored(), patch_size=2, in_channels=1).load_report
    assert report.resized["embedding.patch.weight"] == "3 to 1 channels, patches of 4 to 2 pixels"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"embed_dim": 48},
            r"cls_token is \(1, 1, 24\), the config needs \(1, 1, 48\); the weights have embed_dim=24, not 48$",
        ),
        ({"mlp_ratio": 2.0}, r"mlp\.fc1\.weight is \(60, 24\), the config needs \(48, 24\)"),
        ({"depth": 3}, r"depth=3 is more than the 2 blocks of the weights"),
        ({"qkv_bias": False}, r"the model has no .*qkv\.bias; the weights have qkv_bias=True, not False$"),
    ],
)
def test_size_that_weights_cannot_follow_is_refused_by_name(stored: Callable, changes: dict, message: str):
    with pytest.raises(WeightsError, match=message):
        load(stored(), **changes)


def test_bias_that_the_weights_do_not_have_is_refused_by_name(stored: Callable):
    with pytest.raises(
        WeightsError, match=r"has no blocks\.0.*\.qkv\.bias; the weights have qkv_bias=False, not True$"
    ):
        load(stored(qkv_bias=False), qkv_bias=True)


@torch.no_grad()
def test_smaller_depth_takes_the_first_blocks_and_reports_the_others(stored: Callable):
    folder = stored()
    whole, first = load(folder), load(folder, depth=1)
    assert len(first.blocks) == 1
    del whole.blocks[1:]
    clips = random_clips(first.config)
    torch.testing.assert_close(first(clips), whole(clips), rtol=0, atol=0)
    dropped = first.load_report.dropped
    assert dropped
    assert all(name.startswith("blocks.1.") for name in dropped)
    assert set(dropped.values()) == {"depth=1 keeps the first 1 of 2 blocks"}
    assert str(first.load_report).count("dropped") == 1


def test_qkv_bias_that_the_weights_do_not_have_is_refused(stored: Callable):
    with pytest.raises(WeightsError, match=r"has no blocks\.0\.steps\.time\.attention\.qkv\.bias"):
        load(stored(qkv_bias=False), qkv_bias=True)


# --- Heads and embeddings -------------------------------------------------------------------------------------------


def test_standardization_is_folded_into_the_head_if_the_config_drops_it(stored: Callable):
    folder = stored(head_norm="batch")
    model, whole = load(folder, head_norm="none"), load(folder)
    assert model.load_report.dropped["head_norm.running_mean"] == "folded into the head"
    clips = random_clips(whole.config)
    torch.testing.assert_close(logits(model, clips), logits(whole, clips), rtol=1e-4, atol=1e-4)
    assert load(folder, head_norm="none", num_classes=3).head.out_features == 3


def test_adding_new_standardization_leaves_the_outputs_unchanged(stored: Callable):
    folder = stored()
    model, plain = load(folder, head_norm="batch"), load(folder)
    assert "head_norm.running_var" in model.load_report.newly_initialized
    clips = random_clips(plain.config)
    torch.testing.assert_close(logits(model, clips), logits(plain, clips), rtol=1e-4, atol=1e-4)


def test_other_number_of_classes_gets_a_new_head_and_loses_the_labels(stored: Callable):
    model = load(stored(), num_classes=4)
    assert model.head.weight.shape == (4, 24)
    assert model.load_report.newly_initialized == model.load_report.new == ["head.weight", "head.bias"]
    assert set(model.load_report.dropped) == {"head.weight", "head.bias"}
    assert model.load_report.dropped["head.bias"] == "7 classes became 4"
    assert model.info.labels == ()


@torch.no_grad()
def test_head_with_twice_the_classes_is_new_and_not_the_old_one_twice(stored: Callable):
    model = load(stored(), num_classes=14)  # the released code repeats a bias whose length divides the new one
    torch.testing.assert_close(model.head.bias, torch.zeros(14))


def test_equal_number_of_classes_keeps_head_and_labels(stored: Callable):
    model = load(stored(), num_classes=7)
    assert model.info.labels == LABELS
    assert not (model.load_report.newly_initialized or model.load_report.dropped)


def test_new_parameters_follow_the_seed_and_leave_the_global_generator_alone(stored: Callable):
    folder = stored()
    torch.manual_seed(5)
    want = torch.rand(3)
    torch.manual_seed(5)
    heads = [load(folder, num_classes=4, seed=seed).head.weight.detach() for seed in (0, 0, 1)]
    torch.testing.assert_close(torch.rand(3), want, rtol=0, atol=0)
    torch.testing.assert_close(heads[0], heads[1], rtol=0, atol=0)
    assert not torch.equal(heads[0], heads[2])


def test_seeding_new_parameters_leaves_the_generators_of_gpus_alone(stored: Callable, monkeypatch: pytest.MonkeyPatch):
    seeded = []
    monkeypatch.setattr(torch.cuda, "manual_seed_all", seeded.append)
    load(stored(), num_classes=4)
    assert seeded == []


def test_embedding_that_the_config_gives_up_is_reported_as_dropped(stored: Callable):
    folder = stored()
    assert set(load(folder, position_embedding="space").load_report.dropped) == {"embedding.time"}
    report = load(folder, position_embedding="none").load_report
    assert report.dropped["embedding.position"] == "position_embedding='none'"
    assert "has no time embedding" in report.dropped["embedding.time"]


def test_embedding_that_the_weights_do_not_have_starts_anew(stored: Callable):
    model = load(stored(position_embedding="none"), position_embedding="space_time")
    assert model.load_report.newly_initialized == ["embedding.position", "embedding.time"]
    assert not model.embedding.time.any()


# --- Schemes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("old", ONE_STEP)
@pytest.mark.parametrize("new", SCHEME_NAMES)
def test_only_attention_becomes_every_step_of_another_scheme(stored: Callable, old: str, new: str):
    model = load(stored(old), scheme=new)
    (only,) = SCHEMES[old].steps
    source = random_model(tiny_config(old)).state_dict()
    attention = {name: name.split(".", 4) for name in model.state_dict() if ".steps." in name and ".fc." not in name}
    for name, (_, block, _, _, rest) in attention.items():
        want = source[f"blocks.{block}.steps.{only}.{rest}"]
        torch.testing.assert_close(model.state_dict()[name], want, rtol=0, atol=0)
    assert len(attention) == 6 * model.config.depth * len(model.scheme.steps)
    assert not set(model.load_report.dropped) - {"embedding.time"}


@pytest.mark.parametrize("new", ["divided_space_time", "axial", "sparse_local_global", "parallel"])
def test_fc_of_a_step_that_the_weights_do_not_have_starts_at_zero(stored: Callable, new: str):
    model = load(stored("joint_space_time"), scheme=new)
    fresh = {name: tensor for name, tensor in model.state_dict().items() if ".fc." in name}
    assert set(model.load_report.newly_initialized) == set(fresh)
    assert not any(tensor.any() for tensor in fresh.values())


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("divided_space_time", "joint_space_time"),
        ("divided_space_time", "space_only"),
        ("divided_space_time", "axial"),
        ("divided_space_time", "sparse_local_global"),
        ("axial", "divided_space_time"),
    ],
)
def test_scheme_with_several_steps_cannot_become_another_one(stored: Callable, old: str, new: str):
    lacks = rf"scheme='{old}' has no .*, which scheme='{new}' needs|scheme='{new}' has no .*, which scheme='{old}' has"
    with pytest.raises(WeightsError, match=lacks):
        load(stored(old), scheme=new)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("divided_space_time", "parallel"),
        ("divided_space_time", "space_time_reversed"),
        ("sparse_local_global", "sparse_local_global_centered"),
    ],
)
def test_schemes_with_the_same_parameters_exchange_them(stored: Callable, old: str, new: str):
    model = load(stored(old), scheme=new)
    assert sorted(model.load_report.loaded) == sorted(model.state_dict())


# --- The report -----------------------------------------------------------------------------------------------------


def test_report_reads_as_one_line_for_each_thing_that_happened(stored: Callable):
    folder = stored("joint_space_time")
    text = str(load(folder, scheme="divided_space_time", num_classes=4, num_frames=5).load_report)
    assert text.splitlines() == [
        f"model folder from {folder}: 18 tensors loaded unchanged",
        "  resized embedding.time: 3 to 5 frames, linear",
        "  copied  24 attention tensors into the other steps of the scheme",
        "  new     6 tensors: blocks.*.steps.time.fc.weight, blocks.*.steps.time.fc.bias, head.weight, head.bias",
        "  dropped head.bias: 7 classes became 4",
        "  dropped head.weight: 7 classes became 4",
    ]


@pytest.mark.parametrize("changes", [{}, {"num_classes": 3}, {"num_frames": 4, "image_size": (12, 12)}])
def test_every_parameter_is_accounted_for_once(stored: Callable, changes: dict):
    model = load(stored(), **changes)
    report = model.load_report
    assert sorted([*report.loaded, *report.resized, *report.copied, *report.newly_initialized]) == sorted(
        model.state_dict()
    )
