"""Configuration of a model and of its clips, as frozen dataclasses.

A `ModelConfig` fully determines an architecture; with a `ClipConfig` and the label names it fully determines a
prediction. Every field takes effect or is refused; there is no value that means "maybe".
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from timesformer.config.checks import (
    check_at_most,
    check_choice,
    check_factor,
    check_positive,
    check_probability,
    refuse,
)
from timesformer.config.old_spellings import current_value

SchemeName = Literal[
    "space_only",
    "joint_space_time",
    "divided_space_time",
    "sparse_local_global",
    "sparse_local_global_centered",
    "axial",
    "space_time_reversed",
    "parallel",
]
"""The attention schemes: the paper's five (figure 2), the second reading of sparse local-global, and two ablations."""

RegroupName = Literal["joint", "time", "space", "width", "height", "local", "sparse", "neighborhood", "shared_lattice"]
"""The attention steps that a scheme can be made of."""

Stages = tuple[tuple[RegroupName, ...], ...]
"""A scheme as data: stages run in order; the steps of a stage read the same tokens."""

STAGES: Mapping[SchemeName, Stages] = MappingProxyType(
    {
        "joint_space_time": (("joint",),),
        "divided_space_time": (("time",), ("space",)),
        "sparse_local_global": (("local",), ("sparse",)),
        "axial": (("time",), ("width",), ("height",)),
        "space_time_reversed": (("space",), ("time",)),
        "parallel": (("time", "space"),),
    }
)
"""Schemes that stages determine, by name. The other two are more than their stages: `space_only` folds frames into the
batch, and `sparse_local_global_centered` has steps of other names."""

PositionEmbedding = Literal["space_time", "space", "none"]
PositionInterpolation = Literal["bicubic", "nearest"]
Initialization = Literal["released", "scratch"]
HeadNorm = Literal["none", "batch"]
Precision = Literal["fp32", "bf16", "fp16"]
"""Number format of computations."""

PrecisionName = Literal["auto", "fp32", "bf16", "fp16"]
"""A precision as it is asked for: `auto` is `bf16` on a device that computes it faster, and `fp32` on others."""

OnDecodeError = Literal["raise", "skip"]
"""A video that cannot be decoded raises an error, or is skipped, counted and listed."""

Sampling = Literal["dense", "center", "segment", "uniform", "coverage"]
ChannelOrder = Literal["rgb", "bgr", "time"]
Background = Literal["keep", "remove", "difference"]
Region = Literal["frame", "motion"]
Fusion = Literal["softmax", "logits"]

