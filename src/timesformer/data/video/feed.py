"""`Feed`: frames of a video one after another, from a file, a pipe or a camera, with their times."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from types import TracebackType
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import UInt8


@dataclass(frozen=True, slots=True, eq=False)
class TimedFrame:
    """A decoded frame, which may be kept for as long as it is needed."""

    number: int
    """Frame number from 0, in presentation order; frames that cannot be decoded count."""
    time: float
    """Seconds from the first frame, greater than that of the frame before."""
    pixels: Callable[[], UInt8[np.ndarray, "h w 3"]]
    """Converts the frame to upright RGB, 0 to 255, at each call; only in the thread that decodes."""


class FrameGap(NamedTuple):
    """Time without frames, in seconds from the first frame."""

    start: float
    end: float
    reason: str


class Clock(NamedTuple):
    """What a source says of its timestamps."""

    time_base: Fraction
    """Unit of the timestamps, in seconds."""
    average: Fraction | None = None
    """Mean frame rate according to the header, in frames a second."""
    guessed: Fraction | None = None
    """FFmpeg's guess of the rate."""
    length_s: float | None = None
    """Length of the video according to the header, in seconds; for progress, and to notice that a file is cut off."""


@runtime_checkable
class Described(Protocol):
    """What is known of a video apart from its frames."""

    @property
    def path(self) -> str:
        """Name of the source, without credentials; `-` for standard input."""

    def clock(self) -> Clock:
        """What the source says of its timestamps."""

    def size(self) -> tuple[int, int]:
        """Height and width of the frames in pixels, as displayed; known from the first frame on."""

    def sha256(self) -> str:
        """Hash of the bytes after the last frame; empty if there is no file."""


@runtime_checkable
class Feed(Protocol):
    """A source of frames: a context manager that is iterated over once, while it is open.

    Its frames come in presentation order. A `FrameGap` comes before the frame that ends it.
    """

    @property
    def path(self) -> str:
        """Name of the source, without credentials; `-` for standard input."""

    @property
    def num_decoded(self) -> int:
        """Number of frames that were decoded so far."""

    def clock(self) -> Clock:
        """What the source says of its timestamps; known once the feed is open."""

    def size(self) -> tuple[int, int]:
        """Height and width of the frames in pixels, as displayed; known from the first frame on."""

    def sha256(self) -> str:
        """Hash of the bytes after the last frame; empty if there is no file."""

    def __enter__(self) -> "Feed": ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def __iter__(self) -> Iterator[TimedFrame | FrameGap]: ...
