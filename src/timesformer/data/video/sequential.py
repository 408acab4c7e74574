"""Frames of a whole video, each decoded once, from first to last: files, pipes and folders of frames.

Nothing is indexed and nothing is sought, so memory does not grow with the video, and a pipe gives the same frames with
the same numbers and times as the file. Numbers and times are those of `VideoReader`, if the timestamps of the file
increase. Pixels are converted only for frames that are asked for.
"""

import os
from collections.abc import Collection, Iterator
from contextlib import closing
from fractions import Fraction
from functools import partial
from pathlib import Path
from types import TracebackType

import av
import numpy as np
from av.container import InputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from jaxtyping import UInt8

from timesformer.bounds import TOO_LITTLE_MEMORY
from timesformer.data.video.byte_source import ByteSource, Readable, digest_of
from timesformer.data.video.codecs import allowed_codecs
from timesformer.data.video.container import (
    decode_or_skip,
    demux,
    has_timestamps,
    index_last_message,
    open_video,
    time_base_of,
)
from timesformer.data.video.feed import Clock, Feed, FrameGap, TimedFrame
from timesformer.data.video.frame_clock import FrameClock
from timesformer.data.video.frame_folder import FRAMES_PER_SECOND, FrameFolderReader
from timesformer.data.video.header import as_fraction, stated_end_s
from timesformer.data.video.tar_member import MemberFile, find_member
from timesformer.data.video.timing import frame_timing
from timesformer.data.video.upright import UprightFrames
from timesformer.errors import DecodeError
from timesformer.files import is_address, without_secrets


