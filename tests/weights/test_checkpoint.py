"""Reading other projects' files: safely, completely, and with errors that name the problem."""

import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st

from timesformer.config.schema import ModelConfig
from timesformer.errors import ConfigError, WeightsError
from timesformer.weights import save_released
from timesformer.weights.formats.released import read_labels
from timesformer.weights.load import load
from timesformer.weights.pickles import read_tensors
from timesformer.weights.read import read_file
from tiny import random_model, square_config

Content = dict[str, Any]


@pytest.fixture
def content(tmp_path: Path) -> Content:
    """Content of a released file of a divided model."""
    return released_content(tmp_path / "source.pyth", square_config())


def released_content(path: Path, config: ModelConfig) -> Content:
    content = torch.load(save_released(random_model(config), path), weights_only=True)
    cfg = yaml.safe_load(content["cfg"])
    del cfg["TIMESFORMER"]["INFO"]  # only our own writer puts it there
    return content | {"cfg": yaml.safe_dump(cfg)}


@pytest.fixture
def written(tmp_path: Path) -> Callable[[object], Path]:
    def write(content: object) -> Path:
        torch.save(content, tmp_path / "file.pyth")
        return tmp_path / "file.pyth"

    return write


def with_cfg(content: Content, **sections: object) -> Content:
    return content | {"cfg": yaml.safe_dump(yaml.safe_load(content["cfg"]) | sections)}


# --- Unsafe and damaged files ---------------------------------------------------------------------------------------


class RunsCode:
    def __init__(self, target: Path) -> None:
        self.target = str(target)

    def __reduce__(self) -> tuple[Callable, tuple[str]]:
        return os.mkdir, (self.target,)


@pytest.mark.parametrize("write", [torch.save, lambda thing, path: path.write_bytes(pickle.dumps(thing, protocol=2))])
def test_pickle_that_would_run_code_is_refused_and_does_not_run(tmp_path: Path, write: Callable):
    write(
        {"model_state": {"model.cls_token": torch.zeros(1)}, "cfg": RunsCode(tmp_path / "owned")}, tmp_path / "x.pyth"
    )
    with pytest.raises(WeightsError, match=r"x\.pyth: not a file of plain tensors, refused"):
        load(tmp_path / "x.pyth")
    assert not (tmp_path / "owned").exists()


@given(data=st.binary(max_size=80), start=st.sampled_from([b"", b"\x80\x02", b"PK\x03\x04", b"\x80\x02}q\x00("]))
def test_random_bytes_are_an_error_of_ours(tmp_path_factory: pytest.TempPathFactory, data: bytes, start: bytes):
    path = tmp_path_factory.getbasetemp() / "random.pth"
    for name in ("random.pth", "random.safetensors"):
        path = path.with_name(name)
        path.write_bytes(start + data)
        with pytest.raises(WeightsError, match="random"):
            read_file(path)


@pytest.mark.parametrize("legacy", [True, False])
def test_file_cut_anywhere_is_an_error_of_ours(tmp_path: Path, legacy: bool):
    path = tmp_path / "cut.pth"
    torch.save({"a": torch.zeros(3), "b": {"c": 1}}, path, _use_new_zipfile_serialization=not legacy)
    whole = path.read_bytes()
    for length in range(0, len(whole) - 13, 7):
        path.write_bytes(whole[:length])
        with pytest.raises(WeightsError, match=r"cut\.pth"):
            read_tensors(path)


def test_missing_file_is_refused(tmp_path: Path):
    with pytest.raises(WeightsError, match=r"none\.pth: cannot be read as weights"):
        read_file(tmp_path / "none.pth")


def test_file_of_torch_before_1_6_is_read(tmp_path: Path, content: Content):
    torch.save(content, tmp_path / "old.pyth", _use_new_zipfile_serialization=False)
    got = load(tmp_path / "old.pyth", num_heads=3).state_dict()
    torch.testing.assert_close(got, random_model(square_config()).state_dict(), rtol=0, atol=0)


# --- Tensors that nothing explains ----------------------------------------------------------------------------------


def test_tensor_that_the_layout_does_not_have_is_refused(content: Content, written: Callable):
    content["model_state"]["model.blocks.0.gamma_1"] = torch.zeros(24)
    with pytest.raises(WeightsError, match=r"missing nothing; unexplained blocks\.0\.gamma_1"):
        load(written(content), num_heads=3)


def test_missing_tensor_is_refused(content: Content, written: Callable):
    del content["model_state"]["model.blocks.1.temporal_fc.weight"]
    with pytest.raises(WeightsError, match=r"missing blocks\.1\.temporal_fc\.weight; unexplained nothing"):
        load(written(content), num_heads=3)


