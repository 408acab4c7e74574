"""Damaged copies of real videos, for `benchmarks/fuzz_decoder.py`: the same for the same seed."""

import random
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
import numpy as np
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from timesformer.data.video.codecs import DEFAULT_CODECS
from timesformer.data.video.paths import VIDEO_SUFFIXES

SUFFIXES = (".mp4", ".mkv", ".avi", ".mov", ".webm", ".ts", ".flv", ".ogv", ".wmv", ".mxf", ".nut", ".mpg", ".gif",
            ".rm", ".dv", ".swf", ".ivf", ".y4m", ".h264", ".hevc", ".m1v", ".m2v", ".h261", ".h263", ".mjpeg",
            ".3gp")  # fmt: skip
"""Containers to try with every codec; raw streams among them."""
HARDWARE = ("_amf", "_nvenc", "_qsv", "_v4l2m2m", "_vaapi", "_vulkan")
SIZES = {"h261": (176, 144), "h263": (176, 144), "dvvideo": (720, 576), "dnxhd": (1920, 1080)}
"""Width and height that a codec demands."""
USUAL_SIZE = (96, 64)
NUM_FRAMES = 20
MAX_BYTES = 2**22
"""Videos of a folder that are larger are cut off."""
LENGTHS = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
"""Values that sizes and counts are changed to."""


@dataclass(frozen=True)
class Source:
    """A video to damage."""

    name: str
    suffix: str
    content: bytes


def made_sources(folder: Path) -> Iterator[Source]:
    """A small video of each codec that is decoded by default and can be encoded, in each container that takes it.

    Args:
        folder: Place for temporary files.
    """
    for codec, encoder in sorted(_encoders().items()):
        for suffix in SUFFIXES:
            path = folder / f"{codec}{suffix}"
            if _write(path, codec=codec, encoder=encoder):
                yield Source(path.name, suffix, path.read_bytes())
            path.unlink(missing_ok=True)


def given_sources(folder: Path) -> Iterator[Source]:
    """The videos in a folder."""
    for path in sorted(path for path in folder.rglob("*") if path.suffix.lower() in VIDEO_SUFFIXES and path.is_file()):
        with path.open("rb") as file:
            yield Source(path.name, path.suffix, file.read(MAX_BYTES))


def mutate(sources: Sequence[Source], *, seed: int, number: int) -> tuple[Source, bytes, str]:
    """A damaged video.

    Args:
        sources: Whole videos.
        seed: Seed of the run.
        number: Number of the file in the run.

    Returns:
        The video that was damaged, its new content, and the damage.
    """
    draw = random.Random(f"{seed}/{number}")
    source = draw.choice(sources)
    content, kinds = bytearray(source.content), []
    for _ in range(draw.choice((1, 1, 2, 3))):
        kind, change = draw.choice(list(_MUTATIONS.items()))
        content = change(content, draw, sources)
        kinds.append(kind)
    return source, bytes(content), "+".join(kinds)


def _flip_bits(content: bytearray, draw: random.Random, _: Sequence[Source]) -> bytearray:
    for _flip in range(draw.choice((1, 4, 32, 256))):
        if content:
            content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
    return content


def _flip_bits_of_header(content: bytearray, draw: random.Random, _: Sequence[Source]) -> bytearray:
    return _flip_bits(content[:512], draw, _) + content[512:]


def _truncate(content: bytearray, draw: random.Random, _: Sequence[Source]) -> bytearray:
    return content[: draw.randrange(len(content) + 1)]


def _drop_block(content: bytearray, draw: random.Random, _: Sequence[Source]) -> bytearray:
    start, end = _span(content, draw)
    return content[:start] + content[end:]


def _zero_block(content: bytearray, draw: random.Random, _: Sequence[Source]) -> bytearray:
    start, end = _span(content, draw)
    content[start:end] = bytes(end - start)
    return content


def _noise_block(content: bytearray, draw: random.Random, _: Sequence[Source]) -> bytearray:
    start, end = _span(content, draw)
    content[start:end] = draw.randbytes(end - start)
    return content


def _repeat_block(content: bytearray, draw: random.Random, _: Sequence[Source]) -> bytearray:
    start, end = _span(content, draw)
    return content[:end] + content[start:end] * draw.choice((1, 2, 20)) + content[end:]


