"""Open a file as a video, or say in one line why it is not one."""

import math
import os
import stat
import struct
from collections.abc import Collection, Iterator
from contextlib import closing
from fractions import Fraction

import av
from av.container import InputContainer
from av.filter import Graph
from av.packet import Packet
from av.sidedata.sidedata import Type
from av.stream import Discard, Disposition
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from timesformer.bounds import max_pixels, too_many_pixels
from timesformer.data.video.byte_source import HEAD_BYTES, ByteSource
from timesformer.data.video.codecs import allowed_codecs, decoder_names
from timesformer.data.video.header import as_fraction, stated_end_s
from timesformer.data.video.mp4_claims import check_claims
from timesformer.data.video.still_pictures import PICTURE_FORMATS, is_animated_webp, is_picture_item, picture_kind
from timesformer.data.video.tar_member import MemberFile, find_member
from timesformer.errors import CodecError, DecodeError
from timesformer.isolation.progress import report_progress

_PLAYLISTS = frozenset(
    {"concat", "concatf", "dash", "hls", "imf", "mlv", "rtsp", "sdp", "vobsub", "webm_dash_manifest"}
)
"""Formats that open other files: entries of a playlist, even over a network, or files with similar names."""
_TEXT_AND_PIXELS = frozenset({"adf", "bin", "idf", "tty", "xbin", "rawvideo", "image2", "image2pipe"})
"""Formats that render text, or that match any file."""
_DEVICES = frozenset({"alsa", "fbdev", "kmsgrab", "lavfi", "oss", "rtp", "sap", "video4linux2,v4l2", "x11grab"})
"""Formats that do not read a file."""
_FORMATS = ",".join(sorted(av.formats_available - _PLAYLISTS - _TEXT_AND_PIXELS - _DEVICES - PICTURE_FORMATS))
_NOT_MOVING = Disposition.attached_pic | Disposition.still_image | Disposition.timed_thumbnails
_NO_TIMESTAMPS = av.format.Flags.no_timestamps.value
_REJECTS_BAD_TAGS = int(av.__version__.partition(".")[0]) < 19
"""PyAV before 19 refuses tags that are not UTF-8 unless told otherwise."""
_MAX_SIDE_DATA_KINDS = 64
"""Twice as many as FFmpeg 8 has."""
_USUAL_PACKET_BYTES = 2**25
"""Packets are smaller, except for uncompressed frames above 8K."""
_ROUNDED_PIXELS = 2**23
"""Pixels that a decoder may add when it rounds the size of a frame up to whole blocks."""
_NO_VIDEO = "not a video, or cut off before its index"
_STILL = "a still picture, not a video"
_MP4_STARTS = (b"ftyp", b"wide", b"mdat", b"free", b"skip")
"""Types of the first box of an MP4 or MOV."""


def open_video(
    path: str | os.PathLike[str],
    *,
    num_threads: int,
    allow_codecs: Collection[str] = (),
    file: ByteSource | None = None,
) -> tuple[InputContainer, VideoStream]:
    """Open a file and choose a video stream; all other streams are discarded.

    The first stream is chosen that is neither cover art nor a picture of an AVIF or HEIF file. Streams known to have
    less than half as many frames as another, such as previews, are passed over.

    Args:
        path: The file, possibly inside a tar file: see `timesformer.data.video.tar_member`.
        num_threads: Decoding threads; 0 means one per core.
        allow_codecs: Codecs to decode besides `timesformer.data.video.codecs.DEFAULT_CODECS`.
        file: Where the bytes come from instead, such as a pipe; `path` then only names it in messages.

    Raises:
        DecodeError: The file is missing, unreadable or a still picture, or has no video stream that can be decoded.
        CodecError: The codec is not allowed; no decoder has read any of the file.
        ConfigError: A name in `allow_codecs` is unknown.
    """
    codecs = allowed_codecs(allow_codecs)
    container = _open_file(path, codecs) if file is None else _open_bytes(file, path, codecs)
    try:
        head = _head(path) if file is None else file.head
        _check_is_mjpeg_stream(container, path, head=head)
        if head.startswith(b"GIF8"):  # whose size FFmpeg takes from its first frame
            _check_size(*struct.unpack_from("<HH", head.ljust(10, b"\0"), 6), path)
        stream = choose_video(container, path, codecs=codecs)
    except DecodeError:
        container.close()
        raise
    stream.thread_count = num_threads
    stream.thread_type = "NONE" if num_threads == 1 else "AUTO"
    return container, stream


def limit_pixels(stream: VideoStream) -> None:
    """Have the decoder refuse frames of too many pixels: a header may lie, and later frames may be larger."""
    stream.codec_context.options = {"max_pixels": str(max_pixels() + _ROUNDED_PIXELS)}


