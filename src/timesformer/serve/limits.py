"""`ServeLimits`: what one request may cost, and how many are worked on at a time."""

from dataclasses import dataclass

from timesformer.config.checks import MOST_IN_BATCH, MOST_WORKERS, check_count, check_not_negative, check_positive

BYTES_PER_MB = 10**6


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeLimits:
    """Limits of a server.

    Raises:
        ConfigError: A value is out of range.
    """

    max_upload_mb: float = 100.0
    """Size of an uploaded file in megabytes of 10^6 bytes; enforced while it is read."""
    max_seconds: float = 600.0
    """Duration of a video in seconds."""
    max_pixels: int = 4096 * 2304
    """Pixels of a frame, width times height."""
    max_frames: int = 36_000
    """Frames of a video."""
    max_batch: int = 8
    """Clips (views) in a forward pass."""
    max_wait_ms: float = 5.0
    """Time in milliseconds that a clip waits for others to share its forward pass."""
    queue: int = 16
    """Requests between their arrival and their answer; further ones get status 503."""
    decoders: int = 2
    """Processes that decode videos."""
    long_seconds: float = 60.0
    """Duration of a video in seconds from which its timeline becomes a job, and is not in the answer."""
    request_seconds: float = 60.0
    """Time in seconds from the arrival of a request to its answer, upload included."""

    def __post_init__(self) -> None:
        for name in ("max_upload_mb", "max_seconds", "long_seconds", "request_seconds"):
            check_positive(name, getattr(self, name))
        for name in ("max_pixels", "max_frames", "queue"):
            check_count(name, getattr(self, name))
        check_count("max_batch", self.max_batch, most=MOST_IN_BATCH)
        check_count("decoders", self.decoders, most=MOST_WORKERS)
        check_not_negative("max_wait_ms", self.max_wait_ms)

    @property
    def max_upload_bytes(self) -> int:
        """Size of an uploaded file in bytes."""
        return int(self.max_upload_mb * BYTES_PER_MB)
