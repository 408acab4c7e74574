"""From frames to views: resize, crop, normalize. One draw holds for all frames of a clip.

Frames are resized as 8-bit pixels with an antialiasing filter, and only then converted to floats: this is several times
faster than the reverse, and shrinks without moire (the released code does not filter). Views stay 8-bit until they are
on the model's device: a quarter of the bytes leaves a worker and goes to a GPU.
"""

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from jaxtyping import Float, UInt8
from torch import Tensor

from timesformer.config.run import AugmentConfig, DataConfig
from timesformer.config.schema import ClipConfig
from timesformer.data.clips.affine import cut
from timesformer.data.clips.augment import augment_clip, draw_aspect
from timesformer.data.clips.backdrop import replace_background
from timesformer.data.clips.color import luma
from timesformer.data.clips.difference import color_difference
from timesformer.data.clips.region import moving_region
from timesformer.data.clips.sampling import Box, eval_boxes, random_box, resized_size

NO_AUGMENTATION = AugmentConfig()
"""Scale, crop and mirroring alone."""

_MIDDLE_GRAY = 127.5

Frames = UInt8[np.ndarray, "t h w 3"] | UInt8[Tensor, "t h w 3"]


def eval_views(frames: Frames, clip: ClipConfig, *, image_size: tuple[int, int]) -> UInt8[Tensor, "crops 3 t2 s1 s2"]:
    """Crop the spatial views of one clip for evaluation.

    With one crop the short side of the frame becomes `clip.test_scale` times that of the crop, and the center is cut.
    With three crops it becomes that of the crop, and both ends and the center of the longer side are cut. If
    `clip.region` is `motion`, the region takes the place of the frame.

    Args:
        frames: RGB frames, 0 to 255.
        clip: Region, number of crops and their scale, and channel order.
        image_size: Height and width of a crop in pixels.

    Returns:
        Views for `to_floats`, in the order of `sampling.crop_boxes`.
    """
    frames = cut(as_tensor(frames), region_of(frames, clip, image_size=image_size))
    _, height, width, _ = frames.shape
    size, boxes = eval_boxes(height, width, clip, crop=image_size)
    resized = resize(take_channels(frames, clip), size)
    return torch.stack([to_channels(cut(resized, box), clip) for box in boxes])


def train_view(
    frames: Frames,
    clip: ClipConfig,
    data: DataConfig,
    *,
    image_size: tuple[int, int],
    generator: np.random.Generator,
    augment: AugmentConfig = NO_AUGMENTATION,
    backdrop: UInt8[np.ndarray, "h2 w2 3"] | None = None,
) -> UInt8[Tensor, "3 t2 s1 s2"]:
    """Crop one random view of a training clip: scale, position and mirroring follow `data`.

    Augmentation adds a change of aspect ratio when resizing, rotation when cropping, and then operations on pixels.

    Args:
        frames: RGB frames, 0 to 255.
        clip: Region and channel order.
        data: Range of the scale, jitter of the crop, and whether half of the clips are mirrored.
        image_size: Height and width of the view in pixels.
        generator: Source of scale, aspect, position, mirroring and augmentation, drawn in this order.
        augment: Further augmentation; what is off draws nothing.
        backdrop: RGB picture that replaces the background if the camera stands still; None keeps it.

    Returns:
        The view, for `to_floats`.
    """
    frames = cut(as_tensor(frames), region_of(frames, clip, image_size=image_size))
    scale, aspect = generator.uniform(*data.scale_range), draw_aspect(augment, generator)
    resized = _resize_to_cover(take_channels(frames, clip), crop=image_size, scale=scale, aspect=aspect)
    _, height, width, _ = resized.shape
    if backdrop is not None:
        resized = _before(backdrop, resized, clip)
    box = random_box(height, width, crop=image_size, generator=generator, jitter=data.crop_jitter)
    is_mirrored = data.flip and generator.random() < 0.5
    view = augment_clip(resized, augment, generator, box=box, has_colors=clip.channel_order != "time")
    return to_channels(view.flip(2) if is_mirrored else view, clip)


def region_of(frames: Frames, clip: ClipConfig, *, image_size: tuple[int, int]) -> Box:
    """The part of a clip's frames that crops are taken from.

    Args:
        frames: RGB frames, 0 to 255.
        clip: `region` and `min_region`.
        image_size: Height and width of a crop in pixels.
    """
    _, height, width, _ = frames.shape
    if clip.region == "frame":
        return Box(0, 0, height, width)
    return moving_region(np.asarray(frames), crop=image_size, least=clip.min_region)


def take_channels(frames: Frames, clip: ClipConfig) -> UInt8[Tensor, "t2 h w 3"]:
    """Choose the three channels of a model's input, colors or times, before frames are resized.

    If the channels are times, every three frames become one: its channels are their luma, the earliest first. Frames
    that are differences have them in place of colors and luma.
    """
    frames = as_tensor(frames)
    if clip.background == "difference":
        gray = torch.from_numpy(color_difference(frames.numpy()))
        if clip.channel_order != "time":
            return repeat(gray, "t h w -> t h w 3").contiguous()
    elif clip.channel_order != "time":
        return frames
    else:
        gray = luma(frames)
    return rearrange(gray, "(t c) h w -> t h w c", c=clip.frames_per_channel_group).contiguous()


