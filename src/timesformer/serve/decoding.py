"""`Decoders`: the decoding processes of a server. One that dies, hangs or needs too much memory costs one request."""

import asyncio
import time
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from queue import SimpleQueue
from threading import Lock
from types import TracebackType
from typing import Any

import torch

from timesformer.config.schema import ClipConfig, ModelConfig
from timesformer.data.clips.center_view import CenterView
from timesformer.data.video.stated import StatedSize
from timesformer.errors import ProcessError
from timesformer.isolation.child import Child
from timesformer.isolation.limits import Limits
from timesformer.isolation.processes import Starter
from timesformer.serve.decoder import RefusedError, VideoLimits, Views
from timesformer.serve.metrics import Metrics
from timesformer.serve.oip_request import InferRequest

MEMORY = 2 * 2**30
"""Bytes that a decoder may allocate."""
_OPEN_FILES = 64
TARGET = "timesformer.serve.decoder:open_decoder"
"""What runs in the processes."""
_FIX = "convert the video, for instance to H.264 in MP4, or send a shorter part"


@dataclass(slots=True, eq=False)
class _Call:
    """A call of a decoder, which may be given up."""

    lock: Lock = field(default_factory=Lock)
    child: Child | None = None
    is_given_up: bool = False

    def give_up(self) -> None:
        """End the call; the decoder is killed if it works on it."""
        with self.lock:
            self.is_given_up = True
            if self.child is not None:
                self.child.interrupt()


class Decoders:
    """Context manager of decoding processes.

    Args:
        model: Frame count and image size of the views.
        clip: Sampling and crops.
        limits: Of the videos.
        num_children: Number of processes.
        call_s: Longest time in seconds for a video, and of processor time.
        metrics: Counts times and failures.
        starter: Starts the processes, of `TARGET`.
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
        starter: Starter,
        memory: int = MEMORY,
    ) -> None:
        self._starter = starter
        self._setup = (model, clip, limits)
        self._num_children = num_children
        self._limits = Limits(call_s=call_s, cpu_s=call_s, memory=memory, open_files=_OPEN_FILES)
        self._metrics = metrics
        self._free: SimpleQueue[Child] = SimpleQueue()
        self.is_alive = False
        """Whether the last process that was needed could be started."""

    def __enter__(self) -> "Decoders":
        with ExitStack() as stack:
            children = [stack.enter_context(self._child(self._limits)) for _ in range(self._num_children)]
            for child in children:
                child.start()
                self._free.put(child)
            self.is_alive = True
            self._threads = ThreadPoolExecutor(self._num_children, thread_name_prefix="decode")
            stack.callback(self._threads.shutdown, cancel_futures=True)
            for child in children:
                stack.callback(child.stop)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.is_alive = False
        self._stack.close()

    async def views(self, path: Path) -> Views:
        """All views of a video.

        Raises:
            RefusedError: The video is refused, cannot be decoded, or its decoder died.
        """
        return await self._call("views", path)

    async def stated(self, path: Path) -> StatedSize:
        """Size and length of a video by its header; errors as for `views`."""
        return await self._call("stated", path)

    async def center_view(self, path: Path) -> CenterView:
        """The view of a video that is explained; errors as for `views`."""
        found: dict[str, Any] = await self._call("center_view", path)
        return CenterView(view=torch.from_numpy(found.pop("view")), **found)

    async def infer_request(self, path: Path, *, max_clips: int) -> InferRequest:
        """A request of the Open Inference Protocol in a file of JSON; errors as for `views`."""
        return await self._call("infer_request", path, max_clips)

    @contextmanager
    def own_child(self, *, call_s: float, cpu_s: float, may_write: bool = False) -> Generator[Child]:
        """A process besides the others, for work that takes long; blocks, so not in the event loop.

        Args:
            call_s: Longest time in seconds until it gives a value.
            cpu_s: Seconds of processor time of a call.
            may_write: Whether it may write files.

        Raises:
            RefusedError: The process died, or was killed for its limits.
        """
        limits = replace(self._limits, call_s=call_s, cpu_s=cpu_s, may_write=may_write)
        try:
            with self._child(limits) as child:
                yield child
        except ProcessError as error:
            raise self._counted(_death(error)) from error
        except RefusedError as error:
            raise self._counted(error) from None

    def _child(self, limits: Limits) -> Child:
        return Child(self._starter, setup=self._setup, limits=limits)

    async def _call(self, name: str, path: Path, *args: Any) -> Any:
        """Call a decoder; if the call is cancelled, it is taken from the queue, or its decoder is killed."""
        call = _Call()
        running = self._threads.submit(self._run, call, name, str(path), *args)
        try:
            return await asyncio.wrap_future(running)
        except RefusedError as error:
            raise self._counted(error) from error
        except asyncio.CancelledError:
            if not running.cancel():
                call.give_up()
                await asyncio.wait([asyncio.wrap_future(running)])
            raise

    def _run(self, call: _Call, name: str, path: str, *args: Any) -> Any:
        start_s = time.monotonic()
        child = self._free.get()
        try:
            with call.lock:
                if call.is_given_up:
                    raise RefusedError("given up", "canceled", "")
                call.child = child
            return child.call(name, path, *args)
        except ProcessError as error:
            raise _death(error) from error
        finally:
            with call.lock:
                call.child = None
            self._restart(child)
            self._free.put(child)
            self._metrics.decode_seconds.observe(time.monotonic() - start_s)

    def _restart(self, child: Child) -> None:
        """Start another process in the place of one that died, before anybody waits for it."""
        try:
            child.start()
        except ProcessError:  # the next call tries again, and is told
            self.is_alive = False
        else:
            self.is_alive = True

    def _counted(self, error: RefusedError) -> RefusedError:
        if error.status == 422:
            self._metrics.decode_failures.labels(error.reason or "unreadable").inc()
        return error


def _death(error: ProcessError) -> RefusedError:
    text = str(error)
    times = ("processor time", "gave no result", "took more")
    reason = "memory" if "of memory" in text else "timeout" if any(part in text for part in times) else "crash"
    return RefusedError(f"the video cannot be decoded: its decoder {text}", reason, _FIX)
