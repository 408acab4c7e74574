"""One pass over a whole video: its damage, timing and thumbnails.

The child processes of a check import only this and PyAV, since heavier imports take longer than scanning a small data
set. Only a folder of frames imports more, when the first one comes.
"""

import os
from collections.abc import Callable, Collection, Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import av
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation, VideoReformatter
from av.video.stream import VideoStream

from timesformer.bounds import TOO_LITTLE_MEMORY, max_frames, too_many_frames
from timesformer.data.video.codecs import allowed_codecs
from timesformer.data.video.container import demux, has_timestamps, open_video, orientation, time_base_of
from timesformer.data.video.file_stat import video_digest
from timesformer.data.video.header import Decoded, contradictions, num_missing, read_header
from timesformer.data.video.paths import list_frames
from timesformer.data.video.timing import frame_timing
from timesformer.errors import CodecError, DecodeError
from timesformer.isolation.progress import report_progress

NUM_THUMBNAILS = 16
"""Frames of a video that are kept, evenly spaced in time."""
THUMBNAIL_SIZE = 16
"""Height and width of a thumbnail, in pixels, whatever the aspect of the video."""

_AREA = Interpolation.AREA
_MAX_MISPLACED = 0.02
"""Largest position error of a thumbnail, as a fraction of the video, before the file is read again."""


class Scan(NamedTuple):
    """Result of one pass; if no frame can be decoded, only `error` and `codec` are set."""

    error: str = ""
    """Reason why no frame can be decoded; empty if one can."""
    codec: str = ""
    """FFmpeg's name of the codec of a file that was decoded, or refused for its codec; otherwise empty."""
    digest: str = ""
    """BLAKE2b of the file, 128 bits in hexadecimal."""
    num_frames: int = 0
    """Decoded frames."""
    num_missing: int = 0
    """Frames that the container states but does not contain; 0 unless clearly fewer were decoded."""
    num_damaged: int = 0
    """Packets that could not be decoded, and frames that the decoder marks as damaged."""
    height: int = 0
    """Height as stored, in pixels."""
    width: int = 0
    """Width as stored, in pixels."""
    fps: float = 0.0
    """Frames per second at the usual frame interval; the stated rate if frames are missing or damaged."""
    timing: str = ""
    """Faults of the timestamps, and contradictions with the header; empty if plausible."""
    quarter_turns: int = 0
    """Counterclockwise quarter turns that make a frame upright."""
    is_mirrored: bool = False
    """Whether a frame must be mirrored before it is turned."""
    pictures: bytes = b""
    """Middle frames of sixteen equal spans of the video, as stored: full-range planes of Y, Cb and Cr."""


class Scanner:
    """Scans videos one after the other; the scaler is set up once per frame size.

    Args:
        allow_codecs: Codecs to decode in addition to `timesformer.data.video.codecs.DEFAULT_CODECS`.

    Raises:
        ConfigError: One of them is unknown.
    """

    def __init__(self, *, allow_codecs: Collection[str] = ()) -> None:
        allowed_codecs(allow_codecs)
        self._scaler = VideoReformatter()
        self._allow_codecs = allow_codecs

    def scan(self, path: Path) -> Scan:
        """Read and decode a whole video; problems are recorded in the result, never raised."""
        try:
            return self._scan_folder(path) if os.path.isdir(path) else self._scan_file(path)
        except DecodeError as error:
            codec = error.codec if isinstance(error, CodecError) else ""
            return Scan(error=str(error).removeprefix(f"{path}: "), codec=codec)
        except MemoryError:
            return Scan(error=TOO_LITTLE_MEMORY)
        except (OSError, av.FFmpegError, ValueError) as error:  # such as a frame that the scaler refuses
            return Scan(error=f"its frames cannot be read ({error})")

    def _scan_file(self, path: Path) -> Scan:
        seen = self._decode_all(path)
        if seen.is_misplaced:
            seen = self._decode_all(path, num_expected=seen.num_frames)
        return seen.result(video_digest(path))

    def _decode_all(self, path: Path, *, num_expected: int = 0) -> "_Pass":
        container, stream = open_video(path, num_threads=1, allow_codecs=self._allow_codecs)
        with container:
            seen = _Pass(container, stream, self._scaler, num_expected=num_expected)
            seen.decode(container, stream)
        if seen.num_frames == 0:
            raise DecodeError(f"{path}: none of its {seen.num_packets} frames can be decoded")
        return seen

    def _scan_folder(self, path: Path) -> Scan:
        """Decode all frames of a folder; frames of different sizes are an error, as in training."""
        from timesformer.data.video import frame_folder  # imports numpy and Pillow, which files do not need

        frames = list_frames(path)
        height, width = frame_folder.picture_size(frames[0])
        pictures: list[VideoFrame] = []
        num_damaged = 0
        for number, frame in enumerate(frames):
            report_progress()
            try:
                picture = frame_folder.read_picture(frame)
            except DecodeError:
                num_damaged += 1
                continue
            frame_folder.check_size(frame, picture, size=(height, width))
            while (index := _thumbnail_frame(len(pictures), len(frames))) is not None and index <= number:
                pictures.append(_shrink(VideoFrame.from_ndarray(picture, format="rgb24"), self._scaler))
        if not pictures:
            raise DecodeError(f"{path}: none of its {len(frames)} frames can be decoded")
        return Scan(
            digest=video_digest(path),
            num_frames=len(frames) - num_damaged,
            num_damaged=num_damaged,
            height=height,
            width=width,
            fps=frame_folder.FRAMES_PER_SECOND,
            pictures=_joined(pictures),
        )