_MOST = {
    "num_frames": 1_000_000,
    "patch_size": 1_000,
    "in_channels": 1_000,
    "embed_dim": 1_000_000,
    "depth": 1_000,
    "mlp_ratio": 1_000_000,
    "num_classes": 10_000_000,
}
"""Limits far above every model; larger values overflow, or take hours to build before anything fails."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """The architecture of a TimeSformer: the paper's base model by default.

    Raises:
        ConfigError: A value is out of range, or two values contradict each other.

    Source: Bertasius et al. 2021, sections 3 and 4.
    """

    scheme: SchemeName | Stages = "divided_space_time"
    """Which tokens attend to which (paper, figure 2): a name, or stages of steps such as `[["time"], ["space"]]`.
    Stages of a named scheme become its name."""
    num_frames: int = 8
    """Frames per clip, T. Other counts work at inference: the time embedding is resized."""
    image_size: tuple[int, int] = (224, 224)
    """Height and width of a frame in pixels; an int gives a square. Other sizes work at inference."""
    patch_size: int = 16
    """Side of a square patch in pixels, P."""
    in_channels: int = 3
    """Channels of a frame."""
    embed_dim: int = 768
    """Width of a token, D."""
    depth: int = 12
    """Number of blocks, L."""
    num_heads: int = 12
    """Attention heads of every attention step."""
    mlp_ratio: float = 4.0
    """Width of the MLP's hidden layer, as a multiple of `embed_dim`."""
    qkv_bias: bool = True
    """Add a bias to the query, key and value projections."""
    norm_eps: float = 1e-6
    """Epsilon of every LayerNorm."""
    position_embedding: PositionEmbedding = "space_time"
    """Position embeddings (paper, table 4). `space_only` has no time embedding, as in the released code, so
    `space_time` and `space` are the same there."""
    position_interpolation: PositionInterpolation = "bicubic"
    """Resizing of position embeddings: `bicubic` in 2-D (time: linear), or `nearest` as in the released code."""
    cls_in_time: bool = False
    """Include the class token in attention over time, as in the paper's equations 11 and 13; the released code and
    weights leave it out."""
    dropout: float = 0.0
    """Dropout after the embedding, after every attention projection and in the MLP."""
    attention_dropout: float = 0.0
    """Dropout of the attention weights."""
    head_norm: HeadNorm = "none"
    """Normalization before the classifier: none, as released, or `batch`, which standardizes every feature of the class
    token, in training over the clips of a forward pass, afterward by the running mean and standard deviation, without
    weights. Most of a class token is common to all clips and hides their differences from the classifier;
    `benchmarks/initialization.py` measures the gain. He et al. 2022, "Masked Autoencoders", for linear probes."""
    head_dropout: float = 0.0
    """Dropout before the classifier."""
    drop_path: float = 0.1
    """Stochastic depth rate of the last block; grows linearly from 0 at the first block."""
    num_classes: int = 400
    """Classes of the head, K."""
    initialization: Initialization = "released"
    """`released`: embeddings at std 0.02, time embedding and `fc` zero; right with pretrained image weights. `scratch`:
    sinusoids, Xavier initialization and no zeros, which learns the order of frames without pretraining."""

    def __post_init__(self) -> None:
        if isinstance(self.image_size, int):
            object.__setattr__(self, "image_size", (self.image_size, self.image_size))
        object.__setattr__(self, "image_size", tuple(self.image_size))
        refuse(len(self.image_size) != 2, f"image_size={self.image_size} must be one side or (height, width)")
        object.__setattr__(self, "scheme", _named(current_value("scheme", self.scheme)))
        check_choice("position_embedding", self.position_embedding, PositionEmbedding)
        check_choice("position_interpolation", self.position_interpolation, PositionInterpolation)
        check_choice("initialization", self.initialization, Initialization)
        check_choice("head_norm", self.head_norm, HeadNorm)
        for name in ("num_frames", "patch_size", "in_channels", "embed_dim", "depth", "num_heads", "num_classes"):
            check_positive(name, getattr(self, name))
        check_positive("mlp_ratio", self.mlp_ratio)
        for name, most in _MOST.items():
            check_at_most(name, getattr(self, name), most)
        check_positive("norm_eps", self.norm_eps)
        for name in ("dropout", "attention_dropout", "head_dropout", "drop_path"):
            check_probability(name, getattr(self, name))
        check_image_size(self.image_size, self.patch_size)
        refuse(
            self.embed_dim % self.num_heads != 0,
            f"embed_dim={self.embed_dim} is not a multiple of num_heads={self.num_heads}",
        )

    @property
    def scheme_text(self) -> str:
        """Readable form of the scheme: its name, or its stages such as `time, width + height`."""
        return self.scheme if isinstance(self.scheme, str) else ", ".join(" + ".join(stage) for stage in self.scheme)

    @property
    def grid(self) -> tuple[int, int, int]:
        """Frames, rows and columns of the patch grid."""
        height, width = self.image_size
        return self.num_frames, height // self.patch_size, width // self.patch_size

    @property
    def mlp_dim(self) -> int:
        """Width of the MLP's hidden layer."""
        return round(self.embed_dim * self.mlp_ratio)


def _named(scheme: SchemeName | Stages) -> SchemeName | Stages:
    """The name of a scheme if it has one, its stages otherwise.

    Raises:
        ConfigError: The name or a step is unknown, a stage is empty, or a step occurs twice.
    """
    if isinstance(scheme, str):
        check_choice("scheme", scheme, SchemeName)
        return scheme
    flat = not isinstance(scheme, list | tuple) or any(isinstance(stage, str) for stage in scheme)
    refuse(flat, f'scheme={scheme!r} must be a name, or a list of stages, each a list: [["time"], ["space"]]')
    stages = tuple(map(tuple, scheme))
    refuse(not stages or not all(stages), f"scheme={scheme!r} has a stage without a step")
    steps = [step for stage in stages for step in stage]
    for step in steps:
        check_choice(f"scheme={scheme!r}: step", step, RegroupName)
    twice = next((step for step in steps if steps.count(step) > 1), "")
    refuse(bool(twice), f"scheme={scheme!r} has the step {twice!r} twice; each step needs its own parameter names")
    return next((name for name, known in STAGES.items() if known == stages), stages)