def choose_video(container: InputContainer, path: str | os.PathLike[str], *, codecs: frozenset[str]) -> VideoStream:
    """The video stream of an open container, as `open_video` chooses it.

    Args:
        container: All of its other streams are discarded.
        path: Name in messages.
        codecs: Codecs that may be decoded.

    Raises:
        DecodeError: There is no video stream that can be decoded.
        CodecError: The codec is not allowed.
    """
    stream = _choose_stream(container, path)
    _check_codec(stream, path, codecs)
    _check_size(stream.width, stream.height, path)
    limit_pixels(stream)
    return stream


def demux(container: InputContainer, stream: VideoStream) -> Iterator[Packet]:
    """The packets of a stream from the current position on, up to the end or the first read error.

    Raises:
        MemoryError: There is not enough memory for a packet of usual size, which is not a fault of the file.
    """
    # An empty packet, wherever it comes, would flush the decoder. PyAV raises IndexError after the last packet of files
    # in which a stream appears late.
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
        except av.error.MemoryError:  # or a damaged packet that claims gigabytes
            bytearray(_USUAL_PACKET_BYTES)
            return
        except (av.FFmpegError, IndexError):
            return
        if packet is None:
            return
        report_progress()
        if packet.size:
            yield packet


def decode_or_skip(stream: VideoStream, packet: Packet | None) -> list[VideoFrame]:
    """Frames that a packet completes, none if it is damaged. None as the packet flushes the decoder.

    Raises:
        MemoryError: There is not enough memory: other frames in the place of these would be wrong.
    """
    try:
        return stream.decode(packet)
    except av.error.MemoryError:
        raise
    except av.FFmpegError:
        return []


def has_timestamps(container: InputContainer, stream: VideoStream) -> bool:
    """True if the format stores presentation times, and not only the order of packets."""
    # AVI numbers frames in stored order; with B-frames FFmpeg guesses presentation times, wrongly for H.264.
    is_reordered_avi = container.format.name == "avi" and stream.codec_context.has_b_frames
    return not is_reordered_avi and not container.format.flags & _NO_TIMESTAMPS


def time_base_of(stream: VideoStream) -> Fraction:
    """Unit of a stream's timestamps, in seconds; a microsecond if a damaged header gives none or 0."""
    return as_fraction(stream.time_base) or Fraction(1, av.time_base)


def orientation(copy: VideoFrame) -> tuple[int, bool]:
    """Counterclockwise quarter turns that bring a frame upright, and whether it must be mirrored first.

    Args:
        copy: A small copy of the frame: reading side data creates a reference cycle that outlives the reader.
    """
    try:
        matrix = copy.side_data.get("DISPLAYMATRIX")
    except ValueError:  # PyAV does not know a kind of side data that FFmpeg has, such as EXIF in 18
        matrix = _with_known_side_data(copy).side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return 0, False
    # Right (1, 0) is displayed as (a, b) and down (0, 1) as (c, d), with y pointing down.
    a, b, _, c, d = memoryview(bytes(matrix)).cast("i")[:5].tolist()
    is_mirrored = a * d - b * c < 0
    if is_mirrored:
        a, b = -a, -b
    return round(math.atan2(-b, a) / (math.pi / 2)) % 4, is_mirrored


def _with_known_side_data(copy: VideoFrame) -> VideoFrame:
    """The frame without side data that PyAV does not know: a single unknown kind would hide all of it."""
    graph = Graph()
    graph.threads = 1  # a thread pool would hang a process forked before the graph is freed
    nodes = [graph.add_buffer(width=copy.width, height=copy.height, format=copy.format, time_base=Fraction(1))]
    nodes += [graph.add("sidedata", f"mode=delete:type={kind}") for kind in range(len(Type), _MAX_SIDE_DATA_KINDS)]
    nodes.append(graph.add("buffersink"))
    graph.link_nodes(*nodes).configure()
    graph.vpush(copy)
    return graph.vpull()


def _open_file(path: str | os.PathLike[str], codecs: frozenset[str]) -> InputContainer:
    member = find_member(path)
    if member is None:
        _check_is_file(path)
    elif member.size == 0:
        raise DecodeError(f"{path}: an empty file, not a video")
    with closing(open(path, "rb") if member is None else MemberFile(member, path)) as file:
        check_claims(file, path)
    # Absolute: a file called `pipe:0` would be read as a protocol.
    source = os.path.abspath(path) if member is None else MemberFile(member, path)
    try:
        return _open_container(source, codecs)
    except av.FFmpegError as error:
        message = _picture_message(_head(path)) or f"{_NO_VIDEO} ({error.strerror})"
        raise DecodeError(f"{path}: {message}") from error


