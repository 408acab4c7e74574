"""Batch jobs: a driver, a worker or a decoder that is killed, a full disk, damaged files of the job folder.

Rows are those of `check --job`, whose workers do not import torch; `tests/jobs` and `tests/cli/test_predict_job.py`
have the same faults for other verbs.
"""

import time
from pathlib import Path

import pytest

from faults.conftest import Scene, cut, flip, hidden

JOB = ("check", "videos", "--workers", 1, "--job")
RECORD = "timesformer.jobs.recorder:Recorder.record"
WRITE = "timesformer.jobs.recorder:write_rows"
COMPACT = "timesformer.jobs.run:compact"


def rows(folder: Path) -> bytes:
    """The content of the finished job."""
    return b"".join(path.read_bytes() for path in sorted((folder / "rows").iterdir()))


@pytest.fixture(scope="module")
def whole(host, template, tmp_path_factory) -> bytes:
    """The rows of an undisturbed job."""
    folder = tmp_path_factory.mktemp("job")
    host.run(*JOB, folder / "job", folder=template)
    return rows(folder / "job")


@pytest.mark.parametrize("moment", [WRITE, COMPACT])
def test_driver_killed(scene: Scene, whole: bytes, moment: str):
    assert scene.run(*JOB, "job", fault=("kill_at", moment, 1)).status == -9
    scene.see("driver killed", scene.run(*JOB, "job"))
    assert rows(scene.folder / "job") == whole
    assert not hidden(scene.folder / "job")


def test_disk_full_for_a_part(disk_scene: Scene, whole: bytes):
    disk = disk_scene.disk
    assert disk is not None
    disk_scene.see("job: disk full", disk_scene.run(*JOB, disk.point / "job", fault=("fill_at", RECORD, 1, disk.point)))
    disk.clear()
    disk_scene.run(*JOB, disk.point / "job")
    assert rows(disk.root / "job") == whole


@pytest.mark.parametrize("damage", [cut, flip])
def test_damaged_part(scene: Scene, whole: bytes, damage):
    scene.run(*JOB, "job", fault=("kill_at", COMPACT, 1))
    part = next((scene.folder / "job/parts").glob("part-*"))
    damage(part)
    scene.see(f"part {damage.__name__}", scene.run(*JOB, "job"))
    part.unlink()
    scene.run(*JOB, "job")
    assert rows(scene.folder / "job") == whole


def test_damaged_description_of_a_job(scene: Scene):
    scene.run(*JOB, "job")
    description = scene.folder / "job/job.json"
    description.write_text(description.read_text().partition(",")[0])
    scene.see("job.json damaged", scene.run(*JOB, "job"))


def test_second_driver_of_a_job_is_refused(scene: Scene, whole: bytes):
    fault = ("run_at", RECORD, 1, "sh", "-c", "echo > go; sleep 600")
    first = scene.host.start(*JOB, "job", folder=scene.folder, fault=fault)
    while not (scene.folder / "go").exists():
        time.sleep(0.01)
    scene.see("two drivers", scene.run(*JOB, "job"))
    first.send(9)
    first.wait()
    scene.run(*JOB, "job")
    assert rows(scene.folder / "job") == whole
