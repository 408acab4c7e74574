"""`Admission`: how many requests are between their arrival and their answer. It decides before a body is read."""

import time
from dataclasses import dataclass, field

from timesformer.serve.metrics import Metrics
from timesformer.serve.problems import busy

_FRESH_S = 1.0
"""Time in seconds for which an upload keeps its place; a slower one asks again once it is complete, so that slow
clients do not keep others out."""
_UPLOADS_PER_PLACE = 16


@dataclass(slots=True, eq=False)
class _Ticket:
    """One request."""

    since_s: float = field(default_factory=time.monotonic)
    is_working: bool = False

    @property
    def has_place(self) -> bool:
        return self.is_working or time.monotonic() - self.since_s < _FRESH_S


class Admission:
    """Places of requests.

    Args:
        num_places: Largest number of requests that are worked on.
        metrics: Counts the requests.
    """

    def __init__(self, num_places: int, *, metrics: Metrics) -> None:
        self._num_places = num_places
        self._metrics = metrics
        self._tickets: set[_Ticket] = set()
        self.is_closed = False
        """Whether nobody is admitted any more."""

    @property
    def num_requests(self) -> int:
        """Requests between their arrival and their answer."""
        return len(self._tickets)

    def enter(self) -> _Ticket:
        """Admit a request, whose body is not read yet.

        Raises:
            ProblemError: Status 503: no place is free, or the server stops.
        """
        if self.is_closed:
            raise busy("the server is stopping", retry_after_s=5)
        if self._num_taken() >= self._num_places or len(self._tickets) >= _UPLOADS_PER_PLACE * self._num_places:
            raise self._full()
        ticket = _Ticket()
        self._tickets.add(ticket)
        self._metrics.inflight.set(len(self._tickets))
        return ticket

    def begin(self, ticket: _Ticket) -> None:
        """Begin the work for a request whose body is complete.

        Raises:
            ProblemError: Status 503: the upload was slow, and its place was taken.
        """
        if not ticket.has_place and self._num_taken() >= self._num_places:
            raise self._full()
        ticket.is_working = True

    def leave(self, ticket: _Ticket) -> None:
        """Say that a request was answered."""
        self._tickets.discard(ticket)
        self._metrics.inflight.set(len(self._tickets))

    def close(self) -> None:
        """Admit nobody from now on."""
        self.is_closed = True

    def _num_taken(self) -> int:
        return sum(ticket.has_place for ticket in self._tickets)

    def _full(self) -> Exception:
        return busy(f"the server is busy with {self._num_taken()} requests, as many as it takes at a time")
