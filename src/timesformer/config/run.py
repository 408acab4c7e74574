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
    check_factor,
    check_not_negative,
    check_positive,
    check_range,
    check_utf8,
    refuse,
)
from timesformer.config.optim import OptimConfig
from timesformer.config.schema import ClipConfig, ModelConfig, OnDecodeError, PrecisionName

__all__ = [
    "AugmentConfig",
    "DataConfig",
    "Keep",
    "OptimConfig",
    "ProbeInput",
    "RandOperations",
    "RunConfig",
    "Strategy",
    "Tracker",
    "ValFrom",
]

Keep = Literal["best", "last"]
ProbeInput = Literal["given", "moments", "motion"]
Strategy = Literal["auto", "ddp", "fsdp"]
ValFrom = Literal["training", "fold"]
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
    num_folds: int = 0
    """Folds of a cross-validation: the training videos are dealt to that many folds, as whole groups if they have
    groups, and fold number `fold` is kept out of the run, to evaluate its model on; 0 keeps all. At least 2. A folder's
    own validation split is not used."""
    fold: int = 0
    """The fold that is kept out, from 1 to `num_folds`."""
    val_from: ValFrom = "training"
    """Validation videos of a run with `num_folds`: `training` holds out `val_fraction` of the other folds; `fold`
    shows the accuracy on the fold that is kept out after each epoch, and trains on all others. Only for runs that
    choose nothing by validation: `keep = "last"` and no `patience`."""
    train_fraction: float = 1.0
    """Fraction of the training videos to train on: whole groups if there are 8 or more, otherwise the same fraction of
    each class. A larger fraction contains a smaller one; validation videos do not change."""
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
        self._check_folds()
        check_not_negative("background", self.background)
        check_count("num_workers", self.num_workers, least=0, most=MOST_WORKERS)
        check_choice("on_decode_error", self.on_decode_error, OnDecodeError)
        for name in ("train", "val"):
            check_utf8(name, getattr(self, name))

    def _check_folds(self) -> None:
        check_factor("train_fraction", self.train_fraction)
        check_choice("val_from", self.val_from, ValFrom)
        check_count("num_folds", self.num_folds, least=0)
        check_count("fold", self.fold, least=0)
        refuse(self.num_folds == 1, "num_folds=1: a cross-validation needs at least 2 folds, 0 is off")
        for name, is_given in (("fold", self.fold > 0), ("val_from", self.val_from != "training")):
            refuse(not self.num_folds and is_given, f"{name}={getattr(self, name)!r} has no effect without num_folds")
        refuse(
            self.num_folds > 0 and not 1 <= self.fold <= self.num_folds,
            f"fold={self.fold} must lie between 1 and num_folds={self.num_folds}",
        )
        refuse(self.num_folds > 0 and self.val != "", f"val={self.val!r} has no effect with num_folds={self.num_folds}")


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
    init_head: str = ""
    """Model folder whose head the run starts with; its classes must be those of the run. Empty keeps the head of
    `init_from` if its classes are those of the run, and otherwise starts with a new head."""
    probe_views: int = 0
    """Clips of each training video whose features a linear probe is fitted to. The model is then fine-tuned from the
    head of the probe, and the better of the two on the validation videos is kept: `timesformer.fine_tune`. 0 fits no
    probe."""
    probe_inputs: tuple[ProbeInput, ...] = ("given",)
    """What the probe tries as input, of which cross-validation chooses: `given` is `clip` as it is, `moments` has the
    luma of three moments in the channels of each frame (`channel_order = "time"`), `motion` the same without what
    stands still (`background = "remove"`). Each costs as much time as the first."""
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
        for name in ("trackers", "probe_inputs"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
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
        self._check_start()
        self._check_distillation()
        for name in ("init_from", "init_head", "output"):
            check_utf8(name, getattr(self, name))
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
        refuse(
            self.data.val_from == "fold" and (self.keep == "best" or self.patience > 0),
            f"data.val_from='fold' with keep={self.keep!r} and patience={self.patience}: the fold that is kept out "
            "must not choose the epoch; set keep='last' and patience=0, or data.val_from='training'",
        )

    def _check_distillation(self) -> None:
        plain = OptimConfig()
        for name in ("distill_weight", "distill_temperature"):
            value = getattr(self.optim, name)
            refuse(
                not self.distill_from and value != getattr(plain, name),
                f"optim.{name}={value} has no effect without distill_from",
            )
        refuse("" in self.distill_from, f"distill_from={list(self.distill_from)} has an empty name")
        for teacher in self.distill_from:
            check_utf8("distill_from", teacher)

    def _check_start(self) -> None:
        check_count("probe_views", self.probe_views, least=0, most=MOST_IN_BATCH)
        for name in ("init_head", "probe_views"):
            value = getattr(self, name)
            refuse(bool(value) and not self.init_from, f"{name}={value!r} has no effect without init_from")
        for name in self.probe_inputs:
            check_choice("probe_inputs", name, ProbeInput)
        refuse(not self.probe_inputs, "probe_inputs=[] leaves nothing to probe: name at least one input")
        refuse(
            self.probe_inputs != ("given",) and not self.probe_views,
            f"probe_inputs={list(self.probe_inputs)} has no effect without probe_views",
        )
        refuse(
            bool(self.init_head) and self.probe_views > 0,
            f"init_head={self.init_head!r} has no effect with probe_views={self.probe_views}, which fits a head",
        )

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
            self.clip.background != "keep" and self.model.num_frames * self.clip.frames_per_channel_group == 1,
            f"clip.background={self.clip.background!r} leaves nothing of a single frame: model.num_frames=1",
        )
        refuse(
            self.augment.background_swap > 0 and self.clip.background != "keep",
            f"augment.background_swap={self.augment.background_swap} has no effect with "
            f"clip.background={self.clip.background!r}",
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
