"""Disks that are full, read-only, forbidden or gone."""

import os
import shutil
from pathlib import Path

import pytest

from faults.conftest import RESUME, TRAIN, Scene, hidden, same_run
from faults.injections import STEP

STAGES = {
    "checkpoint": "timesformer.training.callbacks:Recorder._save_checkpoints",
    "model": "timesformer.training.callbacks:save",
    "table": "timesformer.training.callbacks:replace_text",
}
"""What is written at the end of an epoch."""
VIDEO = "videos/val/grow/grow_0000.mp4"
WRITERS = {
    "convert": ("convert", "whole", "DISK/hf"),
    "export": ("export", "whole", "--output", "DISK/m.onnx"),
    "shard": ("shard", "videos", "--output", "DISK/shards"),
    "synth": ("synth", "--output", "DISK/synth", "--clips-per-class", 1),
    "evaluate --page": ("evaluate", "videos", "--model", "whole", "--num-workers", 0, "--page", "DISK/page.html"),
    "evaluate --csv": ("evaluate", "videos", "--model", "whole", "--num-workers", 0, "--csv", "DISK/p.csv"),
    "check --output": ("check", "videos", "--output", "DISK/report"),
    "explain": ("explain", VIDEO, "--model", "whole", "--output", "DISK/explained"),
    "timeline": ("timeline", VIDEO, "--model", "whole", "--output", "DISK/t.json"),
    "train --preview": ("train", "--config", "run.toml", "--preview", "DISK/sheet.png"),
    "reproduce": ("reproduce", "cost", "--output", "DISK/cost"),
}
"""Verbs that write files."""


def command(scene: Scene, name: str) -> list[object]:
    assert scene.disk is not None
    return [str(part).replace("DISK", str(scene.disk.point)) for part in WRITERS[name]]


@pytest.mark.parametrize("stage", STAGES)
def test_disk_full_at_the_end_of_an_epoch(disk_scene: Scene, stage: str):
    disk = disk_scene.disk
    assert disk is not None
    output = disk.point / "run"
    disk_scene.see(
        f"disk full: {stage}", disk_scene.run(*TRAIN, output, fault=("fill_at", STAGES[stage], 2, disk.point))
    )
    disk.clear()
    assert not hidden(disk.root)
    disk_scene.check(*RESUME, output)
    assert same_run(disk.root / "run", disk_scene.folder / "whole")


@pytest.mark.parametrize(
    "name",
    # torch's exporter takes seconds to import, and seconds to export
    [pytest.param(name, marks=pytest.mark.slow) if name == "export" else name for name in WRITERS],
)
def test_disk_full_when_a_verb_writes(disk_scene: Scene, name: str):
    disk = disk_scene.disk
    assert disk is not None
    disk.fill()
    disk_scene.see(f"disk full: {name}", disk_scene.run(*command(disk_scene, name)))
    assert not hidden(disk.root)
    assert not [path for path in disk.root.rglob("[!.]*") if path.is_file() and not path.stat().st_size]
    disk.clear()
    result = disk_scene.run(*command(disk_scene, name))
    assert "error" not in result.err and list(disk.root.iterdir())


def test_disk_full_before_a_training(disk_scene: Scene):
    disk = disk_scene.disk
    assert disk is not None
    disk.fill(free=50_000)
    disk_scene.see("disk full: before training", disk_scene.run(*TRAIN, disk.point / "run"))
    disk.clear()
    disk_scene.check(*TRAIN, disk.point / "run")


def test_disk_full_for_the_cache_of_check(disk_scene: Scene):
    disk = disk_scene.disk
    assert disk is not None
    shutil.copytree(disk_scene.folder / "videos", disk.root / "videos")
    disk.fill()
    result = disk_scene.run("check", disk.point / "videos")
    disk_scene.see("disk full: cache of check", result)
    disk.clear()
    assert disk_scene.run("check", disk.point / "videos") == (result.status, result.out, "")