def _splice(content: bytearray, draw: random.Random, sources: Sequence[Source]) -> bytearray:
    other = draw.choice(sources).content
    cut, start = draw.randrange(len(content) + 1), draw.randrange(len(other) + 1)
    return content[:cut] + other[start:]


def _swap_header(content: bytearray, draw: random.Random, sources: Sequence[Source]) -> bytearray:
    length = draw.choice((4, 16, 64, 256, 1024))
    return bytearray(draw.choice(sources).content[:length]) + content[length:]


def _change_box_size(content: bytearray, draw: random.Random, _: Sequence[Source]) -> bytearray:
    """Change the length next to a name of four letters: before it in MP4, after it in RIFF."""
    names = [match.start() for match in re.finditer(rb"[a-zA-Z][a-zA-Z0-9 ]{3}", content)]
    if not names:
        return content
    name = draw.choice(names)
    is_riff = content[:4] == b"RIFF"
    at = name + 4 if is_riff else max(0, name - 4)
    content[at : at + 4] = draw.choice(LENGTHS).to_bytes(4, "little" if is_riff else "big")
    return content


def _change_number(content: bytearray, draw: random.Random, _: Sequence[Source]) -> bytearray:
    """Change a number of 1, 2, 4 or 8 bytes in the first or the last kilobytes, where counts and sizes are."""
    size = draw.choice((1, 2, 4, 4, 8))
    reach = min(len(content), 4096)
    at = draw.randrange(reach + 1) if draw.random() < 0.5 else len(content) - draw.randrange(reach + 1)
    number = draw.choice(LENGTHS) % 2 ** (8 * size)
    content[at : at + size] = number.to_bytes(size, draw.choice(("big", "little")))
    return content


_MUTATIONS: dict[str, Callable[[bytearray, random.Random, Sequence[Source]], bytearray]] = {
    "flip bits": _flip_bits,
    "flip bits of the header": _flip_bits_of_header,
    "truncate": _truncate,
    "drop block": _drop_block,
    "zero block": _zero_block,
    "noise block": _noise_block,
    "repeat block": _repeat_block,
    "splice": _splice,
    "swap header": _swap_header,
    "change box size": _change_box_size,
    "change number": _change_number,
}


def _span(content: bytearray, draw: random.Random) -> tuple[int, int]:
    start = draw.randrange(len(content) + 1)
    return start, min(len(content), start + draw.choice((1, 16, 256, 4096)))


def _encoders() -> dict[str, str]:
    """An encoder in software of each codec that is decoded by default."""
    found: dict[str, str] = {}
    for name in sorted(av.codecs_available):
        try:
            codec = av.Codec(name, "w")
        except av.codec.codec.UnknownCodecError:  # a decoder
            continue
        if codec.canonical_name in DEFAULT_CODECS and codec.type == "video" and not name.endswith(HARDWARE):
            found.setdefault(codec.canonical_name, name)
    return found


def _write(path: Path, *, codec: str, encoder: str) -> bool:
    """Write a video; False if the container does not take the codec, or the encoder is not usable."""
    width, height = SIZES.get(codec, USUAL_SIZE)
    formats = av.Codec(encoder, "w").video_formats
    try:
        # without the time and random identifiers, so that a seed gives the same files again
        with av.open(path, "w", options={"fflags": "+bitexact"}) as container:
            stream = cast(VideoStream, container.add_stream(encoder, rate=25))
            stream.width, stream.height = width, height
            stream.pix_fmt = formats[0].name if formats else "yuv420p"
            stream.gop_size, stream.thread_count = 6, 1
            stream.options = {"x265-params": "log-level=none", "svtav1-params": "log-level=0"}
            for number in range(NUM_FRAMES):
                frame = VideoFrame.from_ndarray(_picture(number, width=width, height=height))
                frame.pts, frame.time_base = number, Fraction(1, 25)
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
    except (av.FFmpegError, ValueError):
        return False
    return path.stat().st_size > 0


def _picture(number: int, *, width: int, height: int) -> np.ndarray:
    columns = (np.arange(width) + 3 * number) % 64 * 4
    rows = (np.arange(height) * 2 + number) % 256
    picture = np.stack(np.broadcast_arrays(columns[None], rows[:, None], (columns[None] + rows[:, None]) // 2), axis=-1)
    return picture.astype(np.uint8)
