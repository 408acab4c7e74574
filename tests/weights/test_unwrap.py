"""Wrappers of training scripts are removed, foreign tensors are reported, and everything else is refused."""

import argparse
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import Tensor

from timesformer.errors import WeightsError
from timesformer.model.timesformer import TimeSformer
from timesformer.weights.formats.released import save_released
from timesformer.weights.formats.transformers import save_transformers
from timesformer.weights.load import load
from timesformer.weights.read import read_file
from tiny import random_model, square_config

State = dict[str, Tensor]


def state_of(path: Path, *, seed: int = 0) -> State:
    """The tensors of a divided model under the released names."""
    model = random_model(square_config(), seed=seed)
    stored = torch.load(save_released(model, path / f"{seed}.pyth", overwrite=True), weights_only=True)["model_state"]
    return {name.removeprefix("model."): tensor for name, tensor in stored.items()}


@pytest.fixture
def state(tmp_path: Path) -> State:
    return state_of(tmp_path)


@pytest.fixture
def other(tmp_path: Path) -> State:
    """Another model of the same shapes."""
    return state_of(tmp_path, seed=5)


@pytest.fixture
def loaded(tmp_path: Path) -> Callable[[Any], TimeSformer]:
    def write_and_load(content: Any) -> TimeSformer:
        torch.save(content, tmp_path / "file.pth")
        return load(tmp_path / "file.pth", num_heads=3)

    return write_and_load


def under(prefix: str, state: State) -> State:
    return {prefix + name: tensor for name, tensor in state.items()}


def assert_is(model: TimeSformer, *, seed: int = 0) -> None:
    torch.testing.assert_close(
        model.state_dict(), random_model(square_config(), seed=seed).state_dict(), rtol=0, atol=0
    )


# --- Prefixes and containers ----------------------------------------------------------------------------------------

PREFIXES = ["_orig_mod", "module", "model", "net", "network", "backbone", "encoder", "_fsdp_wrapped_module"]


@pytest.mark.parametrize(
    "prefix",
    ["_orig_mod.", "model.module.", "net.", "backbone.", "encoder.", "module._orig_mod.model.net.", "video_model.", ""],
)
def test_prefixes_in_any_nesting_are_taken_off(state: State, loaded: Callable, prefix: str):
    assert_is(loaded(under(prefix, state)))


@given(
    prefix=st.lists(st.sampled_from(PREFIXES), max_size=4), containers=st.lists(st.sampled_from(PREFIXES), max_size=3)
)
def test_whatever_wraps_a_model_it_is_found(
    tmp_path_factory: pytest.TempPathFactory, prefix: list[str], containers: list[str]
):
    folder = tmp_path_factory.getbasetemp()
    content: Any = under("".join(f"{part}." for part in prefix), state_of(folder))
    for container in containers:
        content = {container: content, "epoch": 3}
    torch.save(content, folder / "wrapped.pth")
    assert_is(load(folder / "wrapped.pth", num_heads=3))


@pytest.mark.parametrize(
    "container",
    [
        "state_dict", "model_state", "model", "module", "net", "network", "ema", "model_ema", "state_dict_ema",
        "teacher", "student", "mine",
    ],
)  # fmt: skip
def test_containers_are_opened(state: State, loaded: Callable, container: str):
    model = loaded({container: state, "epoch": 7, "loss": 0.5})
    assert_is(model)
    assert model.load_report.location == container


def test_wrappers_of_single_blocks_are_taken_off(state: State, loaded: Callable):
    wrapped = {
        name.replace("blocks.0.", "blocks.module.0._orig_mod.").replace(
            "blocks.1.", "blocks.1._checkpoint_wrapped_module."
        ): t
        for name, t in state.items()
    }
    assert wrapped.keys() != state.keys()
    assert_is(loaded(wrapped))


