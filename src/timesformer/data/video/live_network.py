"""Network streams, read by FFmpeg."""

import socket
from collections.abc import Collection, Iterator
from functools import partial
from urllib.parse import urlsplit

import av
import numpy as np
from av.container import InputContainer
from av.packet import Packet
from av.stream import Discard
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from jaxtyping import UInt8

from timesformer.data.video.codecs import allowed_codecs, decoder_names
from timesformer.data.video.container import choose_video, decode_or_skip, has_timestamps, time_base_of
from timesformer.data.video.feed import Clock, FrameGap, TimedFrame
from timesformer.data.video.frame_clock import FrameClock
from timesformer.data.video.header import as_fraction
from timesformer.data.video.live_address import access_to
from timesformer.data.video.live_connection import ARRIVAL_BASE, Now, StreamCut
from timesformer.data.video.upright import UprightFrames
from timesformer.errors import DecodeError
from timesformer.files import without_secrets

_USUAL_S = 1 / 25
"""Frame interval until some are known, in seconds."""
_ANALYSIS_US = 1_000_000
"""Length of a stream that FFmpeg looks at before its first frame comes, in microseconds."""


def connect_network(
    address: str, *, timeout: float, now: Now, num_threads: int = 1, allow_codecs: Collection[str] = ()
) -> "NetworkConnection":
    """Open an address.

    Raises:
        DecodeError: Nothing answers, or what answers has no video stream.
        CodecError: The codec is not allowed.
        ConfigError: A name in `allow_codecs` is unknown, or the address is not one of a stream.
    """
    public, codecs, started = without_secrets(address), allowed_codecs(allow_codecs), now()
    try:
        container = av.open(address, "r", timeout=(timeout, timeout), container_options=_options(address, codecs),
                            metadata_errors="ignore")  # fmt: skip
    except av.FFmpegError as error:  # its text has the address, with the password
        reason = _reason(error, address, timeout=timeout, passed=now() - started)
        raise DecodeError(f"{public}: {reason}") from None
    try:
        stream = choose_video(container, public, codecs=codecs)
    except DecodeError:
        container.close()
        raise
    for other in container.streams:  # so that sound without pictures is noticed
        other.discard = Discard.default
    stream.thread_count = num_threads
    stream.thread_type = "NONE" if num_threads == 1 else "SLICE"  # threads for frames would hold frames back
    return NetworkConnection(container, stream, timeout=timeout, now=now)


def _options(address: str, codecs: frozenset[str]) -> dict[str, str]:
    protocols, formats = access_to(address)
    options = {
        "protocol_whitelist": protocols,
        "format_whitelist": formats,
        "codec_whitelist": decoder_names(codecs),
        "analyzeduration": str(_ANALYSIS_US),
        "fpsprobesize": "0",
    }
    return options | ({"rtsp_transport": "tcp"} if formats == "rtsp" else {})


def _reason(error: av.FFmpegError, address: str, *, timeout: float, passed: float) -> str:
    if isinstance(error, av.error.ProtocolNotFoundError):
        return f"the FFmpeg of PyAV cannot read {urlsplit(address).scheme}"
    if isinstance(error, av.error.ExitError) or passed >= 0.95 * timeout:
        return f"no answer within {timeout:g} s"
    if isinstance(error, av.error.InvalidDataError):
        return "not a video stream that can be read; playlists (HLS, DASH, SDP) are not"
    if not _is_known_host(address):
        return "unknown host"
    return error.strerror or "cannot be opened"


def _is_known_host(address: str) -> bool:
    host = urlsplit(address).hostname
    try:
        return not host or bool(socket.getaddrinfo(host, None))
    except OSError:
        return False


