"""The engine `ray`: the bytes of the local engine, on a cluster that nobody else reaches and that leaves nothing."""

import ipaddress
import os
import pickle
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from job_tasks import NameTask, bytes_of, computed, items_of, quarantine_of
from timesformer.cli.job import run as run_verb
from timesformer.cli.options import Work
from timesformer.errors import ConfigError, DependencyError
from timesformer.jobs.engine import Chunk, Limits
from timesformer.jobs.engine_local import run_local
from timesformer.jobs.engine_ray import _Worker, plan_cluster, ray_engine
from timesformer.jobs.item import Item
from timesformer.jobs.recorder import Flush
from timesformer.jobs.run import run_job
from timesformer.jobs.workers import Workers
from timesformer.ray_cluster import ray_cluster

# Ray Data warns of deprecated fields of its own settings whenever it makes them
pytestmark = [
    pytest.mark.slow,  # clusters of Ray, 10 seconds each
    pytest.mark.filterwarnings("ignore:.* is deprecated:DeprecationWarning"),
]

NAMES = [f"{number:02d}{'die' if number in (4, 17) else 'bad' if number in (5, 9) else ''}" for number in range(22)]
WORKERS = Workers(count=2, threads=1)


@pytest.fixture(scope="module")
def cluster():
    """A local cluster for all tests of this file, since each takes seconds to start."""
    with ray_cluster("local", num_cpus=2) as cluster:
        yield cluster


def run(folder: Path, *, engine, task=None, items=None, **options):
    return run_job(
        task or NameTask(),
        items or items_of(*NAMES),
        folder,
        engine=engine,
        workers=WORKERS,
        flush=Flush(rows=1),
        **options,
    )


def cluster_processes(part: str = "ray") -> list:
    """Living processes that Ray started from this one, with a text in their command line."""
    import psutil

    found = []
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            found += [process] if part in " ".join(process.cmdline()) else []
    return found


def wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < end, "waited for two minutes"
        time.sleep(0.05)


def actors() -> list:
    """Actors that hold a worker."""
    return cluster_processes("ray::MapWorker")


def test_rows_are_the_bytes_of_the_local_engine(cluster, tmp_path, monkeypatch):
    monkeypatch.setattr("timesformer.jobs.engine_ray.CHUNKS_PER_RUN", 5)
    monkeypatch.setattr("timesformer.jobs.engine_ray._CHUNKS_PER_WORKER", 1)
    run(tmp_path / "local", engine=run_local)
    summary = run(tmp_path / "ray", engine=ray_engine())
    assert (summary.num_rows, summary.num_quarantined) == (18, 4)
    assert bytes_of(tmp_path / "ray") == bytes_of(tmp_path / "local")
    assert quarantine_of(tmp_path / "ray") == quarantine_of(tmp_path / "local")


def test_job_of_which_an_actor_is_killed_has_each_row(cluster, tmp_path):
    killed = []

    def kill(progress):
        if progress.done and not killed:
            killed.append(actors()[0].pid)
            os.kill(killed[0], signal.SIGKILL)

    run(tmp_path / "job", engine=ray_engine(), on_progress=kill)
    run(tmp_path / "local", engine=run_local)
    assert killed
    assert bytes_of(tmp_path / "job") == bytes_of(tmp_path / "local")


DRIVER = """
import sys
from job_tasks import NameTask, items_of
from timesformer.jobs.engine_ray import ray_engine
from timesformer.jobs.recorder import Flush
from timesformer.jobs.run import run_job
from timesformer.jobs.workers import Workers

def stop(progress):
    if progress.done:
        print(progress.done, flush=True)
        sys.stdin.read()

names = sys.stdin.readline().split()
run_job(NameTask(log="log"), items_of(*names), "job", engine=ray_engine(), workers=Workers(count=2),
        flush=Flush(rows=1), on_progress=stop)
"""


