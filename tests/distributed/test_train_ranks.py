"""Training in several processes gives the weights of one, and one run folder."""

import csv
import os
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.distributed import HashStore

from launching import Ended, Launch
from timesformer.config.io import dump_toml
from timesformer.config.run import AugmentConfig, DataConfig, OptimConfig, RunConfig
from timesformer.config.schema import ClipConfig, ModelConfig
from timesformer.errors import ConfigError
from timesformer.evaluation.process_group import ProcessGroup
from timesformer.processes import ProcessInfo
from timesformer.training import ranks
from timesformer.training.ranks import Ranks, joined_ranks
from timesformer.training.shares import check_shares, consecutive_share, paired_share
from timesformer.training.train import train
from timesformer.weights.load import load
from training_runs import quiet, weights_of


@pytest.fixture
def run(videos: Path, tmp_path: Path) -> RunConfig:
    """3 epochs of 4 steps of 2 micro-batches of 2 videos, without dropout; one of 11 videos is skipped."""
    return RunConfig(
        model=ModelConfig(
            num_frames=3, image_size=16, patch_size=8, embed_dim=16, depth=2, num_heads=2, drop_path=0.0,
            initialization="scratch",
        ),
        clip=ClipConfig(sampling="segment", num_crops=1),
        data=DataConfig(train=str(videos), flip=True, num_workers=0, on_decode_error="skip"),
        optim=OptimConfig(optimizer="sgd", lr=0.03, warmup_fraction=0.2, clip_grad_norm=0.7, ema_decay=0.8),
        epochs=3,
        batch_size=4,
        device="cpu",
        output=str(tmp_path / "alone"),
    )  # fmt: skip


def changed(run: RunConfig, changes: dict[str, Any]) -> RunConfig:
    """The run with some fields changed, by dotted names."""
    for name, value in changes.items():
        part, _, field = name.rpartition(".")
        run = replace(run, **({part: replace(getattr(run, part), **{field: value})} if part else {field: value}))
    return run


def assert_ended(ranks: list[Ended]) -> None:
    assert [rank.status for rank in ranks] == [0] * len(ranks), ranks


def launch_run(launch: Launch, run: RunConfig, *flags: str, ranks: int, **options: str) -> list[Ended]:
    config = Path(run.output).with_suffix(".toml")
    config.write_text(dump_toml(run))
    return launch("train", "--config", config, *flags, ranks=ranks, **options)


def assert_same_run(found: str | Path, expected: str | Path) -> None:
    first, second = weights_of(found), weights_of(expected)
    assert first.keys() == second.keys()
    for name in first:  # relative, too: a batch split over ranks is summed in another order, and a variance may be 1.7
        torch.testing.assert_close(
            first[name], second[name], rtol=1e-5, atol=1e-5, msg=lambda text, name=name: f"{name}: {text}"
        )
    clock = {"seconds", "data_wait_fraction"}
    for row, wanted in zip(read_table(found), read_table(expected), strict=True):
        assert {key: row[key] for key in row.keys() - clock} == pytest.approx(
            {key: wanted[key] for key in wanted.keys() - clock}, abs=1e-5
        )


def read_table(output: str | Path) -> list[dict[str, float]]:
    with open(Path(output) / "metrics.csv", newline="") as file:
        return [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]


MIXING = AugmentConfig(mixup=0.8, cutmix=0.5)
WAYS = {
    "a last step without a clip for rank 0": {"batch_size": 2, "model.head_norm": "batch"},
    "accumulation": {"accumulate": 2, "checkpoint_activations": True, "model.head_norm": "batch"},
    "mixing": {"augment": MIXING, "batch_size": 4},
    "repeats": {"augment": AugmentConfig(repeats=2), "batch_size": 8, "data.num_workers": 1},
}


@pytest.mark.parametrize("changes", WAYS.values(), ids=WAYS)
def test_two_ranks_give_the_run_of_one(launch: Launch, run: RunConfig, tmp_path: Path, changes: dict[str, Any]):
    run = changed(run, changes)
    train(run, on_message=quiet)
    both = replace(run, output=str(tmp_path / "both"))
    assert_ended(launch_run(launch, both, ranks=2, starter="srun"))
    assert_same_run(both.output, run.output)


