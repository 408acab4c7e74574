"""What a check knows of a video file after one pass over all of it: whether it is whole, and what it looks like."""

import os
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import chain
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream
from jaxtyping import UInt8

from timesformer.data.container import demux, open_video, orientation
from timesformer.data.frame_folder import FRAMES_PER_SECOND, check_size, list_frames, picture_size, read_picture
from timesformer.data.video_files import video_digest
from timesformer.errors import DecodeError

NUM_THUMBNAILS = 16
"""Frames of a video that are kept, small, spread evenly over its time."""
THUMBNAIL_SIZE = 16
"""Height and width of a kept frame, in pixels; the shape of the video is not kept."""
THUMBNAILS_SHAPE = (NUM_THUMBNAILS, 3, THUMBNAIL_SIZE, THUMBNAIL_SIZE)
"""Frames; Y, Cb and Cr of full range, so that the grey values are a plane of their own; height; width."""

_MAX_MISPLACED = 0.02
"""Share of the video by which a thumbnail may miss its place; more, and the file is read again."""
_MIN_GAP_S = 0.25
_MIN_GAP_SHARE = 0.05
"""An end that comes earlier than promised by both of these means that frames are missing."""

Thumbnails = UInt8[np.ndarray, "16 3 16 16"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Fingerprint:
    """One video: what decoding all of it gives. Numbers are 0 and thumbnails black where nothing could be decoded."""

    digest: str = ""
    """BLAKE2b of its bytes, 128 bits in hexadecimal; empty where no frame can be decoded."""
    error: str = ""
    """Why no frame can be decoded; empty where one can."""
    num_frames: int = 0
    """Frames that were decoded."""
    num_missing: int = 0
    """Frames that the container promises and that are not there; 0 unless clearly fewer came."""
    num_damaged: int = 0
    """Packets that could not be decoded and frames that the decoder gives as damaged."""
    height: int = 0
    """Height as displayed, in pixels."""
    width: int = 0
    """Width as displayed, in pixels."""
    fps: float = 0.0
    """Mean frame rate, in frames a second; the declared one where frames are missing or damaged."""
    thumbnails: Thumbnails = field(default_factory=lambda: np.zeros(THUMBNAILS_SHAPE, dtype=np.uint8))
    """Frames at the middles of sixteen equal parts of the video: Y, Cb and Cr, 0 to 255."""

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return self.num_frames / self.fps if self.fps else 0.0


def fingerprint(path: str | os.PathLike[str]) -> Fingerprint:
    """Read and decode all of a file; whatever is wrong with it is part of the answer, and never raised."""
    try:
        if os.path.isdir(path):
            return _fingerprint_folder(Path(path))
        seen = _decode_all(path)
        if seen.is_misplaced:
            seen = _decode_all(path, num_expected=seen.num_frames)
        return seen.result(video_digest(Path(path)))
    except DecodeError as error:
        return Fingerprint(error=str(error).removeprefix(f"{path}: "))
    except (OSError, av.FFmpegError, ValueError, MemoryError) as error:  # such as a frame that the scaler refuses
        return Fingerprint(error=f"its frames cannot be read ({error})")


def _fingerprint_folder(path: Path) -> Fingerprint:
    """Decode all frames of a folder; one of another size is an error, as it is for training."""
    frames = list_frames(path)
    height, width = picture_size(frames[0])
    pictures: list[UInt8[np.ndarray, "3 16 16"]] = []
    num_damaged, scaler = 0, VideoReformatter()
    for number, frame in enumerate(frames):
        try:
            picture = read_picture(frame)
        except DecodeError:
            num_damaged += 1
            continue
        check_size(frame, picture, size=(height, width))
        while (place := _place(len(pictures), len(frames))) is not None and place <= number:
            pictures.append(_shrink(VideoFrame.from_ndarray(picture, format="rgb24"), scaler))
    if not pictures:
        raise DecodeError(f"{path}: none of its {len(frames)} frames can be decoded")
    return Fingerprint(
        digest=video_digest(path),
        num_frames=len(frames) - num_damaged,
        num_damaged=num_damaged,
        height=height,
        width=width,
        fps=FRAMES_PER_SECOND,
        thumbnails=_padded(pictures),
    )


def _decode_all(path: str | os.PathLike[str], *, num_expected: int = 0) -> "_Pass":
    container, stream = open_video(path, num_threads=1)
    with container:
        seen = _Pass(container, stream, num_expected=num_expected)
        seen.decode(container, stream)
    if seen.num_frames == 0:
        raise DecodeError(f"{path}: none of its {seen.num_packets} frames can be decoded")
    return seen


class _Pass:
    """One decode of a whole file.

    Where the thumbnails are taken depends on how many frames are expected: what the container says, or, where that
    turned out wrong, what an earlier pass has counted.
    """

    def __init__(self, container: InputContainer, stream: VideoStream, *, num_expected: int) -> None:
        self._num_listed = stream.frames
        self._promised_s = _promised_duration_s(container, stream)
        self._rate = stream.average_rate or stream.guessed_rate or Fraction(25)
        self._time_base = stream.time_base or Fraction(1, av.time_base)
        self._num_expected = num_expected or stream.frames or round((self._promised_s or 0) * self._rate) or 1
        self._scaler = VideoReformatter()
        self._pictures: list[UInt8[np.ndarray, "3 16 16"]] = []
        self.num_frames = self.num_packets = self._num_damaged = self._num_hidden = 0
        self._first: int | None = None
        self._last: int | None = None
        self._next_place = _place(0, self._num_expected)

    @property
    def is_misplaced(self) -> bool:
        """Whether the number of frames was so far from the expected one that the thumbnails are of other places."""
        return abs(self.num_frames - self._num_expected) > max(1, _MAX_MISPLACED * self.num_frames)

    def result(self, digest: str) -> Fingerprint:
        """What was seen, of a file in which a frame was decoded."""
        height, width = self._size if self._quarter_turns % 2 == 0 else reversed(self._size)
        pictures = _padded(self._pictures)
        pictures = pictures[..., ::-1] if self._is_mirrored else pictures
        num_missing = self._num_missing()
        is_whole = num_missing == self._num_damaged == 0
        return Fingerprint(
            digest=digest,
            num_frames=self.num_frames,
            num_missing=num_missing,
            num_damaged=self._num_damaged,
            height=height,
            width=width,
            fps=self._fps() if is_whole else float(self._rate),
            thumbnails=np.ascontiguousarray(np.rot90(pictures, self._quarter_turns, axes=(2, 3))),
        )

    def decode(self, container: InputContainer, stream: VideoStream) -> None:
        """Take in all frames."""
        for packet in chain(demux(container, stream), [None]):
            if packet is not None:
                self.num_packets += 1
                self._num_hidden += packet.is_discard
            try:
                frames = stream.decode(packet)
            except av.FFmpegError:
                self._num_damaged += 1
                continue
            for frame in frames:
                self._take(frame)

    def _take(self, frame: VideoFrame) -> None:
        if self.num_frames == 0:
            self._size = frame.height, frame.width
            self._quarter_turns, self._is_mirrored = orientation(frame)
        if frame.is_corrupt:
            self._num_damaged += 1
        pts = frame.pts
        if pts is not None:
            self._first = pts if self._first is None else self._first
            self._last = pts
        while self.num_frames == self._next_place:
            self._pictures.append(_shrink(frame, self._scaler))
            self._next_place = _place(len(self._pictures), self._num_expected)
        self.num_frames += 1

    def _fps(self) -> float:
        """Rate by the times of the frames; the declared one where that is the same but for rounding."""
        declared = float(self._rate)
        span_s = float(((self._last or 0) - (self._first or 0)) * self._time_base)
        if self.num_frames < 2 or span_s <= 0:
            return declared
        measured = (self.num_frames - 1) / span_s
        return declared if abs(measured - declared) <= 0.01 * declared else measured

    def _num_missing(self) -> int:
        """Frames that are promised, by number or else by duration, and did not come."""
        if self._num_listed:
            missing = self._num_listed - self._num_hidden - self.num_frames
            return missing if missing > max(1, _MIN_GAP_SHARE * self._num_listed) else 0
        if self._promised_s is None or self._last is None:
            return 0
        gap_s = self._promised_s - float(self._last * self._time_base) - 1 / self._fps()
        is_clear = gap_s > max(_MIN_GAP_S, _MIN_GAP_SHARE * self._promised_s, 3 / self._fps())
        return round(gap_s * self._fps()) if is_clear else 0


def _place(number: int, num_frames: int) -> int | None:
    """Frame of a thumbnail, in the middle of its part of the video; None where there are enough."""
    return (2 * number + 1) * num_frames // (2 * NUM_THUMBNAILS) if number < NUM_THUMBNAILS else None


def _shrink(frame: VideoFrame, scaler: VideoReformatter) -> UInt8[np.ndarray, "3 16 16"]:
    small = scaler.reformat(
        frame, width=THUMBNAIL_SIZE, height=THUMBNAIL_SIZE, format="yuvj444p", interpolation="AREA", threads=1
    )
    return small.to_ndarray()


def _padded(pictures: list[UInt8[np.ndarray, "3 16 16"]]) -> Thumbnails:
    """As many as are kept; where there are fewer, the last one again."""
    return np.stack(pictures + [pictures[-1]] * (NUM_THUMBNAILS - len(pictures)))


def _promised_duration_s(container: InputContainer, stream: VideoStream) -> float | None:
    """How long the header says that the pictures last, from time 0; None where it does not say."""
    if stream.duration is not None and stream.time_base is not None:
        return float((stream.duration + (stream.start_time or 0)) * stream.time_base)
    stated = stream.metadata.get("DURATION", "").split(":")
    if len(stated) == 3:
        return sum(float(part) * unit for part, unit in zip(stated, (3600, 60, 1), strict=True))
    is_alone = len(container.streams) == 1  # sound may go on when the pictures have ended
    return container.duration / av.time_base if is_alone and container.duration else None
