"""`Connection`: frames of a camera or a network stream until it is cut."""

from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Protocol, runtime_checkable

from timesformer.data.video.feed import Clock, FrameGap, TimedFrame

ARRIVAL_BASE = Fraction(1, 1_000_000)
"""Unit, in seconds, of the times of frames that have those of their arrival."""

Now = Callable[[], float]
"""A clock in seconds that is never set back."""


class StreamCut(Exception):
    """A connection gives no more frames; the text is the reason, without the address."""


@runtime_checkable
class Connection(Protocol):
    """An open connection, which is iterated over once. It is used in one thread."""

    @property
    def is_recording(self) -> bool:
        """Whether it has an end that is known, so that it waits for its reader and ends for good."""

    def size(self) -> tuple[int, int]:
        """Height and width of the frames in pixels, as displayed; known from the first frame on."""

    def clock(self) -> Clock:
        """What the source says of its timestamps."""

    def frames(self) -> Iterator[TimedFrame | FrameGap]:
        """Frames, numbered and timed from the first of this connection.

        Raises:
            StreamCut: There is no frame for a while, or the connection is lost; if the sender closes it, frames end.
        """

    def close(self) -> None:
        """Free the source."""


Connect = Callable[[], Connection]
"""Opens a connection, or raises `DecodeError` with the name of the source, without credentials, and the reason."""
