from dataclasses import replace
from pathlib import Path

import pytest
import torch

from timesformer.config.info import ModelInfo
from timesformer.config.presets import CLIP_PRESETS, PRESETS
from timesformer.config.run import OptimConfig, RunConfig
from timesformer.config.schema import ClipConfig, ModelConfig
from timesformer.errors import ConfigError, WeightsError
from timesformer.model.timesformer import TimeSformer
from timesformer.training.init_weights import (
    describe_head,
    initial_model,
    newly_initialized_parameters,
    scale_tokens,
)
from timesformer.training.optim import parameter_groups
from timesformer.weights.formats.released import save_released
from timesformer.weights.load import load
from timesformer.weights.model_folder import save
from tiny import SCHEME_NAMES, random_clips, random_model, square_config, tiny_config

TINY = ModelConfig(
    num_frames=3, image_size=8, patch_size=4, embed_dim=8, depth=2, num_heads=2, num_classes=3, drop_path=0.0
)
LABELS = ("run", "walk", "swim")
RUN = RunConfig(model=TINY, clip=ClipConfig(sampling="uniform"))


@pytest.fixture
def source(tmp_path: Path) -> TimeSformer:
    """A model in `tmp_path/source`."""
    torch.manual_seed(9)
    info = ModelInfo(labels=LABELS, license="CC-BY-NC-4.0")
    model = TimeSformer(replace(TINY, initialization="scratch"), info=info)
    save(model, tmp_path / "source")
    return model


def _from(path: Path, **fields: object) -> RunConfig:
    return replace(RUN, init_from=str(path / "source"), model=replace(TINY, **fields))


def test_new_weights_depend_on_the_seed_and_on_nothing_else():
    state = torch.get_rng_state()
    first = initial_model(RUN, labels=LABELS).state_dict()
    torch.testing.assert_close(torch.get_rng_state(), state)
    torch.rand(3)
    torch.testing.assert_close(initial_model(RUN, labels=LABELS).state_dict(), first)
    other = initial_model(replace(RUN, seed=1), labels=LABELS).state_dict()
    assert not torch.equal(other["head.weight"], first["head.weight"])


def test_model_knows_its_clips_and_labels_and_is_ready_to_train():
    model = initial_model(RUN, labels=LABELS)
    assert model.info == ModelInfo(clip=RUN.clip, labels=LABELS)
    assert model.training


def test_run_starts_from_the_weights_of_another_model(source: TimeSformer, tmp_path: Path):
    model = initial_model(_from(tmp_path), labels=LABELS)
    torch.testing.assert_close(model.state_dict(), source.state_dict())
    assert model.training


def test_license_of_the_weights_stays_and_clips_become_those_of_the_run(source: TimeSformer, tmp_path: Path):
    info = initial_model(_from(tmp_path), labels=LABELS).info
    assert info.license == "CC-BY-NC-4.0"
    assert info.clip == RUN.clip
    assert info.source == f"fine-tuned from {tmp_path / 'source'}"


def test_head_of_as_many_other_classes_is_replaced(source: TimeSformer, tmp_path: Path):
    model = initial_model(_from(tmp_path), labels=("a", "b", "c"))
    torch.testing.assert_close(model.blocks.state_dict(), source.blocks.state_dict())
    new = initial_model(RUN, labels=("a", "b", "c"))
    torch.testing.assert_close(model.head.weight, new.head.weight)
    assert model.info.labels == ("a", "b", "c")


def test_other_sizes_and_another_number_of_classes_come_from_the_run(source: TimeSformer, tmp_path: Path):
    run = _from(tmp_path, num_frames=5, image_size=(8, 16), num_classes=2, drop_path=0.3, dropout=0.2)
    model = initial_model(run, labels=("a", "b"))
    assert model.config == run.model
    assert model.embedding.time.shape == (1, 5, 8)
    assert model.blocks[1].mlp.drop_path.rate == 0.3


def test_run_with_fewer_blocks_starts_from_the_first_ones(source: TimeSformer, tmp_path: Path):
    model = initial_model(_from(tmp_path, depth=1), labels=LABELS)
    assert len(model.blocks) == 1
    torch.testing.assert_close(model.blocks[0].state_dict(), source.blocks[0].state_dict())


def test_run_of_more_blocks_than_the_weights_have_is_refused(source: TimeSformer, tmp_path: Path):
    with pytest.raises(WeightsError, match=r"source: depth=3 is more than the 2 blocks of the weights"):
        initial_model(_from(tmp_path, depth=3), labels=LABELS)