def test_two_ranks_distill_as_one(launch: Launch, run: RunConfig, tmp_path: Path):
    teacher = replace(run, epochs=1, seed=3, output=str(tmp_path / "teacher"))
    train(teacher, on_message=quiet)
    run = replace(run, epochs=2, distill_from=(teacher.output,), augment=MIXING)
    train(run, on_message=quiet)
    both = replace(run, output=str(tmp_path / "both"))
    assert_ended(launch_run(launch, both, ranks=2))
    assert_same_run(both.output, run.output)


@pytest.mark.slow  # four processes on two cores
@pytest.mark.parametrize("changes", [{}, {"accumulate": 2, "batch_size": 8}], ids=["plain", "accumulation"])
def test_four_ranks_give_the_run_of_one(launch: Launch, run: RunConfig, tmp_path: Path, changes: dict[str, Any]):
    run = changed(run, changes)
    train(run, on_message=quiet)
    four = replace(run, output=str(tmp_path / "four"))
    assert_ended(launch_run(launch, four, ranks=4))
    assert_same_run(four.output, run.output)


def test_step_without_any_clip_changes_nothing_in_any_number_of_ranks(launch: Launch, run: RunConfig, tmp_path: Path):
    videos = Path(shutil.copytree(run.data.train, tmp_path / "videos"))
    for path in sorted((videos / "train").rglob("*.mp4"))[::2]:
        path.write_bytes(b"no video")
    run = changed(run, {"data.train": str(videos), "batch_size": 2, "epochs": 2})
    train(run, on_message=quiet)
    both = replace(run, output=str(tmp_path / "both"))
    assert_ended(launch_run(launch, both, ranks=2))
    assert_same_run(both.output, run.output)
    assert [row["train_skipped"] for row in read_table(both.output)] == [6, 6]


def test_every_video_is_read_once_in_an_epoch(launch: Launch, run: RunConfig, tmp_path: Path):
    assert_ended(launch_run(launch, run, ranks=2, plant=f"list_samples({str(tmp_path)!r})"))
    for epoch in range(3):
        first, second = (
            [int(line) for line in (tmp_path / f"epoch{epoch}_rank{rank}.txt").read_text().split()] for rank in (0, 1)
        )
        assert sorted(first + second) == list(range(11))
        assert abs(len(first) - len(second)) <= 1


def test_rank_zero_alone_speaks_and_writes(launch: Launch, run: RunConfig, tmp_path: Path):
    first, second = ended = launch_run(launch, run, ranks=2)
    assert_ended(ended)
    assert (second.out, second.err) == ("", "")
    assert first.out == f"{run.output}\n"
    lines = first.err.splitlines()
    assert (
        lines[0] == "training: 11 videos of 3 classes, 5 for validation (no groups: persons and places may be in both)"
        "; 3 epochs of 3 steps on cpu, 2 processes"
    )
    assert [line.split(":")[0] for line in lines[1:-2] if line.startswith("epoch")] == ["epoch 1", "epoch 2", "epoch 3"]
    assert sum(line.startswith("skipped: ") for line in lines) == 1  # whichever rank reads it
    files = {path.name for path in Path(run.output).rglob("*") if path.is_file()}
    model = {"config.json", "labels.txt", "model.safetensors"}
    assert files == {"config.toml", "metrics.csv", "curve.png", "last.ckpt", "best.ckpt"} | model
    assert load(run.output).info.clip_seconds > 0


@pytest.mark.parametrize("numbers", [(2, 1, 2), (1, 2, 1)])
def test_run_goes_on_in_another_number_of_ranks(
    launch: Launch, run: RunConfig, tmp_path: Path, numbers: tuple[int, ...]
):
    run = replace(run, accumulate=2, checkpoint_every=1)
    train(run, on_message=quiet)
    parts = replace(run, output=str(tmp_path / "parts"))
    for number, (count, step) in enumerate(zip(numbers, (1, 4, 99), strict=True)):
        flags = ("--resume",) if number else ()
        ended = launch_run(launch, parts, *flags, ranks=count, plant=f"at_step({step}, 0, run_out_of_memory)")
        assert {rank.status for rank in ended} == {1 if step < 99 else 0}
    assert "resuming in epoch 2 after 1 of 3 steps" in ended[0].err
    assert_same_run(parts.output, run.output)


