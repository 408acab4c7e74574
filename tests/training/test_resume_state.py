from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch

from timesformer.errors import ConfigError, WeightsError
from timesformer.training.history import EpochRecord
from timesformer.training.resume import DataSize, ResumeState, read_resume_state

RECORD = EpochRecord(
    epoch=1, step=3, lr=0.1, train_loss=1.5, train_accuracy=0.5, val_loss=2.0, val_accuracy=0.25, val_top5_accuracy=1.0,
    seconds=4.0,
)  # fmt: skip


@pytest.mark.parametrize("content", [b"", b"no checkpoint", None])
def test_damaged_checkpoint_is_refused(tmp_path: Path, content: bytes | None):
    path = tmp_path / "last.ckpt"
    if content is None:
        torch.save({"callbacks": {}}, path)
    else:
        path.write_bytes(content)
    with pytest.raises(WeightsError, match=r"last\.ckpt: is not a checkpoint of a run, or damaged"):
        read_resume_state(path, size=DataSize(train=1, val=1))


def test_checkpoint_holds_the_progress_of_its_run(tmp_path: Path):
    state = {"history": [asdict(RECORD)], "batches": 7, "size": {"train": 5, "val": 2}}
    torch.save({"callbacks": {"Recorder": state}}, tmp_path / "last.ckpt")
    resumed = read_resume_state(tmp_path / "last.ckpt", size=DataSize(train=5, val=2))
    assert resumed == ResumeState(history=(RECORD,), batches=7)
    assert resumed.epochs == 1


def test_run_has_begun_with_its_first_batch():
    assert not ResumeState().has_begun
    assert ResumeState(batches=1).has_begun
    assert ResumeState(history=(RECORD,)).has_begun


def test_checkpoint_without_batches_and_skipped_videos_is_read(tmp_path: Path):
    old = {key: value for key, value in asdict(RECORD).items() if not key.endswith("_skipped")}
    state = {"history": [old], "size": {"train": 5, "val": 2}}
    torch.save({"callbacks": {"Recorder": state}}, tmp_path / "last.ckpt")
    assert read_resume_state(tmp_path / "last.ckpt", size=DataSize(train=5, val=2)) == ResumeState(history=(RECORD,))


def test_checkpoint_with_the_old_name_of_the_wait_is_read(tmp_path: Path):
    record = replace(RECORD, data_wait_fraction=0.25)
    old = {"waiting_share" if key == "data_wait_fraction" else key: value for key, value in asdict(record).items()}
    state = {"history": [old], "size": {"train": 5, "val": 2}}
    torch.save({"callbacks": {"Recorder": state}}, tmp_path / "last.ckpt")
    read = read_resume_state(tmp_path / "last.ckpt", size=DataSize(train=5, val=2))
    assert read == ResumeState(history=(record,))


def test_checkpoint_of_other_videos_is_refused(tmp_path: Path):
    state = {"history": [], "size": {"train": 5, "val": 2}}
    torch.save({"callbacks": {"Recorder": state}}, tmp_path / "last.ckpt")
    with pytest.raises(ConfigError, match="had 5 training and 2 validation videos, now there are 6 and 2"):
        read_resume_state(tmp_path / "last.ckpt", size=DataSize(train=6, val=2))


def test_flipped_byte_of_a_checkpoint_is_refused_or_changes_nothing(tmp_path: Path):
    path, size = tmp_path / "last.ckpt", DataSize(train=5, val=2)
    state = {"history": [asdict(RECORD)], "batches": 7, "size": {"train": 5, "val": 2}}
    torch.save({"callbacks": {"Recorder": state}, "state_dict": {"weight": torch.arange(300.0)}}, path)
    whole, refused = path.read_bytes(), 0
    for position in range(0, len(whole), 7):
        content = bytearray(whole)
        content[position] ^= 0x40
        path.write_bytes(content)
        try:
            assert read_resume_state(path, size=size) == ResumeState(history=(RECORD,), batches=7)
        except WeightsError:
            refused += 1
        else:
            assert torch.equal(torch.load(path)["state_dict"]["weight"], torch.arange(300.0))
    assert refused > len(whole) / 14


def test_damaged_checkpoint_says_where_to_resume_instead(tmp_path: Path):
    for name in ("last.ckpt", "best.ckpt"):
        (tmp_path / name).write_bytes(b"damaged")
    with pytest.raises(WeightsError, match=r"restore it, or delete it to resume from best\.ckpt"):
        read_resume_state(tmp_path / "last.ckpt", size=DataSize(train=1, val=1))
    with pytest.raises(WeightsError, match=r"restore it, or start again with overwrite=True \(--overwrite\)"):
        read_resume_state(tmp_path / "best.ckpt", size=DataSize(train=1, val=1))