def test_two_tensors_of_one_name_are_refused(state: State, loaded: Callable):
    with pytest.raises(
        WeightsError, match=r"two tensors named head\.bias once wrappers are removed from _orig_mod\.head"
    ):
        loaded({**state, "_orig_mod.head.bias": state["head.bias"]})


def test_file_of_lightning_is_read(state: State, loaded: Callable):
    content = {
        "epoch": 1, "global_step": 9, "pytorch-lightning_version": "2.6.0", "callbacks": {}, "lr_schedulers": [],
        "state_dict": under("net._orig_mod.", state) | {"criterion.weight": torch.ones(3)},
        "optimizer_states": [{"state": {0: {"exp_avg": torch.zeros(2)}}, "param_groups": [{"lr": 0.1}]}],
        "hyper_parameters": {"lr": 0.1},
    }  # fmt: skip
    report = loaded(content).load_report
    assert report.location == report.place == "state_dict.net"
    assert report.foreign == ("state_dict.criterion.weight", "optimizer_states.0.state.0.exp_avg")


def test_file_of_deepspeed_is_read(state: State, loaded: Callable):
    shapes = {name: tensor.shape for name, tensor in state.items()}
    assert_is(loaded({"module": state, "param_shapes": [shapes], "ds_config": {}, "optimizer": None}))


def test_empty_tensors_of_a_sharded_checkpoint_are_refused(state: State, loaded: Callable):
    with pytest.raises(WeightsError, match="its tensors are empty, as in one shard of a sharded checkpoint"):
        loaded({"module": {name: tensor.new_zeros(0) for name, tensor in state.items()}})


def test_options_stored_with_the_weights_are_ignored(state: State, loaded: Callable):
    assert_is(loaded({"state_dict": state, "args": argparse.Namespace(lr=0.1, opt="adamw")}))


def test_weights_under_two_names_are_one_model(state: State, loaded: Callable):
    report = loaded({"model": state, "state_dict": state}).load_report
    assert (report.location, report.others, report.foreign) == ("model", (), ())


@pytest.mark.parametrize("prefix", ["_orig_mod.", "module.model."])
def test_prefixes_in_a_folder_of_transformers_are_taken_off(tmp_path: Path, prefix: str):
    folder = save_transformers(random_model(square_config()), tmp_path / "theirs")
    stored = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(under(prefix, stored), folder / "pytorch_model.bin")
    assert_is(load(folder))


# --- Several models -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["model_ema", "state_dict_ema", "ema", "teacher"])
def test_average_is_preferred_to_the_last_weights_and_reported(
    state: State, other: State, loaded: Callable, name: str, caplog: pytest.LogCaptureFixture
):
    with caplog.at_level(logging.WARNING):
        model = loaded({"model": other, name: under("module.", state)})
    assert_is(model)
    assert model.load_report.others == ("model",)
    told = f"from {name}.module, an average of the weights over training; not from model"
    assert told in str(model.load_report)
    assert told in caplog.text


def test_average_without_weights_is_not_taken(state: State, loaded: Callable):
    assert loaded({"model": state, "ema": {"decay": 0.99, "updates": torch.tensor(3)}}).load_report.location == "model"


def test_teacher_is_taken_before_the_student(state: State, other: State, loaded: Callable):
    content = {"student": under("module.backbone.", other), "teacher": under("backbone.", state)}
    model = loaded(content)
    assert_is(model)
    assert model.load_report.location == "teacher.backbone"
    assert len(model.load_report.foreign) == len(other)


def test_second_model_next_to_it_is_foreign(state: State, other: State, loaded: Callable):
    report = loaded(under("model.", state) | under("momentum_encoder.", other)).load_report
    assert report.location == "model"
    assert report.others == ("momentum_encoder",)
    assert f"foreign {len(other)} tensors outside the model: momentum_encoder ({len(other)})" in str(report)


def test_model_nested_in_the_location_of_another_is_foreign_to_it(state: State, other: State, loaded: Callable):
    model = loaded(state | under("reference.", other))
    assert_is(model)
    assert model.load_report.others == ("reference",)