def test_other_architecture_is_refused_with_the_keys_to_set(source: TimeSformer, tmp_path: Path):
    run = _from(tmp_path, mlp_ratio=2.0, num_heads=4)
    with pytest.raises(ConfigError, match=r"does not match num_heads=4, mlp_ratio=2.0 .* set model.num_heads=2, m"):
        initial_model(run, labels=LABELS)


def test_scheme_that_the_weights_cannot_be_adapted_to_is_refused(source: TimeSformer, tmp_path: Path):
    with pytest.raises(WeightsError, match="only weights with one attention step"):
        initial_model(_from(tmp_path, scheme="axial"), labels=LABELS)


@pytest.mark.parametrize("scheme", SCHEME_NAMES)
@torch.no_grad()
def test_scaled_tokens_do_not_change_the_outputs(scheme: str):
    model, clips = random_model(tiny_config(scheme)), random_clips(tiny_config(scheme))
    wanted, (tokens, _) = model(clips), model.embedding(clips)
    scale_tokens(model, 7.0)
    torch.testing.assert_close(model.embedding(clips)[0], 7 * tokens)
    torch.testing.assert_close(model(clips), wanted, rtol=1e-4, atol=1e-4)


def test_run_starts_from_scaled_tokens(source: TimeSformer, tmp_path: Path):
    model = initial_model(replace(_from(tmp_path), init_scale=3.0), labels=LABELS)
    torch.testing.assert_close(model.embedding.position, 3 * source.embedding.position)
    torch.testing.assert_close(model.blocks[0].mlp.fc1.weight, source.blocks[0].mlp.fc1.weight)


def test_newly_initialized_parameters_are_not_scaled(tmp_path: Path):
    info = ModelInfo(labels=LABELS)
    save(TimeSformer(replace(TINY, scheme="space_only"), info=info), tmp_path / "source")
    plain, scaled = (
        initial_model(replace(_from(tmp_path, initialization="scratch"), init_scale=scale), labels=LABELS)
        for scale in (1.0, 5.0)
    )
    torch.testing.assert_close(scaled.embedding.time, plain.embedding.time)
    torch.testing.assert_close(scaled.embedding.position, 5 * plain.embedding.position)


@pytest.mark.parametrize(
    ("fields", "name"), [({"init_scale": 3.0}, "init_scale=3.0"), ({"optim": OptimConfig(pretrained_lr=0.1)}, "lr=0.1")]
)
def test_options_of_pretrained_weights_are_refused_without_them(fields: dict, name: str):
    with pytest.raises(ConfigError, match=f"{name} has no effect without init_from"):
        replace(RUN, **fields)


def test_newly_initialized_are_the_parameters_that_the_weights_lack(tmp_path: Path):
    info = ModelInfo(labels=LABELS)
    save(TimeSformer(replace(TINY, scheme="space_only"), info=info), tmp_path / "source")
    names = newly_initialized_parameters(initial_model(_from(tmp_path), labels=LABELS))
    fc = {f"blocks.{i}.steps.time.fc.{kind}" for i in range(2) for kind in ("weight", "bias")}
    assert names == {"embedding.time"} | fc
    assert newly_initialized_parameters(initial_model(RUN, labels=LABELS)) == frozenset()


def test_a_preset_has_no_pretrained_and_no_newly_initialized_parameters():
    run = RunConfig(model=replace(PRESETS["tiny"], num_classes=3), clip=CLIP_PRESETS["tiny"], init_from="tiny")
    assert newly_initialized_parameters(initial_model(run, labels=LABELS)) == frozenset()


def test_a_head_trained_on_raw_features_is_replaced_if_the_run_standardizes_them(source: TimeSformer, tmp_path: Path):
    model = initial_model(_from(tmp_path, head_norm="batch"), labels=LABELS)
    assert newly_initialized_parameters(model) == {"head.weight", "head.bias"}
    assert not torch.equal(model.head.weight, source.head.weight)


def test_a_head_of_as_many_other_classes_is_newly_initialized(source: TimeSformer, tmp_path: Path):
    assert newly_initialized_parameters(initial_model(_from(tmp_path), labels=LABELS)) == frozenset()
    model = initial_model(_from(tmp_path), labels=("a", "b", "c"))
    assert newly_initialized_parameters(model) == {"head.weight", "head.bias"}


# --- The head -------------------------------------------------------------------------------------------------------


def _unnamed(tmp_path: Path, **fields: object) -> RunConfig:
    """A run from weights of as many classes, whose names are not known."""
    save(random_model(replace(TINY, **fields)), tmp_path / "unnamed")
    return replace(RUN, init_from=str(tmp_path / "unnamed"), model=replace(TINY, **fields))