class VideoFeed:
    """`Feed` of a video file, or of the bytes of one.

    Args:
        path: The video file, possibly inside a tar file; with `file`, its name in messages.
        file: A pipe or an open file to read instead.
        num_threads: Decoding threads; 0 means one per core.
        allow_codecs: Codecs to decode besides `timesformer.data.video.codecs.DEFAULT_CODECS`, by FFmpeg's names.

    Raises:
        DecodeError: On entry: the file is missing or unreadable, or has no video stream. While iterating: no frame can
            be decoded.
        CodecError: On entry: the codec is not allowed.
        ConfigError: A name in `allow_codecs` is unknown.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        file: Readable | None = None,
        num_threads: int = 1,
        allow_codecs: Collection[str] = (),
    ) -> None:
        allowed_codecs(allow_codecs)
        self._path = path
        self._bytes = None if file is None else ByteSource(file)
        self._num_threads = num_threads
        self._allow_codecs = allow_codecs
        self._to_rgb: UprightFrames | None = None
        self.num_decoded = 0
        """Number of frames that the decoder returned so far."""

    container: InputContainer
    stream: VideoStream

    def __enter__(self) -> "VideoFeed":
        self.container, self.stream = open_video(
            self._path, num_threads=self._num_threads, allow_codecs=self._allow_codecs, file=self._bytes
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.container.close()
        del self.container, self.stream

    @property
    def path(self) -> str:
        """The path, or the name given with `file`."""
        return os.fspath(self._path)

    def clock(self) -> Clock:
        """See `Feed`."""
        average, guessed = as_fraction(self.stream.average_rate), as_fraction(self.stream.guessed_rate)
        base, end_s = time_base_of(self.stream), stated_end_s(self.stream)
        length_s = None if end_s is None else end_s - float((self.stream.start_time or 0) * base)
        return Clock(base, average, guessed, length_s)

    def size(self) -> tuple[int, int]:
        """See `Feed`."""
        assert self._to_rgb is not None  # set by the first frame
        return self._to_rgb.size

    def sha256(self) -> str:
        """See `Feed`."""
        if self._bytes is not None:
            return self._bytes.sha256()
        member = find_member(self._path)
        with closing(open(self._path, "rb") if member is None else MemberFile(member, self._path)) as file:
            return digest_of(file)

    def __iter__(self) -> Iterator[TimedFrame | FrameGap]:
        clock = FrameClock(time_base=self.clock().time_base, usual_s=1 / self._untimed_fps())
        is_timed = has_timestamps(self.container, self.stream)
        for frame in self._decoded(clock):
            if self._to_rgb is None:
                self._prepare(frame)
                is_timed = is_timed and frame.pts is not None
            if not is_timed:
                number = clock.number = clock.number + 1
                yield TimedFrame(number, number / self._untimed_fps(), self._pixels_of(frame))
            elif clock.knows(frame.pts):
                yield from clock.take(frame.pts)
                yield TimedFrame(clock.number, clock.time, self._pixels_of(frame))
        if clock.number < 0:
            message = "" if self._bytes is None else index_last_message(self._bytes)
            raise DecodeError(f"{self.path}: {message or 'no frame of its video stream can be decoded'}")
        if is_timed:
            yield from clock.finish()

    def _decoded(self, clock: FrameClock) -> Iterator[VideoFrame]:
        try:
            for packet in self._packets():
                if packet is not None and not packet.is_discard:
                    clock.add_packet(packet.pts, packet.dts)
                for frame in decode_or_skip(self.stream, packet):
                    self.num_decoded += 1
                    yield frame
        except MemoryError as error:
            raise DecodeError(f"{self.path}: {TOO_LITTLE_MEMORY}") from error

    def _packets(self) -> Iterator[Packet | None]:
        yield from demux(self.container, self.stream)
        yield None

    def _prepare(self, first: VideoFrame) -> None:
        try:
            self._to_rgb = UprightFrames(first)
        except av.FFmpegError as error:
            raise DecodeError(f"{self.path}: the first frame cannot be converted ({error})") from error

    def _pixels_of(self, frame: VideoFrame) -> "partial[UInt8[np.ndarray, 'h w 3']]":
        assert self._to_rgb is not None
        return partial(self._to_rgb, frame)

    def _untimed_fps(self) -> float:
        """The rate by which frames without timestamps are spaced, as `VideoReader` spaces them."""
        base, average, guessed, _ = self.clock()
        return frame_timing([], time_base=base, average=average, guessed=guessed).fps


class FolderFeed:
    """`Feed` of a folder of numbered pictures, at `frame_folder.FRAMES_PER_SECOND`.

    Args:
        path: The folder.

    Raises:
        DecodeError: On entry, as `FrameFolderReader`; when its pixels are read, a frame is damaged or differs in size.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(path)
        self._reader = FrameFolderReader(path)
        self.num_decoded = 0
        """Number of pictures that were passed so far; each is decoded when its pixels are asked for."""

    def __enter__(self) -> "FolderFeed":
        self._reader.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._reader.__exit__(kind, error, trace)

    @property
    def path(self) -> str:
        """The folder."""
        return str(self._path)

    def clock(self) -> Clock:
        """See `Feed`."""
        return Clock(
            Fraction(1, int(FRAMES_PER_SECOND)),
            Fraction(FRAMES_PER_SECOND),
            None,
            self._reader.info.duration_s,
        )

    def size(self) -> tuple[int, int]:
        """See `Feed`."""
        return self._reader.info.height, self._reader.info.width

    def sha256(self) -> str:
        """Empty: a folder is not a file."""
        return ""

    def __iter__(self) -> Iterator[TimedFrame | FrameGap]:
        for number, time in enumerate(self._reader.times.tolist()):
            self.num_decoded += 1
            yield TimedFrame(number, time, partial(self._read, number))

    def _read(self, number: int) -> UInt8[np.ndarray, "h w 3"]:
        return self._reader.read([number])[0]


def open_feed(
    source: str | os.PathLike[str] | Readable,
    *,
    name: str = "-",
    num_threads: int = 1,
    allow_codecs: Collection[str] = (),
) -> Feed:
    """The feed of a video, for a `with` statement; nothing is opened before it is entered.

    Args:
        source: A video file, a folder of numbered pictures, a video in a tar file, or the bytes of a video file: a
            pipe, a socket's file or an open file.
        name: Name of such bytes in messages and results.
        num_threads: Decoding threads; 0 means one per core. Pictures are decoded by one thread.
        allow_codecs: Codecs to decode besides `timesformer.data.video.codecs.DEFAULT_CODECS`; no effect on pictures.

    Raises:
        DecodeError: The path is a URL.
        ConfigError: A name in `allow_codecs` is unknown.
    """
    if not isinstance(source, str | os.PathLike):
        return VideoFeed(name, file=source, num_threads=num_threads, allow_codecs=allow_codecs)
    if is_address(source):
        raise DecodeError(
            f"{without_secrets(os.fspath(source))} is an address, not a path: download it first, and name the file"
        )
    if os.path.isdir(source):
        allowed_codecs(allow_codecs)
        return FolderFeed(source)
    return VideoFeed(source, num_threads=num_threads, allow_codecs=allow_codecs)
