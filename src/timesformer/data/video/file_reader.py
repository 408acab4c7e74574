"""Exact random access to the frames of a video file, decoding only what is needed.

A frame's number is its index in presentation order: `read_frames(path, [7])` returns the eighth frame that a decode of
the whole file returns. Frame counts, rates and seek tables of containers are not trusted. A read works like this:

1. All packets are demuxed once, without decoding. Their timestamps number the frames. For a long video, the process
   keeps the result until the file changes.
2. The reader seeks to the key frame before the wanted frame. Every packet that then arrives must equal the one of the
   first pass, and the first decoded frame must be that key frame.
3. From there on, H.264 frames that are neither wanted nor referenced are not decoded.
4. If anything differs (an inexact seek, a key frame that is not one, a damaged file), the read starts again at the
   first packet. Decoding from there is correct by definition.

Which other frames are read matters only in a damaged file, where a decoder conceals errors with what it decoded before.

FFmpeg prints nothing: PyAV is silent until `av.logging.set_level` is called, and the reader never changes the level.
"""

import os
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from types import TracebackType
from typing import Literal, SupportsIndex

import av
import numpy as np
from av.packet import Packet
from av.video.frame import VideoFrame
from jaxtyping import Float64, Int64, UInt8

from timesformer.bounds import TOO_LITTLE_MEMORY, max_frames, too_many_frames
from timesformer.data.video.codecs import allowed_codecs
from timesformer.data.video.container import decode_or_skip, has_timestamps, time_base_of
from timesformer.data.video.frame_numbers import checked_indices
from timesformer.data.video.header import as_fraction
from timesformer.data.video.packet_index import PacketIndex, PacketRecord, build_index
from timesformer.data.video.packet_source import InexactReadError, PacketSource, packet_record
from timesformer.data.video.survey_cache import Survey, shared_surveys, survey_key
from timesformer.data.video.upright import UprightFrames
from timesformer.errors import ConfigError, DecodeError