def test_many_tensors_are_counted_and_not_listed(content: Content, written: Callable):
    content["model_state"] |= {f"model.extra.{i}": torch.zeros(1) for i in range(9)}
    with pytest.raises(WeightsError, match=r"extra\.0, extra\.1, extra\.2, extra\.3 and 5 more"):
        load(written(content), num_heads=3)


def test_tensor_of_another_shape_is_refused(content: Content, written: Callable):
    content["model_state"]["model.blocks.1.norm2.bias"] = torch.zeros(5)
    with pytest.raises(WeightsError, match=r"blocks\.1\.norm2\.bias is \(5,\), its config needs \(24,\)"):
        load(written(content), num_heads=3)


def test_released_file_without_a_head_is_refused(content: Content, written: Callable):
    for kind in ("weight", "bias"):
        del content["model_state"][f"model.head.{kind}"]
    with pytest.raises(WeightsError, match=r"missing head\.weight, head\.bias"):
        load(written(content), num_heads=3)


@pytest.mark.parametrize(
    ("thing", "problem"),
    [
        ([torch.zeros(1)], "holds a list, expected a dictionary of tensors"),
        ({"epoch": 3, "state_dict": {}}, "holds no tensors, only epoch, state_dict"),
        ({}, "holds no tensors, only an empty dictionary"),
        ({"conv1.weight": torch.zeros(1)}, r"unknown format; its first tensors are conv1\.weight\. Known: "),
        ({0: torch.zeros(1)}, "unknown format; its first tensors are 0"),
        ({"patch_embed.proj.weight": torch.zeros(8, 3, 2, 4, 4)}, "has no patch embedding or no first block"),
        ({"patch_embed.proj.weight": torch.zeros(8, 3, 4, 4)}, "has no patch embedding or no first block"),
    ],
)
def test_file_that_is_no_timesformer_is_refused(written: Callable, thing: object, problem: str):
    with pytest.raises(WeightsError, match=problem):
        load(written(thing))


def test_positions_that_form_no_square_grid_are_refused(content: Content, written: Callable):
    content["model_state"]["model.pos_embed"] = torch.zeros(1, 1 + 10, 24)
    with pytest.raises(WeightsError, match="its position embedding has 10 patches, expected a square grid"):
        load(written(content), num_heads=3)


# --- What the file says of itself -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrap",
    [
        lambda content: content,
        lambda content: content["model_state"],
        lambda content: {"state_dict": {f"module.{name}": t for name, t in content["model_state"].items()}},
        lambda content: {"model": {name.removeprefix("model."): t for name, t in content["model_state"].items()}},
        lambda content: {"module": content["model_state"], "epoch": 7},
    ],
    ids=["released", "bare", "data parallel", "model", "module"],
)
def test_wrappers_and_prefixes_of_training_scripts_are_taken_off(content: Content, written: Callable, wrap: Callable):
    model = load(written(wrap(content)), num_heads=3)
    assert model.load_report.format == "released"
    torch.testing.assert_close(model.state_dict(), random_model(square_config()).state_dict(), rtol=0, atol=0)


def test_config_that_contradicts_the_tensors_is_refused(content: Content, written: Callable):
    with pytest.raises(
        WeightsError, match=r"says ATTENTION_TYPE 'joint_space_time', but its tensors .*'divided_space_time'"
    ):
        load(written(with_cfg(content, TIMESFORMER={"ATTENTION_TYPE": "joint_space_time"})), num_heads=3)


@pytest.mark.parametrize("text", ["a: [", "when: 2021-99-99"])
def test_config_that_is_not_yaml_is_refused(content: Content, written: Callable, text: str):
    with pytest.raises(WeightsError, match="its stored config is not YAML"):
        load(written(content | {"cfg": text}), num_heads=3)


@pytest.mark.parametrize(
    ("data", "key"),
    [
        ({"SAMPLING_RATE": 1.5}, "SAMPLING_RATE=1.5 is not a whole number"),
        ({"SAMPLING_RATE": float("inf")}, "SAMPLING_RATE=inf is not finite"),
        ({"NUM_FRAMES": None}, "NUM_FRAMES=None is not a number"),
        ({"NUM_FRAMES": float("nan")}, "NUM_FRAMES=nan is not finite"),
        ({"TARGET_FPS": 10**400}, "TARGET_FPS=10+ is not a number"),
        ({"MEAN": ["0.5"] * 3}, "mean=.* must be finite numbers"),
        ({"STD": [0.5, float("nan"), 0.5]}, "std=.* must be finite numbers"),
    ],
)
def test_value_that_cannot_work_is_named(content: Content, written: Callable, data: dict, key: str):
    with pytest.raises(WeightsError, match=rf"file\.pyth: its stored config is invalid: .*{key}"):
        load(written(with_cfg(content, DATA=data)), num_heads=3)


