"""Cameras of this machine, read by OpenCV."""

from collections.abc import Iterator
from contextlib import suppress
from importlib import import_module
from typing import Any

import numpy as np
from jaxtyping import UInt8

from timesformer.data.video.feed import Clock, TimedFrame
from timesformer.data.video.live_connection import ARRIVAL_BASE, Now, StreamCut
from timesformer.errors import DecodeError, DependencyError


def connect_camera(number: int, *, timeout: float, now: Now) -> "CameraConnection":
    """Open a camera.

    Args:
        number: Its number, from 0, as the system counts cameras.
        timeout: Longest time without a frame, in seconds.
        now: The clock.

    Raises:
        DependencyError: OpenCV is not installed.
        DecodeError: There is no such camera, or it is in use.
    """
    cv2 = import_opencv()
    with suppress(AttributeError):  # of an older OpenCV
        cv2.setLogLevel(0)  # it would print a warning besides our error
    capture = cv2.VideoCapture(number)
    if not capture.isOpened():
        capture.release()
        raise DecodeError(f"camera {number}: no such camera, or another program uses it")
    capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)  # the newest frame
    return CameraConnection(capture, timeout=timeout, now=now)


def import_opencv() -> Any:
    """OpenCV.

    Raises:
        DependencyError: It is not installed.
    """
    try:
        return import_module("cv2")
    except ImportError as error:
        raise DependencyError("cameras need OpenCV: pip install 'timesformer[webcam]'") from error


class CameraConnection:
    """`Connection` to a camera; frames have the times of their arrival.

    Args:
        capture: An open `cv2.VideoCapture`.
        timeout: Longest time without a frame, in seconds.
        now: The clock.
    """

    is_recording = False
    """See `Connection`."""

    def __init__(self, capture: Any, *, timeout: float, now: Now) -> None:
        self._capture = capture
        self._timeout = timeout
        self._now = now
        self._size = (0, 0)

    def size(self) -> tuple[int, int]:
        """See `Connection`."""
        return self._size

    def clock(self) -> Clock:
        """See `Connection`."""
        return Clock(ARRIVAL_BASE)

    def close(self) -> None:
        """See `Connection`."""
        self._capture.release()

    def frames(self) -> Iterator[TimedFrame]:
        """See `Connection`."""
        first, last, number = None, self._now(), 0
        while True:
            is_there, image = self._capture.read()
            now = self._now()
            if now - last > self._timeout:
                raise StreamCut(f"no frame for {self._timeout:g} s")
            if not is_there:
                raise StreamCut("the camera gives no frames")
            first = now if first is None else first
            self._size = image.shape[:2]
            yield TimedFrame(number, now - first, _Pixels(image))
            number, last = number + 1, self._now()


class _Pixels:
    """An image of OpenCV, whose channels are blue, green and red, as RGB."""

    def __init__(self, image: UInt8[np.ndarray, "h w 3"]) -> None:
        self._image = image

    def __call__(self) -> UInt8[np.ndarray, "h w 3"]:
        return np.ascontiguousarray(self._image[..., ::-1])
