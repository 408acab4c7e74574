"""Several processes give the result of a single one."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.distributed import HashStore, Store

from processors import WITH_BF16, WITHOUT_BF16, claim
from timesformer.config.compute import ComputeOptions
from timesformer.errors import ConfigError, DataError, DecodeError, TimeSformerError
from timesformer.evaluation.distributed import evaluate_distributed
from timesformer.evaluation.evaluate import evaluate
from timesformer.evaluation.process_group import (
    ProcessGroup,
    ProcessInfo,
    broadcast_failure,
    find_process_info,
    local_device,
    process_group,
    receive,
    send,
)

ALONE = ProcessInfo()
SKIP = ComputeOptions(device="cpu", batch_size=2, num_workers=0, on_error="skip")


def group(store: Store, rank: int, num_processes: int, **fields: Any) -> ProcessGroup:
    return ProcessGroup(process=ProcessInfo(rank=rank, num_processes=num_processes), store=store, **fields)


@pytest.mark.parametrize("num_processes", [2, 3, 6])  # 4 batches: an uneven split, and ranks without any
def test_processes_give_the_result_of_one_to_the_last_bit(model_folder: Path, video_list: Path, num_processes: int):
    store = HashStore()
    for rank in reversed(range(num_processes)):
        found = evaluate_distributed(model_folder, video_list, group=group(store, rank, num_processes), options=SKIP)
        assert (found is None) == (rank > 0)
    assert found is not None
    alone = evaluate(model_folder, video_list, device="cpu", batch_size=2, num_workers=0, on_error="skip")
    assert found.to_dict() == alone.to_dict()
    assert [Path(video.path).stem for video in found.predictions] == ["0", "1", "2", "4", "5", "6"]
    assert len(found.skipped) == 1


def test_process_zero_sees_all_videos_done(model_folder: Path, video_list: Path):
    store, calls = HashStore(), []
    evaluate_distributed(model_folder, video_list, group=group(store, 1, 2), options=SKIP)
    evaluate_distributed(
        model_folder,
        video_list,
        group=group(store, 0, 2),
        options=SKIP,
        on_progress=lambda done, total: calls.append((done, total)),
    )
    assert calls == [(done, 7) for done in range(1, 8)]


def test_processes_on_which_auto_is_another_precision_are_refused(monkeypatch, model_folder: Path, video_list: Path):
    store, options = HashStore(), replace(SKIP, precision="auto")
    claim(monkeypatch, WITHOUT_BF16)
    evaluate_distributed(model_folder, video_list, group=group(store, 1, 2), options=options)
    claim(monkeypatch, WITH_BF16)
    with pytest.raises(DataError, match="rank 1 has other videos, views or options than rank 0"):
        evaluate_distributed(model_folder, video_list, group=group(store, 0, 2), options=options)


def test_process_with_another_task_is_refused(model_folder: Path, video_list: Path):
    store = HashStore()
    other = ComputeOptions(device="cpu", batch_size=3, num_workers=0, on_error="skip")
    evaluate_distributed(model_folder, video_list, group=group(store, 1, 2), options=other)
    with pytest.raises(DataError, match="rank 1 has other videos, views or options than rank 0"):
        evaluate_distributed(model_folder, video_list, group=group(store, 0, 2), options=SKIP)


def test_failure_of_one_process_stops_the_others_with_its_message(model_folder: Path, video_list: Path):
    store = HashStore()
    stop = ComputeOptions(device="cpu", batch_size=2, num_workers=0)
    second = group(store, 1, 2)
    with pytest.raises(DecodeError, match=r"3\.mp4"), broadcast_failure(second):
        evaluate_distributed(model_folder, video_list, group=second, options=stop)
    with pytest.raises(TimeSformerError, match=r"^rank 1 of 2 stopped: .*3\.mp4"):
        evaluate_distributed(model_folder, video_list, group=group(store, 0, 2), options=stop)


def test_process_that_dies_is_reported_after_the_timeout(model_folder: Path, video_list: Path):
    with pytest.raises(TimeSformerError, match=r"rank 1 of 2 sent nothing for 0\.1 s: it hangs or was killed"):
        evaluate_distributed(model_folder, video_list, group=group(HashStore(), 0, 2, timeout_s=0.1), options=SKIP)


def test_failure_without_a_message_is_reported_by_its_type():
    store = HashStore()
    with pytest.raises(KeyboardInterrupt), broadcast_failure(group(store, 0, 2)):
        raise KeyboardInterrupt
    with pytest.raises(TimeSformerError, match="rank 0 of 2 stopped: KeyboardInterrupt"):
        send(group(store, 1, 2), "task", "x")
    with pytest.raises(TimeSformerError, match="rank 0 of 2 stopped"):
        receive(group(store, 1, 2), "task", rank=0)


class Unplugged(Store):
    """A store whose rank 0 is gone."""

    def check(self, keys: list[str]) -> bool:
        raise RuntimeError("Connection reset by peer")


def test_lost_connection_is_a_one_line_error():
    with pytest.raises(TimeSformerError, match="rank 1 of 2 lost the connection to rank 0"):
        send(group(Unplugged(), 1, 2), "task", "x")


def test_rendezvous_times_out_if_the_other_ranks_never_join(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("MASTER_PORT", "0")  # any free one: nobody else can know it
    with (
        pytest.raises(TimeSformerError, match="rank 0 of 2 could not reach the other ranks"),
        process_group(ProcessInfo(rank=0, num_processes=2), timeout_s=1.0),
    ):
        pass


def test_single_process_has_no_group():
    with process_group(ALONE) as group:
        assert group is None


RENDEZVOUS = {"MASTER_ADDR": "node1", "MASTER_PORT": "29500"}


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, ALONE),
        ({"WORLD_SIZE": "1", "RANK": "0"}, ALONE),
        (
            {"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1", **RENDEZVOUS},
            ProcessInfo(rank=5, num_processes=8, local_rank=1),
        ),
        (
            {"SLURM_PROCID": "2", "SLURM_STEP_NUM_TASKS": "4", "SLURM_LOCALID": "2", "SLURM_NTASKS": "4", **RENDEZVOUS},
            ProcessInfo(rank=2, num_processes=4, local_rank=2),
        ),
        ({"SLURM_PROCID": "0", "SLURM_NTASKS": "4"}, ALONE),  # a batch script before its first srun
        (
            {"RANK": "1", "WORLD_SIZE": "2", "SLURM_PROCID": "0", "SLURM_STEP_NUM_TASKS": "1", **RENDEZVOUS},
            ProcessInfo(rank=1, num_processes=2),
        ),  # torchrun started by srun
    ],
)
def test_rank_is_read_from_torchrun_or_slurm(environment: dict[str, str], expected: ProcessInfo):
    assert find_process_info(environment) == expected


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"RANK": "0"}, "WORLD_SIZE='' in the environment is not a number"),
        ({"RANK": "one", "WORLD_SIZE": "2"}, "RANK='one' in the environment is not a number"),
        ({"RANK": "2", "WORLD_SIZE": "2", **RENDEZVOUS}, "RANK=2 and WORLD_SIZE=2 in the environment contradict"),
        (
            {"SLURM_PROCID": "0", "SLURM_STEP_NUM_TASKS": "2"},
            "STEP_NUM_TASKS=2, but MASTER_ADDR and MASTER_PORT are not",
        ),
    ],
)
def test_environment_that_cannot_work_is_refused(environment: dict[str, str], message: str):
    with pytest.raises(ConfigError, match=message):
        find_process_info(environment)


def test_processes_of_a_machine_take_its_gpus_in_turn(monkeypatch: pytest.MonkeyPatch):
    process = ProcessInfo(rank=5, num_processes=8, local_rank=3)
    assert local_device("cpu", process) == "cpu"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert local_device("auto", process) == local_device("cuda", process) == "cuda:1"
    assert local_device("cuda:0", process) == "cuda:0"


def test_result_is_plain_json(model_folder: Path, video_list: Path):
    found = evaluate_distributed(model_folder, video_list, group=None, options=SKIP)
    assert found is not None
    assert json.loads(json.dumps(found.to_dict(), allow_nan=False)) == found.to_dict()