def test_stdout_on_a_full_disk(scene: Scene):
    predict = ("predict", "videos/val", "--model", "whole")
    scene.see("stdout full", scene.run(*predict, fault=("print_to", "/dev/full")))


def test_disk_read_only_in_mid_run(disk_scene: Scene):
    disk = disk_scene.disk
    assert disk is not None
    output = disk.point / "run"
    remount = f"mount --bind {output} {output}; mount -o remount,ro,bind {output}"
    result = disk_scene.run(*TRAIN, output, fault=("run_at", STEP, 5, "sh", "-c", remount))
    disk_scene.see("disk read-only", result)
    disk.undo_mount("run")
    disk_scene.check(*RESUME, output)
    assert same_run(disk.root / "run", disk_scene.folder / "whole")


def test_permission_lost_in_mid_run(scene: Scene):
    scene.see("permission lost", scene.run(*TRAIN, "run", fault=("deny_at", STEP, 5, "run")))
    for path, _, _ in os.walk(scene.folder / "run"):
        Path(path).chmod(0o755)
    scene.check(*RESUME, "run")
    assert same_run(scene.folder / "run", scene.folder / "whole")


def test_output_moved_away_in_mid_run(scene: Scene):
    scene.see("output moved", scene.run(*TRAIN, "run", fault=("run_at", STEP, 5, "mv", "run", "elsewhere")))
    (scene.folder / "elsewhere").rename(scene.folder / "run")
    scene.check(*RESUME, "run")
    assert same_run(scene.folder / "run", scene.folder / "whole")


def test_output_share_gone_in_mid_run(disk_scene: Scene):
    disk = disk_scene.disk
    assert disk is not None
    result = disk_scene.run(*TRAIN, disk.point / "run", fault=("run_at", STEP, 5, "umount", "-l", disk.point))
    disk_scene.see("output share gone", result)


@pytest.mark.parametrize("on_error", ["raise", "skip"])
def test_share_of_videos_gone_in_mid_run(scene: Scene, on_error: str):
    fault = ("run_at", STEP, 5, "mv", "videos", "unmounted")
    result = scene.run(*TRAIN, "run", "--set", f"data.on_decode_error={on_error}", fault=fault)
    scene.see("share of videos gone", result)
    (scene.folder / "unmounted").rename(scene.folder / "videos")
    scene.check(*RESUME, "run")
    if on_error == "raise":
        assert same_run(scene.folder / "run", scene.folder / "whole")
    result = scene.run(
        *("evaluate", "videos", "--model", "whole", "--num-workers", 0, "--batch-size", 1, "--on-error", "skip"),
        fault=("run_at", "timesformer.inference.predictor:Predictor.logits", 2, "mv", "videos", "unmounted"),
    )
    scene.see("share of videos gone in evaluate", result)


def test_stale_handles_of_videos(scene: Scene):
    options = ("--set", "data.on_decode_error=skip")
    result = scene.run(*TRAIN, "run", *options, fault=("stale_at", STEP, 5, scene.folder / "videos"))
    scene.see("stale handles", result)
    scene.check(*RESUME, "run")


def test_video_deleted_in_mid_run(scene: Scene):
    victim = "videos/train/grow/grow_0001.mp4"
    fault = ("run_at", STEP, 4, "mv", victim, "kept")
    scene.see("video deleted", scene.run(*TRAIN, "run", fault=fault))
    (scene.folder / "kept").rename(scene.folder / victim)
    scene.check(*RESUME, "run")
    assert same_run(scene.folder / "run", scene.folder / "whole")
    fault = ("run_at", "timesformer.cli.predict:Predictor", 1, "rm", victim)
    result = scene.run("predict", "videos/train", "--model", "whole", fault=fault)
    scene.see("video deleted in predict", result)
    assert len(result.out.splitlines()) == 5 * 3
