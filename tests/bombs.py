"""Small files that claim, or expand to, far more than they hold; made at run time."""

import io
import struct
import tarfile
import zipfile
import zlib
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import torch
from av.packet import Packet
from PIL import Image

from videos import write_video

GIB = 2**30


def mp4_of_many_frames(path: Path, count: int) -> Path:
    """An MP4 of 3 frames whose index claims `count` frames of one size, in one chunk."""
    content = bytearray(write_video(path, num_frames=3, codec="mpeg4").read_bytes())
    for name, entry in ((b"stsz", struct.pack(">II", 1, count)), (b"stts", struct.pack(">III", 1, count, 1)),
                        (b"stsc", struct.pack(">IIII", 1, 1, count, 1))):  # fmt: skip
        at = content.index(name) + 8
        content[at : at + len(entry)] = entry
    path.write_bytes(content)
    return path


def fragment_of_many_frames(path: Path, count: int) -> Path:
    """A fragmented MP4 whose only fragment claims `count` frames that share their size."""
    write_video(path, num_frames=3, codec="mpeg4")
    fragmented = path.with_suffix(".frag.mp4")
    with (
        av.open(path) as source,
        av.open(fragmented, "w", options={"movflags": "empty_moov+frag_keyframe+default_base_moof"}) as target,
    ):
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(source.streams.video[0]):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    content = bytearray(fragmented.read_bytes())
    at = content.index(b"trun") + 4
    content[at : at + 8] = struct.pack(">II", 0, count)
    path.write_bytes(content)
    fragmented.unlink()
    return path


def video_of_large_frames(path: Path, *, width: int, height: int) -> Path:
    """A small MOV whose header claims frames of some size, in 16 bits, of a codec that stores no size of its own."""
    content = bytearray(write_video(path, num_frames=3, codec="qtrle", pix_fmt="rgb24").read_bytes())
    at = content.index(b"stsd") + 4 + 8 + 32
    content[at : at + 4] = struct.pack(">HH", width, height)
    path.write_bytes(content)
    return path


def gif_of_large_frames(path: Path, *, width: int, height: int) -> Path:
    """A GIF of two frames, of a few hundred bytes, whose canvas has some size."""
    frames = [Image.new("P", (8, 8), color) for color in (0, 1)]
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=40)
    content = bytearray(path.read_bytes())
    content[6:10] = struct.pack("<HH", width, height)
    path.write_bytes(content)
    return path


def video_that_grows(path: Path, *, side: int) -> Path:
    """An MJPEG video of small frames, then one of `side` x `side` pixels, which its header does not tell."""
    with av.open(path, "w") as container:
        stream = container.add_stream("mjpeg", rate=25)
        stream.width, stream.height, stream.pix_fmt = 80, 48, "yuvj420p"
        for number, size in enumerate(((80, 48), (80, 48), (side, side), (80, 48))):
            packet = Packet(_jpeg(size))
            packet.pts = packet.dts = number
            packet.time_base, packet.stream, packet.is_keyframe = Fraction(1, 25), stream, True
            container.mux(packet)
    return path


def _jpeg(size: tuple[int, int]) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, (90, 90, 90)).save(file, "JPEG")
    return file.getvalue()


def png_of(path: Path, *, width: int, height: int) -> Path:
    """A black PNG of one bit per pixel, of any size."""
    line, packer = bytes(1 + -(-width // 8)), zlib.compressobj(9)
    pixels = b"".join(packer.compress(line) for _ in range(height)) + packer.flush()
    head = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    chunks = ((b"IHDR", head), (b"IDAT", pixels), (b"IEND", b""))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(*chunk) for chunk in chunks))
    return path


def _chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def tar_with_claim(path: Path, *, size: int, kind: bytes) -> Path:
    """A tar file of a member that claims a size: a file, or an extended header, which tar readers hold in memory."""
    info = tarfile.TarInfo("a.mp4")
    info.type, info.size = kind, size
    path.write_bytes(info.tobuf(tarfile.GNU_FORMAT) + bytes(4096))
    return path


def pth_bomb(path: Path, *, num_bytes: int) -> Path:
    """Weights of one tensor of zeros, compressed, which torch itself never does."""
    buffer = io.BytesIO()
    torch.save({"patch_embed.proj.weight": torch.zeros(num_bytes // 4)}, buffer)
    with zipfile.ZipFile(buffer) as plain, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for info in plain.infolist():
            packed.writestr(info.filename, plain.read(info))
    return path


def pth_of_repeated(path: Path, *, count: int) -> Path:
    """Weights of a tensor that repeats one number, which the file holds once."""
    torch.save({"patch_embed.proj.weight": torch.zeros(1).expand(count)}, path)
    return path


def npz_bomb(path: Path, **arrays: np.ndarray) -> Path:
    """A compressed archive of arrays."""
    np.savez_compressed(path, **arrays)
    return path


def sparse_file(path: Path, *, num_bytes: int) -> Path:
    """A file of zeros that takes no space on disk."""
    with path.open("wb") as file:
        file.truncate(num_bytes)
    return path
