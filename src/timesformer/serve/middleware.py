"""What every request goes through: access, metrics, headers, and the rest of a body that nobody read."""

import asyncio
from contextlib import suppress
from dataclasses import dataclass

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from timesformer.serve.metrics import Metrics
from timesformer.serve.problems import ProblemError
from timesformer.serve.security import SECURITY_HEADERS, Access

_LINGER_BYTES = 2**18
_LINGER_S = 1.0
"""How much of an unwanted body is read after the answer, and for how long, so that a client that is still sending it
gets to read the answer."""


class Gate:
    """ASGI middleware around the application.

    Args:
        app: The application.
        access: Who may call it.
        metrics: Counts requests.
    """

    def __init__(self, app: ASGIApp, *, access: Access, metrics: Metrics) -> None:
        self._app = app
        self._access = access
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        exchange = _Exchange(scope, receive, send)
        try:
            try:
                self._access.check(scope["path"], scope["headers"])
            except ProblemError as problem:
                await problem.response()(scope, exchange.receive, exchange.send)
            else:
                await self._app(scope, exchange.receive, exchange.send)
        finally:
            self._metrics.requests.labels(_route(scope), exchange.code).inc()


@dataclass(slots=True)
class _Exchange:
    """A request and its answer on their way."""

    scope: Scope
    inner_receive: Receive
    inner_send: Send
    code: str = "499"
    """Status of the answer; 499 if the client hung up before."""
    is_read: bool = False
    """Whether all of the body was read."""

    def __post_init__(self) -> None:
        names = {name for name, _ in self.scope["headers"]}
        self.is_read = not names & {b"content-length", b"transfer-encoding"}

    async def receive(self) -> Message:
        message = await self.inner_receive()
        if message["type"] == "http.disconnect" or not message.get("more_body", False):
            self.is_read = True
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.code = str(message["status"])
            close = () if self.is_read else ((b"connection", b"close"),)
            message = {**message, "headers": [*message.get("headers", ()), *SECURITY_HEADERS, *close]}
        elif message["type"] == "http.response.body" and not message.get("more_body", False) and not self.is_read:
            await self.inner_send({**message, "more_body": True})
            await self._linger()
            message = {"type": "http.response.body", "body": b"", "more_body": False}
        await self.inner_send(message)

    async def _linger(self) -> None:
        left = _LINGER_BYTES
        with suppress(TimeoutError):
            async with asyncio.timeout(_LINGER_S):
                while not self.is_read and left > 0:
                    left -= len((await self.receive()).get("body", b""))


def _route(scope: Scope) -> str:
    return getattr(scope.get("route"), "path_format", "other")