class NetworkConnection:
    """`Connection` to a network stream.

    Frames have the times of the stream, or those of their arrival if the format has none.

    Args:
        container: The open stream.
        stream: The video in it.
        timeout: Longest time without a frame, in seconds.
        now: The clock.
    """

    def __init__(self, container: InputContainer, stream: VideoStream, *, timeout: float, now: Now) -> None:
        self._container = container
        self._stream = stream
        self._timeout = timeout
        self._now = now
        self._to_rgb: UprightFrames | None = None
        self._is_timed = has_timestamps(container, stream)
        self._heard = now()

    @property
    def is_recording(self) -> bool:
        """See `Connection`."""
        return bool(self._container.duration and self._container.duration > 0)

    def size(self) -> tuple[int, int]:
        """See `Connection`."""
        assert self._to_rgb is not None  # set by the first frame
        return self._to_rgb.size

    def clock(self) -> Clock:
        """See `Connection`."""
        if not self._is_timed:
            return Clock(ARRIVAL_BASE)
        length_s = self._container.duration / av.time_base if self._container.duration else None
        return Clock(time_base_of(self._stream), as_fraction(self._stream.average_rate), None, length_s)

    def close(self) -> None:
        """See `Connection`."""
        self._container.close()

    def frames(self) -> Iterator[TimedFrame | FrameGap]:
        """See `Connection`."""
        return self._timed() if self._is_timed else self._arriving()

    def _timed(self) -> Iterator[TimedFrame | FrameGap]:
        clock = FrameClock(time_base=time_base_of(self._stream), usual_s=_USUAL_S)
        early: list[Packet | None] | None = []
        for packet in self._packets():
            if early is not None:
                early.append(packet)
            elif packet is not None and not packet.is_discard:
                clock.add_packet(packet.pts, packet.dts)
            for frame in self._decoded(packet):
                if frame.pts is None:
                    continue
                if early is not None:
                    _add_from(frame.pts, early, clock)
                    early = None
                if clock.knows(frame.pts):
                    yield from clock.take(frame.pts)
                    yield TimedFrame(clock.number, clock.time, partial(self._pixels, frame))

    def _arriving(self) -> Iterator[TimedFrame]:
        first, number = None, -1
        for packet in self._packets():
            for frame in self._decoded(packet):
                number += 1
                first = self._now() if first is None else first
                yield TimedFrame(number, self._now() - first, partial(self._pixels, frame))

    def _decoded(self, packet: Packet | None) -> Iterator[VideoFrame]:
        for frame in decode_or_skip(self._stream, packet):
            if self._to_rgb is None:
                self._prepare(frame)
            yield frame
            self._heard = self._now()

    def _prepare(self, first: VideoFrame) -> None:
        try:
            self._to_rgb = UprightFrames(first)
        except av.FFmpegError as error:
            raise StreamCut(f"its frames cannot be converted ({error.strerror})") from None

    def _pixels(self, frame: VideoFrame) -> UInt8[np.ndarray, "h w 3"]:
        assert self._to_rgb is not None
        return self._to_rgb(frame)

    def _packets(self) -> Iterator[Packet | None]:
        """Packets of the video; None, which flushes the decoder, at the end or before the reason of a cut is raised."""
        packets, reason = self._container.demux(), ""
        while not reason:
            started = self._now()
            try:
                packet = next(packets, None)
            except IndexError:  # a stream appears late
                packet = None
            except av.FFmpegError as error:
                is_silent = isinstance(error, av.error.ExitError) or self._now() - started >= 0.95 * self._timeout
                reason = self._silence() if is_silent else f"the connection was lost ({error.strerror})"
                break
            if packet is None:
                break
            if packet.stream_index == self._stream.index and packet.size:
                yield packet
            if self._now() - self._heard > self._timeout:
                reason = self._silence()
        yield None
        if reason:
            raise StreamCut(reason)

    def _silence(self) -> str:
        return f"no frame for {self._timeout:g} s"


def _add_from(first: int, packets: list[Packet | None], clock: FrameClock) -> None:
    """Note the packets shown from the first frame on: those before belong to frames that began before we listened."""
    for packet in packets:
        if packet is not None and not packet.is_discard and packet.pts is not None and packet.pts >= first:
            clock.add_packet(packet.pts, packet.dts)
