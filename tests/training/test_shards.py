"""Folders of sharded tensors: what is written comes back, damaged ones are refused, unused ones go."""

import pickle
import subprocess
from collections.abc import Generator
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor

from timesformer.errors import WeightsError
from timesformer.training.sharding import gathered, group_of_one, shard
from timesformer.training.shards import (
    check_shards,
    complete,
    put_tensors,
    read_shards,
    remove_unused,
    take_tensors,
    twins,
    write_shards,
)
from tiny import random_clips, random_model, tiny_config

TENSORS = {"model/a": torch.arange(6.0).view(2, 3), "optimizer/0/step": torch.tensor(3.0)}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    with group_of_one(device="cpu"):
        write_shards(TENSORS, tmp_path / "shards-1")
    return tmp_path / "shards-1"


@pytest.fixture
def group() -> Generator[None]:
    with group_of_one(device="cpu"):
        yield


def test_tensors_come_back_with_their_types(folder: Path):
    found = read_shards(folder)
    assert found.keys() == TENSORS.keys()
    assert all(torch.equal(found[key], TENSORS[key]) and found[key].dtype == TENSORS[key].dtype for key in found)


def test_checkpoint_without_its_tensors_is_small_and_gets_them_back():
    weight, step, moment = torch.rand(2), torch.tensor(1.0), torch.rand(2)
    groups = [{"lr": 0.1, "params": [0]}]
    whole = {
        "epoch": 1,
        "state_dict": {"model.w": weight},
        "optimizer_states": [{"state": {0: {"step": step, "exp_avg": moment}}, "param_groups": groups}],
    }
    rest = dict(whole)
    tensors = take_tensors(rest)
    assert rest == {"epoch": 1, "state_dict": {}, "optimizer_states": [{"state": {}, "param_groups": groups}]}
    assert sorted(tensors) == ["model/model.w", "optimizer/0/exp_avg", "optimizer/0/step"]
    put_tensors(rest, tensors)
    assert rest == whole


def test_checkpoint_without_shards_is_left_as_it_is(tmp_path: Path):
    assert complete({"epoch": 2}, tmp_path / "last.ckpt") == {"epoch": 2}


def test_sharded_model_and_its_optimizer_come_back_sharded(group: None, tmp_path: Path):
    config = tiny_config()
    model = random_model(config).train()
    names = [name for name, _ in model.named_parameters()]
    shard(model, init_device_mesh("cpu", (1,)))
    optimizer = torch.optim.AdamW(model.parameters())
    model(random_clips(config)).square().mean().backward()
    optimizer.step()
    checkpoint = {"state_dict": model.state_dict(), "optimizer_states": [optimizer.state_dict()]}
    want = {key: tensor.clone() for key, tensor in take_tensors(checkpoint).items()}
    write_shards(want, tmp_path / "shards-2")
    found = read_shards(tmp_path / "shards-2", twin=twins(model, optimizer))
    assert [name for name, _ in model.named_parameters()] == names
    assert found.keys() == want.keys()
    for key, tensor in found.items():
        assert type(tensor) is type(want[key])
        assert torch.equal(_whole(tensor), _whole(want[key]))
    assert sum(isinstance(tensor, DTensor) for tensor in found.values()) == 3 * len(names)


def test_sharded_model_is_gathered_to_a_plain_one(group: None):
    config = tiny_config()
    model = random_model(config)
    want = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    assert gathered(model) is model
    shard(model, init_device_mesh("cpu", (1,)))
    plain = gathered(model)
    assert plain is not None
    assert plain.state_dict().keys() == want.keys()
    assert all(torch.equal(tensor, want[name]) for name, tensor in plain.state_dict().items())
    assert plain.info == model.info
    assert dist.is_initialized()


def test_caller_keeps_its_process_group(group: None):
    with group_of_one(device="cpu"):
        pass
    assert dist.is_initialized()


@pytest.mark.parametrize("name", ["__0_0.distcp", ".metadata"])
def test_damaged_folder_is_refused(folder: Path, name: str):
    path = folder / name
    path.write_bytes(path.read_bytes()[:20])
    with pytest.raises(WeightsError, match=r"shards-1: is damaged: .+"):
        read_shards(folder)


@pytest.mark.parametrize("name", ["__0_0.distcp", ".metadata"])
def test_incomplete_folder_is_refused(folder: Path, name: str):
    (folder / name).unlink()
    with pytest.raises(WeightsError, match=r"shards-1: is damaged: .*No such file"):
        read_shards(folder)


def test_table_that_would_run_code_is_refused(folder: Path, tmp_path: Path):
    class Evil:
        def __reduce__(self) -> tuple[object, tuple[object, ...]]:
            return subprocess.run, (["touch", str(tmp_path / "ran")],)

    (folder / ".metadata").write_bytes(pickle.dumps(Evil()))
    with pytest.raises(WeightsError, match=r"its table holds subprocess\.run, which could run code"):
        read_shards(folder)
    assert not (tmp_path / "ran").exists()


def test_table_of_something_else_is_refused(folder: Path):
    (folder / ".metadata").write_bytes(pickle.dumps({"a": 1}))
    with pytest.raises(WeightsError, match="shards-1: is damaged"):
        read_shards(folder)


def test_folders_that_no_checkpoint_names_are_removed(tmp_path: Path):
    folders = [tmp_path / f"shards-{number}" for number in range(3)]
    for folder in folders:
        folder.mkdir()
    torch.save({"shards": "shards-1"}, tmp_path / "last.ckpt")
    torch.save({"state_dict": {}}, tmp_path / "best.ckpt")
    remove_unused(folders, [tmp_path / "last.ckpt", tmp_path / "best.ckpt", tmp_path / "none.ckpt"])
    assert sorted(tmp_path.glob("shards-*")) == [tmp_path / "shards-1"]


def test_nothing_is_removed_if_a_checkpoint_cannot_be_read(tmp_path: Path):
    (tmp_path / "shards-1").mkdir()
    (tmp_path / "last.ckpt").write_bytes(b"half")
    remove_unused([tmp_path / "shards-1"], [tmp_path / "last.ckpt"])
    assert (tmp_path / "shards-1").exists()


def test_checkpoint_without_its_folder_is_refused(folder: Path, tmp_path: Path):
    check_shards({"shards": "shards-1"}, tmp_path / "last.ckpt")
    check_shards({}, tmp_path / "last.ckpt")
    message = r"last\.ckpt: its tensors are missing: copy the folder shards-9 next to it, or pass overwrite=True"
    with pytest.raises(WeightsError, match=message):
        check_shards({"shards": "shards-9"}, tmp_path / "last.ckpt")


def test_single_wrong_byte_is_noticed(folder: Path, tmp_path: Path):
    path = folder / "__0_0.distcp"
    content = bytearray(path.read_bytes())
    content[content.index(TENSORS["model/a"].numpy().tobytes()) + 5] ^= 1
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=r"shards-1: is damaged: the checksum of 'model/a' is wrong"):
        check_shards({"shards": "shards-1"}, tmp_path / "last.ckpt")


def _whole(tensor: Tensor) -> Tensor:
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
