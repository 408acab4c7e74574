"""Clips with planted evidence: several objects move through the clip, and one of them alone decides the class.

Every object has a core: white in the marked object, black in the distractors. The class is the color of the marked
object. The distractors have colors of the same set, drawn independently of the class, so a model must bind a color to
the core, and an explanation should point at the marked object and at nothing else.

`where`: all objects keep their colors through the clip, so the question is where the evidence is. `when`: all objects
are gray, and each shows its color for two frames at its own time, so the question is also when.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from jaxtyping import Bool, Float, Int64, UInt8

from timesformer.data.synthetic.motion import Course, Track, check_picture, draw, draw_background, draw_position
from timesformer.errors import ConfigError

Evidence = Literal["where", "when"]
"""The marked object decides through the whole clip, or in an event of two frames."""

PLANTED_CLASSES: tuple[str, ...] = ("red", "green", "blue", "yellow")
"""Names of the classes: the color of the marked object."""

EVENT_FRAMES = 2
"""Frames of an event of `when`."""

_COLORS = np.array([(0.9, 0.15, 0.15), (0.15, 0.8, 0.2), (0.2, 0.3, 0.95), (0.9, 0.85, 0.15)])
_GRAY = np.full(3, 0.5)
_CORES = {True: np.ones(3), False: np.zeros(3)}
_CORE_SIZE = 0.5  # radius of the core relative to that of the object
_SHAPES = ("disc", "square")
_BASE = (0.1, 0.3)


@dataclass(frozen=True, slots=True, eq=False)
class PlantedClip:
    """A clip and the evidence in it."""

    frames: UInt8[np.ndarray, "t h w 3"]
    """RGB frames."""
    label: int
    """Index of the class in `PLANTED_CLASSES`."""
    mask: Bool[np.ndarray, "t h w"]
    """The evidence: pixels of the marked object in the deciding frames."""
    deciding_frames: Int64[np.ndarray, " k"]
    """Frames in which the marked object shows the color of the class."""
    distractor_labels: Int64[np.ndarray, " d"]
    """Index of each distractor's color in `PLANTED_CLASSES`."""


def render_planted(
    evidence: str,
    *,
    seed: int | Sequence[int] | np.random.Generator,
    num_frames: int = 16,
    size: int = 64,
    num_distractors: int = 3,
    radius: float = 4.0,
) -> PlantedClip:
    """Draw one clip.

    Args:
        evidence: One of `Evidence`, `where` or `when`.
        seed: Seed of all draws, the class included, or a generator, which is advanced.
        num_frames: Frames of the clip, at least 2; for `when` more than the two frames of an event.
        size: Height and width in pixels.
        num_distractors: Objects besides the marked one, from 0.
        radius: Radius of every object in pixels.

    Raises:
        ConfigError: Unknown evidence, or a number out of range.
    """
    _check(evidence, num_frames=num_frames, size=size, num_distractors=num_distractors, radius=radius)
    rng = np.random.default_rng(seed)
    labels = rng.integers(len(PLANTED_CLASSES), size=1 + num_distractors)  # the marked object first
    base = rng.uniform(*_BASE, size=3)
    picture = draw_background(rng, base, height=size, width=size, background="texture")
    frames = np.repeat(picture[None], num_frames, axis=0)
    shown = [_frames_shown(rng, evidence, num_frames) for _ in labels]
    bodies = [_body(rng, num_frames, radius / size) for _ in labels]
    for index in reversed(range(len(labels))):  # the marked object last, above all others
        color = np.clip(_COLORS[labels[index]] + rng.normal(scale=0.05, size=3), 0, 1)
        for track in _tracks(bodies[index], color=color, shown=shown[index], is_marked=index == 0):
            draw(frames, track)
    mask = np.zeros((num_frames, size, size, 3))
    draw(mask, _colored(bodies[0], np.ones(3), opacity=shown[0].astype(float)))
    return PlantedClip(
        frames=np.rint(frames * 255).astype(np.uint8),
        label=int(labels[0]),
        mask=mask[..., 0] > 0.5,
        deciding_frames=np.flatnonzero(shown[0]),
        distractor_labels=labels[1:],
    )


def _check(evidence: str, *, num_frames: int, size: int, num_distractors: int, radius: float) -> None:
    """Refuse a clip that cannot be drawn.

    Raises:
        ConfigError: It cannot.
    """
    if evidence not in get_args(Evidence):
        raise ConfigError(f"evidence={evidence!r} is not one of {', '.join(map(repr, get_args(Evidence)))}")
    check_picture(num_frames=num_frames, size=size, background="texture")
    if evidence == "when" and num_frames <= EVENT_FRAMES:
        raise ConfigError(f"num_frames={num_frames} must be more than the {EVENT_FRAMES} frames of an event")
    if num_distractors < 0:
        raise ConfigError(f"num_distractors={num_distractors} must be 0 or more")
    if not 0 < radius <= size / 2:
        raise ConfigError(f"radius={radius} must be above 0 and at most half of size={size}")


def _frames_shown(rng: np.random.Generator, evidence: str, num_frames: int) -> Bool[np.ndarray, " t"]:
    """Frames in which an object shows its color."""
    if evidence == "where":
        return np.ones(num_frames, dtype=bool)
    start = rng.integers(num_frames - EVENT_FRAMES + 1)
    time = np.arange(num_frames)
    return (time >= start) & (time < start + EVENT_FRAMES)


def _body(rng: np.random.Generator, num_frames: int, radius: float) -> Track:
    """A gray object that crosses the frame at constant speed and is reflected by the borders."""
    u = np.linspace(0, 1, num_frames)
    direction, travel = rng.uniform(0, 2 * np.pi), rng.uniform(0.3, 0.8)
    low, high = min(radius, 0.5), max(1 - radius, 0.5)
    x, y = (
        _reflect(draw_position(rng, radius) + travel * step * u, low=low, high=high)
        for step in (np.cos(direction), np.sin(direction))
    )
    shape = _SHAPES[int(rng.integers(len(_SHAPES)))]
    return Track(
        shape=shape,
        color=_GRAY,
        x=x,
        y=y,
        radius=np.full_like(u, radius),
        angle=np.zeros_like(u),
        opacity=np.ones_like(u),
    )


def _reflect(position: Float[np.ndarray, " t"], *, low: float, high: float) -> Float[np.ndarray, " t"]:
    """Positions of a ball between two walls, from those without walls."""
    span = max(high - low, 1e-9)
    return low + span - np.abs((position - low) % (2 * span) - span)


def _tracks(body: Track, *, color: np.ndarray, shown: Bool[np.ndarray, " t"], is_marked: bool) -> list[Track]:
    """What to draw for an object, in order: its gray body, its color while it shows it, and its core."""
    core = _colored(body, _CORES[is_marked], size=_CORE_SIZE)
    return [body, _colored(body, color, opacity=shown.astype(float)), core]


def _colored(body: Track, color: np.ndarray, *, opacity: Course = 1.0, size: float = 1.0) -> Track:
    """A body in another color, opacity and relative size."""
    return Track(
        shape=body.shape,
        color=color,
        x=body.x,
        y=body.y,
        radius=body.radius * size,
        angle=body.angle,
        opacity=np.broadcast_to(np.asarray(opacity, float), body.opacity.shape),
    )