def _open_bytes(file: ByteSource, name: str | os.PathLike[str], codecs: frozenset[str]) -> InputContainer:
    try:
        return _open_container(file, codecs)
    except av.FFmpegError as error:
        if not file.head:
            raise DecodeError(f"{name}: no bytes, not a video") from error
        message = _picture_message(file.head) or index_last_message(file) or f"{_NO_VIDEO} ({error.strerror})"
        raise DecodeError(f"{name}: {message}") from error


def index_last_message(file: ByteSource) -> str:
    """Message for a pipe that holds an MP4 or MOV of which no frame can be read; empty for anything else."""
    if file.seekable() or file.head[4:8] not in _MP4_STARTS:
        return ""
    return (
        "an MP4 or MOV whose index comes last cannot be read from a pipe: name the file, or write it with its index "
        "first (ffmpeg -movflags faststart), as Matroska or as MPEG-TS"
    )


def _open_container(source: str | MemberFile | ByteSource, codecs: frozenset[str]) -> InputContainer:
    options = {
        "format_whitelist": _FORMATS,
        "protocol_whitelist": "file",
        # for the decoding with which FFmpeg finds sizes and colors; the decoder that PyAV opens ignores it
        "codec_whitelist": decoder_names(codecs),
    }
    if _REJECTS_BAD_TAGS:
        return av.open(source, "r", container_options=options, metadata_errors="ignore")
    return av.open(source, "r", container_options=options)


def _picture_message(head: bytes) -> str:
    """Message for a picture that FFmpeg does not open as a video; empty for anything else."""
    if is_animated_webp(head):
        return "an animated WebP, which FFmpeg decodes from version 9 on: convert it to MP4 or GIF"
    kind = picture_kind(head)
    return f"{_STILL} ({kind})" if kind else ""


def _head(path: str | os.PathLike[str]) -> bytes:
    member = find_member(path)
    try:
        with closing(open(path, "rb") if member is None else MemberFile(member, path)) as file:
            return file.read(HEAD_BYTES)
    except OSError:
        return b""


def _check_is_mjpeg_stream(container: InputContainer, path: str | os.PathLike[str], *, head: bytes) -> None:
    """Refuse files that only look like a raw JPEG stream: multi-view pictures, and documents with JPEGs inside."""
    if container.format.name == "mjpeg":
        kind = picture_kind(head)
        if kind or not head.startswith(b"\xff\xd8"):
            raise DecodeError(
                f"{path}: {f'{_STILL} ({kind})' if kind else f'{_NO_VIDEO} (JPEGs inside another kind of file)'}"
            )


def _check_is_file(path: str | os.PathLike[str]) -> None:
    try:
        status = os.stat(path)
    except (OSError, ValueError) as error:
        raise DecodeError(f"{path}: {getattr(error, 'strerror', None) or error}") from error
    if stat.S_ISDIR(status.st_mode):
        raise DecodeError(f"{path}: a folder, not a video file")
    if not stat.S_ISREG(status.st_mode):
        raise DecodeError(f"{path}: a device or pipe, not a video file")
    if status.st_size == 0:
        raise DecodeError(f"{path}: an empty file, not a video")


def _choose_stream(container: InputContainer, path: str | os.PathLike[str]) -> VideoStream:
    streams = [
        stream
        for stream in container.streams.video
        if not stream.disposition & _NOT_MOVING and not is_picture_item(stream)
    ]
    if not streams:
        if container.streams.video and len(container.streams.video) == len(container.streams):
            raise DecodeError(f"{path}: {_STILL}")
        kinds = ["still picture" if stream.type == "video" else stream.type for stream in container.streams]
        raise DecodeError(f"{path}: no video stream (found: {', '.join(kinds) or 'no streams'})")
    counts = [_num_stated_frames(stream) for stream in streams]
    chosen = next(stream for stream, count in zip(streams, counts, strict=True) if 2 * count >= max(counts))
    for stream in container.streams:
        if stream.index != chosen.index:
            stream.discard = Discard.all
    return chosen


def _num_stated_frames(stream: VideoStream) -> float:
    """Number of frames of a stream according to the header; 0 if unknown, or if it makes no sense."""
    rate = stream.average_rate or stream.guessed_rate or 0
    return max(0.0, stream.frames or (stated_end_s(stream) or 0.0) * float(rate))


def _check_codec(stream: VideoStream, path: str | os.PathLike[str], codecs: frozenset[str]) -> None:
    if stream.codec_context is None:
        raise DecodeError(f"{path}: FFmpeg has no decoder for the video stream")
    name = stream.codec_context.codec.canonical_name
    if name not in codecs:
        raise CodecError(
            f"{path}: the codec {name} is rare and not decoded by default; if you trust the file, "
            f"pass allow_codecs=({name!r},) (--allow-codec {name})",
            codec=name,
        )


def _check_size(width: int, height: int, path: str | os.PathLike[str]) -> None:
    if reason := too_many_pixels(width, height):
        raise DecodeError(f"{path}: {reason}")
