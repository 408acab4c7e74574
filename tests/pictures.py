"""Still and animated pictures for tests, written at run time."""

import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from struct import pack

import av
import numpy as np
from jaxtyping import UInt8
from PIL import ExifTags, Image

from videos import draw_frame, write_video

QUIET = {"codec_options": {"x265-params": "log-level=none"}}
"""Keeps x265 from writing to stderr."""


def write_picture(path: Path, *, num_frames: int = 1, alpha: int = 255, kind: str = "") -> Path:
    """Write frames 0, 1, 2, ... as one picture, animated where there are several, and give the path back.

    Args:
        alpha: Opacity of all pixels; less than 255 gives AVIF a second picture, or a second track, of opacity.
        kind: Pillow's name of the format; empty goes by the suffix.
    """
    frames = [Image.fromarray(draw_frame(index)) for index in range(num_frames)]
    if alpha < 255:
        for frame in frames:
            frame.putalpha(alpha)
    more = {"save_all": True, "append_images": frames[1:], "duration": 40} if num_frames > 1 else {}
    frames[0].save(path, **({"format": kind} if kind else {}), **more)
    return path


def write_folder(folder: Path, frames: Iterable[UInt8[np.ndarray, "h w 3"]]) -> Path:
    """Write frames as a folder of numbered PNGs, and give it back."""
    folder.mkdir()
    for number, frame in enumerate(frames):
        Image.fromarray(frame).save(folder / f"{number}.png")
    return folder


def write_turned_jpegs(path: Path, orientation: int, *, num_frames: int = 4) -> Path:
    """Write frames 0, 1, 2, ... as a raw stream of JPEGs, stored so that their EXIF orientation brings them upright."""
    tags = Image.Exif()
    tags[ExifTags.Base.Orientation] = orientation
    path.write_bytes(b"")
    for index in range(num_frames):
        frame, turn = Image.fromarray(draw_frame(index)), _STORED.get(orientation)
        content = io.BytesIO()
        (frame if turn is None else frame.transpose(turn)).save(content, format="JPEG", quality=95, exif=tags)
        with path.open("ab") as file:
            file.write(content.getvalue())
    return path


_STORED = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
"""From upright to stored, for each EXIF orientation but 1."""


def write_heif(path: Path, *, brand: bytes = b"heic", num_tiles: int = 1) -> Path:
    """Write frame 0 as a still HEIF picture in HEVC, as phones do: as one item, or as a grid of equal tiles."""
    with av.open(
        write_video(path.with_suffix(".mp4"), num_frames=1, codec="libx265", height=64, width=128, **QUIET)
    ) as file:
        config = bytes(file.streams.video[0].codec_context.extradata or b"")
        picture = next(bytes(packet) for packet in file.demux(video=0) if packet.size)
    path.with_suffix(".mp4").unlink()
    is_grid = num_tiles > 1
    kinds = [b"hvc1"] * num_tiles + [b"grid"] * is_grid
    grid = pack(">BBBBHH", 0, 0, 0, num_tiles - 1, 128 * num_tiles, 64)
    contents = [picture] * num_tiles + [grid] * is_grid
    properties = _box(b"hvcC", config) + _full_box(b"ispe", pack(">II", 128, 64))
    properties += _full_box(b"ispe", pack(">II", 128 * num_tiles, 64))
    links = b"".join(pack(">HBBB", number, 2, 0x81, 2) for number in range(1, num_tiles + 1))
    links += pack(">HBB", num_tiles + 1, 1, 3) if is_grid else b""
    named = [_full_box(b"infe", pack(">HH4sx", number, 0, kind), version=2) for number, kind in enumerate(kinds, 1)]
    about = _full_box(b"hdlr", pack(">I4s12xx", 0, b"pict")) + _full_box(b"pitm", pack(">H", len(kinds)))
    about += _full_box(b"iinf", pack(">H", len(kinds)) + b"".join(named))
    if is_grid:
        tiles = pack(f">HH{num_tiles}H", num_tiles + 1, num_tiles, *range(1, num_tiles + 1))
        about += _full_box(b"iref", _box(b"dimg", tiles))
    about += _box(b"iprp", _box(b"ipco", properties) + _full_box(b"ipma", pack(">I", len(kinds)) + links))
    head = _box(b"ftyp", brand + bytes(4) + b"mif1" + brand)
    start = len(head) + 12 + len(about) + len(_places(contents, 0)) + 8
    meta = _full_box(b"meta", about + _places(contents, start))
    path.write_bytes(head + meta + _box(b"mdat", b"".join(contents)))
    return path


def _places(contents: Sequence[bytes], start: int) -> bytes:
    """The box that says where the content of each item lies."""
    entries, at = b"", start
    for number, content in enumerate(contents, 1):
        entries += pack(">HHHII", number, 0, 1, at, len(content))
        at += len(content)
    return _full_box(b"iloc", pack(">BBH", 0x44, 0, len(contents)) + entries)


def _box(kind: bytes, content: bytes) -> bytes:
    return pack(">I4s", 8 + len(content), kind) + content


def _full_box(kind: bytes, content: bytes, *, version: int = 0) -> bytes:
    return _box(kind, pack(">I", version << 24) + content)