@pytest.fixture
def temporary():
    """A folder for temporary files with a path as short as the sockets of Ray need."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        yield Path(folder)


def with_mark(mark: str) -> list:
    """Processes whose environment holds a text."""
    import psutil

    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            found += [process] if mark in process.environ().values() else []
    return found


@pytest.mark.slow  # a driver that imports Ray and starts a cluster of its own
def test_killed_driver_leaves_no_process_or_file_and_the_local_engine_continues_its_job(tmp_path, temporary):
    paths = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "TMPDIR": str(temporary)}
    with subprocess.Popen(
        [sys.executable, "-c", DRIVER], cwd=tmp_path, env={**os.environ, **paths}, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as driver:  # fmt: skip
        assert driver.stdin is not None
        assert driver.stdout is not None
        print(*NAMES, file=driver.stdin, flush=True)
        assert driver.stdout.readline() == "3\n", driver.communicate()
        assert len(with_mark(str(temporary))) > 5
        driver.kill()
        wait_until(lambda: not with_mark(str(temporary)) and not list(temporary.iterdir()))
        assert driver.stderr is not None
        assert driver.stderr.read() == ""
    recorded = [row["path"] for part in (tmp_path / "job/parts").iterdir() for row in pq.read_table(part).to_pylist()]
    (tmp_path / "log").unlink()
    run(tmp_path / "job", engine=run_local, task=NameTask(log=str(tmp_path / "log")))
    run(tmp_path / "local", engine=run_local)
    assert len(recorded) == 3
    assert not set(recorded) & set(computed(tmp_path / "log"))
    assert bytes_of(tmp_path / "job") == bytes_of(tmp_path / "local")


@pytest.mark.slow  # two clusters in a process of their own
def test_process_starts_one_cluster_after_another():
    code = "from timesformer.ray_cluster import ray_cluster\nfor _ in range(2):\n    with ray_cluster('local'): pass"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")


def test_task_that_cannot_be_opened_ends_the_job_with_its_error(cluster, tmp_path):
    with pytest.raises(ConfigError, match=r"^no such model$"):
        run(tmp_path / "job", engine=ray_engine(), task=NameTask(refuses="no such model"))


def test_actors_end_with_the_job_on_a_cluster_that_stays(cluster, tmp_path):
    run(tmp_path / "job", engine=ray_engine(), items=items_of("0", "1"))
    wait_until(lambda: not actors())


def test_cluster_listens_on_the_loopback_interface_only(cluster):
    import psutil

    listening = []
    for process in (psutil.Process(), *cluster_processes()):
        with suppress(psutil.Error):  # one that has just ended
            listening += [each for each in process.net_connections() if each.status == "LISTEN"]
    assert len(listening) >= 4
    for each in listening:
        assert ipaddress.ip_address(each.laddr.ip.removeprefix("::ffff:")).is_loopback, each


def test_relative_paths_need_the_folder_of_the_driver(tmp_path):
    worker = _Worker(pickle.dumps(NameTask()), Limits(), 1, str(tmp_path / "elsewhere"), ())
    batch = pa.table({"chunk": [pickle.dumps(Chunk(number=0, items=(Item(path="a.mp4"),)))]})
    error = pickle.loads(worker(batch)["answer"][0].as_py())
    assert isinstance(error, ConfigError)
    assert f"a.mp4: the folder {tmp_path}/elsewhere, at which the path starts, does not exist on " in str(error)


CPU, BOX = {"CPU": 20.0}, {"CPU": 30.0, "GPU": 4.0}


@pytest.mark.parametrize(
    ("nodes", "count", "has_gpus", "workers", "threads"),
    [
        ([CPU, {"CPU": 9.0}, {"memory": 1.0}], None, False, 3, 8),
        ([CPU, {"CPU": 3.0}], None, False, 7, 3),
        ([CPU, BOX], None, True, 4, 7),
        ([CPU], 5, False, 5, 8),
        ([{"CPU": 0.0}], 2, False, 2, 8),
    ],
)
def test_workers_of_a_cluster(monkeypatch, nodes, count, has_gpus, workers, threads):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    planned = plan_cluster(nodes, count=count, has_gpus=has_gpus)
    assert (planned.count, planned.threads) == (workers, threads)


def test_threads_of_a_cluster_may_be_given(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    assert plan_cluster([CPU, BOX], count=None, has_gpus=False) == Workers(count=10, threads=5)


def test_cluster_without_room_is_refused(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "32")
    with pytest.raises(ConfigError, match="has room for a worker of 32 CPUs: give the number of workers if"):
        plan_cluster([CPU, BOX], count=None, has_gpus=False)
    with pytest.raises(ConfigError, match="has room for a worker of 32 CPUs and a GPU"):
        plan_cluster([CPU, BOX], count=None, has_gpus=True)


def test_cluster_with_room_for_fewer_workers_is_said(monkeypatch, caplog):
    monkeypatch.setenv("OMP_NUM_THREADS", "10")
    plan_cluster([CPU], count=3, has_gpus=False)
    assert "the Ray cluster has room for 2 of 3 workers; the others wait for it" in caplog.text


@pytest.mark.parametrize("count", [0, -1])
def test_number_of_workers_is_checked(count):
    with pytest.raises(ConfigError, match="workers"):
        ray_engine(count=count)


@pytest.mark.parametrize("package", ["ray", "pyarrow"])
def test_ray_that_is_not_installed_is_an_error_that_names_the_extra(monkeypatch, package):
    monkeypatch.setattr("timesformer.ray_cluster.find_spec", lambda name: None if name == package else name)
    with pytest.raises(DependencyError, match=r"^the engine 'ray' needs Ray: pip install 'timesformer\[ray\]'$"):
        ray_engine()


def test_address_without_the_engine_is_refused(tmp_path):
    work = Work(ray_address="auto")
    with pytest.raises(ConfigError, match=r"^--ray-address has no effect without --engine ray$"):
        run_verb(NameTask(), items_of("0"), tmp_path / "job", work, workers=WORKERS)


@pytest.mark.parametrize(
    ("address", "message"),
    [
        (
            "ray://head:10001",
            "the Ray client is not supported; run the command on a machine of the cluster",
        ),
        ("127.0.0.1:1", "no Ray cluster at 127.0.0.1:1: .*refused"),
        ("nonsense", "no Ray cluster at nonsense: Invalid address format: nonsense"),
    ],
)
def test_address_without_a_cluster_is_refused(monkeypatch, address, message):
    monkeypatch.setattr("ray.is_initialized", lambda: False)
    with pytest.raises(ConfigError, match=message), ray_cluster(address):
        pass
