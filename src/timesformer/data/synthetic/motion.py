"""Synthetic clips whose classes differ only in motion, as arrays; `synthetic.dataset` writes them to files.

The twelve classes are six pairs of opposites. A clip of one class, played backwards, is a clip of the other, from the
same distribution, so neither a single frame nor an unordered set of frames tells the two apart. A model that ignores
the order of frames can name the pair but not the member: its accuracy is at most one half.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8

from timesformer.config.checks import check_at_most
from timesformer.errors import ConfigError, closest
from timesformer.names import tell_apart

OPPOSITES = {
    "move_left": "move_right",
    "move_up": "move_down",
    "turn_counterclockwise": "turn_clockwise",
    "shrink": "grow",
    "vanish": "appear",
    "meet": "part",
}
"""Each class on the left is the class on the right played backwards."""

MOTION_CLASSES = tuple(name for pair in OPPOSITES.items() for name in pair)
"""Class names, opposites next to each other. Clockwise is as seen on the screen."""

BACKGROUNDS = ("dark", "plain", "texture")
"""A random color near black, any random color, or a smooth random texture: from easy to hard."""

_MAX_SIDE = 8192
_MAX_FRAMES = 100_000
_BASE_RANGE = {"dark": (0.02, 0.15), "plain": (0.1, 0.9), "texture": (0.1, 0.9)}

Course = float | Float[np.ndarray, " t"]
"""A quantity over the clip: one number per frame, or one for all frames."""


@dataclass(frozen=True, slots=True)
class Track:
    """One object over the clip. Positions are fractions of width and height, the radius is one of the shorter side."""

    shape: str
    color: Float[np.ndarray, "3"]
    x: Float[np.ndarray, " t"]
    y: Float[np.ndarray, " t"]
    radius: Float[np.ndarray, " t"]
    angle: Float[np.ndarray, " t"]
    opacity: Float[np.ndarray, " t"]


# Signed distances to the edge of a shape of radius 1, negative inside. Near corners some are only lower bounds,
# which is accurate enough for an edge one pixel soft.
SHAPES: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "disc": lambda x, y: np.hypot(x, y) - 1,
    "ring": lambda x, y: np.abs(np.hypot(x, y) - 0.7) - 0.3,
    "square": lambda x, y: np.maximum(np.abs(x), np.abs(y)) - 0.8,
    "bar": lambda x, y: np.maximum(np.abs(x) - 1, np.abs(y) - 0.4),
    "half_disc": lambda x, y: np.maximum(np.hypot(x, y) - 1, -x),
    "triangle": lambda x, y: np.maximum((0.33 * x + np.abs(y)) * 0.95 - 0.31, -0.8 - x),
    "tee": lambda x, y: np.minimum(
        np.maximum(np.abs(x + 0.55) - 0.3, np.abs(y) - 0.9), np.maximum(np.abs(x - 0.2) - 0.75, np.abs(y) - 0.28)
    ),
}
# No rotation of less than a full turn maps these onto themselves: two frames show the direction of a rotation.
_TURNING_SHAPES = ("half_disc", "triangle", "tee")


def render_clip(
    motion: str,
    *,
    seed: int | np.random.Generator,
    num_frames: int = 16,
    size: int | tuple[int, int] = 64,
    background: str = "texture",
) -> UInt8[np.ndarray, "t h w 3"]:
    """Draw one clip of a class: an object of random shape, color, size, position and speed.

    With the same seed, a class and its opposite give the same frames in reversed order.

    Args:
        motion: One of `MOTION_CLASSES`.
        seed: Seed of all draws, or a generator, which is advanced.
        num_frames: Frames of the clip, at least 2. The motion spans the clip, however many frames it has.
        size: Height and width in pixels; an int gives a square.
        background: `dark`, one color near black, `plain`, any one color, or `texture`, a smooth random one.

    Returns:
        RGB frames, 0 to 255.

    Raises:
        ConfigError: An unknown class or background, fewer than 2 frames, or an empty frame.
    """
    check_motion(motion)
    height, width = check_picture(num_frames=num_frames, size=size, background=background)
    rng = np.random.default_rng(seed)
    is_reversed = motion in OPPOSITES
    base = rng.uniform(*_BASE_RANGE[background], size=3)
    tracks = _SCENES[OPPOSITES.get(motion, motion)](rng, np.linspace(0, 1, num_frames), base)
    picture = draw_background(rng, base, height=height, width=width, background=background)
    frames = np.repeat(picture[None], num_frames, axis=0)
    for track in tracks:
        draw(frames, track)
    frames = np.rint(frames * 255).astype(np.uint8)
    return np.ascontiguousarray(frames[::-1]) if is_reversed else frames


def check_motion(name: str) -> None:
    """Refuse a name that is not a motion class.

    Raises:
        ConfigError: The name is not in `MOTION_CLASSES`; the message suggests the closest.
    """
    if name not in MOTION_CLASSES:
        close = closest(name, MOTION_CLASSES)
        given, shown = tell_apart(name, close or "")
        hint = f"did you mean {shown}? " if close else ""
        raise ConfigError(f"unknown motion class {given}: {hint}The classes are {', '.join(MOTION_CLASSES)}")


def check_picture(*, num_frames: int, size: int | tuple[int, int], background: str) -> tuple[int, int]:
    """Refuse a clip that cannot be drawn.

    Returns:
        Height and width in pixels.

    Raises:
        ConfigError: Fewer than 2 frames, an empty frame or an unknown background.
    """
    height, width = (size, size) if isinstance(size, int) else size
    if min(height, width) < 1:
        raise ConfigError(f"size={size} must be at least 1 pixel in height and width")
    if num_frames < 2:
        raise ConfigError(f"num_frames={num_frames} must be at least 2: one frame shows no motion")
    check_at_most("size", max(height, width), _MAX_SIDE)
    check_at_most("num_frames", num_frames, _MAX_FRAMES)
    if background not in BACKGROUNDS:
        raise ConfigError(f"background={background!r} is not one of {', '.join(map(repr, BACKGROUNDS))}")
    return height, width


def draw_background(
    rng: np.random.Generator, base: Float[np.ndarray, "3"], *, height: int, width: int, background: str
) -> Float[np.ndarray, "h w 3"]:
    if background != "texture":
        return np.broadcast_to(base, (height, width, 3)).astype(np.float32)
    knots = np.clip(base + rng.normal(scale=0.12, size=(5, 5, 3)), 0, 1)
    rows, columns = _interpolation(height, 5), _interpolation(width, 5)
    return np.einsum("hi,wj,ijc->hwc", rows, columns, knots, optimize=True).astype(np.float32)


def _interpolation(size: int, num_knots: int) -> Float[np.ndarray, "size knots"]:
    """Weights of evenly spaced knots at each pixel: linear, eased so that the slope is 0 at a knot."""
    position = np.linspace(0, num_knots - 1, size)[:, None]
    near = np.clip(1 - np.abs(position - np.arange(num_knots)), 0, 1)
    return near * near * (3 - 2 * near)


def draw(frames: Float[np.ndarray, "t h w 3"], track: Track) -> None:
    """Draw an object into the frames, in place, with an edge one pixel soft, for subpixel motion."""
    height, width = frames.shape[1:3]
    radius = track.radius * min(height, width)
    for frame, x, y, r, angle, opacity in zip(
        frames, track.x * width, track.y * height, radius, track.angle, track.opacity, strict=True
    ):
        # no shape reaches beyond 1.3 radii
        reach = 1.3 * r + 1
        top, bottom = max(int(y - reach), 0), max(int(np.ceil(y + reach)), 0)
        left, right = max(int(x - reach), 0), max(int(np.ceil(x + reach)), 0)
        box = frame[top:bottom, left:right]
        down = np.arange(top, top + box.shape[0])[:, None] + 0.5 - y
        across = np.arange(left, left + box.shape[1])[None, :] + 0.5 - x
        cos, sin = np.cos(angle) / r, np.sin(angle) / r
        distance = SHAPES[track.shape](across * cos + down * sin, down * cos - across * sin) * r
        cover = (np.clip(0.5 - distance, 0, 1) * opacity)[..., None]
        box += cover * (track.color - box)


def _track(
    rng: np.random.Generator,
    u: Float[np.ndarray, " t"],
    base: Float[np.ndarray, "3"],
    *,
    x: Course,
    y: Course,
    radius: Course,
    turn: float = 0.0,
    opacity: Course = 1.0,
    shapes: Sequence[str] = tuple(SHAPES),
) -> Track:
    """Move an object along a course; its shape, color and first angle are random. `turn` is in radians."""
    shape = shapes[int(rng.integers(len(shapes)))]
    # of a few random colors, the one farthest from the background, so that every object is visible
    colors = rng.uniform(0, 1, size=(4, 3))
    color = colors[np.argmax(np.linalg.norm(colors - base, axis=1))]
    angle = rng.uniform(0, 2 * np.pi) + turn * u
    x, y, radius, opacity = (np.broadcast_to(np.asarray(course, float), u.shape) for course in (x, y, radius, opacity))
    return Track(shape=shape, color=color, x=x, y=y, radius=radius, angle=angle, opacity=opacity)


def draw_position(rng: np.random.Generator, reach: float) -> float:
    """Draw a position at least `reach` away from both borders; the middle if there is none."""
    return rng.uniform(min(reach, 0.5), max(1 - reach, 0.5))


# Scenes: `u` runs from 0 to 1 over the clip, `base` is the mean color of the background.


def _straight_course(rng: np.random.Generator, u: np.ndarray) -> tuple[np.ndarray, float, float]:
    radius, travel = rng.uniform(0.14, 0.24), rng.uniform(0.3, 0.55)
    along = draw_position(rng, travel / 2 + radius) + travel * (u - 0.5)
    return along, draw_position(rng, radius), radius


def _move_right(rng: np.random.Generator, u: np.ndarray, base: np.ndarray) -> list[Track]:
    along, aside, radius = _straight_course(rng, u)
    return [_track(rng, u, base, x=along, y=aside, radius=radius)]


def _move_down(rng: np.random.Generator, u: np.ndarray, base: np.ndarray) -> list[Track]:
    along, aside, radius = _straight_course(rng, u)
    return [_track(rng, u, base, x=aside, y=along, radius=radius)]


def _turn_clockwise(rng: np.random.Generator, u: np.ndarray, base: np.ndarray) -> list[Track]:
    radius, turn = rng.uniform(0.22, 0.34), np.deg2rad(rng.uniform(90, 160))
    x, y = draw_position(rng, radius), draw_position(rng, radius)
    return [_track(rng, u, base, x=x, y=y, radius=radius, turn=turn, shapes=_TURNING_SHAPES)]


def _grow(rng: np.random.Generator, u: np.ndarray, base: np.ndarray) -> list[Track]:
    radius = rng.uniform(0.09, 0.14) * rng.uniform(2, 3) ** u
    return [_track(rng, u, base, x=draw_position(rng, radius[-1]), y=draw_position(rng, radius[-1]), radius=radius)]


def _appear(rng: np.random.Generator, u: np.ndarray, base: np.ndarray) -> list[Track]:
    radius, middle, duration = rng.uniform(0.14, 0.25), rng.uniform(0.3, 0.7), rng.uniform(0.1, 0.5)
    opacity = np.clip((u - middle) / duration + 0.5, 0, 1)
    return [
        _track(rng, u, base, x=draw_position(rng, radius), y=draw_position(rng, radius), radius=radius, opacity=opacity)
    ]


def _part(rng: np.random.Generator, u: np.ndarray, base: np.ndarray) -> list[Track]:
    radius, direction = rng.uniform(0.1, 0.13), rng.uniform(0, 2 * np.pi)
    distance = 2.2 * radius + rng.uniform(0.25, 0.45) * u
    reach = distance[-1] / 2 + radius
    x, y = draw_position(rng, reach), draw_position(rng, reach)
    across, down = distance / 2 * np.cos(direction), distance / 2 * np.sin(direction)
    return [
        _track(rng, u, base, x=x - across, y=y - down, radius=radius),
        _track(rng, u, base, x=x + across, y=y + down, radius=radius),
    ]


_SCENES: dict[str, Callable[[np.random.Generator, np.ndarray, np.ndarray], list[Track]]] = {
    "move_right": _move_right,
    "move_down": _move_down,
    "turn_clockwise": _turn_clockwise,
    "grow": _grow,
    "appear": _appear,
    "part": _part,
}
