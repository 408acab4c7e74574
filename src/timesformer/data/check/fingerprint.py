"""What a check knows of a video: whether it is whole, and what it looks like."""

import os
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from timesformer.data.check.scan import NUM_THUMBNAILS, THUMBNAIL_SIZE, Scan, Scanner

THUMBNAILS_SHAPE = (NUM_THUMBNAILS, 3, THUMBNAIL_SIZE, THUMBNAIL_SIZE)
"""Frames; Y, Cb and Cr of full range, so that the gray values are a plane of their own; height; width."""

Thumbnails = UInt8[np.ndarray, "16 3 16 16"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Fingerprint:
    """One video: what decoding all of it gives. Numbers are 0 and thumbnails black where nothing could be decoded."""

    digest: str = ""
    """BLAKE2b of its bytes, 128 bits in hexadecimal; empty where no frame can be decoded."""
    error: str = ""
    """Why no frame can be decoded; empty where one can."""
    codec: str = ""
    """FFmpeg's name of the codec: of a file that was decoded, or that was refused for its codec; else empty."""
    num_frames: int = 0
    """Frames that were decoded."""
    num_missing: int = 0
    """Frames that the container promises and that are not there; 0 unless clearly fewer came."""
    num_damaged: int = 0
    """Packets that could not be decoded and frames that the decoder gives as damaged."""
    height: int = 0
    """Height as displayed, in pixels."""
    width: int = 0
    """Width as displayed, in pixels."""
    fps: float = 0.0
    """Frames a second at the usual distance between frames; the stated rate where frames are missing or damaged."""
    timing: str = ""
    """What is odd about the timestamps, and where the header contradicts them; empty where they are plausible."""
    thumbnails: Thumbnails = field(default_factory=lambda: np.zeros(THUMBNAILS_SHAPE, dtype=np.uint8))
    """Frames at the middles of sixteen equal parts of the video: Y, Cb and Cr, 0 to 255."""

    @property
    def duration_s(self) -> float:
        """Length in seconds, without gaps between frames."""
        return self.num_frames / self.fps if self.fps else 0.0


def fingerprint(path: str | os.PathLike[str], *, allow_codecs: Collection[str] = ()) -> Fingerprint:
    """Read and decode all of a video; whatever is wrong with it is part of the answer, and never raised."""
    return from_scan(Scanner(allow_codecs=allow_codecs).scan(Path(path)))


def from_scan(seen: Scan) -> Fingerprint:
    """The fingerprint of a video that was scanned: the same, upright."""
    if seen.error:
        return Fingerprint(error=seen.error, codec=seen.codec)
    pictures = np.frombuffer(seen.pictures, dtype=np.uint8).reshape(THUMBNAILS_SHAPE)
    pictures = pictures[..., ::-1] if seen.is_mirrored else pictures
    is_upright = seen.quarter_turns % 2 == 0
    return Fingerprint(
        codec=seen.codec,
        digest=seen.digest,
        num_frames=seen.num_frames,
        num_missing=seen.num_missing,
        num_damaged=seen.num_damaged,
        height=seen.height if is_upright else seen.width,
        width=seen.width if is_upright else seen.height,
        fps=seen.fps,
        timing=seen.timing,
        thumbnails=np.ascontiguousarray(np.rot90(pictures, seen.quarter_turns, axes=(2, 3))),
    )
