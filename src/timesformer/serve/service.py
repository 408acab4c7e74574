"""`Service`: a model, its decoders and its batcher; what the routes of the API share."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import torch
from starlette.requests import Request

from timesformer.errors import TimeSformerError
from timesformer.inference.predictor import Prediction, Predictor, ReadVideo
from timesformer.serve.admission import Admission
from timesformer.serve.batcher import Batcher, ClosedError, Dispatch, FullError
from timesformer.serve.decoding import Decoders
from timesformer.serve.disconnect import unless_disconnected
from timesformer.serve.limits import ServeLimits
from timesformer.serve.metrics import Metrics
from timesformer.serve.problems import ProblemError, busy
from timesformer.serve.uploads import Upload, check_media_type, received, too_large

Result = TypeVar("Result")

Answers = Sequence[Prediction | TimeSformerError]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Service:
    """A model that answers requests."""

    predictor: Predictor
    card: dict[str, Any]
    """The model card: see `timesformer.serve.card`."""
    decoders: Decoders
    batcher: Batcher[ReadVideo, Prediction | TimeSformerError]
    admission: Admission
    metrics: Metrics
    limits: ServeLimits
    folder: Path
    """Private folder of uploads."""

    async def answer(self, request: Request, work: Callable[[Upload], Coroutine[Any, Any, Result]]) -> Result:
        """Receive the video of a request and work on it, within the limits of the server.

        Args:
            request: A request with a video in its body.
            work: What to do with the video; cancelled if the client hangs up or the time is over.

        Raises:
            ProblemError: The request is refused.
            ClientDisconnect: The client hung up.
        """
        check_request(request, max_bytes=self.limits.max_upload_bytes)
        ticket = self.admission.enter()
        try:
            async with _within(self.limits.request_seconds), self._received(request) as upload:
                self.admission.begin(ticket)
                return await unless_disconnected(request, work(upload))
        finally:
            self.admission.leave(ticket)

    async def predict(self, upload: Upload, *, top_k: int) -> Prediction:
        """The most probable classes of a video.

        Raises:
            ProblemError: The video cannot be decoded (422), or the server is busy (503).
        """
        views, info = await self.decoders.views(upload.path)
        video = ReadVideo(upload.name, torch.from_numpy(views), info)
        try:
            found = await self.batcher.submit(video, size=len(views))
        except (FullError, ClosedError) as error:
            raise busy("the queue of the model is full") from error
        if isinstance(found, TimeSformerError):
            raise ProblemError(422, str(found), fix="send another video; this one cannot be classified") from found
        return replace(
            found,
            labels=found.labels[:top_k],
            indices=found.indices[:top_k],
            probabilities=found.probabilities[:top_k],
        )

    @asynccontextmanager
    async def _received(self, request: Request) -> AsyncGenerator[Upload]:
        headers = request.headers
        async with received(
            request.stream(),
            self.folder,
            content_type=headers.get("content-type", ""),
            disposition=headers.get("content-disposition", ""),
            max_bytes=self.limits.max_upload_bytes,
        ) as upload:
            yield upload


def check_request(request: Request, *, max_bytes: int) -> None:
    """Refuse a request by its headers.

    Raises:
        ProblemError: Its body is too large (413) or not a video (415).
    """
    check_media_type(request.headers.get("content-type", ""))
    stated = request.headers.get("content-length", "")
    is_form = request.headers["content-type"].lower().startswith("multipart/")
    if stated.isdecimal() and int(stated) > max_bytes + (2**16 if is_form else 0):
        raise too_large(max_bytes)


def make_batcher(
    predictor: Predictor, limits: ServeLimits, metrics: Metrics
) -> Batcher[ReadVideo, Prediction | TimeSformerError]:
    """The batcher of a model; its answers have all classes."""
    num_classes = predictor.model.config.num_classes

    def compute(videos: Sequence[ReadVideo]) -> Answers:
        return [*predictor.classify(videos, top_k=num_classes)]

    def report(dispatch: Dispatch) -> None:
        metrics.dispatches.labels(dispatch.reason).inc()
        metrics.batch_size.observe(dispatch.size)
        for waited_s in dispatch.waited_s:
            metrics.queue_seconds.observe(waited_s)

    return Batcher(
        compute,
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
