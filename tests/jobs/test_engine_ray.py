"""The engine `ray`: the same bytes as the local engine, on a cluster that nobody else reaches and that leaves nothing."""

import ipaddress
import os
import signal
import sys
from pathlib import Path

import pytest

from job_tasks import NameTask, bytes_of, computed, items_of, quarantine_of, rows_of
from timesformer.errors import ConfigError, DependencyError
from timesformer.jobs.engine_local import run_local
from timesformer.jobs.engine_ray import plan_cluster, ray_engine
from timesformer.jobs.item import Item
from timesformer.jobs.recorder import Flush
from timesformer.jobs.run import run_job
from timesformer.jobs.workers import Workers
from timesformer.ray_cluster import ray_cluster

# Ray Data warns of deprecated fields of its own settings whenever it makes them
pytestmark = pytest.mark.filterwarnings("ignore:.* is deprecated:DeprecationWarning")

NAMES = [f"{number:02d}{'die' if number in (4, 17) else 'bad' if number in (5, 9) else ''}" for number in range(22)]
WORKERS = Workers(count=2, threads=1)


@pytest.fixture(scope="module")
def cluster():
    """A local cluster for all tests of this file, since each takes seconds to start."""
    with ray_cluster("local", num_cpus=2) as cluster:
        yield cluster


def run(folder: Path, *, engine, task=None, items=None, **options):
    return run_job(
        task or NameTask(), items or items_of(*NAMES), folder, engine=engine, workers=WORKERS, flush=Flush(rows=1), **options
    )


def cluster_processes() -> list:
    """Processes that Ray started from this one."""
    import psutil

    return [each for each in psutil.Process().children(recursive=True) if "ray" in " ".join(each.cmdline())]


def actors() -> list:
    """Actors that hold a worker."""
    return [each for each in cluster_processes() if "MapWorker" in each.cmdline()[0]]


def test_rows_are_the_bytes_of_the_local_engine(cluster, tmp_path, monkeypatch):
    monkeypatch.setattr("timesformer.jobs.engine_ray.CHUNKS_PER_RUN", 5)
    monkeypatch.setattr("timesformer.jobs.engine_ray._CHUNKS_PER_WORKER", 1)
    run(tmp_path / "local", engine=run_local)
    summary = run(tmp_path / "ray", engine=ray_engine())
    assert (summary.num_rows, summary.num_quarantined) == (18, 4)
    assert bytes_of(tmp_path / "ray") == bytes_of(tmp_path / "local")
    assert quarantine_of(tmp_path / "ray") == quarantine_of(tmp_path / "local")


def test_job_that_a_killed_actor_and_a_killed_driver_leave_is_continued_by_the_local_engine(cluster, tmp_path):
    task = NameTask(log=str(tmp_path / "log"))
    done = []

    def disturb(progress):
        if progress.done and not done:
            os.kill(actors()[0].pid, signal.SIGKILL)
        done.append(progress.done)
        if progress.done > 12:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "job", engine=ray_engine(), task=task, on_progress=disturb)
    finished = set(computed(tmp_path / "log"))
    run(tmp_path / "job", engine=run_local, task=task)
    run(tmp_path / "local", engine=run_local)
    assert bytes_of(tmp_path / "job") == bytes_of(tmp_path / "local")