def test_patience_ends_all_ranks_after_the_same_epoch(launch: Launch, run: RunConfig):
    run = changed(run, {"patience": 1, "epochs": 9, "optim.lr": 1e-7})
    assert_ended(launch_run(launch, run, ranks=2))
    assert len(read_table(run.output)) == 2


def test_ranks_draw_different_dropout(launch: Launch, run: RunConfig, tmp_path: Path):
    run = changed(run, {"model.dropout": 0.5, "epochs": 1})
    assert_ended(launch_run(launch, run, ranks=2, plant=f"list_draws({str(tmp_path)!r})"))
    first, second = ((tmp_path / f"draws_rank{rank}.txt").read_text() for rank in (0, 1))
    assert len(first.split()) == len(second.split()) == 3
    assert not set(first.split()) & set(second.split())


# --- Faults of one rank -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("plant", "status", "message"),
    [
        ("at_step(2, 1, spoil_loss)", 1, r"rank 1 of 2: the loss is nan at step 3 .epoch 1.: training has diverged"),
        ("at_step(2, 0, spoil_loss)", 1, r"the loss is nan at step 3 .epoch 1.: training has diverged"),
        ("at_step(2, 1, spoil_gradient)", 1, r"the norm of the gradients is nan at step 3 .epoch 1.: training has"),
        ("fail_to_write(2)", 1, r"last\.ckpt: cannot be written: No space left on device"),
        ("find_no_videos(1)", 1, r"rank 1 of 2: .*data: no such folder"),
        ("find_no_config(1)", 2, r"rank 1 of 2 stopped: run\.toml: No such file or directory"),
        ("find_other_videos(1)", 1, r"rank 1 has another config or other videos than rank 0: start all ranks alike"),
    ],
)
def test_error_in_one_rank_ends_all_with_one_message(
    launch: Launch, run: RunConfig, plant: str, status: int, message: str
):
    first, second = launch_run(launch, run, ranks=2, plant=plant)
    assert (first.status, second.status) == (1, status)
    errors = [line for line in first.err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert re.search(f"^error: .*{message}", errors[0])
    assert second.err == ""
    assert "Traceback" not in first.err


def test_unreadable_video_ends_all_ranks(launch: Launch, run: RunConfig):
    run = changed(run, {"data.on_decode_error": "raise"})
    first, second = launch_run(launch, run, ranks=2)
    assert (first.status, second.status) == (1, 1)
    assert re.search(r"^error: (rank 1 of 2: )?.*\.mp4: not a video", first.err, re.MULTILINE)
    assert second.err == ""


@pytest.mark.parametrize(
    ("act", "rank", "status", "messages"),
    [
        ("die", 1, -9, (r"rank 0 of 2 lost the connection to another rank, which was killed", "^$")),
        ("die", 0, -9, ("^$", r"rank 1 of 2 lost the connection to (rank 0|another rank), which")),
        ("run_out_of_memory", 1, 1, (r"^error: rank 1 of 2 stopped: out of memory on cpu in a step of 2 clips", "^$")),
        ("run_out_of_memory", 0, 1, ("^error: out of memory on cpu in a step of 2 clips", "^$")),
    ],
)
def test_rank_that_is_gone_ends_the_others(
    launch: Launch, run: RunConfig, act: str, rank: int, status: int, messages: tuple[str, str]
):
    ended = launch_run(launch, run, ranks=2, plant=f"at_step(2, {rank}, {act})")
    assert ended[rank].status == status
    assert ended[1 - rank].status == 1
    for found, message in zip(ended, messages, strict=True):
        lines = [line for line in found.err.splitlines() if line.startswith("error: ")]
        assert re.search(message, "\n".join(lines))
        assert "Traceback" not in found.err


def test_interrupt_of_one_rank_ends_the_others(launch: Launch, run: RunConfig):
    first, second = launch_run(launch, run, ranks=2, plant="at_step(4, 1, interrupt)")
    assert (first.status, second.status, second.err) == (1, 130, "")
    assert "error: rank 1 of 2 stopped: interrupted after 1 of 3 epochs" in first.err


def test_signal_to_one_rank_ends_all_with_a_checkpoint(launch: Launch, run: RunConfig, tmp_path: Path):
    train(run, on_message=quiet)
    parts = replace(run, output=str(tmp_path / "parts"))
    first, second = launch_run(launch, parts, ranks=2, plant="at_step(4, 1, terminate)")
    assert (first.status, second.status, second.err) == (143, 143, "")
    assert "ended by SIGTERM after 1 of 3 epochs and 2 steps of the next; they are kept in" in first.err
    assert_ended(launch_run(launch, parts, "--resume", ranks=2))
    assert_same_run(parts.output, run.output)


# --- Refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "ranks", "message"),
    [
        (
            {"batch_size": 16},
            3,
            "batch_size=16 with accumulate=1 has micro-batches of 16 videos, which 3 processes cannot divide equally: "
            "use batch_size=15 or 18",
        ),
        (
            {"batch_size": 12, "accumulate": 2, "augment.repeats": 3},
            4,
            "batch_size=12 with accumulate=2 and augment.repeats=3 has micro-batches of 2 videos, which 4 processes "
            "cannot divide equally: use batch_size=24",
        ),
        (
            {"batch_size": 6, "augment.mixup": 0.5},
            2,
            "batch_size=6 with accumulate=1 has micro-batches of 6 videos, which 2 processes cannot divide equally "
            "into pairs for mixup and cutmix: use batch_size=4 or 8",
        ),
    ],
)
def test_batch_that_ranks_cannot_divide_is_refused(run: RunConfig, changes: dict[str, Any], ranks: int, message: str):
    with pytest.raises(ConfigError) as caught:
        check_shares(changed(run, changes), num_ranks=ranks)
    assert str(caught.value) == message


