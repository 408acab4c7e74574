"""Processes that are killed, ended or interrupted."""

import random
import time

import pytest

from faults.conftest import RESUME, TRAIN, Scene, hidden, same_run
from faults.injections import STEP

SEED = 3
EVERYTHING = ("checkpoint_every=1", "batch_size=4", "accumulate=2", "optim.ema_decay=0.8", "keep=last")
"""Settings with which a run has the most to lose."""


def test_trainer_killed_at_random_moments_ends_with_the_same_bits(scene: Scene):
    options = [f"--set={setting}" for setting in EVERYTHING]
    scene.check(*TRAIN, "uncut", *options)
    choose, kinds = random.Random(SEED), []
    record = scene.folder / "kind"
    for _ in range(40):
        has_begun = (scene.folder / "run/config.toml").exists()
        verb = (*RESUME, "run") if has_begun else (*TRAIN, "run", *options)
        result = scene.run(*verb, fault=("kill_at_moment", choose.randint(1, 14), record))
        if result.status == 0:
            break
        assert result.status == -9
        kinds.append(record.read_text())
    assert len(kinds) >= 4 and len(set(kinds)) >= 3, kinds
    scene.see("trainer killed", result)
    assert same_run(scene.folder / "run", scene.folder / "uncut")
    assert not hidden(scene.folder / "run")


def test_loader_worker_killed(scene: Scene):
    result = scene.run(*TRAIN, "run", "--set", "data.num_workers=1", fault=("kill_worker_at", STEP, 4))
    scene.see("loader worker killed", result)
    scene.check(*RESUME, "run")
    assert same_run(scene.folder / "run", scene.folder / "whole")
    classify = "timesformer.inference.predictor:Predictor.logits"
    command = ("evaluate", "videos", "--model", "whole", "--num-workers", 1, "--batch-size", 1, "--csv", "p.csv")
    result = scene.run(*command, fault=("kill_worker_at", classify, 1))
    scene.see("loader worker of evaluate killed", result)
    scene.check(*command)


@pytest.mark.parametrize(("name", "num_workers"), [("SIGTERM", 0), ("SIGTERM", 1), ("SIGHUP", 0), ("SIGUSR1", 1)])
def test_signal_ends_a_training_after_its_step(scene: Scene, name: str, num_workers: int):
    workers = ("--set", f"data.num_workers={num_workers}")
    scene.see(f"training {name}", scene.run(*TRAIN, "run", *workers, fault=("signal_at", STEP, 5, name)))
    result = scene.check(*RESUME, "run")
    assert "resuming in epoch 2 after 2 of 3 steps" in result.err
    assert same_run(scene.folder / "run", scene.folder / "whole")


def test_signal_in_validation_ends_a_training_after_its_epoch(scene: Scene):
    validate = "timesformer.training.lightning_module:ClipClassifier.validation_step"
    result = scene.run(*TRAIN, "run", fault=("signal_at", validate, 1, "SIGTERM"))
    scene.see("training SIGTERM in validation", result)
    scene.check(*RESUME, "run")
    assert same_run(scene.folder / "run", scene.folder / "whole")


def test_interrupt_keeps_the_last_checkpoint(scene: Scene):
    scene.see("training Ctrl-C", scene.run(*TRAIN, "run", fault=("signal_at", STEP, 5, "SIGINT")))
    scene.check(*RESUME, "run")
    assert same_run(scene.folder / "run", scene.folder / "whole")


def test_signal_removes_what_a_verb_has_begun(scene: Scene):
    pack = "timesformer.data.manifest.shard_writer:tarfile.TarInfo"
    result = scene.run("shard", "videos", "--output", "shards", fault=("signal_at", pack, 4, "SIGTERM"))
    scene.see("shard SIGTERM", result)
    assert not hidden(scene.folder) and not list(scene.folder.rglob("*.tar"))
    scene.check("shard", "videos", "--output", "shards")


def test_second_training_into_one_folder_is_refused(scene: Scene):
    fault = ("run_at", STEP, 2, "sh", "-c", "echo > go; sleep 600")
    first = scene.host.start(*TRAIN, "run", folder=scene.folder, fault=fault)
    while not (scene.folder / "go").exists():
        time.sleep(0.01)
    scene.see("two trainings", scene.run(*TRAIN, "run", "--overwrite"))
    first.send(9)
    assert first.wait().status == -9
    scene.check(*TRAIN, "run", "--overwrite")
    assert same_run(scene.folder / "run", scene.folder / "whole")
