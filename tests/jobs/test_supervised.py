"""Worker processes that die, hang, raise and run out of memory."""

import os
from dataclasses import replace

import pytest

from job_tasks import NameTask, items_of
from timesformer.errors import ConfigError, ProcessError
from timesformer.jobs.engine import Limits
from timesformer.jobs.item import Failure, Item
from timesformer.jobs.supervised import StoppedError, Supervised
from timesformer.jobs.workers import plan_workers

LIMITS = Limits(seconds_per_item=60)
TASK = NameTask(model_sha256="")


def rows_and_failures(results):
    rows = {index: result for index, result in enumerate(results) if not isinstance(result, Failure)}
    return rows, {index: result for index, result in enumerate(results) if isinstance(result, Failure)}


@pytest.mark.parametrize(
    ("name", "reason", "signal", "stderr"),
    [
        ("die", r"the worker process crashed (SIGSEGV)", "SIGSEGV", "about to die"),
        ("exit", "the worker process ended with exit code 3", "", ""),
        ("raise", "RuntimeError: out of something", "", "_misbehave"),
    ],
)
def test_one_bad_item_costs_one_item(name, reason, signal, stderr):
    with Supervised(TASK, limits=LIMITS) as worker:
        rows, failures = rows_and_failures(worker.run(items_of("a", name, "c")))
        again = worker.run(items_of("x", "y"))
    assert rows == {0: {"length": 1, "together": ["a", "c"]}, 2: {"length": 1, "together": ["a", "c"]}}
    assert failures[1].reason == reason
    assert failures[1].signal == signal
    assert failures[1].attempts == 3
    assert stderr in failures[1].stderr
    assert again == [{"length": 1, "together": ["x", "y"]}] * 2


def test_item_that_hangs_costs_one_item():
    with Supervised(TASK, limits=replace(LIMITS, seconds_per_item=0.5)) as worker:
        rows, failures = rows_and_failures(worker.run(items_of("a", "hang")))
    assert rows == {0: {"length": 1, "together": ["a"]}}
    assert failures[1].reason == "the worker process gave no result for 0.5 s"


def test_item_that_takes_all_memory_costs_one_item():
    with Supervised(TASK, limits=replace(LIMITS, memory=2**28)) as worker:
        rows, failures = rows_and_failures(worker.run(items_of("full", "b")))
    assert list(rows) == [1]
    assert failures[0].reason == "the worker process needed more than 256 MiB of memory"


def test_rows_are_the_same_if_the_process_is_killed_once(tmp_path):
    items = items_of("a", "b", "bad", "c")
    with Supervised(TASK, limits=LIMITS) as worker:
        undisturbed = worker.run(items)
    with Supervised(NameTask(model_sha256="", dies_once=str(tmp_path / "died")), limits=LIMITS) as worker:
        assert worker.run(items) == undisturbed
    assert (tmp_path / "died").exists()


def test_task_that_cannot_be_opened_is_its_own_error():
    with (
        Supervised(NameTask(model_sha256="", refuses="no such model"), limits=LIMITS) as worker,
        pytest.raises(ConfigError, match=r"^no such model$"),
    ):
        worker.run(items_of("a"))


def test_process_that_dies_while_it_opens_the_task_is_an_error(monkeypatch):
    monkeypatch.setattr("timesformer.jobs.supervised.WORKER", "job_tasks:die_at_start")
    with (
        Supervised(TASK, limits=LIMITS) as worker,
        pytest.raises(ProcessError, match=r"a worker process ended with exit code 5 before its task was open: no mood"),
    ):
        worker.run(items_of("a"))


def test_stopped_worker_computes_no_more():
    with Supervised(TASK, limits=LIMITS) as worker:
        worker.run(items_of("a"))
        worker.stop()
        with pytest.raises(StoppedError):
            worker.run(items_of("b"))


def test_worker_has_its_folder_and_environment(tmp_path):
    (tmp_path / "inner").mkdir()
    task, environment = NameTask(model_sha256="", log="log"), {"OMP_NUM_THREADS": "1"}
    with Supervised(task, limits=LIMITS, folder=str(tmp_path / "inner"), environment=environment) as worker:
        worker.run([Item(path="a")])
    assert (tmp_path / "inner/log").read_text() == "a\n"


@pytest.mark.parametrize("count", [1, 2, 1000])
def test_workers_share_the_cores(monkeypatch, count):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    workers = plan_workers(count)
    assert workers.count == count
    assert workers.threads == max(1, len(os.sched_getaffinity(0)) // count)
    assert workers.environment(0) == {"OMP_NUM_THREADS": str(workers.threads)}


def test_one_worker_for_each_gpu(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 3)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5,GPU-7")
    workers = plan_workers(device="auto")
    assert workers.count == 3
    assert [workers.environment(number)["CUDA_VISIBLE_DEVICES"] for number in range(4)] == ["4", "5", "GPU-7", "4"]
    assert plan_workers(device="cuda:1").gpus == ()


@pytest.mark.parametrize("count", [0, -1, 1001])
def test_impossible_numbers_of_workers_are_refused(count):
    with pytest.raises(ConfigError, match=f"workers={count} must be at"):
        plan_workers(count)


@pytest.mark.parametrize("limits", [{"seconds_per_item": 0}, {"seconds_to_start": -1.0}, {"memory": -1}])
def test_impossible_limits_are_refused(limits):
    with pytest.raises(ConfigError, match=r"must (be greater than 0|not be negative)"):
        Limits(**limits)
