"""One pass over all of a video: whether it is whole, and small pictures of it.

The processes of a check import this and nothing heavier than PyAV, or they would start later than they could be done.
Only the first folder of frames that comes makes a process import more.
"""

import os
import pickle
from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import IO, NamedTuple

import av
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation, VideoReformatter
from av.video.stream import VideoStream

from timesformer.data.video.codecs import allowed_codecs
from timesformer.data.video.container import demux, has_timestamps, open_video, orientation, time_base_of
from timesformer.data.video.file_stat import video_digest
from timesformer.data.video.header import Decoded, contradictions, num_missing, read_header
from timesformer.data.video.paths import list_frames
from timesformer.data.video.timing import frame_timing
from timesformer.errors import CodecError, DecodeError

NUM_THUMBNAILS = 16
"""Frames of a video that are kept, small, spread evenly over its time."""
THUMBNAIL_SIZE = 16
"""Height and width of a kept frame, in pixels; the shape of the video is not kept."""

_AREA = Interpolation.AREA
_MAX_MISPLACED = 0.02
"""Share of the video by which a thumbnail may miss its place; more, and the file is read again."""


class Scan(NamedTuple):
    """What one pass gives; everything but `error` is empty where no frame can be decoded."""

    error: str = ""
    """Why no frame can be decoded; empty where one can."""
    codec: str = ""
    """FFmpeg's name of the codec: of a file that was decoded, or that was refused for its codec; else empty."""
    digest: str = ""
    """BLAKE2b of its bytes, 128 bits in hexadecimal."""
    num_frames: int = 0
    """Frames that were decoded."""
    num_missing: int = 0
    """Frames that the container promises and that are not there; 0 unless clearly fewer came."""
    num_damaged: int = 0
    """Packets that could not be decoded and frames that the decoder gives as damaged."""
    height: int = 0
    """Height as stored, in pixels."""
    width: int = 0
    """Width as stored, in pixels."""
    fps: float = 0.0
    """Frames a second at the usual distance between frames; the stated rate where frames are missing or damaged."""
    timing: str = ""
    """What is odd about the timestamps, and where the header contradicts them; empty where they are plausible."""
    quarter_turns: int = 0
    """Turns counter-clockwise that bring a frame upright."""
    is_mirrored: bool = False
    """Whether a frame has to be mirrored before it is turned."""
    pictures: bytes = b""
    """Frames at the middles of sixteen equal parts of the video, as stored: planes of Y, Cb and Cr, of full range."""


class Scanner:
    """Scans videos one after the other: what makes the small pictures is set up once for all of one size.

    Args:
        allow_codecs: Codecs to decode besides `timesformer.data.video.codecs.DEFAULT_CODECS`.

    Raises:
        ConfigError: One of them is unknown.
    """

    def __init__(self, *, allow_codecs: Collection[str] = ()) -> None:
        allowed_codecs(allow_codecs)
        self._scaler = VideoReformatter()
        self._allow_codecs = allow_codecs

    def scan(self, path: Path) -> Scan:
        """Read and decode all of a video; whatever is wrong with it is part of the answer, and never raised."""
        try:
            return self._scan_folder(path) if os.path.isdir(path) else self._scan_file(path)
        except DecodeError as error:
            codec = error.codec if isinstance(error, CodecError) else ""
            return Scan(error=str(error).removeprefix(f"{path}: "), codec=codec)
        except (OSError, av.FFmpegError, ValueError, MemoryError) as error:  # such as a frame that the scaler refuses
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
        """Decode all frames of a folder; one of another size is an error, as it is for training."""
        from timesformer.data.video import frame_folder  # with numpy and Pillow, which files do not need

        frames = list_frames(path)
        height, width = frame_folder.picture_size(frames[0])
        pictures: list[VideoFrame] = []
        num_damaged = 0
        for number, frame in enumerate(frames):
            try:
                picture = frame_folder.read_picture(frame)
            except DecodeError:
                num_damaged += 1
                continue
            frame_folder.check_size(frame, picture, size=(height, width))
            while (place := _place(len(pictures), len(frames))) is not None and place <= number:
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


