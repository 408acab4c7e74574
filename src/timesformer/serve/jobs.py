"""`Jobs`: work that takes longer than a request may, one after another."""

import asyncio
import secrets
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Literal

from timesformer.serve.blocking import Stop, StoppedError
from timesformer.serve.decoder import RefusedError
from timesformer.serve.problems import ProblemError

Status = Literal["queued", "running", "done", "failed", "canceled"]

MAX_WAITING = 8
"""Jobs that wait."""
MAX_KEPT = 64
"""Ended jobs whose results are kept."""
KEPT_S = 900.0
"""Time in seconds for which they are kept."""

Work = Callable[[Stop, Callable[[float], object]], Any]
"""Called with what may stop it and with a function that takes the share that is done."""


@dataclass(slots=True, eq=False)
class Job:
    """One job."""

    id: str = field(default_factory=lambda: secrets.token_urlsafe(16))
    status: Status = "queued"
    progress: float = 0.0
    """From 0 to 1."""
    result: Any = None
    problem: dict[str, Any] | None = None
    ended_s: float = 0.0
    stop: Stop = field(default_factory=Stop)

    @property
    def is_over(self) -> bool:
        """Whether nothing of it is left to do."""
        return self.status in ("done", "failed", "canceled")

    @property
    def location(self) -> str:
        """Its path."""
        return f"/v1/jobs/{self.id}"

    def to_dict(self) -> dict[str, Any]:
        """The job for JSON."""
        return {
            "id": self.id,
            "status": self.status,
            "progress": round(self.progress, 4),
            "result": self.result,
            "problem": self.problem,
        }

    def report(self, share: float) -> None:
        """Note the share that is done."""
        self.progress = share

    def end(self, status: Status, *, result: Any = None, problem: dict[str, Any] | None = None) -> None:
        """Note how it ended."""
        if not self.is_over:
            self.status, self.result, self.problem, self.ended_s = status, result, problem, time.monotonic()
            self.progress = 1.0 if status == "done" else self.progress


class Jobs:
    """The jobs of a server; used in its event loop."""

    def __init__(self) -> None:
        self._jobs: dict[str, Job] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="job")

    def add(self, work: Work, *, clean_up: Callable[[], object]) -> Job:
        """Queue a job.

        Args:
            work: What to do; its `ProblemError` or `RefusedError` becomes that of the job.
            clean_up: Called when the job is over, whatever happened; also if it is refused.

        Raises:
            ProblemError: Status 429: too many jobs wait.
        """
        self._forget_old()
        if sum(job.status == "queued" for job in self._jobs.values()) >= MAX_WAITING:
            clean_up()
            detail = f"{MAX_WAITING} jobs are waiting already"
            raise ProblemError(429, detail, fix="send the request again later", headers={"Retry-After": "30"})
        job = Job()
        self._jobs[job.id] = job
        task = asyncio.get_running_loop().create_task(self._run(job, work, clean_up))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return job

    def get(self, id_: str) -> Job:
        """A job.

        Raises:
            ProblemError: Status 404.
        """
        self._forget_old()
        if id_ not in self._jobs:
            detail = f"there is no such job; results are kept for {KEPT_S / 60:g} minutes"
            raise ProblemError(404, detail, fix="send the video again")
        return self._jobs[id_]

    def cancel(self, id_: str) -> Job:
        """Cancel a job.

        Raises:
            ProblemError: There is no such job (404), or it is over (409).
        """
        job = self.get(id_)
        if job.is_over:
            raise ProblemError(409, f"the job is over: {job.status}", fix="GET the job for its result")
        job.end("canceled")
        job.stop.set()
        return job

    async def close(self) -> None:
        """Cancel all jobs and wait for their ends."""
        for job in [job for job in self._jobs.values() if not job.is_over]:
            self.cancel(job.id)
        await asyncio.gather(*self._tasks)
        self._thread.shutdown()

    async def _run(self, job: Job, work: Work, clean_up: Callable[[], object]) -> None:
        def call() -> Any:
            job.stop.check()
            job.status = "running"
            return work(job.stop, job.report)

        running = asyncio.wrap_future(self._thread.submit(call))
        try:
            await asyncio.wait([running])
            _end(job, running)
        finally:
            clean_up()

    def _forget_old(self) -> None:
        over = sorted((job for job in self._jobs.values() if job.is_over), key=lambda job: job.ended_s)
        oldest_s = time.monotonic() - KEPT_S
        for number, job in enumerate(over):
            if job.ended_s < oldest_s or number < len(over) - MAX_KEPT:
                del self._jobs[job.id]


def _end(job: Job, running: "asyncio.Future[Any]") -> None:
    error = running.exception()
    if error is None:
        job.end("done", result=running.result())
    elif isinstance(error, StoppedError):
        job.end("canceled")
    else:
        problem = error.problem() if isinstance(error, RefusedError) else error
        if not isinstance(problem, ProblemError):
            job.end("failed", problem=ProblemError(500, "the server failed", fix="see its log").to_dict())
            raise error
        job.end("failed", problem=problem.to_dict())
