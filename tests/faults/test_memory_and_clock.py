"""Memory that is too small, and a wall clock that jumps."""

from faults.conftest import TRAIN, Scene, same_run
from faults.injections import STEP
from timesformer.training.history import read_metrics

FORWARD = "timesformer.model.fast:FastTimeSformer.forward"
SIZES = ("image_size=224", "patch_size=8", "num_frames=4", "depth=3", "embed_dim=32")
LARGE = [f"--set=model.{size}" for size in SIZES]


def test_full_gpu_is_answered_with_the_batch_that_fits(scene: Scene):
    scene.see("GPU full in training", scene.run(*TRAIN, "run", fault=("no_memory_for", STEP, 1)))
    scene.check(*TRAIN, "run", "--overwrite", "--set", "accumulate=2")
    predict = ("predict", "videos/train", "--model", "whole")
    scene.see("GPU full in predict", scene.run(*predict, fault=("no_memory_for", FORWARD, 3)))
    scene.check(*predict, "--batch-size", 3)
    evaluate = ("evaluate", "videos", "--model", "whole", "--num-workers", 0)
    scene.see("GPU full in evaluate", scene.run(*evaluate, fault=("no_memory_for", FORWARD, 2)))
    scene.see("GPU too small", scene.run(*evaluate, fault=("no_memory_for", FORWARD, 0)))


def test_memory_limit_is_answered_with_the_batch_that_fits(scene: Scene):
    big = (*TRAIN, "big", *LARGE, "--epochs", 1, "--overwrite")
    fault = ("limit_memory_at", "timesformer.training.train:free_memory", 1, 100)
    scene.see("memory limit in training", scene.run(*big, "--set", "batch_size=6", fault=fault))
    wide = ("--set=model.embed_dim=96", "--set=model.depth=2")
    scene.check(*big, *wide, "--set", "batch_size=6", "--set", "accumulate=6")
    predict = ("predict", "videos/train", "--model", "big")
    scene.see("memory limit in predict", scene.run(*predict, fault=("limit_memory_at", FORWARD, 1, 25)))


def test_clock_that_jumps_changes_no_result(scene: Scene):
    scene.see("clock", scene.run(*TRAIN, "run", fault=("jump_clock",)))
    assert same_run(scene.folder / "run", scene.folder / "whole")
    assert all(0 <= record.seconds < 60 for record in read_metrics(scene.folder / "run/metrics.csv"))
    first, second = (scene.run("check", "videos", fault=fault) for fault in (("jump_clock",), ("nothing",)))
    assert first.out == second.out and not first.err + second.err
