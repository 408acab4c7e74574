"""`Connection`: HTTP/1.1 of uvicorn, with limits on clients that are slow or many, and errors of the API's form."""

import asyncio
import json
import sys
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from timesformer.serve.problems import MEDIA_TYPE, ProblemError

HEAD_S = 10.0
"""Time in seconds that a client has for the head of a request, from the connection or its last answer."""
STALL_S = 30.0
"""Time in seconds in which a client must read 48 KiB of an answer that is larger than the buffers."""
_SPARE_FILES = 128
"""Open files that connections leave to everything else, or half of all if that is less."""


class Connection(H11Protocol):
    """A connection of a client, which is closed if it waits for too long or the server has too many."""

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self._limit_s: float | None = None
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:
        """Begin."""
        super().connection_made(transport)
        if len(self.connections) > most_connections():
            transport.abort()
        else:
            self._limit()

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        super().connection_lost(exc)
        self._set_timer(None)

    def data_received(self, data: bytes) -> None:
        """Take the next bytes."""
        super().data_received(data)
        self._limit()

    def on_response_complete(self) -> None:
        """Wait for the next request, which may have come already."""
        self._limit()
        super().on_response_complete()
        self._limit()

    def pause_writing(self) -> None:
        """Wait until the client has read what it has been sent."""
        super().pause_writing()
        self._limit()

    def resume_writing(self) -> None:
        """Go on."""
        super().resume_writing()
        self._limit()

    def send_400_response(self, msg: str) -> None:
        """Answer bytes that are not HTTP."""
        problem = ProblemError(400, msg, fix="send a request of HTTP/1.1")
        content = json.dumps(problem.to_dict()).encode()
        headers = [("content-type", MEDIA_TYPE), ("content-length", str(len(content))), ("connection", "close")]
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE) and (
            self.cycle is None or not self.cycle.response_started or self.cycle.response_complete
        ):
            for event in (h11.Response(status_code=400, headers=headers), h11.Data(data=content), h11.EndOfMessage()):
                self.transport.write(self.conn.send(event))
        self.transport.close()

    def _unsupported_upgrade_warning(self) -> None:
        """Nothing to say: no client needs a websocket."""

    def _limit(self) -> None:
        """Limit the time of what the connection waits for; that of a request is limited by the application."""
        is_answering = self.cycle is not None and not self.cycle.response_complete
        limit_s = STALL_S if self.flow.write_paused else None if is_answering else HEAD_S
        if limit_s != self._limit_s:
            self._set_timer(limit_s)

    def _set_timer(self, limit_s: float | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._limit_s = limit_s
        self._timer = None if limit_s is None else self.loop.call_later(limit_s, self.transport.abort)


def most_connections() -> int:
    """Number of connections for which this process has open files."""
    if sys.platform == "win32":
        return 2**9
    import resource

    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 2**20 if soft == resource.RLIM_INFINITY else max(soft - _SPARE_FILES, soft // 2)