def to_channels(frames: Frames, clip: ClipConfig) -> UInt8[Tensor, "3 t h w"]:
    """Lay out 8-bit frames as model input: channels first, in the order of the model.

    Args:
        frames: RGB frames, or the result of `take_channels`.
        clip: Channel order.
    """
    channels = rearrange(as_tensor(frames), "t h w c -> c t h w")
    return (channels.flip(0) if clip.channel_order == "bgr" else channels).contiguous()


def to_floats(views: UInt8[Tensor, "*views 3 t h w"], clip: ClipConfig) -> Float[Tensor, "*views 3 t h w"]:
    """Normalize 8-bit channels to model input, on their device: (value / 255 - mean) / std per channel.

    `clip.mean` and `clip.std` are in the model's channel order: for `bgr`, blue first.

    Args:
        views: Channels laid out by `to_channels`.
        clip: Mean, standard deviation and background removal.
    """
    values = views.to(torch.float32)
    if clip.background == "remove":
        # channels that are times share one mean
        frames_of_pixel = (-4, -3) if clip.channel_order == "time" else (-3,)
        values.sub_(values.mean(dim=frames_of_pixel, keepdim=True)).add_(_MIDDLE_GRAY)
    mean, std = (statistic.to(views.device) for statistic in _statistics(clip))
    return values.div_(255).sub_(mean).div_(std)


def model_input(
    clips: Float[Tensor, "b 3 t h w"] | UInt8[Tensor, "b 3 t h w"], clip: ClipConfig
) -> Float[Tensor, "b 3 t h w"]:
    """Model input of clips: 8-bit clips are normalized on their device, floats are assumed to be normalized."""
    return to_floats(clips, clip) if clips.dtype == torch.uint8 else clips


def normalize(frames: Frames, clip: ClipConfig) -> Float[Tensor, "3 t h w"]:
    """Convert frames, or the result of `take_channels`, to model input."""
    return to_floats(to_channels(frames, clip), clip)


def denormalize(view: Float[Tensor, "3 t h w"], clip: ClipConfig) -> UInt8[Tensor, "t2 h w 3"]:
    """Convert model input back to RGB frames, 0 to 255: the inverse of `normalize`, for pictures.

    Channels that are times give three gray frames each. A removed background stays gray.
    """
    mean, std = _statistics(clip)
    values = (view.cpu() * std + mean).mul_(255).round_().clamp_(0, 255).to(torch.uint8)
    if clip.channel_order == "time":
        return repeat(values, "c t h w -> (t c) h w 3")
    if clip.channel_order == "bgr":
        values = values.flip(0)
    return rearrange(values, "c t h w -> t h w c").contiguous()


def resize(frames: Frames, size: tuple[int, int]) -> UInt8[Tensor, "t h2 w2 3"]:
    """Resize frames to a height and width in pixels: bilinear with antialiasing, on 8-bit pixels."""
    frames = as_tensor(frames)
    if tuple(frames.shape[1:3]) == size:
        return frames
    # channels stay last in memory: the 8-bit kernel is fastest on this layout
    channels_first = rearrange(frames, "t h w c -> t c h w")
    resized = F.interpolate(channels_first, size=size, mode="bilinear", antialias=True, align_corners=False)
    return rearrange(resized, "t c h w -> t h w c")


def as_tensor(frames: Frames) -> UInt8[Tensor, "t h w 3"]:
    """Convert frames to a tensor, without a copy if torch can share the memory of the array."""
    if isinstance(frames, Tensor):
        return frames
    return torch.from_numpy(np.require(frames, requirements=["C", "W"]))


def _before(
    backdrop: UInt8[np.ndarray, "h2 w2 3"], frames: UInt8[Tensor, "t h w 3"], clip: ClipConfig
) -> UInt8[Tensor, "t h w 3"]:
    """What moves in frames, with the channels of the model, before another background."""
    _, height, width, _ = frames.shape
    resized = resize(backdrop[None], (height, width))
    if clip.channel_order != "time":
        return replace_background(frames, resized[0])
    return replace_background(frames, repeat(luma(resized), "1 h w -> h w 3"), has_colors=False)


def _resize_to_cover(
    frames: UInt8[Tensor, "t h w 3"], *, crop: tuple[int, int], scale: float, aspect: float = 1.0
) -> UInt8[Tensor, "t h2 w2 3"]:
    _, height, width, _ = frames.shape
    return resize(frames, resized_size(height, width, crop=crop, scale=scale, aspect=aspect))


def _statistics(clip: ClipConfig) -> tuple[Float[Tensor, "3 1 1 1"], Float[Tensor, "3 1 1 1"]]:
    mean, std = torch.tensor([clip.mean, clip.std], dtype=torch.float32)
    return rearrange(mean, "c -> c 1 1 1"), rearrange(std, "c -> c 1 1 1")