def scan_here(paths: Iterable[Path], *, allow_codecs: Collection[str] = ()) -> Iterator[tuple[Path, Scan]]:
    """Scan videos in this process, one after the other."""
    scanner = Scanner(allow_codecs=allow_codecs)
    return ((path, scanner.scan(path)) for path in paths)


def open_scans(allow_codecs: Collection[str]) -> Callable[[Iterable[Path]], Iterator[Scan]]:
    """Target of the child processes that scan: see `timesformer.isolation.child`."""
    scanner = Scanner(allow_codecs=allow_codecs)
    return lambda paths: (scanner.scan(path) for path in paths)


class _Pass:
    """One decode of a whole file.

    The positions of the thumbnails depend on the expected number of frames: that of the container, or, if it was wrong,
    the count of an earlier pass.
    """

    def __init__(
        self, container: InputContainer, stream: VideoStream, scaler: VideoReformatter, *, num_expected: int
    ) -> None:
        self._codec = stream.codec_context.codec.canonical_name
        self._header = read_header(container, stream)
        self._time_base = time_base_of(stream)
        self._has_timestamps = has_timestamps(container, stream)
        self._num_expected = num_expected or self._header.num_expected
        self._scaler = scaler
        self._pictures: list[VideoFrame] = []

    @property
    def is_misplaced(self) -> bool:
        """Whether the number of frames differs too much from the expected one, so that the thumbnails are misplaced."""
        return abs(self.num_frames - self._num_expected) > max(1, _MAX_MISPLACED * self.num_frames)

    def result(self, digest: str) -> Scan:
        """The scan of a file with a decodable frame."""
        decoded = self._decoded()
        timing, missing = decoded.timing, num_missing(self._header, decoded)
        is_whole = missing == self._num_damaged == 0
        quarter_turns, is_mirrored = orientation(self._pictures[0])
        return Scan(
            codec=self._codec,
            digest=digest,
            num_frames=self.num_frames,
            num_missing=missing,
            num_damaged=self._num_damaged,
            height=self._height,
            width=self._width,
            fps=timing.fps if is_whole or timing.note else float(self._header.rate),
            timing="; ".join(filter(None, (timing.note, *(contradictions(self._header, decoded) if is_whole else ())))),
            quarter_turns=quarter_turns,
            is_mirrored=is_mirrored,
            pictures=_joined(self._pictures),
        )

    def decode(self, container: InputContainer, stream: VideoStream) -> None:
        """Decode all frames."""
        # local variables, since a frame of a small video takes less than a tenth of a millisecond
        num_frames = num_packets = num_hidden = num_damaged = 0
        times: list[int | None] = []
        next_thumbnail, most = _thumbnail_frame(0, self._num_expected), max_frames()
        for packet in chain(demux(container, stream), [None]):
            if packet is not None:
                num_packets += 1
                if packet.is_discard:
                    num_hidden += 1
                if num_packets > most:
                    raise DecodeError(too_many_frames(num_packets))
            try:
                frames = stream.decode(packet)
            except av.error.MemoryError:
                raise
            except av.FFmpegError:
                num_damaged += 1
                continue
            for frame in frames:
                if num_frames == 0:
                    self._height, self._width = frame.height, frame.width
                if num_frames == next_thumbnail:
                    next_thumbnail = self._keep(frame, next_thumbnail)
                if frame.is_corrupt:
                    num_damaged += 1
                times.append(frame.pts)
                num_frames += 1
        self.num_frames, self.num_packets = num_frames, num_packets
        self._num_hidden, self._num_damaged = num_hidden, num_damaged
        self._times = times if self._has_timestamps else []

    def _keep(self, frame: VideoFrame, index: int) -> int | None:
        """Keep a frame for all thumbnails at its index; return the index of the next thumbnail."""
        small = _shrink(frame, self._scaler)
        while (next_index := _thumbnail_frame(len(self._pictures), self._num_expected)) == index:
            self._pictures.append(small)
        return next_index

    def _decoded(self) -> Decoded:
        average, guessed = self._header.average_rate, self._header.guessed_rate
        timing = frame_timing(self._times, time_base=self._time_base, average=average, guessed=guessed)
        times_s = [float(time * self._time_base) for time in self._times if time is not None]
        return Decoded(times_s, self.num_frames, self._num_hidden, self._num_damaged, timing)


def _thumbnail_frame(number: int, num_frames: int) -> int | None:
    """Frame index of a thumbnail, in the middle of its span of the video; None after the last thumbnail."""
    return (2 * number + 1) * num_frames // (2 * NUM_THUMBNAILS) if number < NUM_THUMBNAILS else None


def _shrink(frame: VideoFrame, scaler: VideoReformatter) -> VideoFrame:
    return scaler.reformat(
        frame, width=THUMBNAIL_SIZE, height=THUMBNAIL_SIZE, format="yuvj444p", interpolation=_AREA, threads=1
    )


def _joined(pictures: list[VideoFrame]) -> bytes:
    """The thumbnails; the last one is repeated if there are too few."""
    pixels = list(map(_pixels, pictures))
    return b"".join(pixels + pixels[-1:] * (NUM_THUMBNAILS - len(pixels)))


def _pixels(picture: VideoFrame) -> bytes:
    """Y, Cb and Cr of a thumbnail, without line padding."""
    lines = b"".join(map(bytes, picture.planes))
    size = picture.planes[0].line_size
    if size == THUMBNAIL_SIZE:
        return lines
    return b"".join(lines[start : start + THUMBNAIL_SIZE] for start in range(0, len(lines), size))
