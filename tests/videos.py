"""Real video files for tests, written at run time: the number of each frame can be read back from its pixels.

The upper half of a frame holds the number as ten black or white columns, highest bit first; the lower half is red on
the left and blue on the right. So a frame also shows whether it is upright or mirrored.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from struct import pack
from typing import cast

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from jaxtyping import Float, UInt8
from PIL import Image

NUM_BITS = 10
MAX_INDEX = 2**NUM_BITS - 1
LEFT, RIGHT = (200, 30, 30), (30, 30, 200)


def touch(folder: Path, *names: str) -> Path:
    """Make empty files and the folders above them, and give the folder back."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return folder


def draw_frame(index: int, *, height: int = 48, width: int = 80) -> UInt8[np.ndarray, "h w 3"]:
    """An RGB frame with its number drawn in; at least 20 x 40 pixels survive lossy codecs."""
    frame = np.empty((height, width, 3), dtype=np.uint8)
    bits = [255 * (index >> bit & 1) for bit in reversed(range(NUM_BITS))]
    frame[: height // 2] = np.array(bits, dtype=np.uint8)[np.arange(width) * NUM_BITS // width, None]
    frame[height // 2 :, : width // 2] = LEFT
    frame[height // 2 :, width // 2 :] = RIGHT
    return frame


def frame_index(frame: UInt8[np.ndarray, "h w 3"]) -> int:
    """The number drawn in a frame.

    Raises:
        ValueError: The frame is not one of ours, or not upright.
    """
    height, width, _ = frame.shape
    lower = frame[height // 2 + height // 8 :]
    sides = _mean(lower[:, : width // 3]), _mean(lower[:, -(width // 3) :])
    if any(np.abs(side - color).max() > 60 for side, color in zip(sides, (LEFT, RIGHT), strict=True)):
        raise ValueError(f"not an upright test frame: its lower corners are {sides[0].round()} and {sides[1].round()}")
    edges = np.arange(NUM_BITS + 1) * width / NUM_BITS
    centers = ((edges[:-1] + edges[1:]) / 2).astype(int)
    bright = [frame[height // 8 : height // 2 - height // 8, x].mean() > 127 for x in centers]
    return int("".join(str(int(bit)) for bit in bright), 2)


def frame_indices(clip: UInt8[np.ndarray, "t h w 3"]) -> list[int]:
    """The numbers drawn in the frames of a clip."""
    return [frame_index(frame) for frame in clip]


def write_video(
    path: Path,
    *,
    num_frames: int = 10,
    height: int = 48,
    width: int = 80,
    fps: Fraction | int = 25,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    gop: int = 12,
    num_b_frames: int = 0,
    times_ms: Sequence[int] | None = None,
    codec_options: Mapping[str, str] | None = None,
    format_options: Mapping[str, str] | None = None,
    metadata: Mapping[str, str] | None = None,
) -> Path:
    """Write frames 0, 1, 2, ... in a container chosen by the suffix, and give the path back.

    Args:
        gop: Frames from one key frame to the next.
        times_ms: When each frame is shown, in milliseconds, for a variable frame rate; None spaces them by `fps`.
        codec_options: Options of the encoder, such as `{"x264-params": "open-gop=1"}`.
        format_options: Options of the container, such as `{"movflags": "faststart"}`.
        metadata: Tags of the file.
    """
    time_base = Fraction(1, 1000) if times_ms is not None else 1 / Fraction(fps)
    times = times_ms if times_ms is not None else range(num_frames)
    with av.open(path, "w", options=dict(format_options or {})) as container:
        container.metadata.update(metadata or {})
        stream = cast(VideoStream, container.add_stream(codec, rate=Fraction(fps), options=dict(codec_options or {})))
        stream.width, stream.height, stream.pix_fmt = width, height, pix_fmt
        context = stream.codec_context
        context.time_base, context.gop_size, context.max_b_frames = time_base, gop, num_b_frames
        context.thread_count = 1
        for index, time in zip(range(num_frames), times, strict=True):
            frame = VideoFrame.from_ndarray(draw_frame(index, height=height, width=width), format="rgb24")
            frame = frame.reformat(format=pix_fmt, threads=1)
            frame.pts, frame.time_base = time, time_base
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def write_timed(
    path: Path,
    times: Sequence[int | None],
    *,
    time_base: Fraction = Fraction(1, 1000),
    decode_times: Sequence[int | None] | None = None,
    fps: Fraction | int = 25,
    codec: str = "libx264",
    frames: UInt8[np.ndarray, "t h w 3"] | None = None,
) -> Path:
    """Write frames 0, 1, 2, ... with any timestamps, which may be equal, falling or None, and give the path back.

    Args:
        times: When each frame is shown, in units of `time_base`; a container may round them or refuse.
        decode_times: When each is decoded; None takes `times`. Most containers want them to rise.
        fps: Rate that the header states.
        frames: Frames to write instead, as many as times.
    """
    frames = np.stack([draw_frame(index) for index in range(len(times))]) if frames is None else frames
    with av.open(path, "w") as container:
        stream = cast(VideoStream, container.add_stream(codec, rate=Fraction(fps)))
        (stream.height, stream.width), stream.pix_fmt = frames.shape[1:3], "yuv420p"
        stream.codec_context.thread_count, stream.codec_context.max_b_frames = 1, 0
        stream.time_base = time_base
        packets = []
        for index, picture in enumerate(frames):
            frame = VideoFrame.from_ndarray(picture, format="rgb24").reformat(format="yuv420p", threads=1)
            frame.pts, frame.time_base = index, 1 / Fraction(fps)
            packets += stream.encode(frame)
        packets += stream.encode(None)
        for packet, shown, decoded in zip(packets, times, decode_times or times, strict=True):
            packet.pts, packet.dts, packet.duration, packet.time_base = shown, decoded, 0, time_base
            container.mux_one(packet)
    return path


def write_frames(
    folder: Path,
    *,
    num_frames: int = 10,
    height: int = 48,
    width: int = 80,
    name: str = "{:05d}.png",
    numbers: Sequence[int] | None = None,
) -> Path:
    """Write frames 0, 1, 2, ... as pictures, and give the folder back; PNG keeps them to the bit.

    Args:
        name: Format of a file's name, whose suffix chooses the kind.
        numbers: The number in each name; None counts from 1.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for index, number in enumerate(numbers or range(1, num_frames + 1)):
        Image.fromarray(draw_frame(index, height=height, width=width)).save(folder / name.format(number))
    return folder


def write_audio(path: Path, *, with_cover: bool = False) -> Path:
    """Write a second of silence as MP3, on request with a cover picture as music files have one."""
    with av.open(path, "w", format="mp3") as container:
        sound = container.add_stream("mp3", rate=44100)
        if with_cover:
            cover = container.add_stream("png", rate=1)
            cover.width, cover.height, cover.pix_fmt = 40, 20, "rgb24"
            cover.disposition = Disposition.attached_pic
            picture = VideoFrame.from_ndarray(draw_frame(0, height=20, width=40), format="rgb24")
            container.mux(cover.encode(picture))
        for start in range(0, 44100, 1152):
            samples = AudioFrame.from_ndarray(np.zeros((2, 1152), dtype=np.float32), format="fltp", layout="stereo")
            samples.sample_rate, samples.pts = 44100, start
            container.mux(sound.encode(samples))
        container.mux(sound.encode(None))
    return path


def decode_all(path: Path) -> UInt8[np.ndarray, "t h w 3"]:
    """Every frame that PyAV decodes from the first packet to the last, as stored, with no code of ours."""
    frames = []
    with av.open(path) as file:
        for packet in file.demux(video=0):
            with suppress(av.FFmpegError):
                frames += [frame.to_ndarray(format="rgb24") for frame in packet.decode()]
    return np.stack(frames)


def damage_packets(path: Path, positions: Sequence[int]) -> Path:
    """Overwrite packets with zeros, counted in the order of decoding."""
    data = bytearray(path.read_bytes())
    with av.open(path) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
        places = [(packets[position].pos, packets[position].size) for position in positions]
    for offset, size in places:
        assert offset is not None
        data[offset : offset + size] = bytes(size)
    path.write_bytes(data)
    return path


def set_display_matrix(path: Path, matrix: tuple[int, int, int, int]) -> Path:
    """Write how an MP4 is displayed: where (1, 0) and (0, 1), rightwards and downwards, end up.

    `(0, 1, -1, 0)` is a phone held upright, a quarter turn clockwise. PyAV cannot write it, so bytes are patched.
    """
    data = bytearray(path.read_bytes())
    start = data.index(b"tkhd") + 44
    a, b, c, d = (value << 16 for value in matrix)
    data[start : start + 36] = pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    return path


def cut_off(path: Path, share: float) -> Path:
    """Keep only the first part of a file, as a broken download or a full disk does."""
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    return path


def _mean(patch: UInt8[np.ndarray, "h w 3"]) -> Float[np.ndarray, "3"]:
    return patch.reshape(-1, 3).mean(axis=0)
