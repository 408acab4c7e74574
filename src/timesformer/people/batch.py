"""Batches of clips of generated people. Batch k of a seed is always the same, on one kind of device."""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from timesformer.config.schema import ClipConfig
from timesformer.data.clips.transforms import to_floats
from timesformer.people.bodies import Bodies, draw_bodies
from timesformer.people.color_look import draw_color_looks, paint_color
from timesformer.people.depth_look import draw_depth_looks, paint_depth
from timesformer.people.motions import DIRECTIONS, Motion, at_times, draw_motion, draw_times
from timesformer.people.pixels import Grain
from timesformer.people.pose import Pose, pose, targets
from timesformer.people.render import Cameras, Frame, Picture, draw_cameras, render
from timesformer.people.spheres import spheres

Look = Literal["depth", "color"]

_CLIP = ClipConfig(sampling="segment", num_crops=1, test_scale=1.0, channel_order="time")
CLIPS = {
    "depth": replace(_CLIP, mean=(0.0,) * 3, std=(0.25,) * 3),
    "color": replace(_CLIP, mean=(0.5,) * 3, std=(0.15,) * 3, background="remove"),
}
"""Clip settings of each look; three successive moments are the channels of a frame."""
CHANNELS = _CLIP.frames_per_channel_group
FAR = {"depth": 0.0, "color": 0.3}
"""How often a body is drawn smaller."""


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """Bodies in motion, and how they are seen."""

    motions: tuple[Motion, ...]
    bodies: Bodies
    posed: Pose
    cameras: Cameras
    picture: Picture


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Batch:
    """Clips, the second half of which show the motions of the first half, done by other bodies."""

    clips: Float[Tensor, "n 3 t h w"]
    """Model input."""
    targets: Float[Tensor, "n moments 33"]
    arms: Int[Tensor, " n"]
    """Family and direction: `family * 3 + direction`."""
    legs: Int[Tensor, " n"]


def draw_scene(
    rng: np.random.Generator, motions: tuple[Motion, ...], size: Frame, *, far: float, device: torch.device
) -> Scene:
    """Let bodies do motions, each at its own tempo and in front of its own camera.

    Args:
        rng: Source of all numbers.
        motions: A motion for each clip.
        size: Size of the clips.
        far: Probability that a body is drawn smaller.
        device: Device of the pictures.
    """
    count = len(motions)
    course = at_times(motions, draw_times(rng, clips=count, moments=size.moments))
    bodies = draw_bodies(rng, count, device=device)
    cameras = draw_cameras(rng, size, clips=count, far=far, device=device)
    posed = pose(course, bodies)
    picture = render(spheres(posed, bodies), cameras, size, middle=bodies.hip)
    return Scene(motions, bodies, posed, cameras, picture)


def draw_batch(
    *, seed: int, number: int, motions: int, looks: tuple[Look, Look], size: Frame, device: torch.device
) -> Batch:
    """Draw a batch: each motion twice, with different bodies, tempos and cameras.

    Args:
        seed: Seed of the run.
        number: Number of the batch.
        motions: Number of motions; half of the number of clips.
        looks: Look of the first clip of each motion, and of the second.
        size: Size of the clips.
        device: Device on which everything but the motions is computed.
    """
    rng = np.random.default_rng((seed, number))
    drawn = tuple(draw_motion(rng) for _ in range(motions))
    grain = Grain(torch.Generator(device).manual_seed(int(rng.integers(2**62))))
    scenes = [draw_scene(rng, drawn, size, far=FAR[look], device=device) for look in looks]
    clips = [
        to_floats(paint(rng, grain, scene, size, look=look), CLIPS[look])
        for scene, look in zip(scenes, looks, strict=True)
    ]
    arms = torch.tensor([motion.arms * DIRECTIONS + motion.arms_direction for motion in drawn], device=device)
    legs = torch.tensor([motion.legs * DIRECTIONS + motion.legs_direction for motion in drawn], device=device)
    return Batch(
        clips=torch.cat(clips),
        targets=torch.cat([targets(scene.posed, scene.bodies) for scene in scenes]),
        arms=arms.repeat(2),
        legs=legs.repeat(2),
    )


def paint(
    rng: np.random.Generator, grain: Grain, scene: Scene, size: Frame, *, look: Look
) -> UInt8[Tensor, "n 3 t h w"]:
    """8-bit clips of a scene, whose three channels are successive moments."""
    if look == "depth":
        looks = draw_depth_looks(rng, clips=len(scene.motions), device=grain.generator.device)
        image = paint_depth(scene.picture, looks, grain)
    else:
        colors = draw_color_looks(
            rng, grain, scale=scene.cameras.scale, moments=size.moments, size=(size.height, size.width)
        )
        (image,) = paint_color(scene.picture, colors.as_luma(), grain)
    return rearrange(image.round_().to(torch.uint8), "n (t c) h w -> n c t h w", c=CHANNELS)
