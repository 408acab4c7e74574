"""Fingerprint of a video: its damage, timing, size and thumbnails."""

import os
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from timesformer.data.check.scan import NUM_THUMBNAILS, THUMBNAIL_SIZE, Scan, Scanner

THUMBNAILS_SHAPE = (NUM_THUMBNAILS, 3, THUMBNAIL_SIZE, THUMBNAIL_SIZE)
"""Frames; full-range Y, Cb and Cr, so that gray values are a separate plane; height; width."""

Thumbnails = UInt8[np.ndarray, "16 3 16 16"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Fingerprint:
    """Result of decoding a whole video; numbers are 0 and thumbnails black if no frame can be decoded."""

    digest: str = ""
    """BLAKE2b of the file, 128 bits in hexadecimal; empty if no frame can be decoded."""
    error: str = ""
    """Reason why no frame can be decoded; empty if one can."""
    codec: str = ""
    """FFmpeg's name of the codec of a file that was decoded, or refused for its codec; otherwise empty."""
    num_frames: int = 0
    """Decoded frames."""
    num_missing: int = 0
    """Frames that the container states but does not contain; 0 unless clearly fewer were decoded."""
    num_damaged: int = 0
    """Packets that could not be decoded, and frames that the decoder marks as damaged."""
    height: int = 0
    """Height as displayed, in pixels."""
    width: int = 0
    """Width as displayed, in pixels."""
    fps: float = 0.0
    """Frames per second at the usual frame interval; the stated rate if frames are missing or damaged."""
    timing: str = ""
    """Faults of the timestamps, and contradictions with the header; empty if plausible."""
    thumbnails: Thumbnails = field(default_factory=lambda: np.zeros(THUMBNAILS_SHAPE, dtype=np.uint8))
    """Middle frames of sixteen equal spans of the video: Y, Cb and Cr, 0 to 255."""

    @property
    def duration_s(self) -> float:
        """Length in seconds, without gaps between frames."""
        return self.num_frames / self.fps if self.fps else 0.0


def fingerprint(path: str | os.PathLike[str], *, allow_codecs: Collection[str] = ()) -> Fingerprint:
    """Read and decode a whole video; problems are recorded in the fingerprint, never raised."""
    return from_scan(Scanner(allow_codecs=allow_codecs).scan(Path(path)))


def from_scan(seen: Scan) -> Fingerprint:
    """Fingerprint of a scanned video, turned upright."""
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