def test_a_head_of_as_many_unnamed_classes_is_new(tmp_path: Path):
    run = _unnamed(tmp_path)
    model = initial_model(run, labels=LABELS)
    assert newly_initialized_parameters(model) == {"head.weight", "head.bias"}
    torch.testing.assert_close(model.head.weight, initial_model(RUN, labels=LABELS).head.weight)
    assert describe_head(model, run) == "new head: the classes of the weights are not known"


def test_a_new_head_learns_at_the_full_rate(tmp_path: Path):
    run = replace(_unnamed(tmp_path), optim=OptimConfig(lr=0.5, pretrained_lr=0.1, layer_decay=0.5))
    model = initial_model(run, labels=LABELS)
    groups = parameter_groups(model, optim=run.optim, newly_initialized=newly_initialized_parameters(model))
    rates = {id(parameter): group["lr"] for group in groups for parameter in group["params"]}
    assert {rates[id(parameter)] for parameter in model.head.parameters()} == {0.5}
    assert max(rate for key, rate in rates.items() if key not in map(id, model.head.parameters())) == 0.05


@pytest.mark.parametrize(
    ("labels", "fields", "told"),
    [
        (LABELS, {}, "head of {source}"),
        (("Run", "walk", "swim"), {}, "new head: the weights are for other classes"),
        (("run", "walk"), {"num_classes": 2}, "new head: 3 classes became 2"),
        (LABELS, {"head_norm": "batch"}, "new head: that of the weights reads features without head_norm"),
    ],
)
def test_a_run_tells_whether_its_head_is_new_and_why(
    source: TimeSformer, tmp_path: Path, labels: tuple[str, ...], fields: dict, told: str
):
    run = _from(tmp_path, **fields)
    assert describe_head(initial_model(run, labels=labels), run) == told.format(source=tmp_path / "source")


def test_weights_without_a_head_get_a_new_one(tmp_path: Path):
    model = random_model(square_config("space_only", num_frames=1))
    state = torch.load(save_released(model, tmp_path / "released.pyth"), weights_only=True)["model_state"]
    kept = {name.removeprefix("model."): tensor for name, tensor in state.items() if "head" not in name}
    torch.save(kept, tmp_path / "vit.pth")
    config = square_config(num_classes=3)
    run = replace(RUN, init_from=str(tmp_path / "vit.pth"), model=config)
    assert describe_head(initial_model(run, labels=LABELS), run) == "new head: the weights have none"


def test_a_run_without_weights_tells_nothing_of_its_head():
    assert describe_head(initial_model(RUN, labels=LABELS), RUN) == ""
    preset = RunConfig(model=replace(PRESETS["tiny"], num_classes=3), clip=CLIP_PRESETS["tiny"], init_from="tiny")
    assert describe_head(initial_model(preset, labels=LABELS), preset) == ""


def test_a_run_can_start_from_the_head_of_another_model(tmp_path: Path):
    run = _unnamed(tmp_path, head_norm="batch")
    other = random_model(run.model, seed=5, info=ModelInfo(labels=LABELS))
    save(other, tmp_path / "other")
    run = replace(run, init_head=str(tmp_path / "other"))
    model = initial_model(run, labels=LABELS)
    torch.testing.assert_close(model.head.state_dict(), other.head.state_dict())
    torch.testing.assert_close(model.head_norm.state_dict(), other.head_norm.state_dict())
    torch.testing.assert_close(model.blocks.state_dict(), load(run.init_from).blocks.state_dict())
    assert newly_initialized_parameters(model) == frozenset()
    assert describe_head(model, run) == f"head of {tmp_path / 'other'}"


def test_a_head_of_another_model_that_does_not_fit_is_refused(source: TimeSformer, tmp_path: Path):
    run = replace(_from(tmp_path), init_head=str(tmp_path / "source"))
    with pytest.raises(ConfigError, match=r"init_head=.*: is the head of other classes \(run, walk, swim, \.\.\.\)"):
        initial_model(run, labels=("a", "b", "c"))
    standardizing = replace(run, model=replace(TINY, head_norm="batch"))
    with pytest.raises(ConfigError, match=r"init_head=.*: has head_norm='none', the run has head_norm='batch'"):
        initial_model(standardizing, labels=LABELS)
    with pytest.raises(ConfigError, match=r"init_head='x' has no effect without init_from"):
        replace(RUN, init_head="x")
