"""A job whose driver is killed at any moment, by a disk that stops in the middle of a write and keeps what it has."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from job_tasks import NameTask, bytes_of, computed, items_of, quarantine_of, run_backwards, run_here
from timesformer.jobs import durable
from timesformer.jobs.folder import Shard
from timesformer.jobs.item import Failure
from timesformer.jobs.recorder import Flush
from timesformer.jobs.run import run_job

NAMES = ("0", "bad1", "2", "bad3", "bad4", "5", "6", "7", "8")
_CHANGES = ("fsync", "link", "mkdir", "rename", "replace", "rmdir", "unlink")


class KilledError(BaseException):
    """The driver was killed."""


@contextmanager
def killed_at(moment: int) -> Iterator[None]:
    """Stop the disk at its change number `moment`, from 0: this and all later changes raise; an append is torn."""
    left = [moment]

    def count() -> None:
        left[0] -= 1
        if left[0] < 0:
            raise KilledError

    def counted(change):
        def call(*args, **kwargs):
            count()
            return change(*args, **kwargs)

        return call

    class TornFile:
        def __init__(self, path, mode, **options):
            self._file = open(path, mode, **options)  # noqa: SIM115
            self.fileno = self._file.fileno
            self.truncate, self.read = self._file.truncate, self._file.read

        def __enter__(self):
            return self

        def __exit__(self, *error):
            self._file.close()

        def write(self, content):
            half = len(content) // 2
            self._file.write(content[:half])
            count()
            return half + self._file.write(content[half:])

    with pytest.MonkeyPatch.context() as patch:
        for name in _CHANGES:
            patch.setattr(os, name, counted(getattr(os, name)))
        patch.setattr(durable, "open", TornFile, raising=False)
        yield


def run(folder: Path, *, has_error_rows: bool = False, **options):
    task = NameTask(log=str(folder.parent / "log"), chunk_size=2, has_error_rows=has_error_rows)
    return run_job(task, items_of(*NAMES), folder, **{"engine": run_here, "flush": Flush(rows=2), **options})


def stored_paths(folder: Path) -> set[str]:
    files = [*(folder / "parts").glob("part-*"), *(folder / "rows").glob("part-*")]
    return {path for file in files for path in pq.read_table(file)["path"].to_pylist()}


def check(folder: Path, whole: Path) -> None:
    assert bytes_of(folder) == bytes_of(whole)
    assert quarantine_of(folder) == quarantine_of(whole)
    left = {path.name for path in folder.rglob("*") if path.parent.name != "rows"}
    assert left == {"job.json", "manifest.parquet", "parts", "quarantine.jsonl", "rows", "runs.jsonl"}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The folder of the job without a kill."""
    folder = tmp_path_factory.mktemp("whole") / "job"
    run(folder)
    return folder


@pytest.fixture(autouse=True)
def no_sync(monkeypatch):
    """No flush to the disk, which takes most of the time."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


_MOMENTS = st.lists(st.integers(0, 90), min_size=1, max_size=4)


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(moments=_MOMENTS, engine=st.sampled_from([run_here, run_backwards]))
@example(moments=[*range(0, 90, 3)], engine=run_here)
def test_driver_killed_at_any_moment_leaves_each_row_once_and_the_same_bytes(tmp_path, whole, moments, engine):
    folder = tmp_path / "job"
    shutil.rmtree(folder, ignore_errors=True)
    for moment in moments:
        done = stored_paths(folder)
        (tmp_path / "log").unlink(missing_ok=True)
        with suppress(KilledError), killed_at(moment):
            run(folder, engine=engine)
        assert done.isdisjoint(computed(tmp_path / "log"))
        assert done <= stored_paths(folder)
    run(folder)
    check(folder, whole)


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(moments=_MOMENTS)
def test_retry_killed_at_any_moment_loses_no_row(tmp_path, whole, moments):
    folder = tmp_path / "job"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(whole, folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(NameTask, "_result", lambda self, name, item, together: {"length": 1, "together": []})
        for moment in moments:
            done = stored_paths(folder)
            with suppress(KilledError), killed_at(moment):
                run(folder, retry=True)
            assert done <= stored_paths(folder)
        summary = run(folder, retry=True)
    assert (summary.num_rows, summary.num_quarantined) == (9, 0)
    assert [row for file in sorted((folder / "rows").iterdir()) for row in pq.read_table(file)["path"].to_pylist()] == [
        f"/data/{name}" for name in NAMES
    ]
    assert not list((folder / "parts").iterdir())


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(moments=st.lists(st.tuples(st.integers(0, 2), st.integers(0, 60)), max_size=5), data=st.data())
def test_shards_killed_at_any_moment_give_the_bytes_of_one_driver(tmp_path, whole, moments, data):
    folder = tmp_path / "job"
    shutil.rmtree(folder, ignore_errors=True)
    for index, moment in moments:
        with suppress(KilledError), killed_at(moment):
            run(folder, shard=Shard(index=index, count=3))
    for index in data.draw(st.permutations(range(3))):
        run(folder, shard=Shard(index=index, count=3))
    check(folder, whole)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(moments=_MOMENTS, retried=_MOMENTS, engine=st.sampled_from([run_here, run_backwards]))
@example(moments=[*range(0, 90, 3)], retried=[*range(0, 60, 3)], engine=run_here)
def test_items_in_quarantine_have_one_row_whenever_the_driver_is_killed(tmp_path, moments, retried, engine):
    folder = tmp_path / "job"
    shutil.rmtree(folder, ignore_errors=True)
    for moment in moments:
        with suppress(KilledError), killed_at(moment):
            run(folder, engine=engine, has_error_rows=True)
    summary = run(folder, has_error_rows=True)
    assert (summary.num_rows, summary.num_quarantined) == (6, 3)
    check_error_rows(folder, bad={"bad1", "bad3", "bad4"})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(NameTask, "_result", lambda self, name, item, together: (
            Failure(reason="still bad") if name == "bad4" else {"length": 1, "together": []}))  # fmt: skip
        for moment in retried:
            with suppress(KilledError), killed_at(moment):
                run(folder, engine=engine, has_error_rows=True, retry=True)
        summary = run(folder, has_error_rows=True, retry=True)
    assert (summary.num_rows, summary.num_quarantined) == (8, 1)
    check_error_rows(folder, bad={"bad4"})


def check_error_rows(folder: Path, *, bad: set[str]) -> None:
    """Every item has one row, in order; those in quarantine have their error in it, and nothing else."""
    rows = [row for file in sorted((folder / "rows").iterdir()) for row in pq.read_table(file).to_pylist()]
    assert [row["path"] for row in rows] == [f"/data/{name}" for name in NAMES]
    errors = {row["id"]: row["error"] for row in rows if row["error"] is not None}
    assert {Path(row["path"]).name for row in rows if row["id"] in errors} == bad
    assert {entry["id"]: entry["reason"] for entry in quarantine_of(folder)} == errors
    assert all((row["length"] is None) == (row["id"] in errors) for row in rows)
    assert not list((folder / "parts").iterdir())