def check_image_size(image_size: tuple[int, int], patch_size: int) -> None:
    """Refuse a frame size that patches do not tile; the released code would crop silently.

    Raises:
        ConfigError: A side is not a positive multiple of `patch_size`.
    """
    for side in image_size:
        check_at_most("image_size", side, 65_536)
    bad = [side for side in image_size if side <= 0 or side % patch_size != 0]
    refuse(bool(bad), f"image_size={tuple(image_size)} is not a multiple of patch_size={patch_size}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipConfig:
    """How a video becomes clips: frames, crops and normalization. Stored with the weights.

    Frame count and crop size are the model's (`ModelConfig.num_frames`, `ModelConfig.image_size`).

    Raises:
        ConfigError: A value is out of range.

    Source: the released data pipeline; paper, section 4 and table 8.
    """

    sampling: Sampling = "dense"
    """`dense`: released Kinetics clip, from frame 0 at test. `center`: the same from the middle (paper). `segment`: one
    frame from each of T equal segments (SSv2). `uniform`: T evenly spaced frames from first to last. `coverage`:
    non-overlapping dense clips over the whole video (HowTo100M)."""
    frame_stride: int = 32
    """Distance between the frames of a dense clip, in frames at `target_fps`."""
    target_fps: float = 30.0
    """Frame rate that `frame_stride` refers to, in frames per second."""
    num_clips: int = 1
    """Temporal views per video at test, with `dense`, `segment` and `uniform`; those of the last two lie a fraction of
    the distance of their frames apart. `coverage` sets its own number."""
    num_crops: int = 3
    """Spatial views per clip at test: 1 (center, short side at `test_scale`) or 3 (both ends and the center of the
    longer side, short side equal to the crop's)."""
    test_scale: float = 8 / 7
    """Short side divided by crop side for a single crop at test: 256 pixels for a crop of 224."""
    mean: tuple[float, float, float] = (0.45, 0.45, 0.45)
    """Mean of each channel, for values from 0 to 1."""
    std: tuple[float, float, float] = (0.225, 0.225, 0.225)
    """Standard deviation of each channel, for values from 0 to 1."""
    channel_order: ChannelOrder = "rgb"
    """Content of the three channels: colors as `rgb` or `bgr` (the released SSv2 weights, by their code), or the
    brightness of three successive frames, `time`: a clip of T frames then reads 3 T frames, three times as close
    together. Use it for videos without color, such as depth, whose three channels would be equal."""
    background: Background = "keep"
    """`remove` subtracts from every pixel its mean over the frames of the clip and adds middle gray, so that still
    content vanishes. Use it for a fixed camera in front of an uninformative background. `difference` shows how far the
    color of each pixel is from its median over the frames, in gray: what moves is bright on black, whatever its color;
    for a fixed camera and subjects whose colors say nothing, such as clothes."""
    region: Region = "frame"
    """Part of the frame that crops are taken from, in training and at test: the whole `frame`, or the rectangle in
    which something moves through the clip, `motion`; the largest one in the middle if nothing moves. It has the aspect
    ratio of the crop, so there is one crop. Use it for a fixed camera and subjects that are small or off center."""
    min_region: float = 0.5
    """Smallest size of a `motion` region, relative to the largest rectangle in the frame."""
    fusion: Fusion = "softmax"
    """Views are averaged as probabilities (`softmax`, paper) or summed as `logits` (released code)."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "mean", tuple(self.mean))
        object.__setattr__(self, "std", tuple(self.std))
        object.__setattr__(self, "sampling", current_value("sampling", self.sampling))
        check_choice("sampling", self.sampling, Sampling)
        check_choice("channel_order", self.channel_order, ChannelOrder)
        check_choice("background", self.background, Background)
        check_choice("region", self.region, Region)
        check_choice("fusion", self.fusion, Fusion)
        check_factor("min_region", self.min_region)
        for name in ("frame_stride", "target_fps", "num_clips"):
            check_positive(name, getattr(self, name))
            check_at_most(name, getattr(self, name), 1_000_000)
        refuse(self.num_crops not in (1, 3), f"num_crops={self.num_crops} must be 1 or 3")
        refuse(not 1 <= self.test_scale < math.inf, f"test_scale={self.test_scale} must be at least 1")
        refuse(len(self.mean) != 3 or len(self.std) != 3, f"mean={self.mean} and std={self.std} need three values")
        finite = all(isinstance(value, int | float) and math.isfinite(value) for value in (*self.mean, *self.std))
        refuse(not finite, f"mean={self.mean} and std={self.std} must be finite numbers")
        refuse(min(self.std) <= 0, f"std={self.std} must be greater than 0")
        self._refuse_fields_without_effect()

    @property
    def frames_per_channel_group(self) -> int:
        """Video frames per frame of the model's clip: 3 if `channel_order` is `time`, else 1."""
        return 3 if self.channel_order == "time" else 1

    def _refuse_fields_without_effect(self) -> None:
        refuse(
            self.sampling in ("center", "coverage") and self.num_clips != 1,
            f"num_clips={self.num_clips} has no effect on sampling={self.sampling!r}: it has a number of its own",
        )
        refuse(
            self.sampling in ("segment", "uniform") and (self.frame_stride, self.target_fps) != (32, 30.0),
            f"frame_stride={self.frame_stride}, target_fps={self.target_fps} have no effect on "
            f"sampling={self.sampling!r}, which spreads the frames over the whole video",
        )
        refuse(
            self.num_crops != 1 and self.test_scale != 8 / 7,
            f"test_scale={self.test_scale} has no effect with num_crops={self.num_crops}, only with 1",
        )
        refuse(
            self.region == "motion" and self.num_crops != 1,
            f"num_crops={self.num_crops} has no effect with region='motion', which has the aspect ratio of the crop: "
            "set num_crops=1",
        )
        refuse(
            self.region == "frame" and self.min_region != 0.5,
            f"min_region={self.min_region} has no effect with region='frame', only with 'motion'",
        )
