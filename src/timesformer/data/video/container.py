"""Open a file as a video, or say in one line why it is none."""

import math
import os
import stat
from collections.abc import Collection, Iterator
from contextlib import closing, suppress
from fractions import Fraction

import av
from av.container import InputContainer
from av.filter import Graph
from av.packet import Packet
from av.sidedata.sidedata import Type
from av.stream import Discard, Disposition
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from timesformer.data.video.codecs import allowed_codecs, decoder_names
from timesformer.data.video.header import as_fraction, stated_end_s
from timesformer.data.video.still_pictures import PICTURE_FORMATS, is_animated_webp, is_picture_item, picture_kind
from timesformer.data.video.tar_member import MemberFile, find_member
from timesformer.errors import CodecError, DecodeError

_PLAYLISTS = frozenset(
    {"concat", "concatf", "dash", "hls", "imf", "mlv", "rtsp", "sdp", "vobsub", "webm_dash_manifest"}
)
"""Formats that open other files: those that a list names, even over a network, or those with a name like theirs."""
_TEXT_AND_PIXELS = frozenset({"adf", "bin", "idf", "tty", "xbin", "rawvideo", "image2", "image2pipe"})
"""Formats that would draw a text, or that anything fits."""
_DEVICES = frozenset({"alsa", "fbdev", "kmsgrab", "lavfi", "oss", "rtp", "sap", "video4linux2,v4l2", "x11grab"})
"""Formats that read something else than a file."""
_FORMATS = ",".join(sorted(av.formats_available - _PLAYLISTS - _TEXT_AND_PIXELS - _DEVICES - PICTURE_FORMATS))
_NOT_MOVING = Disposition.attached_pic | Disposition.still_image | Disposition.timed_thumbnails
_NO_TIMESTAMPS = av.format.Flags.no_timestamps.value
_REJECTS_BAD_TAGS = int(av.__version__.partition(".")[0]) < 19
"""Whether PyAV has to be told that tags may be in any encoding."""
_MAX_SIDE_DATA_KINDS = 64
"""Twice the kinds of side data that FFmpeg 8 has."""
_NO_VIDEO = "not a video, or cut off before its index"
_STILL = "a still picture, not a video"
_HEAD_BYTES = 2**16
_MAX_PIXELS = 2**26
"""Twice the size of an 8K frame; a small file can claim more."""


def open_video(
    path: str | os.PathLike[str], *, num_threads: int, allow_codecs: Collection[str] = ()
) -> tuple[InputContainer, VideoStream]:
    """Open a file and choose a video stream; all other streams are switched off.

    It is the first that is neither a cover nor a picture of an AVIF or HEIF file, without those that are known to have
    less than half as many frames as another, such as previews.

    Args:
        path: The file, which may lie in a tar file: see `timesformer.data.video.tar_member`.
        num_threads: Threads that decode; 0 takes one for each core.
        allow_codecs: Codecs that may be decoded beside those of `timesformer.data.video.codecs`.

    Raises:
        DecodeError: The file is missing, unreadable or a still picture, or no video stream in it can be decoded.
        CodecError: Its codec is not among those that may be decoded; no decoder has seen any of it.
        ConfigError: One of `allow_codecs` is not a codec.
    """
    codecs = allowed_codecs(allow_codecs)
    container = _open_file(path, codecs)
    try:
        _check_is_mjpeg_stream(container, path)
        stream = _choose_stream(container, path)
        _check_codec(stream, path, codecs)
        _check_size(stream, path)
    except DecodeError:
        container.close()
        raise
    stream.thread_count = num_threads
    stream.thread_type = "NONE" if num_threads == 1 else "AUTO"
    return container, stream


def demux(container: InputContainer, stream: VideoStream) -> Iterator[Packet]:
    """The stream's packets from here to the end, or to where the file cannot be read on."""
    # An empty packet tells the decoder that the file ends, wherever it comes. The IndexError is PyAV's own, after the
    # last packet of files in which a stream turns up late.
    with suppress(av.FFmpegError, IndexError):
        for packet in container.demux(stream):
            if packet.size:
                yield packet


def decode_or_skip(stream: VideoStream, packet: Packet | None) -> list[VideoFrame]:
    """The frames that a packet completes, none where it is damaged; None for a packet asks for all that remain."""
    try:
        return stream.decode(packet)
    except av.FFmpegError:
        return []


def has_timestamps(container: InputContainer, stream: VideoStream) -> bool:
    """Whether a format says when frames are shown, and not only in which order they are stored."""
    # AVI counts frames as stored. With B-frames FFmpeg guesses the rest, wrongly for H.264.
    is_reordered_avi = container.format.name == "avi" and stream.codec_context.has_b_frames
    return not is_reordered_avi and not container.format.flags & _NO_TIMESTAMPS