def serve(questions: IO[bytes], answers: IO[bytes], *, allow_codecs: Collection[str] = ()) -> None:
    """Answer pickled lists of paths with pickled lists of scans, until there are no more."""
    scanner = Scanner(allow_codecs=allow_codecs)
    with suppress(EOFError):
        while True:
            pickle.dump([scanner.scan(path) for path in pickle.load(questions)], answers)
            answers.flush()


class _Pass:
    """One decode of a whole file.

    Where the thumbnails are taken depends on how many frames are expected: what the container says, or, where that
    turned out wrong, what an earlier pass has counted.
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
        """Whether the number of frames was so far from the expected one that the thumbnails are of other places."""
        return abs(self.num_frames - self._num_expected) > max(1, _MAX_MISPLACED * self.num_frames)

    def result(self, digest: str) -> Scan:
        """What was seen, of a file in which a frame was decoded."""
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
        """Take in all frames."""
        # In local variables: a frame of a small video is decoded in less than a tenth of a millisecond.
        num_frames = num_packets = num_hidden = num_damaged = 0
        times: list[int | None] = []
        next_place = _place(0, self._num_expected)
        for packet in chain(demux(container, stream), [None]):
            if packet is not None:
                num_packets += 1
                if packet.is_discard:
                    num_hidden += 1
            try:
                frames = stream.decode(packet)
            except av.FFmpegError:
                num_damaged += 1
                continue
            for frame in frames:
                if num_frames == 0:
                    self._height, self._width = frame.height, frame.width
                if num_frames == next_place:
                    next_place = self._keep(frame, next_place)
                if frame.is_corrupt:
                    num_damaged += 1
                times.append(frame.pts)
                num_frames += 1
        self.num_frames, self.num_packets = num_frames, num_packets
        self._num_hidden, self._num_damaged = num_hidden, num_damaged
        self._times = times if self._has_timestamps else []

    def _keep(self, frame: VideoFrame, place: int) -> int | None:
        """Keep a frame for all thumbnails at its place; the next place."""
        small = _shrink(frame, self._scaler)
        while (next_place := _place(len(self._pictures), self._num_expected)) == place:
            self._pictures.append(small)
        return next_place

    def _decoded(self) -> Decoded:
        average, guessed = self._header.average_rate, self._header.guessed_rate
        timing = frame_timing(self._times, time_base=self._time_base, average=average, guessed=guessed)
        times_s = [float(time * self._time_base) for time in self._times if time is not None]
        return Decoded(times_s, self.num_frames, self._num_hidden, self._num_damaged, timing)


def _place(number: int, num_frames: int) -> int | None:
    """Frame of a thumbnail, in the middle of its part of the video; None where there are enough."""
    return (2 * number + 1) * num_frames // (2 * NUM_THUMBNAILS) if number < NUM_THUMBNAILS else None


def _shrink(frame: VideoFrame, scaler: VideoReformatter) -> VideoFrame:
    return scaler.reformat(
        frame, width=THUMBNAIL_SIZE, height=THUMBNAIL_SIZE, format="yuvj444p", interpolation=_AREA, threads=1
    )


def _joined(pictures: list[VideoFrame]) -> bytes:
    """As many as are kept; where there are fewer, the last one again."""
    pixels = list(map(_pixels, pictures))
    return b"".join(pixels + pixels[-1:] * (NUM_THUMBNAILS - len(pixels)))


def _pixels(picture: VideoFrame) -> bytes:
    """Y, Cb and Cr of a small picture, without what fills up the lines of their planes."""
    lines = b"".join(map(bytes, picture.planes))
    size = picture.planes[0].line_size
    if size == THUMBNAIL_SIZE:
        return lines
    return b"".join(lines[start : start + THUMBNAIL_SIZE] for start in range(0, len(lines), size))
