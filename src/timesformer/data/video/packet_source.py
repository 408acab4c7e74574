"""Packets of an open video file from any position on: every seek is checked against the first pass over the file."""

import os
from collections.abc import Collection, Iterator
from contextlib import suppress
from itertools import chain

import av
from av.container import InputContainer
from av.packet import Packet
from av.video.stream import VideoStream

from timesformer.data.video.container import demux, open_video
from timesformer.data.video.packet_index import PacketIndex, PacketRecord


class InexactReadError(Exception):
    """A read that might differ from a decode of the whole file; it never leaves the reader."""


class PacketSource:
    """The video stream of a file; `container` and `stream` exist between `open` and `close`.

    Args:
        path: The video file.
        num_threads: Decoding threads; 0 means one per core.
        allow_codecs: Codecs to decode besides `timesformer.data.video.codecs.DEFAULT_CODECS`.
    """

    container: InputContainer
    stream: VideoStream

    def __init__(self, path: str | os.PathLike[str], *, num_threads: int, allow_codecs: Collection[str]) -> None:
        self._path = path
        self._num_threads = num_threads
        self._allow_codecs = allow_codecs

    def open(self) -> None:
        """Open the file.

        Raises:
            DecodeError, CodecError: As `timesformer.data.video.container.open_video`.
        """
        self.container, self.stream = open_video(
            self._path, num_threads=self._num_threads, allow_codecs=self._allow_codecs
        )

    def close(self) -> None:
        """Close the file and release everything that FFmpeg holds."""
        # before the process forks: a child that frees FFmpeg's threads hangs
        self.container.close()
        del self.container, self.stream

    def demux(self) -> Iterator[Packet]:
        """The packets from the current position of the file on."""
        return demux(self.container, self.stream)

    def restart(self) -> Iterator[Packet]:
        """All packets. The file is opened again: a seek to the start does not always get there."""
        self.container.close()
        self.open()
        return self.demux()

    def packets_from(self, start: int, *, index: PacketIndex) -> Iterator[Packet]:
        """The packets from a position on.

        Raises:
            InexactReadError: A packet differs from the one that the first pass found at its position.
        """
        position, packets = self._seek(start, index)
        for packet in packets:
            if not index.matches(position, packet_record(packet)):
                raise InexactReadError("a packet differs from the first pass")
            if position >= start:
                yield packet
            position += 1
        if position < len(index.packets):
            raise InexactReadError("packets are missing")

    def _seek(self, start: int, index: PacketIndex) -> tuple[int, Iterator[Packet]]:
        """Go to a packet or to one before it: the position reached, and the packets from there on."""
        for packets in self._seeks(start, index):
            first = next(packets, None)
            position = None if first is None else index.position(packet_record(first))
            if first is not None and position is not None and position <= start:
                return position, chain([first], packets)
        raise InexactReadError("cannot seek to the key frame")

    def _seeks(self, start: int, index: PacketIndex) -> Iterator[Iterator[Packet]]:
        """The packets after each kind of seek, and last those of the file opened again."""
        # some formats seek by presentation time, others by decoding time
        for time in (index.packets[start].pts, index.packets[start].dts):
            with suppress(av.FFmpegError):
                if time is not None:
                    self.container.seek(time, stream=self.stream)
                    yield self.demux()
        yield self.restart()


def packet_record(packet: Packet) -> PacketRecord:
    """The fields of a packet that the index keeps."""
    return PacketRecord(packet.pts, packet.dts, packet.size, packet.pos, packet.is_keyframe, not packet.is_discard)