def test_two_models_of_which_none_is_preferred_are_refused(state: State, other: State, loaded: Callable):
    with pytest.raises(WeightsError, match=r"holds several models, under left, right: save only the one you need"):
        loaded(under("left.", state) | under("right.", other))


# --- Nothing unexplained --------------------------------------------------------------------------------------------


def test_tensors_outside_the_model_are_listed(state: State, loaded: Callable):
    model = loaded({"model": under("net.", state) | {"loss.center": torch.zeros(3), "loss.scale": torch.ones(1)}})
    assert_is(model)
    assert model.load_report.foreign == ("model.loss.center", "model.loss.scale")
    assert "  foreign 2 tensors outside the model: model (2)" in str(model.load_report)


@pytest.mark.parametrize("prefix", ["", "net."])
def test_tensor_within_the_model_that_nothing_explains_is_refused(state: State, loaded: Callable, prefix: str):
    with pytest.raises(WeightsError, match=r"unexplained blocks\.0\.gamma"):
        loaded(under(prefix, state) | {f"{prefix}blocks.0.gamma": torch.zeros(24)})


def test_location_is_named_if_the_model_does_not_match(state: State, loaded: Callable):
    del state["norm.bias"]
    with pytest.raises(WeightsError, match=r"file\.pth \(model\.net\): does not match .* missing norm\.bias"):
        loaded({"model": under("net.", state)})


def test_head_outside_the_model_is_named_if_its_own_is_missing(state: State, loaded: Callable):
    backbone = {name: tensor for name, tensor in state.items() if not name.startswith("head.")}
    with pytest.raises(
        WeightsError, match=r"file\.pth \(backbone, next to fc\.bias\): .* missing head\.weight, head\.b"
    ):
        loaded(under("backbone.", backbone) | {"fc.bias": torch.zeros(7)})


@pytest.mark.parametrize("dtype", [torch.int8, torch.complex64])
def test_quantized_weights_are_refused(state: State, loaded: Callable, dtype: torch.dtype):
    with pytest.raises(WeightsError, match=r"head\.bias holds torch\.\w+, not floating-point numbers"):
        loaded(state | {"head.bias": state["head.bias"].to(dtype)})


def test_sparse_weights_are_refused(state: State, loaded: Callable):
    with pytest.raises(WeightsError, match=r"head\.weight is stored as torch\.sparse_coo"):
        loaded(state | {"head.weight": state["head.weight"].to_sparse()})


@pytest.mark.parametrize(
    ("name", "shape"), [("time_embed", ()), ("pos_embed", (24,)), ("head.weight", (7,)), ("pos_embed", (1, 0, 24))]
)
def test_shapes_of_no_such_model_are_refused(state: State, loaded: Callable, name: str, shape: tuple[int, ...]):
    with pytest.raises(WeightsError, match="expected"):
        loaded(state | {name: torch.zeros(shape)})


def test_bare_model_next_to_containers_is_read(state: State, loaded: Callable):
    report = loaded({**state, "optimizer": {"state": [torch.zeros(1)]}}).load_report
    assert report.foreign == ("optimizer.state.0",)


def test_container_that_holds_itself_is_walked_once(state: State, loaded: Callable):
    content: dict[str, Any] = {"model": state}
    content["self"] = content
    assert_is(loaded(content))


def test_mmaction2_and_its_average_are_found_by_their_names(tmp_path: Path):
    tensors = {"backbone.patch_embed.projection.weight": torch.zeros(8, 3, 4, 4)}
    torch.save({"state_dict": tensors, "ema_state_dict": under("module.", tensors)}, tmp_path / "mm.pth")
    with pytest.raises(WeightsError, match=r"mm\.pth \(ema_state_dict\.module\): unknown format"):
        read_file(tmp_path / "mm.pth")
