"""Jobs: their states, their order, and what is kept."""

import asyncio
import threading

import pytest

from timesformer.serve import jobs as jobs_module
from timesformer.serve.decoder import RefusedError
from timesformer.serve.jobs import MAX_WAITING, Jobs
from timesformer.serve.problems import ProblemError


def run(work):
    """Run some work with jobs; gives the result and the names of what was cleaned up."""
    cleaned = []

    async def main():
        jobs = Jobs()
        try:
            return await asyncio.wait_for(work(jobs, cleaned.append), 60)
        finally:
            await jobs.close()

    return asyncio.run(main()), cleaned


async def ended(job):
    while not job.is_over:
        await asyncio.sleep(0.001)
    return job


def test_a_job_is_done_with_its_result():
    async def work(jobs, clean):
        def task(stop, report):
            report(0.25)
            return {"a": 1}

        job = jobs.add(task, clean_up=lambda: clean("file"))
        assert job.status == "queued"
        await ended(job)
        return jobs.get(job.id).to_dict()

    found, cleaned = run(work)
    assert found == {"id": found["id"], "status": "done", "progress": 1.0, "result": {"a": 1}, "problem": None}
    assert len(found["id"]) >= 20
    assert cleaned == ["file"]


@pytest.mark.parametrize("error", [ProblemError(422, "too dark", fix="light"), RefusedError("too dark", "x", "light")])
def test_a_failed_job_has_the_problem(error):
    async def work(jobs, clean):
        def task(stop, report):
            raise error

        return (await ended(jobs.add(task, clean_up=lambda: None))).to_dict()

    found, _ = run(work)
    assert (found["status"], found["result"]) == ("failed", None)
    assert found["problem"] == {
        "type": "about:blank", "title": "Unprocessable Entity", "status": 422, "detail": "too dark", "fix": "light",
    }  # fmt: skip


def test_jobs_run_one_after_another_and_queued_ones_can_be_canceled():
    async def work(jobs, clean):
        go, seen = threading.Event(), []

        def task(name):
            def call(stop, report):
                seen.append(name)
                assert go.wait(30)
                stop.check()
                return name

            return call

        made = [jobs.add(task(name), clean_up=lambda name=name: clean(name)) for name in "abc"]
        while made[0].status != "running":
            await asyncio.sleep(0.001)
        assert jobs.cancel(made[1].id).status == "canceled"
        assert jobs.cancel(made[0].id).status == "canceled"  # running
        go.set()
        await ended(made[2])
        return seen, [job.status for job in made], made[2].result

    found, cleaned = run(work)
    assert found == (["a", "c"], ["canceled", "canceled", "done"], "c")
    assert sorted(cleaned) == ["a", "b", "c"]


def test_a_job_that_is_over_cannot_be_canceled():
    async def work(jobs, clean):
        job = await ended(jobs.add(lambda stop, report: 1, clean_up=lambda: None))
        with pytest.raises(ProblemError, match="the job is over: done") as caught:
            jobs.cancel(job.id)
        return caught.value.status

    assert run(work)[0] == 409


def test_unknown_jobs_are_404():
    async def work(jobs, clean):
        with pytest.raises(ProblemError, match="no such job; results are kept for 15 minutes") as caught:
            jobs.get("x")
        return caught.value.status

    assert run(work)[0] == 404


def test_too_many_jobs_are_429_and_their_files_are_removed():
    async def work(jobs, clean):
        go = threading.Event()
        first = jobs.add(lambda stop, report: go.wait(30), clean_up=lambda: None)
        while first.status != "running":
            await asyncio.sleep(0.001)
        for _ in range(MAX_WAITING):
            jobs.add(lambda stop, report: None, clean_up=lambda: None)
        with pytest.raises(ProblemError, match="8 jobs are waiting already") as caught:
            jobs.add(lambda stop, report: None, clean_up=lambda: clean("refused"))
        go.set()
        return caught.value

    problem, cleaned = run(work)
    assert (problem.status, problem.headers["Retry-After"]) == (429, "30")
    assert cleaned == ["refused"]


def test_results_are_kept_for_a_time_and_in_a_number(monkeypatch):
    monkeypatch.setattr(jobs_module, "MAX_KEPT", 2)

    async def work(jobs, clean):
        made = [await ended(jobs.add(lambda stop, report: None, clean_up=lambda: None)) for _ in range(4)]
        with pytest.raises(ProblemError):
            jobs.get(made[1].id)
        assert jobs.get(made[2].id) is made[2]
        monkeypatch.setattr(jobs_module, "KEPT_S", 0.0)
        with pytest.raises(ProblemError):
            jobs.get(made[3].id)

    run(work)


def test_the_end_of_the_server_cancels_jobs():
    states = []

    async def work(jobs, clean):
        def task(stop, report):
            while True:
                stop.check()

        states.append(jobs.add(task, clean_up=lambda: clean("running")))
        states.append(jobs.add(task, clean_up=lambda: clean("queued")))
        while states[0].status != "running":
            await asyncio.sleep(0.001)

    _, cleaned = run(work)
    assert [job.status for job in states] == ["canceled", "canceled"]
    assert sorted(cleaned) == ["queued", "running"]