@pytest.mark.parametrize("data", [{"SAMPLING_RATE": "often"}, {"SAMPLING_RATE": -1}, {"MEAN": 0.5}, {"NUM_FRAMES": []}])
def test_config_with_values_that_cannot_work_is_refused(content: Content, written: Callable, data: dict):
    with pytest.raises(WeightsError, match="its stored config is invalid"):
        load(written(with_cfg(content, DATA=data)), num_heads=3)


@pytest.mark.parametrize("cfg", ["", "just text", "DATA:\nTRAIN: 3\n", 7])
def test_config_that_says_nothing_leaves_the_released_defaults(content: Content, written: Callable, cfg: object):
    clip = load(written(content | {"cfg": cfg}), num_heads=3).info.clip
    assert (clip.sampling, clip.frame_stride, clip.target_fps) == ("dense", 32, 30.0)
    assert (clip.mean, clip.std) == ((0.45,) * 3, (0.225,) * 3)
    assert (clip.channel_order, clip.fusion) == ("rgb", "logits")


def test_clips_of_the_released_config_are_kept(content: Content, written: Callable):
    data = {"SAMPLING_RATE": 4, "TARGET_FPS": 25, "MEAN": [0.1, 0.2, 0.3], "STD": [0.4, 0.5, 0.6]}
    clip = load(written(with_cfg(content, DATA=data)), num_heads=3).info.clip
    assert (clip.frame_stride, clip.target_fps) == (4, 25.0)
    assert (clip.mean, clip.std) == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))


def test_released_weights_are_non_commercial(content: Content, written: Callable):
    assert load(written(content), num_heads=3).info.license == "CC-BY-NC-4.0"


def released_with_classes(tmp_path: Path, num_classes: int, dataset: str) -> Path:
    content = released_content(tmp_path / "source.pyth", square_config(num_classes=num_classes))
    content = with_cfg(content, TRAIN={"DATASET": dataset})
    torch.save(content, tmp_path / "file.pyth")
    return tmp_path / "file.pyth"


@pytest.mark.parametrize(
    ("dataset", "classes", "first", "last"),
    [
        ("kinetics", 400, "abseiling", "zumba"),
        ("kinetics", 600, "abseiling", "zumba"),
        ("ssv2", 174, "Approaching something with your camera", "Wiping something off of something"),
    ],
)
def test_classes_of_a_known_dataset_get_their_names(tmp_path: Path, dataset: str, classes: int, first: str, last: str):
    labels = load(released_with_classes(tmp_path, classes, dataset), num_heads=3).info.labels
    assert len(set(labels)) == classes
    assert (labels[0], labels[-1]) == (first, last)


def test_classes_of_an_unknown_dataset_get_none(tmp_path: Path):
    assert load(released_with_classes(tmp_path, 400, "mine"), num_heads=3).info.labels == ()
    assert read_labels(None) == ()


def test_ssv2_weights_read_segments_of_blue_green_red(tmp_path: Path):
    clip = load(released_with_classes(tmp_path, 174, "ssv2"), num_heads=3).info.clip
    assert (clip.sampling, clip.channel_order) == ("segment", "bgr")


def test_frames_of_space_only_weights_are_read_from_their_config(tmp_path: Path):
    path = save_released(random_model(square_config("space_only", num_frames=5)), tmp_path / "space.pyth")
    assert load(path, num_heads=3).config.num_frames == 5


def test_file_without_a_number_of_heads_has_one_for_each_64_of_width(content: Content, written: Callable):
    bare = content["model_state"]
    with pytest.raises(ConfigError, match=r"width 24 is not a multiple of 64 .* pass num_heads"):
        load(written(bare))
    wide = random_model(square_config(embed_dim=128, num_heads=2, depth=1))
    path = save_released(wide, written(bare), overwrite=True)
    state = torch.load(path, weights_only=True)["model_state"]
    assert load(written(state)).config.num_heads == 2


@given(width=st.integers(1, 2048), hidden=st.integers(1, 9000))
def test_every_hidden_width_is_found_again_from_its_ratio(width: int, hidden: int):
    config = ModelConfig(embed_dim=width, num_heads=1, mlp_ratio=hidden / width)
    assert config.mlp_dim == hidden
