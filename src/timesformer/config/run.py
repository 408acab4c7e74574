"""The configuration of a training run, as frozen dataclasses: data, optimizer, and the whole."""

import math
import re
from dataclasses import dataclass, field
from typing import Literal

from timesformer.config.checks import (
    MOST_IN_BATCH,
    MOST_SEED,
    MOST_WORKERS,
    check_at_most,
    check_choice,
    check_count,
    check_positive,
    check_probability,
    check_utf8,
    refuse,
)
from timesformer.config.schema import ClipConfig, ModelConfig, OnDecodeError, Precision

RandOperations = Literal["all", "geometric", "photometric"]
Keep = Literal["best", "last"]
Tracker = Literal["tensorboard", "wandb"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DataConfig:
    """Where the videos of a run are and how they are fed.

    Raises:
        ConfigError: A value is out of its range.
    """

    train: str = ""
    """Training videos: a folder with one folder a class, or a manifest file."""
    val: str = ""
    """Validation videos, as `train`; empty holds out `val_fraction` of the training videos."""
    val_fraction: float = 0.2
    """Share of each class held out where `val` is empty."""
    scale_range: tuple[float, float] = (8 / 7, 10 / 7)
    """Short side over crop side, drawn for each clip: 256 to 320 pixels for a crop of 224 (paper)."""
    crop_jitter: float = 1.0
    """Where a training crop may lie: 1 is any place of the frame (paper), 0 the center, between them a window about
    it. For videos with their subject in the middle."""
    flip: bool = False
    """Whether clips are mirrored at random. Off: it destroys left and right (on in the paper for Kinetics)."""
    num_workers: int = 2
    """Processes that decode; 0 decodes in the training process."""
    cache: bool = False
    """Decode all frames of all videos once, before training, and keep them in memory as they are; for small sets."""
    on_decode_error: OnDecodeError = "raise"
    """A video that cannot be decoded ends the run (`raise`), or is left out, counted and reported (`skip`); no other
    video ever takes its place."""
    allow_codecs: tuple[str, ...] = ()
    """Codecs that may be decoded beside the usual ones, by FFmpeg's names, such as `magicyuv`: for videos that you
    trust."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "scale_range", tuple(self.scale_range))
        refuse(isinstance(self.allow_codecs, str), f"allow_codecs={self.allow_codecs!r} must be a list of names")
        object.__setattr__(self, "allow_codecs", tuple(self.allow_codecs))
        scale = self.scale_range
        refuse(
            len(scale) != 2 or not 1 <= scale[0] <= scale[1] < math.inf,
            f"scale_range={scale} must be two numbers that rise and start at 1 or more",
        )
        refuse(not 0 <= self.crop_jitter <= 1, f"crop_jitter={self.crop_jitter} must lie between 0 and 1")
        refuse(not 0 < self.val_fraction < 1, f"val_fraction={self.val_fraction} must lie between 0 and 1")
        check_count("num_workers", self.num_workers, least=0, most=MOST_WORKERS)
        check_choice("on_decode_error", self.on_decode_error, OnDecodeError)
        for name in ("train", "val"):
            check_utf8(name, getattr(self, name))


@dataclass(frozen=True, slots=True, kw_only=True)
class AugmentConfig:
    """What happens to training clips beside scale, crop and mirroring (`DataConfig`): nothing by default, as in the
    paper. What is drawn for a clip holds for all its frames.

    Raises:
        ConfigError: A value is out of its range, or set where it would have no effect.
    """

    repeats: int = 1
    """Repeated augmentation: clips that are drawn from each video for one batch, from one read of it; `batch_size`
    counts clips, so that a batch has `batch_size / repeats` videos. Hoffer et al. 2020."""
    temporal_jitter: float = 0.0
    """Random speed. `uniform` and `segment`: a clip covers a random stretch of the video, of a share from
    `1 - temporal_jitter` to 1. Dense clips: the stretch is multiplied by 1 - j to 1 + j."""
    rotation: float = 0.0
    """Largest rotation to either side, in degrees."""
    aspect: float = 1.0
    """Largest stretch of width against height, or of height against width: 1 stretches nothing."""
    rand_augment: int = 0
    """RandAugment: number of operations that are drawn for a clip. Cubuk et al. 2020."""
    rand_magnitude: float = 9.0
    """Strength of RandAugment's operations, from 0 to 10."""
    rand_operations: RandOperations = "all"
    """Operations to draw from: `all`, `geometric` (shear, translate, rotate) or `photometric` (the others)."""
    color_jitter: float = 0.0
    """Brightness, contrast and saturation are multiplied by 1 - j to 1 + j, in random order; the first two alone where
    the channels are times (`clip.channel_order`)."""
    hue_jitter: float = 0.0
    """Largest turn of the hue to either side, as a share of the circle, up to 0.5."""
    grayscale: float = 0.0
    """Probability that a clip loses its color."""
    erase: float = 0.0
    """Random erasing: probability that one box of 2 to 33 % of the area is filled with noise, the same in all frames.
    Zhong et al. 2020."""
    mixup: float = 0.0
    """MixUp: alpha of the beta distribution of the share of each of two clips; 0 is off. Zhang et al. 2018."""
    cutmix: float = 0.0
    """CutMix: as `mixup`, for a box that is cut from one clip into another, the same in all frames. Yun et al. 2019.
    With both, each batch draws one of them."""
    mix_probability: float = 1.0
    """Probability that a batch is mixed, where `mixup` or `cutmix` is on."""

    def __post_init__(self) -> None:
        check_positive("repeats", self.repeats)
        check_choice("rand_operations", self.rand_operations, RandOperations)
        check_count("rand_augment", self.rand_augment, least=0, most=1000)
        refuse(not 0 <= self.rand_magnitude <= 10, f"rand_magnitude={self.rand_magnitude} must lie between 0 and 10")
        refuse(not 0 <= self.rotation <= 180, f"rotation={self.rotation} must lie between 0 and 180 degrees")
        refuse(not 1 <= self.aspect <= 4, f"aspect={self.aspect} must lie between 1 and 4")
        refuse(not 0 <= self.hue_jitter <= 0.5, f"hue_jitter={self.hue_jitter} must lie between 0 and 0.5")
        for name in ("temporal_jitter", "color_jitter"):
            check_probability(name, getattr(self, name))
        for name in ("grayscale", "erase", "mix_probability"):
            value = getattr(self, name)
            refuse(not 0 <= value <= 1, f"{name}={value} must lie between 0 and 1")
        for name in ("mixup", "cutmix"):
            value = getattr(self, name)
            refuse(not 0 <= value < math.inf, f"{name}={value} must not be negative, and finite")
        self._refuse_what_has_no_effect()

    def _refuse_what_has_no_effect(self) -> None:
        refuse(
            self.rand_augment == 0 and (self.rand_magnitude, self.rand_operations) != (9.0, "all"),
            f"rand_magnitude={self.rand_magnitude}, rand_operations={self.rand_operations!r} have no effect with "
            f"rand_augment=0",
        )
        refuse(
            not self.mixup and not self.cutmix and self.mix_probability != 1,
            f"mix_probability={self.mix_probability} has no effect without mixup or cutmix",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimConfig:
    """Optimizer and learning-rate schedule.

    Raises:
        ConfigError: A value is out of its range, or set where it would have no effect.

    Source: paper, section 4 (SGD, steps at epochs 11 and 14 of 15).
    """

    optimizer: Literal["adamw", "sgd"] = "adamw"
    """AdamW, or SGD with Nesterov momentum 0.9 as released."""
    lr: float = 1e-3
    """Peak learning rate for the whole batch."""
    weight_decay: float = 0.05
    """Weight decay of matrices; biases, norms, embeddings and the class token have none."""
    schedule: Literal["cosine", "steps"] = "cosine"
    """`cosine` to zero, or `steps`: a tenth at each of `milestones`."""
    warmup_fraction: float = 0.05
    """Share of all steps over which the rate rises linearly from 0."""
    milestones: tuple[float, ...] = (11 / 15, 14 / 15)
    """Shares of all steps at which `steps` divides the rate by ten."""
    label_smoothing: float = 0.0
    """Share of the target spread over all classes."""
    clip_grad_norm: float = 1.0
    """Largest gradient norm; 0 does not clip."""
    layer_decay: float = 1.0
    """Learning rate of a block over that of the block above it: 1 gives all the same, 0.75 suits fine-tuning. The head
    and the last norm have `lr` itself, the embeddings the smallest rate; what `init_from` does not have, such as the
    time embedding of an image ViT, has `lr`. Clark et al. 2020, "ELECTRA"."""
    pretrained_lr: float = 1.0
    """Learning rate of what `init_from` gave over that of what it did not (head, time embedding, `fc`); with
    `layer_decay`, both count. Less than 1 keeps what was learned while the new parts find their place."""
    freeze: str = "none"
    """What keeps its weights: `none`, `backbone` (all but the head: a linear probe), or `blocks:N` (the embeddings and
    the first N blocks, but for what `init_from` does not have)."""
    ema_decay: float = 0.0
    """Decay, for each step, of an exponential moving average of the weights, which is then what is validated and kept;
    0 keeps none."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "milestones", tuple(self.milestones))
        check_choice("optimizer", self.optimizer, Literal["adamw", "sgd"])
        check_choice("schedule", self.schedule, Literal["cosine", "steps"])
        check_positive("lr", self.lr)
        refuse(
            not 0 <= self.weight_decay < math.inf, f"weight_decay={self.weight_decay} must not be negative, and finite"
        )
        refuse(
            not 0 <= self.clip_grad_norm < math.inf,
            f"clip_grad_norm={self.clip_grad_norm} must not be negative, and finite",
        )
        check_probability("warmup_fraction", self.warmup_fraction)
        check_probability("ema_decay", self.ema_decay)
        refuse(
            not 0 < self.pretrained_lr <= 1, f"pretrained_lr={self.pretrained_lr} must be greater than 0 and at most 1"
        )
        refuse(not 0 < self.layer_decay <= 1, f"layer_decay={self.layer_decay} must be greater than 0 and at most 1")
        refuse(
            re.fullmatch(r"none|backbone|blocks:[1-9][0-9]*", self.freeze) is None,
            f"freeze={self.freeze!r} is not 'none', 'backbone' or 'blocks:N' with N from 1",
        )
        for name in ("layer_decay", "pretrained_lr"):
            refuse(
                self.freeze == "backbone" and getattr(self, name) != 1,
                f"{name}={getattr(self, name)} has no effect with freeze='backbone'",
            )
        check_probability("label_smoothing", self.label_smoothing)
        rising = list(self.milestones) == sorted(self.milestones)
        refuse(
            not rising or any(not 0 < share < 1 for share in self.milestones),
            f"milestones={self.milestones} must rise between 0 and 1",
        )
        refuse(
            self.schedule == "cosine" and self.milestones != (11 / 15, 14 / 15),
            f"milestones={self.milestones} have no effect on schedule='cosine'",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class RunConfig:
    """A whole training run. Same config, same data, same machine: same weights.

    Raises:
        ConfigError: A value is out of its range.
    """

    model: ModelConfig = field(default_factory=ModelConfig)
    """The architecture; `num_classes` is set from the data."""
    clip: ClipConfig = field(default_factory=ClipConfig)
    """How videos become clips; kept in the model folder."""
    data: DataConfig = field(default_factory=DataConfig)
    """Where the videos are and how they are fed."""
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    """What happens to training clips."""
    optim: OptimConfig = field(default_factory=OptimConfig)
    """Optimizer and schedule."""
    init_from: str = ""
    """Weights to start from: anything that `load` takes; empty starts from `model.initialization`."""
    init_scale: float = 1.0
    """Factor on everything that the weights of `init_from` add to the tokens. The answers stay, since a norm reads the
    tokens; a step of the optimizer changes the weights by less of what they are. For weights whose LayerScale was
    folded in, which are a tenth as large as others and are soon overrun: about 10."""
    epochs: int = 15
    """Passes over the training videos."""
    batch_size: int = 16
    """Clips in a step of the optimizer, whatever `accumulate` is."""
    accumulate: int = 1
    """Parts in which a step's clips go through the model, one after the other, to save memory; divides `batch_size`."""
    precision: Precision = "fp32"
    """Numbers in which the model computes; weights and optimizer stay in fp32. `fp16` needs a GPU."""
    checkpoint_activations: bool = False
    """Keep only each block's input for the backward pass and compute the rest again: less memory, a third more work."""
    keep: Keep = "best"
    """Epoch whose model is kept: that of the best validation accuracy, or the last."""
    patience: int = 0
    """Early stop: epochs without a better validation accuracy after which the run ends; 0 never does."""
    checkpoint_every: int = 0
    """Steps between checkpoints within an epoch, for epochs that take hours; 0 keeps one at the end of each epoch."""
    trackers: tuple[Tracker, ...] = ()
    """Where measures are sent beside `metrics.csv`: `tensorboard` (files in the run folder), `wandb`."""
    seed: int = 0
    """Seed of weights, order, sampling and augmentation."""
    device: str = "auto"
    """`auto` (GPU if there is one), `cpu`, `cuda` or `mps`."""
    output: str = "runs/train"
    """Folder of the run: model folder, checkpoints, metrics, curve."""

    @property
    def micro_batch_size(self) -> int:
        """Clips that go through the model at a time."""
        return self.batch_size // self.accumulate

    @property
    def videos_per_micro_batch(self) -> int:
        """Videos that the clips of a part are drawn from."""
        return self.micro_batch_size // self.augment.repeats

    def steps_per_epoch(self, num_videos: int) -> int:
        """Steps of the optimizer in which an epoch sees all of `num_videos` training videos."""
        return math.ceil(num_videos / (self.videos_per_micro_batch * self.accumulate))

    def __post_init__(self) -> None:
        object.__setattr__(self, "trackers", tuple(self.trackers))
        for name in ("epochs", "batch_size", "accumulate", "init_scale"):
            check_positive(name, getattr(self, name))
        check_at_most("batch_size", self.batch_size, MOST_IN_BATCH)
        check_at_most("epochs", self.epochs, 10**15)
        for name, value in (("init_scale", self.init_scale), ("optim.pretrained_lr", self.optim.pretrained_lr)):
            refuse(not self.init_from and value != 1, f"{name}={value} has no effect without init_from")
        for name in ("init_from", "output"):
            check_utf8(name, getattr(self, name))
        check_choice("precision", self.precision, Precision)
        check_choice("keep", self.keep, Keep)
        for tracker in self.trackers:
            check_choice("trackers", tracker, Tracker)
        for name in ("patience", "checkpoint_every"):
            refuse(getattr(self, name) < 0, f"{name}={getattr(self, name)} must not be negative")
        for name, divisor in (("accumulate", self.accumulate), ("augment.repeats", self.augment.repeats)):
            refuse(
                self.batch_size % divisor != 0,
                f"batch_size={self.batch_size} is not a multiple of {name}={divisor}",
            )
        refuse(
            self.micro_batch_size % self.augment.repeats != 0,
            f"a part of the batch, batch_size / accumulate = {self.micro_batch_size} clips, is not a "
            f"multiple of augment.repeats={self.augment.repeats}",
        )
        refuse(
            self.model.head_norm == "batch" and self.micro_batch_size == 1,
            f"model.head_norm='batch' has no effect on one clip at a time: batch_size={self.batch_size} with "
            f"accumulate={self.accumulate}",
        )
        refuse(
            self.clip.background == "remove" and self.model.num_frames * self.clip.frames_per_channel_group == 1,
            "clip.background='remove' leaves nothing of a single frame: model.num_frames=1",
        )
        refuse(
            self.clip.channel_order == "time" and (self.augment.hue_jitter > 0 or self.augment.grayscale > 0),
            f"hue_jitter={self.augment.hue_jitter}, grayscale={self.augment.grayscale} have no effect with "
            f"clip.channel_order='time', which has no colors",
        )
        check_count("seed", self.seed, least=0, most=MOST_SEED)
        refuse(not self.output, "output is empty: name a folder for the run")
