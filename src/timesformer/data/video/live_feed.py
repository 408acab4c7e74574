"""`LiveFeed`: a camera or a network stream as a feed, which goes on after it was cut."""

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator
from statistics import median_low
from types import TracebackType

from timesformer.data.video.feed import Clock, FrameGap, TimedFrame
from timesformer.data.video.live_connection import ARRIVAL_BASE, Connect, Connection, Now, StreamCut
from timesformer.errors import DecodeError

_LONGEST_WAIT_S = 30.0
_CLOSED = "the sender closed the connection"
_NUM_INTERVALS = 64
_USUAL_S = 1 / 25

logger = logging.getLogger(__name__)


class LiveFeed:
    """`Feed` of a live source.

    Within a connection, frames have the times of the stream; across a cut, time goes on by the clock. The feed connects
    again after 1, 2, 4 ... 30 s, forever unless `max_gap` or `duration` says otherwise. A first connection that fails
    or gives no frame is an error. A source that is a recording ends where the recording ends.

    Args:
        connect: Opens a connection.
        path: Name of the source, without credentials.
        max_gap: End once there was no frame for longer, in seconds; 0 ends at the first cut.
        duration: End after this time since the first frame, in seconds.
        on_note: Called with a line about the first frame and about each cut, in the thread that reads.
        now: The clock.
        wait: Waits for some seconds, and tells whether the feed was stopped meanwhile; None waits for `stop`.

    Raises:
        DecodeError: On entry: nothing can be opened. While iterating: the first connection gives no frame.
        DependencyError: On entry: OpenCV is not installed.
    """

    def __init__(
        self,
        connect: Connect,
        *,
        path: str,
        max_gap: float = math.inf,
        duration: float = math.inf,
        on_note: Callable[[str], None] = lambda text: None,
        now: Now = time.monotonic,
        wait: Callable[[float], bool] | None = None,
    ) -> None:
        self.path = path
        self._connect = connect
        self._max_gap = max_gap
        self._duration = duration
        self._on_note = on_note
        self._now = now
        self._stopped = threading.Event()
        self._wait = wait or self._stopped.wait
        self._connection: Connection | None = None
        self._clock = Clock(ARRIVAL_BASE)
        self._size = (0, 0)
        self._start = self._heard = 0.0
        self._last: tuple[int, float] | None = None
        self._intervals: deque[float] = deque(maxlen=_NUM_INTERVALS)
        self._is_first = True
        self._reason = ""
        self._num_tries = 0
        self.is_recording = False
        """Whether the source waits for its reader and has an end; known once the feed is open."""
        self.num_decoded = 0
        """Number of frames so far."""
        self.num_cuts = 0
        """Number of cuts so far."""

    def __enter__(self) -> "LiveFeed":
        self._connection = self._connect()
        self._clock, self.is_recording = self._connection.clock(), self._connection.is_recording
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def stop(self) -> None:
        """End the stream at its next frame, or while it is cut; from any thread."""
        self._stopped.set()

    def clock(self) -> Clock:
        """See `Feed`."""
        return self._clock

    def size(self) -> tuple[int, int]:
        """See `Feed`."""
        return self._size

    def sha256(self) -> str:
        """Empty: a stream is not a file."""
        return ""

    def __iter__(self) -> Iterator[TimedFrame | FrameGap]:
        while self._connection is not None:
            reason = yield from self._frames(self._connection)
            self._close()
            if not reason:
                break
            if self._last is None:
                raise DecodeError(f"{self.path}: connected, but {reason}")
            if not self._reason:
                self._reason = reason
                self.num_cuts += 1
                self._on_note(f"{self.path}: {reason}; connecting again")
            self._connection = self._connect_again()
        if self._reason and self._last is not None:
            end = self._now() - self._start
            if end > (start := self._expected()):
                yield FrameGap(start, end, self._reason)

    def _frames(self, connection: Connection) -> Generator[TimedFrame | FrameGap, None, str]:
        """Frames of a connection; gives the reason of its end, empty if the stream ends for good."""
        offset, base = None, 0 if self._last is None else self._last[0] + 1
        try:
            for item in connection.frames():
                if self._stopped.is_set():
                    return ""
                if isinstance(item, FrameGap):
                    if offset is not None:
                        yield FrameGap(item.start + offset, item.end + offset, item.reason)
                    continue
                if offset is None:
                    offset = self._arrive(connection) - item.time
                    yield from self._gap_before(item.time + offset)
                    base -= item.number
                if item.time + offset >= self._duration:
                    return ""
                yield self._counted(TimedFrame(base + item.number, item.time + offset, item.pixels))
        except StreamCut as cut:
            return str(cut)
        return "" if connection.is_recording else _CLOSED

    def _arrive(self, connection: Connection) -> float:
        """Time of the first frame of a connection."""
        if self._last is None:
            self._start, self._size = self._now(), connection.size()
            self._on_note(f"{self.path}: connected")
            return 0.0
        return max(self._now() - self._start, self._expected())

    def _gap_before(self, time: float) -> Iterator[FrameGap]:
        if self._last is not None and time > (start := self._expected()):
            yield FrameGap(start, time, self._reason)
        self._reason, self._num_tries, self._is_first = "", 0, True

    def _counted(self, frame: TimedFrame) -> TimedFrame:
        if self._last is not None and not self._is_first:
            self._intervals.append(frame.time - self._last[1])
        self._is_first = False
        self._last, self._heard = (frame.number, frame.time), self._now()
        self.num_decoded += 1
        return frame

    def _expected(self) -> float:
        """Time at which the next frame would have come."""
        assert self._last is not None  # asked for after the first frame
        return self._last[1] + (median_low(self._intervals) if self._intervals else _USUAL_S)

    def _connect_again(self) -> Connection | None:
        """The next connection; None if the stream is over."""
        while not self._stopped.is_set():
            delay = min(2.0**self._num_tries, _LONGEST_WAIT_S)
            self._num_tries = min(self._num_tries + 1, 10)
            left = min(self._heard + self._max_gap, self._start + self._duration) - self._now()
            if self._wait(max(0.0, min(delay, left))) or left < delay:
                return None
            try:
                return self._connect()
            except DecodeError as error:
                logger.info("%s", error)
        return None

    def _close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
