"""`Decoders`: the decoding processes of a server. One that dies, hangs or needs too much memory costs one request."""

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from queue import SimpleQueue
from types import TracebackType
from typing import Any

from timesformer.config.schema import ClipConfig, ModelConfig
from timesformer.errors import ProcessError
from timesformer.isolation.child import Child
from timesformer.isolation.limits import Limits
from timesformer.isolation.processes import starter_of
from timesformer.serve.decoder import Refusal, VideoLimits, Views
from timesformer.serve.metrics import Metrics
from timesformer.serve.problems import ProblemError

MEMORY = 2 * 2**30
"""Bytes that a decoder may allocate."""
_TARGET = "timesformer.serve.decoder:open_decoder"


class Decoders:
    """Context manager of decoding processes.

    Args:
        model: Frame count and image size of the views.
        clip: Sampling and crops.
        limits: Of the videos.
        num_children: Number of processes.
        call_s: Longest time in seconds for a video.
        metrics: Counts times and failures.
        memory: Bytes that a process may allocate.
    """

    def __init__(
        self,
        model: ModelConfig,
        clip: ClipConfig,
        limits: VideoLimits,
        *,
        num_children: int,
        call_s: float,
        metrics: Metrics,
        memory: int = MEMORY,
    ) -> None:
        self._setup = (model, clip, limits)
        self._num_children = num_children
        self._limits = Limits(call_s=call_s, memory=memory, open_files=64)
        self._metrics = metrics
        self._free: SimpleQueue[Child] = SimpleQueue()

    def __enter__(self) -> "Decoders":
        with ExitStack() as stack:
            starter = stack.enter_context(starter_of(_TARGET))
            children = [
                stack.enter_context(Child(starter, setup=self._setup, limits=self._limits))
                for _ in range(self._num_children)
            ]
            for child in children:
                child.start()
                self._free.put(child)
            self._threads = ThreadPoolExecutor(self._num_children, thread_name_prefix="decode")
            stack.callback(self._threads.shutdown, cancel_futures=True)
            for child in children:
                stack.callback(child.stop)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    async def views(self, path: Path) -> Views:
        """The views of a video; a cancelled call that has not begun is not made.

        Raises:
            ProblemError: Status 422: the video is refused, cannot be decoded, or its decoder died.
        """
        found = await asyncio.get_running_loop().run_in_executor(self._threads, self._call, str(path))
        if isinstance(found, Refusal):
            self._metrics.decode_failures.labels(found.reason).inc()
            raise ProblemError(422, found.detail, fix=found.fix)
        return found

    def _call(self, path: str) -> Any:
        start_s = time.monotonic()
        child = self._free.get()
        try:
            return child.call(path)
        except ProcessError as error:
            return _death(error)
        finally:
            self._free.put(child)
            self._metrics.decode_seconds.observe(time.monotonic() - start_s)


def _death(error: ProcessError) -> Refusal:
    text = str(error)
    reason = "crash" if error.signal else "memory" if "of memory" in text else "timeout"
    fix = "convert the video, for instance to H.264 in MP4, or send a shorter part"
    return Refusal(reason, f"the video cannot be decoded: its decoder {text}", fix)
