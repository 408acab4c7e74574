"""Configuration of a training run, as frozen dataclasses: data, augmentation, optimizer, and the whole run."""

import math
from dataclasses import dataclass, field
from typing import Literal

from timesformer.config.augment import AugmentConfig, RandOperations
from timesformer.config.checks import (
    MOST_IN_BATCH,
    MOST_SEED,
    MOST_WORKERS,
    check_at_most,
    check_choice,
    check_count,
    check_not_negative,
    check_positive,
    check_range,
    check_utf8,
    refuse,
)
from timesformer.config.optim import OptimConfig
from timesformer.config.schema import ClipConfig, ModelConfig, OnDecodeError, PrecisionName

__all__ = ["AugmentConfig", "DataConfig", "Keep", "OptimConfig", "RandOperations", "RunConfig", "Strategy", "Tracker"]

Keep = Literal["best", "last"]
Strategy = Literal["auto", "ddp", "fsdp"]
Tracker = Literal["tensorboard", "wandb"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DataConfig:
    """Videos of a run, and how they are decoded, cropped and flipped.

    Raises:
        ConfigError: A value is out of range.
    """

    train: str = ""
    """Training videos: a folder with one subfolder per class, or a manifest file."""
    val: str = ""
    """Validation videos, like `train`; empty holds out `val_fraction` of the training videos."""
    val_fraction: float = 0.2
    """Fraction of each class held out if `val` is empty."""
    background: float = 0.0
    """Seconds of unlabeled time to sample per labeled second, as a class `background`; needs a list of segments. 0
    samples none."""
    scale_range: tuple[float, float] = (8 / 7, 10 / 7)
    """Range of the frame's short side relative to the crop, drawn per clip: 256 to 320 pixels for a crop of 224
    (paper)."""
    crop_jitter: float = 1.0
    """Range of training crop positions: 1 is anywhere in the frame (paper), 0 the center, values in between a window
    around it, for videos with a centered subject."""
    flip: bool = False
    """Mirror half of the training clips. Off by default: it swaps left and right (the paper flips on Kinetics)."""
    num_workers: int = 2
    """Decoding processes; 0 decodes in the training process."""
    cache: bool = False
    """Decode all frames of all videos once before training and keep them in memory; for small data sets. Each of
    several processes keeps all training videos, as the order of every epoch is drawn from all of them."""
    on_decode_error: OnDecodeError = "raise"
    """A video that cannot be decoded ends the run (`raise`), or is skipped, counted and reported (`skip`). It is never
    replaced by another video."""
    allow_codecs: tuple[str, ...] = ()
    """Codecs to decode in addition to the usual ones, by FFmpeg name, such as `magicyuv`; for trusted videos."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "scale_range", tuple(self.scale_range))
        refuse(isinstance(self.allow_codecs, str), f"allow_codecs={self.allow_codecs!r} must be a list of names")
        object.__setattr__(self, "allow_codecs", tuple(self.allow_codecs))
        scale = self.scale_range
        refuse(
            len(scale) != 2 or not 1 <= scale[0] <= scale[1] < math.inf,
            f"scale_range={scale} must be two numbers of at least 1, the smaller one first",
        )
        check_range("crop_jitter", self.crop_jitter, 0, 1)
        refuse(
            not 0 < self.val_fraction < 1, f"val_fraction={self.val_fraction} must be greater than 0 and less than 1"
        )
        check_not_negative("background", self.background)
        check_count("num_workers", self.num_workers, least=0, most=MOST_WORKERS)
        check_choice("on_decode_error", self.on_decode_error, OnDecodeError)
        for name in ("train", "val"):
            check_utf8(name, getattr(self, name))


@dataclass(frozen=True, slots=True, kw_only=True)
class RunConfig:
    """A whole training run. The same config and data give the same weights on the same machine.

    Raises:
        ConfigError: A value is out of range, or two values contradict each other.
    """

    model: ModelConfig = field(default_factory=ModelConfig)
    """Architecture; `num_classes` is set from the data."""
    clip: ClipConfig = field(default_factory=ClipConfig)
    """Frames and pixels of a clip; saved in the model folder."""
    data: DataConfig = field(default_factory=DataConfig)
    """Videos, and how they are decoded."""
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    """Augmentation of training clips."""
    optim: OptimConfig = field(default_factory=OptimConfig)
    """Optimizer and learning-rate schedule."""
    init_from: str = ""
    """Pretrained weights: anything that `load` accepts; empty uses `model.initialization`."""
    distill_from: tuple[str, ...] = ()
    """Teachers: trained models, anything that `load` accepts. The run learns their mean probabilities on each training
    clip together with its label. They have the classes and the clip settings of the run; sizes and schemes may differ.
    The memory that they need is not in the estimate of a dry run."""
    init_scale: float = 1.0
    """Factor on the embeddings and residual branches of the pretrained weights. Outputs do not change (every reader
    normalizes first); relative updates get smaller. About 10 for ViTs with folded LayerScale."""
    epochs: int = 15
    """Passes over the training videos."""
    batch_size: int = 16
    """Clips per optimizer step, independent of `accumulate` and of the number of processes."""
    accumulate: int = 1
    """Micro-batches per optimizer step, to save memory; divides `batch_size`."""
    precision: PrecisionName = "fp32"
    """Number format of the model's computations; weights and optimizer stay in fp32. `auto` is `bf16` where the device
    computes it faster, else `fp32`; the run folder says which. `fp16` needs a GPU."""
    checkpoint_activations: bool = False
    """Save only the input of each block for the backward pass and recompute the rest: less memory, a third more
    work."""
    keep: Keep = "best"
    """Epoch whose model is saved: `best` validation accuracy, or `last`."""
    patience: int = 0
    """Early stopping: epochs without a better validation accuracy after which the run ends; 0 is off."""
    checkpoint_every: int = 0
    """Steps between checkpoints within an epoch, for long epochs; 0 writes one at the end of each epoch only."""
    trackers: tuple[Tracker, ...] = ()
    """Loggers in addition to `metrics.csv`: `tensorboard` (files in the run folder), `wandb`."""
    seed: int = 0
    """Seed of initialization, order, sampling and augmentation."""
    device: str = "auto"
    """`auto` (GPU if available), `cpu`, `cuda`, `cuda:N` or `mps`."""
    strategy: Strategy = "auto"
    """Division among several processes: `ddp` copies weights and optimizer to each, `fsdp` shards them and the
    checkpoints (FSDP2). `auto` is `ddp` if there are several. The result is the same up to rounding."""
    output: str = "runs/train"
    """Folder of the run: model folder, checkpoints, metrics, learning curve."""

    @property
    def micro_batch_size(self) -> int:
        """Clips that go through the model at a time."""
        return self.batch_size // self.accumulate

    @property
    def videos_per_micro_batch(self) -> int:
        """Videos from which the clips of a micro-batch are drawn."""
        return self.micro_batch_size // self.augment.repeats

    def steps_per_epoch(self, num_videos: int) -> int:
        """Optimizer steps of an epoch over `num_videos` training videos."""
        return math.ceil(num_videos / (self.videos_per_micro_batch * self.accumulate))

    def __post_init__(self) -> None:
        object.__setattr__(self, "trackers", tuple(self.trackers))
        refuse(isinstance(self.distill_from, str), f"distill_from={self.distill_from!r} must be a list of models")
        object.__setattr__(self, "distill_from", tuple(self.distill_from))
        self._check_values()
        self._check_batch()
        self._check_clips()

    def _check_values(self) -> None:
        for name in ("epochs", "batch_size", "accumulate", "init_scale"):
            check_positive(name, getattr(self, name))
        check_at_most("batch_size", self.batch_size, MOST_IN_BATCH)
        check_at_most("epochs", self.epochs, 10**15)
        for name, value in (("init_scale", self.init_scale), ("optim.pretrained_lr", self.optim.pretrained_lr)):
            refuse(not self.init_from and value != 1, f"{name}={value} has no effect without init_from")
        plain = OptimConfig()
        for name in ("distill_weight", "distill_temperature"):
            value = getattr(self.optim, name)
            refuse(
                not self.distill_from and value != getattr(plain, name),
                f"optim.{name}={value} has no effect without distill_from",
            )
        refuse("" in self.distill_from, f"distill_from={list(self.distill_from)} has an empty name")
        for name in ("init_from", "output"):
            check_utf8(name, getattr(self, name))
        for teacher in self.distill_from:
            check_utf8("distill_from", teacher)
        check_choice("precision", self.precision, PrecisionName)
        check_choice("keep", self.keep, Keep)
        check_choice("strategy", self.strategy, Strategy)
        refuse(
            self.strategy == "fsdp" and self.precision == "fp16",
            "strategy='fsdp' does not train with precision='fp16', which scales the loss: use 'bf16'",
        )
        for tracker in self.trackers:
            check_choice("trackers", tracker, Tracker)
        for name in ("patience", "checkpoint_every"):
            refuse(getattr(self, name) < 0, f"{name}={getattr(self, name)} must not be negative")
        check_count("seed", self.seed, least=0, most=MOST_SEED)
        refuse(not self.output, "output is empty: name a folder for the run")

    def _check_batch(self) -> None:
        for name, divisor in (("accumulate", self.accumulate), ("augment.repeats", self.augment.repeats)):
            refuse(
                self.batch_size % divisor != 0,
                f"batch_size={self.batch_size} is not a multiple of {name}={divisor}",
            )
        refuse(
            self.micro_batch_size % self.augment.repeats != 0,
            f"the micro-batch size, batch_size / accumulate = {self.micro_batch_size} clips, is not a multiple of "
            f"augment.repeats={self.augment.repeats}",
        )
        refuse(
            self.model.head_norm == "batch" and self.micro_batch_size == 1,
            f"model.head_norm='batch' needs more than one clip at a time: batch_size={self.batch_size} with "
            f"accumulate={self.accumulate}",
        )

    def _check_clips(self) -> None:
        refuse(
            self.clip.background == "remove" and self.model.num_frames * self.clip.frames_per_channel_group == 1,
            "clip.background='remove' leaves nothing of a single frame: model.num_frames=1",
        )
        refuse(
            self.augment.background_swap > 0 and self.clip.background == "remove",
            f"augment.background_swap={self.augment.background_swap} has no effect with clip.background='remove'",
        )
        refuse(
            self.augment.background_swap > 0 and self.model.num_frames * self.clip.frames_per_channel_group < 3,
            f"augment.background_swap={self.augment.background_swap} needs clips of at least 3 frames to tell what "
            f"moves: model.num_frames={self.model.num_frames}",
        )
        refuse(
            self.augment.tempo != 1 and self.model.num_frames * self.clip.frames_per_channel_group < 3,
            f"augment.tempo={self.augment.tempo} has no effect on clips of less than 3 frames: "
            f"model.num_frames={self.model.num_frames}",
        )
        refuse(
            self.clip.region == "motion" and self.model.num_frames * self.clip.frames_per_channel_group == 1,
            "clip.region='motion' has no effect on a single frame: model.num_frames=1",
        )
        refuse(
            self.clip.channel_order == "time" and (self.augment.hue_jitter > 0 or self.augment.grayscale > 0),
            f"hue_jitter={self.augment.hue_jitter}, grayscale={self.augment.grayscale} have no effect with "
            f"clip.channel_order='time', which has no colors",
        )
