"""Runs a server: loads the model, listens, and stops without losing an accepted request."""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncGenerator, Callable, Generator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from shutil import rmtree
from threading import Timer
from types import MappingProxyType

import uvicorn

from timesformer.config.compute import ComputeOptions
from timesformer.errors import ConfigError
from timesformer.inference.onnx_model import Classifier
from timesformer.inference.predictor import Predictor
from timesformer.isolation.processes import starter_of
from timesformer.serve.admission import Admission
from timesformer.serve.app import make_app
from timesformer.serve.calibration import measured_places
from timesformer.serve.card import model_card
from timesformer.serve.connections import Connection
from timesformer.serve.decoder import VideoLimits
from timesformer.serve.decoding import TARGET, Decoders
from timesformer.serve.limits import ServeLimits
from timesformer.serve.metrics import Metrics
from timesformer.serve.middleware import Gate
from timesformer.serve.security import Access, is_loopback
from timesformer.serve.service import Service, make_batcher
from timesformer.serve.spool import upload_folder
from timesformer.signals import ENDING

_DRAIN_S = 8.0
"""Time in seconds that accepted requests have to end when the server stops; then they are cancelled."""
_END_S = 9.5
"""Time in seconds after which the process ends, whatever still runs in its threads."""
_BACKLOG = 2048


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where a server listens."""

    host: str
    port: int

    def listen(self) -> socket.socket:
        """Listen.

        Raises:
            ConfigError: The address is in use or not of this machine.
        """
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        try:
            listener = socket.create_server((self.host, self.port), family=family, backlog=_BACKLOG)
        except (OSError, OverflowError) as error:
            number = getattr(error, "errno", None)
            reason = os.strerror(number) if number and number > 0 else error
            raise ConfigError(f"host={self.host!r}, port={self.port}: cannot listen there: {reason}") from error
        # Accepted sockets inherit it; asyncio sets it only for sockets of its own making. Without it, each answer
        # on a connection that is kept waits 40 ms for the client to acknowledge its head.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return listener

    def url(self, listener: socket.socket) -> str:
        """URL of the page."""
        name = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{name}:{listener.getsockname()[1]}/"

    def access(self, token: str) -> Access:
        """Who may call the server: on loopback, requests that name it."""
        if not is_loopback(self.host):
            return Access(token=token)
        return Access(token=token, hosts=tuple(dict.fromkeys((self.host, "localhost", "127.0.0.1", "[::1]"))))


def serve(
    load: Callable[[], Classifier],
    *,
    name: str,
    metrics_of_run: Mapping[str, float] = MappingProxyType({}),
    address: Address,
    token: str = "",
    limits: ServeLimits | None = None,
    options: ComputeOptions | None = None,
    on_ready: Callable[[str], object] = lambda url: None,
) -> None:
    """Serve a model until SIGTERM or SIGINT; the main thread only.

    Args:
        load: Loads the model; called while the decoding processes begin to start.
        name: Its name for clients.
        metrics_of_run: Its accuracies, for the model card.
        address: Where to listen; port 0 takes any free one.
        token: Bearer token that requests need; empty for none.
        limits: What a request may cost.
        options: How to compute; `batch_size` is that of `limits`.
        on_ready: Called with the URL once requests are answered.

    Raises:
        ConfigError: The address cannot be listened on, or an option is invalid.
        TimeSformerError: The model cannot be loaded.
    """
    limits, options = limits or ServeLimits(), options or ComputeOptions()
    with address.listen() as listener, upload_folder() as folder, starter_of(TARGET) as starter:
        model = load()
        metrics = Metrics()
        predictor = Predictor(model, options=options)
        video_limits = VideoLimits(
            max_seconds=limits.max_seconds,
            max_pixels=limits.max_pixels,
            max_frames=limits.max_frames,
            allow_codecs=tuple(options.allow_codecs),
        )
        with Decoders(
            model.config, model.info.clip, video_limits, num_children=limits.decoders,
            call_s=limits.decode_seconds, metrics=metrics, starter=starter,
        ) as decoders:  # fmt: skip
            asyncio.run(_Server(
                Service(
                    model=model,
                    predictor=predictor,
                    options=options,
                    card=model_card(model, name=name, metrics=metrics_of_run, limits=limits),
                    decoders=decoders,
                    batcher=make_batcher(predictor, limits, metrics),
                    admission=Admission(measured_places(predictor, limits), metrics=metrics),
                    metrics=metrics,
                    limits=limits,
                    folder=folder,
                ),
                access=address.access(token),
            ).run(listener, on_ready=lambda: on_ready(address.url(listener))))  # fmt: skip


class _Server:
    def __init__(self, service: Service, *, access: Access) -> None:
        self._service = service
        self._timer = Timer(_END_S, self._end)
        self._timer.daemon = True
        app = Gate(make_app(service), access=access, admission=service.admission, metrics=service.metrics)
        config = uvicorn.Config(
            app,
            http=Connection,
            log_level="warning",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            ws="none",
            lifespan="off",
            timeout_graceful_shutdown=int(_DRAIN_S),
            backlog=_BACKLOG,
        )
        self._server = uvicorn.Server(config)
        self._server.capture_signals = _no_signals  # those of uvicorn end the process by the signal, not with status 0

    async def run(self, listener: socket.socket, *, on_ready: Callable[[], object]) -> None:
        loop = asyncio.get_running_loop()
        for number in (*ENDING, signal.SIGINT):
            if signal.getsignal(number) is not signal.SIG_IGN:
                _handle(number, self._stop, loop)
        async with self._computing():
            serving = asyncio.ensure_future(self._server.serve(sockets=[listener]))
            while not self._server.started and not serving.done():
                await asyncio.sleep(0.01)
            on_ready()
            await serving
        self._timer.cancel()

    @asynccontextmanager
    async def _computing(self) -> AsyncGenerator[None]:
        """Run the batcher."""
        service = self._service
        running = asyncio.ensure_future(service.batcher.run())
        try:
            yield
        finally:
            await service.jobs.close()
            service.batcher.drain()
            await running
            service.slow.shutdown()

    def _stop(self) -> None:
        """Refuse new requests and answer those that were accepted; the second signal ends at once."""
        if self._server.should_exit:
            self._end()
        self._service.admission.close()
        self._service.batcher.hurry()
        self._server.should_exit = True
        self._timer.start()

    def _end(self) -> None:
        """End the process, in the middle of its work; its children end with it."""
        rmtree(self._service.folder.parent, ignore_errors=True)
        os._exit(1)


def _handle(number: int, action: Callable[[], object], loop: asyncio.AbstractEventLoop) -> None:
    """Call an action in the event loop at a signal."""
    if sys.platform == "win32":
        signal.signal(number, lambda number, frame: loop.call_soon_threadsafe(action))
    else:
        loop.add_signal_handler(number, action)


@contextmanager
def _no_signals() -> Generator[None]:
    """In the place of uvicorn's handlers: ours are those of the event loop."""
    yield
