"""torchrun starts the processes of a training again after one was killed; the training goes on by itself."""

from dataclasses import replace
from pathlib import Path

import pytest

from distributed_equality import OPTIMIZERS, Start, loss_difference, perform, tiny_run, weight_difference
from recorded_training import epochs_of


@pytest.mark.slow  # torchrun starts two processes twice, each of which imports torch and its trainer
def test_each_video_counts_once_although_a_process_is_killed_amid_an_epoch(videos: Path, tmp_path: Path):
    run = replace(tiny_run(videos, OPTIMIZERS["sgd"]), epochs=2, batch_size=4)
    run = replace(run, data=replace(run.data, on_decode_error="skip"))
    alone = replace(run, output=str(tmp_path / "alone" / "run"))
    steps = perform(Start(processes=1), alone, tmp_path / "alone")
    killed = replace(run, strategy="fsdp", checkpoint_every=2, output=str(tmp_path / "killed" / "run"))
    found = perform(Start(processes=2, kill="5:1", restarts=3), killed, tmp_path / "killed")
    starts = {path.name.split("_")[0] for path in (tmp_path / "killed" / "record").iterdir()}
    assert starts == {"start0.0", "start0.1"}
    assert epochs_of(found) == epochs_of(steps) == [[0, 1, 2, 3, 4, 5, 7, 8, 9, 10]] * 2
    assert loss_difference(steps, found) <= 1e-5
    assert weight_difference(alone, killed) <= 1e-5
