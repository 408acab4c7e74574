"""Datasets of H.264 files whose classes differ only in motion, for tests, demonstrations and learning checks.

The clips are drawn by `timesformer.data.synthetic.motion`; its public names are exported here, too.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from timesformer.data.synthetic.motion import (
    BACKGROUNDS,
    MOTION_CLASSES,
    OPPOSITES,
    check_motion,
    check_picture,
    render_clip,
)
from timesformer.data.video.writer import write_mp4
from timesformer.errors import ConfigError, DataError
from timesformer.files import replacing

__all__ = [
    "BACKGROUNDS",
    "MOTION_CLASSES",
    "OPPOSITES",
    "SETTINGS_FILE",
    "render_clip",
    "write_clip",
    "write_motion_dataset",
]

SETTINGS_FILE = "synthetic.json"
"""Settings file in the folder of a generated dataset."""

_SPLITS = ("train", "val")
_MIN_FPS, _MAX_FPS = 0.001, 1000
"""Rates that an MP4 of a few frames can store."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Settings:
    """Everything that a generated dataset depends on."""

    clips_per_class: int
    val_clips_per_class: int
    classes: list[str]
    num_frames: int
    size: tuple[int, int]
    background: str
    seed: int
    fps: float
    format: int = 1
    """Incremented when the same settings no longer give the same pixels."""

    def __post_init__(self) -> None:
        if not self.classes or len(set(self.classes)) != len(self.classes):
            raise ConfigError(f"classes={self.classes} must name at least one class, each once")
        for name in self.classes:
            check_motion(name)
        check_picture(num_frames=self.num_frames, size=self.size, background=self.background)
        _check_encodable(*self.size, fps=self.fps)
        if self.clips_per_class < 1:
            raise ConfigError(f"clips_per_class={self.clips_per_class} must be at least 1")
        if self.val_clips_per_class < 0:
            raise ConfigError(f"val_clips_per_class={self.val_clips_per_class} must not be negative")
        if self.seed < 0:
            raise ConfigError(f"seed={self.seed} must not be negative")


def write_clip(path: str | Path, frames: UInt8[np.ndarray, "t h w 3"], *, fps: float = 16.0) -> None:
    """Write frames as a high-quality H.264 MP4, with a key frame at least every 12 frames.

    The file is written atomically; an existing file is replaced.

    Args:
        frames: RGB frames, 0 to 255, of even height and width (color is stored at half the resolution).
        fps: Frame rate, in frames a second.

    Raises:
        ConfigError: No frames, a side that is not even and positive, or a frame rate outside 0.001 to 1000.
    """
    if len(frames) == 0:
        raise ConfigError(f"{path}: a video needs at least 1 frame, got 0")
    _check_encodable(*frames.shape[1:3], fps=fps)
    with replacing(Path(path)) as partial:
        write_mp4(partial, frames, rate=Fraction(fps).limit_denominator(100_000), quality={"crf": "18"})


def write_motion_dataset(
    folder: str | Path,
    *,
    clips_per_class: int,
    val_clips_per_class: int = 10,
    classes: Sequence[str] = MOTION_CLASSES,
    num_frames: int = 16,
    size: int | tuple[int, int] = 64,
    background: str = "texture",
    seed: int = 0,
    fps: float = 16.0,
    on_progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Write a dataset of motion classes as `train/<class>/<class>_0000.mp4` and `val/...`.

    Every clip has its own seed, derived from seed, split, class and number. A folder written with the same settings is
    reused, and missing clips are added; no file is ever overwritten.

    Args:
        clips_per_class: Training clips of each class.
        val_clips_per_class: Validation clips of each class; 0 writes no `val`.
        classes: Names from `MOTION_CLASSES`.
        num_frames: Frames of a clip, at least 2.
        size: Height and width in pixels, both even; an int gives a square.
        background: `dark`, one color near black, `plain`, any one color, or `texture`, a smooth random one.
        fps: Frame rate, in frames a second.
        on_progress: Called after each clip, with the number of clips done and the total.

    Returns:
        The folder.

    Raises:
        ConfigError: A value is out of range, or a class is unknown or named twice.
        DataError: The folder contains other files, or a dataset of other settings.
    """
    settings = _Settings(
        clips_per_class=clips_per_class,
        val_clips_per_class=val_clips_per_class,
        classes=list(classes),
        num_frames=num_frames,
        size=(size, size) if isinstance(size, int) else size,
        background=background,
        seed=seed,
        fps=fps,
    )
    _claim(Path(folder), settings)
    clips = list(_clips(settings))
    for done, (name, key) in enumerate(clips, start=1):
        _write_missing(Path(folder) / name, settings, key=key)
        if on_progress is not None:
            on_progress(done, len(clips))
    return Path(folder)


def _check_encodable(height: int, width: int, *, fps: float) -> None:
    if height < 2 or width < 2 or height % 2 or width % 2:
        raise ConfigError(f"a frame of {height}x{width} cannot be written as H.264: both sides must be even")
    if not fps > 0:
        raise ConfigError(f"fps={fps} must be greater than 0")
    if not _MIN_FPS <= fps <= _MAX_FPS:
        raise ConfigError(f"fps={fps} must be from {_MIN_FPS} to {_MAX_FPS}")


def _claim(folder: Path, settings: _Settings) -> None:
    """Write the settings into a new folder, or check that an existing one was written with the same."""
    record = folder / SETTINGS_FILE
    wanted = json.loads(json.dumps(asdict(settings)))
    if not record.exists():
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise DataError(f"{folder} exists and is not a generated dataset (no {SETTINGS_FILE}): name a new folder")
        folder.mkdir(parents=True, exist_ok=True)
        with replacing(record) as partial:
            partial.write_text(json.dumps(wanted, indent=2) + "\n", encoding="utf-8")
        return
    found = _read_record(record)
    changes = [
        f"{key} is {found.get(key)!r} there and {wanted.get(key)!r} here"
        for key in {**wanted, **found}
        if found.get(key) != wanted.get(key)
    ]
    if changes:
        raise DataError(f"{folder} was generated with other settings: {'; '.join(changes)}. Name a new folder")


def _read_record(record: Path) -> dict[str, object]:
    try:
        settings = json.loads(record.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"{record} cannot be read as JSON ({error}): name a new folder") from error
    if not isinstance(settings, dict):
        raise DataError(f"{record} does not contain settings: name a new folder")
    return settings


def _clips(settings: _Settings) -> Iterator[tuple[str, tuple[int, int, int, int]]]:
    """Path of every file, relative to the dataset's folder, and seed of its clip."""
    counts = (settings.clips_per_class, settings.val_clips_per_class)
    for split_index, count in enumerate(counts):
        for motion in settings.classes:
            for number in range(count):
                key = (settings.seed, split_index, MOTION_CLASSES.index(motion), number)
                yield f"{_SPLITS[split_index]}/{motion}/{motion}_{number:04d}.mp4", key


def _write_missing(path: Path, settings: _Settings, *, key: tuple[int, ...]) -> None:
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    frames = render_clip(
        path.parent.name,
        seed=np.random.default_rng(key),
        num_frames=settings.num_frames,
        size=settings.size,
        background=settings.background,
    )
    write_clip(path, frames, fps=settings.fps)