_MAX_LATER = 16
"""A frame counts as missing after this many later ones: decoders hold back no more, even with damaged timestamps."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoInfo:
    """Size, length and timing of a video."""

    num_frames: int
    """Number of frames shown, counted from the packets of the file, not taken from its header."""
    fps: float
    """Frames a second at the usual frame interval: see `timesformer.data.video.timing`. Without gaps in the timestamps
    this is the mean over the whole video."""
    height: int
    """Height in pixels of the first frame as displayed, after rotation; all frames are scaled to it."""
    width: int
    """Width in pixels as displayed; pixels are assumed to be square."""
    duration_s: float
    """`num_frames / fps`, in seconds: the length without gaps."""
    rotation: int
    """Rotation that turns the stored frames upright, in degrees counterclockwise: 0, 90, 180 or 270."""
    timing: str = ""
    """Faults of the timestamps, and the rate that clips follow instead; empty if they are plausible."""


class VideoReader:
    """Context manager that reads frames of one video file: one pass over its packets serves any number of reads.

    The file is opened on entry, for one process and one thread.

    Args:
        path: The video file.
        num_threads: Decoding threads; 0 means one per core. More than one helps if the process has the machine to
            itself; the process must then not fork while the reader is open.
        allow_codecs: Codecs to decode besides `timesformer.data.video.codecs.DEFAULT_CODECS`, by FFmpeg's names.

    Raises:
        DecodeError: On entry: the file is missing or unreadable, has no video stream, or no frame can be decoded.
        CodecError: On entry: the codec is not allowed.
        ConfigError: An argument is out of range, or a name in `allow_codecs` is unknown.
    """

    def __init__(
        self, path: str | os.PathLike[str], *, num_threads: int = 1, allow_codecs: Collection[str] = ()
    ) -> None:
        if num_threads < 0:
            raise ConfigError(f"num_threads={num_threads} must be 0 (one per core) or more")
        allowed_codecs(allow_codecs)  # unknown names fail here, not at the first file
        self._path = path
        self._source = PacketSource(path, num_threads=num_threads, allow_codecs=allow_codecs)
        self._process: int | None = None

    def __enter__(self) -> "VideoReader":
        self._source.open()
        try:
            self._prepare()
        except MemoryError as error:
            self._close()
            raise DecodeError(f"{self._path}: {TOO_LITTLE_MEMORY}") from error
        except av.FFmpegError as error:
            self._close()
            raise DecodeError(f"{self._path}: the first frame cannot be converted ({error})") from error
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def _close(self) -> None:
        self._source.close()
        self._process = None

    def _prepare(self) -> None:
        key, surveys = survey_key(self._path), shared_surveys()
        known = surveys.get(key)
        first = None if known is None else self._first_frame(known.index)
        if known is None or first is None:
            known, first = self._survey()
            surveys.add(key, known)
        self._index, self._timing = known
        self._to_rgb = UprightFrames(first)
        # In other codecs and in interlaced H.264, a frame marked as non-reference may still be referenced.
        is_safe = self._source.stream.codec_context.name == "h264" and not first.interlaced_frame
        self._skip_unwanted: Literal["DEFAULT", "NONREF"] = "NONREF" if is_safe else "DEFAULT"
        self._process = os.getpid()

    @property
    def info(self) -> VideoInfo:
        """Size, length and timing of the video."""
        self._check_open()
        height, width = self._to_rgb.size
        return VideoInfo(
            num_frames=self._index.num_frames,
            fps=self._timing.fps,
            height=height,
            width=width,
            duration_s=self._index.num_frames / self._timing.fps,
            rotation=90 * self._to_rgb.quarter_turns,
            timing=self._timing.note,
        )

    @property
    def times(self) -> Float64[np.ndarray, " n"]:
        """Presentation time of each frame, in seconds from the first; by the rate if the file has no timestamps."""
        self._check_open()
        if not self._index.is_timed:
            return np.arange(self._index.num_frames) / self._timing.fps
        base = time_base_of(self._source.stream)
        return (self._index.times - self._index.times[0]) * base.numerator / base.denominator

    def read(self, indices: Iterable[SupportsIndex]) -> UInt8[np.ndarray, "t h w 3"]:
        """Decode the given frames, in the given order: see `timesformer.data.video.reader.read_frames`."""
        info = self.info
        wanted = np.minimum(checked_indices(indices), info.num_frames - 1)
        ranks, inverse = np.unique(wanted, return_inverse=True)
        try:
            frames = np.empty((len(ranks), info.height, info.width, 3), dtype=np.uint8)
            if not self._fill_by_seeking(frames, ranks):
                self._fill(frames, ranks, self._all_frames(self._source.restart()))
        except MemoryError as error:
            raise DecodeError(f"{self._path}: {TOO_LITTLE_MEMORY}") from error
        except (av.FFmpegError, InexactReadError) as error:
            raise DecodeError(f"{self._path}: frames were found but cannot be read ({error})") from error
        return frames if np.array_equal(ranks, wanted) else frames[inverse]

    def _check_open(self) -> None:
        if self._process != os.getpid():
            raise DecodeError(f"{self._path}: the reader is not open; use it inside `with`, in the same process")

    def _fill_by_seeking(self, out: UInt8[np.ndarray, "t h w 3"], ranks: Int64[np.ndarray, " t"]) -> bool:
        """Fill in the frames by seeking to key frames; False if the result is not certain to be exact."""
        if not self._index.is_timed:
            return False
        try:
            for start, run in self._index.segments(ranks):
                self._fill(out[run], ranks[run], self._frames_from(start, ranks[run]))
        except av.error.MemoryError:
            raise
        except (av.FFmpegError, InexactReadError):
            return False
        return True

    def _fill(
        self,
        out: UInt8[np.ndarray, "t h w 3"],
        ranks: Int64[np.ndarray, " t"],
        frames: Iterator[tuple[int, VideoFrame]],
    ) -> None:
        """Fill in the frame of each of the ascending ranks, or the nearest earlier one; stop once all are found."""
        nearest: list[tuple[int, VideoFrame | None]] = [(-1, None)] * len(ranks)
        first, num_missing, num_later = None, len(ranks), 0
        for rank, frame in frames:
            first = first or frame
            i = int(np.searchsorted(ranks, rank))
            if i == len(ranks):
                num_later += 1
            elif rank == ranks[i] > nearest[i][0]:
                out[i], nearest[i] = self._to_rgb(frame), (rank, None)
                num_missing -= 1
            elif rank > nearest[i][0]:
                nearest[i] = rank, frame
            if num_missing == 0 or num_later > _MAX_LATER:
                break
        if first is None:
            raise InexactReadError("the decoder returned no frame")
        for i, (rank, frame) in enumerate(nearest):
            if rank != ranks[i]:
                out[i] = out[i - 1] if frame is None and i > 0 else self._to_rgb(frame or first)

    def _first_frame(self, index: PacketIndex) -> VideoFrame | None:
        """The first frame, if the packets up to it are those of the index; else None, with the file opened again.

        The decoder is then in the state that `_scan` leaves.
        """
        for position, packet in enumerate(self._source.demux()):
            frames = decode_or_skip(self._source.stream, packet)
            if not index.matches(position, packet_record(packet)):
                break
            if frames:
                return frames[0]
        self._source.restart()
        return None

    def _survey(self) -> tuple[Survey, VideoFrame]:
        """Index all packets, count the frames and measure their rate; also decode the first frame."""
        self._index, first = self._scan()
        self._count_frames()
        # Raw streams have no timestamps: FFmpeg assumes an average of 25 frames a second and guesses from the stream.
        timing = self._index.timing(
            time_base_of(self._source.stream),
            average=as_fraction(self._source.stream.average_rate),
            guessed=as_fraction(self._source.stream.guessed_rate),
            has_timestamps=has_timestamps(self._source.container, self._source.stream),
        )
        return Survey(self._index, timing), first

    def _scan(self) -> tuple[PacketIndex, VideoFrame]:
        """Index all packets, and decode the first frame."""
        records: list[PacketRecord] = []
        first: list[VideoFrame] = []
        most = max_frames()
        for packet in self._source.demux():
            records.append(packet_record(packet))
            first = first or decode_or_skip(self._source.stream, packet)
            if len(records) > most:
                raise DecodeError(f"{self._path}: {too_many_frames(len(records))}")
        first = first or decode_or_skip(self._source.stream, None)
        if not first or not any(packet.is_shown for packet in records):
            reason = f"none of its {len(records)} frames can be decoded" if records else "its video stream is empty"
            raise DecodeError(f"{self._path}: {reason}")
        is_timed = has_timestamps(self._source.container, self._source.stream) and first[0].pts is not None
        return build_index(records, has_timestamps=is_timed), first[0]

    def _count_frames(self) -> None:
        """Count frames by decoding if a packet may be half a frame: interlaced streams without container framing."""
        if not self._index.is_timed and self._source.container.format.name != "avi":
            num_frames = sum(1 for _ in self._all_frames(self._source.restart()))
            self._index = self._index.cut(num_frames)

    def _all_frames(self, packets: Iterable[Packet]) -> Iterator[tuple[int, VideoFrame]]:
        """All frames that can be decoded, with their ranks."""
        frames = chain.from_iterable(decode_or_skip(self._source.stream, packet) for packet in chain(packets, [None]))
        if not self._index.is_timed:
            return enumerate(frames)
        return ((rank, frame) for frame in frames if (rank := self._index.rank(frame.pts)) is not None)

    def _frames_from(self, start: int, ranks: Int64[np.ndarray, " t"]) -> Iterator[tuple[int, VideoFrame]]:
        """Decode the frames of some ranks, starting at a key frame.

        Raises:
            InexactReadError: As soon as a frame is not certain to be that of a decode of the whole file.
        """
        key_rank = self._index.rank(self._index.packets[start].pts) if start > 0 else None
        has_key, missing = key_rank is None, set(ranks.tolist())
        for frame in chain.from_iterable(self._decode_needed(start, self._index.positions[ranks])):
            rank = self._index.rank(frame.pts)
            # Leading frames of an open group need the group before it: they are never read from here.
            if rank is None or (key_rank is not None and rank < key_rank):
                continue
            has_key = has_key or (frame.key_frame and rank == key_rank)
            if not has_key or frame.is_corrupt:
                raise InexactReadError("decoding cannot start at this key frame")
            if rank in missing:
                missing.remove(rank)
                yield rank, frame
        if missing:
            raise InexactReadError("a frame is missing")

    def _decode_needed(self, start: int, positions: Int64[np.ndarray, " t"]) -> Iterator[list[VideoFrame]]:
        """Decode the packets from `start` to the last of the wanted positions, skipping frames that nothing needs.

        The decoder is then flushed for the frames that it holds back, which saves reading more packets.
        """
        wanted = set(positions.tolist())
        for position, packet in enumerate(self._source.packets_from(start, index=self._index), start):
            self._source.stream.codec_context.skip_frame = "DEFAULT" if position in wanted else self._skip_unwanted
            yield self._source.stream.decode(packet)
            wanted.discard(position)
            if not wanted:
                break
        yield self._source.stream.decode(None)