def time_base_of(stream: VideoStream) -> Fraction:
    """Unit of a stream's timestamps, in seconds; microseconds where a damaged header says none or 0."""
    return as_fraction(stream.time_base) or Fraction(1, av.time_base)


def orientation(copy: VideoFrame) -> tuple[int, bool]:
    """Quarter turns counter-clockwise that bring a frame upright, and whether it has to be mirrored before.

    Args:
        copy: A small copy of the frame: reading side data ties a frame into a reference cycle that outlives its reader.
    """
    try:
        matrix = copy.side_data.get("DISPLAYMATRIX")
    except ValueError:  # of a kind of side data that FFmpeg has and PyAV does not know, such as EXIF in 18
        matrix = _with_known_side_data(copy).side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return 0, False
    # Rightwards (1, 0) is displayed as (a, b) and downwards (0, 1) as (c, d), with y pointing down.
    a, b, _, c, d = memoryview(bytes(matrix)).cast("i")[:5].tolist()
    is_mirrored = a * d - b * c < 0
    if is_mirrored:
        a, b = -a, -b
    return round(math.atan2(-b, a) / (math.pi / 2)) % 4, is_mirrored


def _with_known_side_data(copy: VideoFrame) -> VideoFrame:
    """The frame without side data of kinds that are newer than PyAV, which gives none where it does not know one."""
    graph = Graph()
    graph.threads = 1  # a pool would hang a process that is forked before the graph is freed
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
    # Absolute, or a file called `pipe:0` would be taken for a protocol.
    source = os.path.abspath(path) if member is None else MemberFile(member, path)
    options = {
        "format_whitelist": _FORMATS,
        "protocol_whitelist": "file",
        # what FFmpeg itself decodes to find sizes and colors; the decoder that PyAV opens does not heed it
        "codec_whitelist": decoder_names(codecs),
    }
    try:
        if _REJECTS_BAD_TAGS:
            return av.open(source, "r", container_options=options, metadata_errors="ignore")
        return av.open(source, "r", container_options=options)
    except av.FFmpegError as error:
        raise DecodeError(f"{path}: {_picture_message(path) or f'{_NO_VIDEO} ({error.strerror})'}") from error


def _picture_message(path: str | os.PathLike[str]) -> str:
    """What a file is that FFmpeg does not open as a video; empty where it is not known."""
    head = _head(path)
    if is_animated_webp(head):
        return "an animated WebP, which FFmpeg does not decode before version 9: write it as MP4 or GIF"
    kind = picture_kind(head)
    return f"{_STILL} ({kind})" if kind else ""


def _head(path: str | os.PathLike[str]) -> bytes:
    member = find_member(path)
    try:
        with closing(open(path, "rb") if member is None else MemberFile(member, path)) as file:
            return file.read(_HEAD_BYTES)
    except OSError:
        return b""


def _check_is_mjpeg_stream(container: InputContainer, path: str | os.PathLike[str]) -> None:
    """Refuse what only looks like a raw stream of JPEGs: pictures of several views, and documents with JPEGs inside."""
    if container.format.name == "mjpeg":
        head = _head(path)
        kind = picture_kind(head)
        if kind or not head.startswith(b"\xff\xd8"):
            raise DecodeError(f"{path}: {f'{_STILL} ({kind})' if kind else f'{_NO_VIDEO} (JPEGs in something else)'}")


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
        raise DecodeError(f"{path}: no video stream (found: {', '.join(kinds) or 'no stream at all'})")
    counts = [_num_stated_frames(stream) for stream in streams]
    chosen = next(stream for stream, count in zip(streams, counts, strict=True) if 2 * count >= max(counts))
    for stream in container.streams:
        if stream.index != chosen.index:
            stream.discard = Discard.all
    return chosen


def _num_stated_frames(stream: VideoStream) -> float:
    """Frames that the header gives a stream; 0 where it says nothing of them."""
    rate = stream.average_rate or stream.guessed_rate or 0
    return stream.frames or (stated_end_s(stream) or 0.0) * float(rate)


def _check_codec(stream: VideoStream, path: str | os.PathLike[str], codecs: frozenset[str]) -> None:
    if stream.codec_context is None:
        raise DecodeError(f"{path}: no decoder for its video stream")
    name = stream.codec_context.codec.canonical_name
    if name not in codecs:
        raise CodecError(
            f"{path}: its codec {name} is one that few videos have and is not decoded unasked; if you trust the file, "
            f"allow it: --allow-codec {name} (in Python: allow_codecs=({name!r},))",
            codec=name,
        )


def _check_size(stream: VideoStream, path: str | os.PathLike[str]) -> None:
    if stream.width * stream.height > _MAX_PIXELS:
        raise DecodeError(f"{path}: frames of {stream.width}x{stream.height}, above {_MAX_PIXELS} pixels")
