"""`Service`: a model, its decoders and its batcher; what the routes of the API share."""

import asyncio
import secrets
from collections.abc import AsyncGenerator, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import torch
from starlette.requests import Request

from timesformer.config.compute import ComputeOptions
from timesformer.errors import TimeSformerError
from timesformer.inference.embed import Embedding
from timesformer.inference.onnx_model import Classifier
from timesformer.inference.predictor import Prediction, Predictor
from timesformer.inference.view_batches import ReadVideo
from timesformer.model.tokens import Level
from timesformer.serve.admission import Admission
from timesformer.serve.batcher import Batcher, ClosedError, Dispatch, FullError
from timesformer.serve.blocking import Stop, run_blocking
from timesformer.serve.computing import Classify, Embed, Item, compute_with
from timesformer.serve.decoder import RefusedError
from timesformer.serve.decoding import Decoders
from timesformer.serve.disconnect import unless_disconnected
from timesformer.serve.explaining import ExplainRequest, explanation_of, to_bytes, to_json
from timesformer.serve.jobs import Job, Jobs
from timesformer.serve.limits import ServeLimits
from timesformer.serve.metrics import Metrics
from timesformer.serve.problems import ProblemError, busy
from timesformer.serve.timelining import Form, result_of, timeline_of
from timesformer.serve.uploads import VIDEO, Accepted, Upload, received
from timesformer.timelines.run import Task

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Service:
    """A model that answers requests."""

    model: Classifier
    """The model as it was loaded."""
    predictor: Predictor
    options: ComputeOptions
    card: dict[str, Any]
    """The model card: see `timesformer.serve.card`."""
    decoders: Decoders
    batcher: Batcher[Item, Any]
    admission: Admission
    metrics: Metrics
    limits: ServeLimits
    folder: Path
    """Private folder of uploads."""
    jobs: Jobs = field(default_factory=Jobs)
    slow: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, thread_name_prefix="slow"))
    """Where explanations and short timelines are computed."""

    async def answer(
        self,
        request: Request,
        work: Callable[[Upload], Coroutine[Any, Any, Result]],
        *,
        accepted: Accepted = VIDEO,
    ) -> Result:
        """Receive the body of a request and work on it, within the limits of the server.

        Args:
            request: The request.
            work: What to do with the body; cancelled if the client hangs up or the time is over.
            accepted: Types of bodies.

        Raises:
            ProblemError: The request is refused.
            ClientDisconnect: The client hung up.
        """
        accepted.check(request.headers, max_bytes=self.limits.max_upload_bytes)
        ticket = self.admission.enter()
        try:
            async with _within(self.limits.request_seconds), self._received(request, accepted) as upload:
                self.admission.begin(ticket)
                return await unless_disconnected(request, work(upload))
        except RefusedError as error:
            raise error.problem() from error
        finally:
            self.admission.leave(ticket)

    async def predict(self, upload: Upload, *, top_k: int) -> Prediction:
        """The most probable classes of a video.

        Raises:
            RefusedError: The video cannot be decoded.
            ProblemError: The video cannot be classified (422), or the server is busy (503).
        """
        found: Prediction = await self.compute(Classify(await self._read(upload)))
        return replace(
            found,
            labels=found.labels[:top_k],
            indices=found.indices[:top_k],
            probabilities=found.probabilities[:top_k],
        )

    async def embed(self, upload: Upload, *, level: Level) -> Embedding:
        """The features of a video; errors as for `predict`."""
        return await self.compute(Embed(await self._read(upload), level))

    async def explain(self, upload: Upload, request: ExplainRequest) -> dict[str, Any] | bytes:
        """An explanation of a video, as JSON or as the content of a file; errors as for `predict`."""
        view = await self.decoders.center_view(upload.path)

        def work(stop: Stop) -> dict[str, Any] | bytes:
            found = explanation_of(
                self.model, view, request, name=upload.name, options=self.options, stop=stop
            )  # fmt: skip
            if request.to == "json":
                return to_json(found)
            seconds = self.limits.request_seconds
            return to_bytes(found, request.to, upload=upload, decoders=self.decoders, seconds=seconds, stop=stop)

        return await run_blocking(self.slow, work)

    async def timeline(self, upload: Upload, task: Task, *, to: Form) -> Any:
        """The timeline of a short video in a form, or the `Job` that makes that of a long one.

        Raises:
            RefusedError, ProblemError: As for `predict`; or too many jobs wait (429).
        """
        stated = await self.decoders.stated(upload.path)
        if stated.duration_s > self.limits.long_seconds:
            return self._add_job(upload, task, to=to, num_frames=stated.num_frames)
        return await run_blocking(self.slow, lambda stop: self._timeline(upload.path, upload.name, task, to, stop))

    async def compute(self, item: Item) -> Any:
        """The result of an item from the batcher.

        Raises:
            ProblemError: The model outputs nan or inf for it (422), or the queue is full or memory too small (503).
        """
        try:
            found = await self.batcher.submit(item, size=item.size)
        except (FullError, ClosedError) as error:
            raise busy("the queue of the model is full") from error
        except TimeSformerError as error:  # out of memory, also for this item alone
            raise busy(f"the model cannot compute now: {error}", retry_after_s=10) from error
        if isinstance(found, TimeSformerError):
            raise ProblemError(422, str(found), fix="send another video; this one has no result") from found
        return found

    async def _read(self, upload: Upload) -> ReadVideo:
        views, info = await self.decoders.views(upload.path)
        return ReadVideo(upload.name, torch.from_numpy(views), info)

    def _add_job(self, upload: Upload, task: Task, *, to: Form, num_frames: int) -> Job:
        kept = upload.path.rename(upload.path.with_name(secrets.token_hex(16)))
        return self.jobs.add(
            lambda stop, report: self._timeline(kept, upload.name, task, to, stop, report),
            clean_up=lambda: kept.unlink(missing_ok=True),
        )

    def _timeline(
        self,
        path: Path,
        name: str,
        task: Task,
        to: Form,
        stop: Stop,
        on_progress: Callable[[float], object] = lambda share: None,
    ) -> Any:
        seconds = self.limits.request_seconds
        found = timeline_of(
            task, path, name=name, decoders=self.decoders, step_s=seconds, max_s=seconds + 2 * self.limits.max_seconds,
            stop=stop, on_progress=on_progress,
        )  # fmt: skip
        return result_of(found, to)

    @asynccontextmanager
    async def _received(self, request: Request, accepted: Accepted) -> AsyncGenerator[Upload]:
        async with received(
            request.stream(), self.folder, headers=request.headers, max_bytes=self.limits.max_upload_bytes,
            accepted=accepted,
        ) as upload:  # fmt: skip
            yield upload


def make_batcher(predictor: Predictor, limits: ServeLimits, metrics: Metrics) -> Batcher[Item, Any]:
    """The batcher of a model."""

    def report(dispatch: Dispatch) -> None:
        metrics.dispatches.labels(dispatch.reason).inc()
        metrics.batch_size.observe(dispatch.size)
        for waited_s in dispatch.waited_s:
            metrics.queue_seconds.observe(waited_s)

    return Batcher(
        compute_with(predictor),
        max_batch=limits.max_batch,
        max_wait_s=limits.max_wait_ms / 1000,
        max_queue=limits.queue,
        on_dispatch=report,
    )


@asynccontextmanager
async def _within(seconds: float) -> AsyncGenerator[None]:
    """Limit the time of a request.

    Raises:
        ProblemError: Status 503: the time is over.
    """
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError as error:
        raise busy(f"the request took longer than {seconds:g} s, the limit of this server") from error
