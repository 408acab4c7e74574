"""Reader of a video stored as a folder of numbered pictures.

Frames are sorted by number and counted from 0, whatever the first number is. Numbers increase by a constant step; a gap
is an error that names the missing frame, since it would shift all later ones. Pictures are rotated and mirrored by
their EXIF orientation, as viewers do; upright, each must have the size of the first.
"""

import os
import struct
import warnings
import zlib
from collections.abc import Generator, Iterable
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import IO, SupportsIndex

import numpy as np
from jaxtyping import Float64, UInt8
from PIL import ExifTags, Image, UnidentifiedImageError

from timesformer.bounds import TOO_LITTLE_MEMORY, too_many_pixels
from timesformer.data.video.file_reader import VideoInfo, checked_indices
from timesformer.data.video.paths import list_frames
from timesformer.errors import DecodeError

FRAMES_PER_SECOND = 30.0
"""Assumed rate of a folder of frames: that at which frames of Something-Something v2 are extracted."""

_DAMAGE = (OSError, ValueError, SyntaxError, EOFError, struct.error, zlib.error, Image.DecompressionBombError)

_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""Transformation that brings a picture upright, by EXIF orientation; orientation 1 needs none."""
_SWAPS_SIDES = range(5, 9)


class FrameFolderReader:
    """Context manager that reads a folder of frames, with the interface of `VideoReader`.

    Args:
        path: The folder.

    Raises:
        DecodeError: On entry: the folder cannot be read, has no frames, frames of several kinds or a gap, or the first
            is not a picture.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(path)
        self._frames: list[Path] = []

    def __enter__(self) -> "FrameFolderReader":
        self._frames = list_frames(self._path)
        self._size = picture_size(self._frames[0])
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._frames = []

    @property
    def info(self) -> VideoInfo:
        """Size and length of the video; its rate is `FRAMES_PER_SECOND`."""
        self._check_open()
        height, width = self._size
        num_frames = len(self._frames)
        return VideoInfo(
            num_frames=num_frames,
            fps=FRAMES_PER_SECOND,
            height=height,
            width=width,
            duration_s=num_frames / FRAMES_PER_SECOND,
            rotation=0,
        )

    @property
    def times(self) -> Float64[np.ndarray, " n"]:
        """Time of each frame, in seconds from the first."""
        self._check_open()
        return np.arange(len(self._frames)) / FRAMES_PER_SECOND

    def read(self, indices: Iterable[SupportsIndex]) -> UInt8[np.ndarray, "t h w 3"]:
        """Decode the given frames, in the given order. Unlike in a file, a damaged frame is an error.

        Raises:
            DecodeError: A frame is not a picture, is damaged, or differs in size from the first; the message names it.
            DataError: As `read_frames`.
        """
        self._check_open()
        wanted = np.minimum(checked_indices(indices), len(self._frames) - 1)
        ranks, inverse = np.unique(wanted, return_inverse=True)
        frames = np.empty((len(ranks), *self._size, 3), dtype=np.uint8)
        for i, rank in enumerate(ranks):
            picture = read_picture(self._frames[rank])
            check_size(self._frames[rank], picture, size=self._size)
            frames[i] = picture
        return frames if np.array_equal(ranks, wanted) else frames[inverse]

    def _check_open(self) -> None:
        if not self._frames:
            raise DecodeError(f"{self._path}: the reader is not open; use it inside `with`")


def read_picture(path: Path) -> UInt8[np.ndarray, "h w 3"]:
    """Read a JPEG or PNG as upright RGB, 0 to 255; transparency is dropped.

    Raises:
        DecodeError: The file is neither, is damaged, or has more than 8 bits per color.
    """
    with _open_picture(path) as picture:
        image = picture.convert("RGB")
        turn = _UPRIGHT.get(_orientation(picture))
        return np.asarray(image if turn is None else image.transpose(turn))


def check_size(path: Path, picture: UInt8[np.ndarray, "h w 3"], *, size: tuple[int, int]) -> None:
    """Refuse a frame that differs in size from the first.

    Raises:
        DecodeError: The sizes differ.
    """
    height, width, _ = picture.shape
    if (height, width) != size:
        raise DecodeError(f"{path}: {width}x{height} pixels, but the first frame has {size[1]}x{size[0]}")


def picture_size(path: Path) -> tuple[int, int]:
    """Height and width in pixels of a picture brought upright. Only a PNG is decoded: its EXIF may come last.

    Raises:
        DecodeError: The file is neither JPEG nor PNG, or has more than 8 bits per color.
    """
    with _open_picture(path) as picture:
        height, width = picture.height, picture.width
        return (width, height) if _orientation(picture) in _SWAPS_SIDES else (height, width)


@contextmanager
def _open_picture(path: Path) -> Generator[Image.Image]:
    try:
        with path.open("rb") as file:
            num_bits = _png_bits(file)
            with _opened(file) as picture:
                if reason := too_many_pixels(*picture.size):
                    raise DecodeError(f"{path}: {reason}")
                if num_bits > 8:  # Pillow silently drops the lower bits of some kinds of pictures
                    raise DecodeError(f"{path}: {num_bits} bits per color are more than 8: write frames with 8")
                yield picture
    except MemoryError as error:
        raise DecodeError(f"{path}: {TOO_LITTLE_MEMORY}") from error
    except UnidentifiedImageError as error:
        raise DecodeError(f"{path}: neither JPEG nor PNG") from error
    except _DAMAGE as error:
        raise DecodeError(f"{path}: cannot be read as a picture ({error})") from error


def _opened(file: IO[bytes]) -> Image.Image:
    with warnings.catch_warnings():  # Pillow warns of pictures from 89 million pixels on, and refuses twice as many
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        return Image.open(file, formats=("JPEG", "PNG"))


def _orientation(picture: Image.Image) -> int:
    """EXIF orientation, 1 to 8; 1 if it is missing or damaged."""
    with suppress(*_DAMAGE):
        found = picture.getexif().get(ExifTags.Base.Orientation)
        return found if isinstance(found, int) and found in _UPRIGHT else 1
    return 1


def _png_bits(file: IO[bytes]) -> int:
    """Bits per color of a PNG, from its first chunk; 0 for anything else. The file is rewound."""
    head = file.read(25)
    file.seek(0)
    return head[24] if len(head) == 25 and head.startswith(b"\x89PNG") and head[12:16] == b"IHDR" else 0
