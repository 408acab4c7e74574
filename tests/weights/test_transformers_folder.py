"""Odd `transformers` folders: read as `transformers` reads them, or refused by file and key."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import Tensor

from timesformer.config.info import ModelInfo
from timesformer.errors import ConfigError, WeightsError
from timesformer.weights import save_transformers
from timesformer.weights.load import load
from tiny import random_model, square_config

LABELS = tuple("abcdefg")


def write_theirs(folder: Path) -> Path:
    save_transformers(random_model(square_config(), info=ModelInfo(labels=LABELS)), folder)
    (folder / "timesformer.json").unlink()  # only our own writer leaves it
    return folder


@pytest.fixture
def theirs(tmp_path: Path) -> Path:
    return write_theirs(tmp_path / "theirs")


def edit(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | changes), "utf-8")


# --- config.json ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image_size": None}, "image_size=null must be a whole number from 1, or a list of two"),
        ({"image_size": "12"}, 'image_size="12" must be a whole number from 1'),
        ({"image_size": [12]}, r"image_size=\[12\] must be"),
        ({"patch_size": [4, 3]}, r"patch_size=\[4, 3\] must be square"),
        ({"num_frames": "2"}, 'num_frames="2" must be a whole number from 1'),
        ({"num_frames": 2.0}, r"num_frames=2\.0 must be"),
        ({"num_frames": True}, "num_frames=true must be"),
        ({"hidden_size": 0}, "hidden_size=0 must be"),
        ({"num_hidden_layers": 10**12}, "num_hidden_layers=1000000000000 must be a whole number"),
        ({"layer_norm_eps": "1e-6"}, 'layer_norm_eps="1e-6" must be a finite number'),
        ({"layer_norm_eps": float("nan")}, "layer_norm_eps=NaN must be"),
        ({"qkv_bias": "true"}, 'qkv_bias="true" must be true or false'),
        ({"drop_path_rate": None}, "drop_path_rate=null must be"),
        ({"attention_type": 3}, "attention_type=3 must be a string"),
        ({"id2label": list(LABELS)}, r"id2label=.* must be a map of numbers to names"),
        ({"id2label": "a"}, 'id2label="a" must be a map of numbers to names'),
        ({"id2label": {"zero": "a"}}, "id2label=.* must be a map whose keys are numbers, each once"),
        ({"id2label": {"0": "a", "00": "b"}}, "id2label=.* must be a map whose keys are numbers, each once"),
        ({"id2label": {"1": "a", "2": "b"}}, "id2label has no key '0'; its 2 keys must count from 0"),
        ({"id2label": {"0": "a", "1": None}}, r"id2label\.1=null must be one line of text"),
        ({"id2label": {"0": "a", "1": " "}}, r'id2label\.1=" " must be one line of text'),
        ({"id2label": {"0": "a", "1": "b\nb"}}, r"id2label\.1=.* must be one line of text"),
        ({"id2label": {"0": "a", "1": "\ud800"}}, r"id2label\.1=.* must be one line of text"),
        ({"id2label": None, "num_labels": "7"}, 'num_labels="7" must be a whole number'),
    ],
)
def test_value_of_a_wrong_type_is_refused_by_file_and_key(theirs: Path, changes: dict, message: str):
    edit(theirs / "config.json", **changes)
    with pytest.raises(WeightsError, match=rf"config\.json: {message}"):
        load(theirs)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_attention_heads": 5}, "embed_dim=24 is not a multiple of num_heads=5"),
        ({"attention_type": "diagonal"}, "scheme='diagonal' is not one of"),
        ({"num_hidden_layers": 2**31 - 1}, "depth=2147483647 must be at most 1000"),
        ({"hidden_dropout_prob": 1}, "dropout=1.0 must be at least 0 and less than 1"),
    ],
)
def test_value_out_of_its_range_is_refused_by_file(theirs: Path, changes: dict, message: str):
    edit(theirs / "config.json", **changes)
    with pytest.raises(ConfigError, match=rf"config\.json: {message}"):
        load(theirs)


@pytest.mark.parametrize(
    ("changes", "labels"),
    [
        ({"image_size": [12, 12], "patch_size": [4, 4]}, LABELS),
        ({"label2id": None, "architectures": 3}, LABELS),
        ({"id2label": {f" {i}": name for i, name in reversed(list(enumerate(LABELS)))}}, LABELS),
        ({"id2label": {str(i): i for i in range(7)}}, tuple("0123456")),
        ({"id2label": None, "num_labels": 7}, ()),
        ({"id2label": {}, "num_labels": 7}, ()),
    ],
)
def test_what_transformers_accepts_is_read(theirs: Path, changes: dict, labels: tuple[str, ...]):
    want = load(theirs).state_dict()
    edit(theirs / "config.json", **changes)
    model = load(theirs)
    assert model.info.labels == labels
    torch.testing.assert_close(model.state_dict(), want, rtol=0, atol=0)


def test_folder_named_like_the_model_card_is_ignored(theirs: Path):
    (theirs / "README.md").mkdir()
    assert load(theirs).info.license == "unspecified"


# --- Shards ---------------------------------------------------------------------------------------------------------


def save_pickle(tensors: dict[str, Tensor], path: Path) -> None:
    torch.save(tensors, path)


Shards = tuple[Path, str]


@pytest.fixture(params=["bin", "safetensors"])
def sharded(theirs: Path, request: pytest.FixtureRequest) -> Shards:
    """A folder of two shards, and the name of its index."""
    stem = "pytorch_model" if request.param == "bin" else "model"
    write = save_pickle if request.param == "bin" else save_file
    tensors = load_file(theirs / "model.safetensors")
    (theirs / "model.safetensors").unlink()
    names = sorted(tensors)
    weight_map = {}
    for number, part in enumerate((names[:20], names[20:]), start=1):
        shard = f"{stem}-0000{number}-of-00002.{request.param}"
        write({name: tensors[name] for name in part}, theirs / shard)
        weight_map |= dict.fromkeys(part, shard)
    index = f"{stem}.{request.param}.index.json"
    (theirs / index).write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": weight_map}))
    return theirs, index


def map_to(sharded: Shards, name: str, shard: object) -> None:
    folder, index = sharded
    weight_map = json.loads((folder / index).read_text("utf-8"))["weight_map"]
    edit(folder / index, weight_map=weight_map | {name: shard})


HEAD = "classifier.bias"


def test_shards_of_either_kind_are_read(sharded: Shards):
    want = random_model(square_config()).state_dict()
    torch.testing.assert_close(load(sharded[0]).state_dict(), want, rtol=0, atol=0)


@pytest.mark.parametrize(
    "shard",
    [3, None, True, [], {}, "", "/etc/passwd", "../secret.bin", "a/../../b.bin", "..\\secret.bin", "C:secret.bin", "."],
)
def test_shard_must_be_a_file_in_the_folder(sharded: Shards, shard: object):
    torch.save({HEAD: torch.zeros(7)}, sharded[0].parent / "secret.bin")
    map_to(sharded, HEAD, shard)
    with pytest.raises(WeightsError, match=r"index\.json: weight_map\.classifier\.bias=.*(this folder|no such file)"):
        load(sharded[0])


def test_shard_that_was_not_downloaded_is_named(sharded: Shards):
    folder, index = sharded
    shard = next(folder.glob("*-00002-of-*"))
    shard.unlink()
    with pytest.raises(WeightsError, match=rf"{index}: weight_map\..*{shard.name}.*no such file; download every shard"):
        load(folder)


def test_files_of_the_cache_of_the_hub_are_links_out_of_the_folder_and_read(sharded: Shards):
    folder = sharded[0]
    blobs = folder.parent / "blobs"
    blobs.mkdir()
    for number, shard in enumerate(folder.glob("*-of-*")):
        shutil.move(shard, blobs / str(number))
        os.symlink(blobs / str(number), shard)
    assert load(folder).info.labels == LABELS


def test_tensor_that_the_index_places_elsewhere_is_refused(sharded: Shards):
    folder, index = sharded
    first = next(folder.glob("*-00001-of-*"))
    map_to(sharded, HEAD, next(folder.glob("*-00002-of-*")).name)
    with pytest.raises(WeightsError, match=rf"{first.name}: holds {HEAD}, which {index} does not map to it"):
        load(folder)


def test_tensor_that_a_shard_lacks_is_named(sharded: Shards):
    folder, index = sharded
    map_to(sharded, "timesformer.ghost", next(folder.glob("*-00002-of-*")).name)
    with pytest.raises(WeightsError, match=rf"-00002-of-.*: has no timesformer\.ghost, which {index} maps to it"):
        load(folder)


@pytest.mark.parametrize("weight_map", [None, [], "x", {}, 3])
def test_index_without_a_map_is_refused(sharded: Shards, weight_map: object):
    folder, index = sharded
    edit(folder / index, weight_map=weight_map)
    with pytest.raises(WeightsError, match=rf"{index}: has no weight_map from tensor names to files"):
        load(folder)


class RunsCode:
    def __init__(self, target: Path) -> None:
        self.target = str(target)

    def __reduce__(self) -> tuple[Callable, tuple[str]]:
        return os.mkdir, (self.target,)


@pytest.mark.parametrize("in_index", [True, False])
def test_pickled_weights_run_no_code(theirs: Path, tmp_path: Path, in_index: bool):
    (theirs / "model.safetensors").unlink()
    name = "shard.bin" if in_index else "pytorch_model.bin"
    torch.save({"classifier.bias": RunsCode(tmp_path / "owned")}, theirs / name)
    if in_index:
        (theirs / "pytorch_model.bin.index.json").write_text('{"weight_map": {"classifier.bias": "shard.bin"}}')
    with pytest.raises(WeightsError, match=name):
        load(theirs)
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize("content", [{"epoch": 3}, {"classifier.bias": [1.0]}, {"classifier.bias": None}])
def test_pickle_of_other_things_than_tensors_is_refused(theirs: Path, content: dict):
    (theirs / "model.safetensors").unlink()
    torch.save(content, theirs / "pytorch_model.bin")
    with pytest.raises(WeightsError, match=r"pytorch_model\.bin: .* is a \w+, expected only tensors"):
        load(theirs)


# --- Any value ------------------------------------------------------------------------------------------------------

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-3, 300)
    | st.sampled_from([2**31 - 1, 2**63, 10**30, 10**400, -(10**400), float("nan"), float("inf"), -1e308, 1e-320])
    | st.floats()
    | st.text(st.characters(), max_size=4)
    | st.sampled_from(["8", "true", "../x", "gelu", "divided_space_time", "model.safetensors", "\ud800", "\x00"])
)
ODD = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
)
FILES = (
    "config.json", "preprocessor_config.json", "video_preprocessor_config.json", "processor_config.json",
    "timesformer.json", "model.safetensors.index.json",
)  # fmt: skip


def replace_any(values: Any, odd: Any, draw: Callable) -> Any:
    """The JSON value with one nested value replaced."""
    if not isinstance(values, dict | list) or not values or draw(st.integers(0, 3)) == 0:
        return odd
    if isinstance(values, list):
        index = draw(st.integers(0, len(values) - 1))
        return [replace_any(value, odd, draw) if i == index else value for i, value in enumerate(values)]
    key = draw(st.sampled_from(sorted(values)))
    return values | {key: replace_any(values[key], odd, draw)}


@pytest.fixture(scope="module")
def every_file(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The texts of a folder with every file that is read, and a path for it."""
    folder = tmp_path_factory.mktemp("odd") / "model"
    save_transformers(random_model(square_config(), info=ModelInfo(labels=LABELS)), folder)
    preprocessor = json.loads((folder / "preprocessor_config.json").read_text("utf-8"))
    (folder / "video_preprocessor_config.json").write_text(json.dumps(preprocessor))
    (folder / "processor_config.json").write_text(json.dumps({"video_processor": preprocessor}))
    weight_map = dict.fromkeys(load_file(folder / "model.safetensors"), "model.safetensors")
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    return {"": str(folder)} | {name: (folder / name).read_text("utf-8") for name in FILES}


@given(data=st.data(), name=st.sampled_from(FILES), odd=ODD)
def test_any_value_in_any_file_is_read_or_refused_by_the_name_of_a_file(
    every_file: dict[str, str], data: st.DataObject, name: str, odd: Any
):
    folder = Path(every_file[""])
    (folder / name).write_text(json.dumps(replace_any(json.loads(every_file[name]), odd, data.draw)))
    refusal = refusal_of(folder)
    (folder / name).write_text(every_file[name])
    assert refusal is None or str(folder) in refusal


def refusal_of(folder: Path) -> str | None:
    try:
        load(folder)
    except (WeightsError, ConfigError) as error:
        return str(error)
    return None