def a_group() -> ProcessGroup:
    return ProcessGroup(process=ProcessInfo(rank=0, num_processes=2), store=HashStore())


def test_device_that_ranks_cannot_share_is_refused(monkeypatch: pytest.MonkeyPatch):
    with (
        pytest.raises(ConfigError, match="device='mps' trains in one process, not in 2"),
        joined_ranks(a_group(), device="mps"),
    ):
        pass
    monkeypatch.setattr(ranks, "_gpu", lambda device: "GPU-7")
    monkeypatch.setattr(Ranks, "gather", lambda self, value: [("node1", "GPU-7"), ("node2", "GPU-7"), value])
    monkeypatch.setattr("socket.gethostname", lambda: "node2")
    with pytest.raises(ConfigError, match="2 ranks share GPU GPU-7 of node2: start one process per GPU"):
        ranks._check_devices(Ranks(a_group()), "cuda:1")


def test_ranks_of_a_machine_share_its_cores_unless_told_otherwise(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda process: set(range(9)), raising=False)
    monkeypatch.setattr(Ranks, "gather", lambda self, value: [value, ("another machine", ()), value])
    chosen: list[int] = []
    monkeypatch.setattr(torch, "set_num_threads", chosen.append)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    ranks._share_cores(Ranks(a_group()))
    assert chosen == []
    monkeypatch.delenv("OMP_NUM_THREADS")
    ranks._share_cores(Ranks(a_group()))
    assert (chosen, os.environ["OMP_NUM_THREADS"]) == ([4], "4")


def test_refusal_is_printed_once(launch: Launch, run: RunConfig):
    first, second = launch_run(launch, replace(run, batch_size=3), ranks=2)
    assert (first.status, second.status, second.err) == (2, 2, "")
    assert first.err.startswith(
        "error: batch_size=3 with accumulate=1 has micro-batches of 3 videos, which 2 processes"
    )
    assert not Path(run.output).exists()


@given(st.integers(0, 40), st.integers(1, 9))
def test_shares_have_each_position_once(count: int, num_ranks: int):
    for divide in (consecutive_share, paired_share):
        shares = [divide(count, rank, num_ranks) for rank in range(num_ranks)]
        assert sorted(position for share in shares for position in share) == list(range(count))
        sizes = {len(share) for share in shares}
        assert max(sizes) - min(sizes) <= (1 if divide is consecutive_share else 2)


@given(st.integers(0, 40), st.integers(1, 9))
def test_paired_shares_hold_partners_in_mirrored_places(count: int, num_ranks: int):
    for rank in range(num_ranks):
        share = paired_share(count, rank, num_ranks)
        assert [count - 1 - position for position in reversed(share)] == share
