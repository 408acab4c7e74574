"""The experiments as data, built from a base run and a size."""

from collections.abc import Callable, Mapping, Sequence

from timesformer.config.presets import CLIP_PRESETS, PRESETS
from timesformer.config.run import RunConfig
from timesformer.errors import ConfigError, did_you_mean
from timesformer.reproduce import paper
from timesformer.reproduce.experiment import Experiment, FrameOrder, Motions, Training, Variant
from timesformer.reproduce.sizes import Size


def define(name: str, base: RunConfig, size: Size) -> Experiment:
    """Build an experiment.

    Args:
        name: One of `EXPERIMENTS`.
        base: Base run of its trainings.
        size: Sizes relative to the base.

    Raises:
        ConfigError: No experiment has this name, or the base run does not allow its changes.
    """
    if name not in EXPERIMENTS:
        raise ConfigError(
            f"experiment {name!r} is not one of cost, {', '.join(EXPERIMENTS)}{did_you_mean(name, EXPERIMENTS)}"
        )
    return EXPERIMENTS[name](base, size)


def _schemes(base: RunConfig, size: Size) -> Experiment:
    return Experiment(
        name="schemes",
        shows="Table 1",
        title="Five attention schemes",
        base=base,
        variants=_one_per_value("scheme", paper.PAPER_SCHEMES),
        motions={"videos": Motions()},
    )


def _one_per_value(key: str, paper_rows: Mapping[str, paper.Printed]) -> tuple[Variant, ...]:
    """One variant per value of a key of the model config."""
    return tuple(
        Variant(label=value, training=Training(name=value, overrides=(f"model.{key}={value}",)), paper=row)
        for value, row in paper_rows.items()
    )


def _pretraining(base: RunConfig, size: Size) -> Experiment:
    if size.name == "full":
        return _pretraining_of_three(base)
    image_model = Training(name="images", overrides=("model.scheme=space_only",), videos="images")
    images = (image_model,) if size.name == "laptop" else ()
    variants = (
        Variant(label="from scratch", training=_SCRATCH, paper=paper.FROM_SCRATCH),
        Variant(
            label="pretrained on images",
            training=Training(name="pretrained", start=image_model.name if images else ""),
            paper=paper.PRETRAINING["base"],
        ),
    )
    return Experiment(
        name="pretraining",
        shows="Table 3",
        title="Pretrained on images or not",
        base=base,
        variants=variants,
        motions={"videos": Motions(clips=800), "images": Motions(clips=800, seed_offset=1)},
        prerequisites=images,
        notes=_IMAGE_NOTES if images else (),
    )


_SCRATCH = Training(name="scratch", overrides=('init_from=""', 'model.initialization="scratch"'))

_IMAGE_NOTES = (
    "The image model is a space-only model, which sees single frames, trained on other videos of the same motions; its "
    "attention is copied into both attention steps of the divided model, as the paper does with a ViT.",
)


def _pretraining_of_three(base: RunConfig) -> Experiment:
    variants = [Variant(label="base, from scratch", training=_SCRATCH, paper=paper.FROM_SCRATCH)]
    variants += [
        Variant(label=f"{name}, pretrained", training=Training(name=name, overrides=_model_of(name)), paper=row)
        for name, row in paper.PRETRAINING.items()
    ]
    return Experiment(
        name="pretraining", shows="Table 3", title="Pretrained on images or not", base=base, variants=tuple(variants)
    )


def _model_of(name: str) -> tuple[str, ...]:
    """Overrides with the frames, crop and stride of one of the paper's three models."""
    model, clip = PRESETS[name], CLIP_PRESETS[name]
    return (
        f"model.num_frames={model.num_frames}",
        f"model.image_size={list(model.image_size)}",
        f"clip.frame_stride={clip.frame_stride}",
    )


def _data_scale(base: RunConfig, size: Size) -> Experiment:
    variants = []
    for scheme in ("divided_space_time", "joint_space_time"):
        for percent in (25, 50, 75, 100):
            training = Training(
                name=f"{scheme}_{percent}", overrides=(f"model.scheme={scheme}",), fraction=percent / 100
            )
            label, panel = f"{scheme}, {percent} %", "fraction of the training videos, %"
            variants.append(Variant(label=label, training=training, series=scheme, panel=panel, x=percent))
    return Experiment(
        name="data-scale",
        shows="Figure 4",
        title="Accuracy against the number of training videos",
        base=base,
        variants=tuple(variants),
        motions={"videos": Motions(clips=800)},
        notes=(
            "The paper's figure has no numbers and compares with SlowFast and I3D, which this project does not "
            "include; joint attention replaces them. All variants train for the same number of epochs, so fewer videos "
            "also mean fewer steps.",
        ),
    )


def _tokens(base: RunConfig, size: Size) -> Experiment:
    model = base.model
    crops = [_crop(base, factor) for factor in size.crops]
    frames = _counts(model.num_frames, size.frames)
    settings = [("height of the crop, pixels", crop[0], model.num_frames, crop) for crop in dict.fromkeys(crops)]
    settings += [("frames of a clip", count, count, model.image_size) for count in frames]
    variants = [
        Variant(
            label=f"{count} frames of {height} x {width}",
            training=Training(
                name=f"{count}x{height}x{width}",
                overrides=(
                    f"model.num_frames={count}",
                    f"model.image_size=[{height}, {width}]",
                    *_same_span(base, count, size),
                ),
            ),
            series=model.scheme_text,
            panel=panel,
            x=x,
        )
        for panel, x, count, (height, width) in settings
    ]
    return Experiment(
        name="tokens",
        shows="Figure 5",
        title="Accuracy against the number of tokens",
        base=base,
        variants=tuple(variants),
        motions={"videos": Motions(clips=600, num_frames=max(frames), size=max(max(crop) for crop in crops))},
        notes=("The paper's figure has no numbers.",),
    )


def _crop(base: RunConfig, factor: float) -> tuple[int, int]:
    """The base's crop, scaled and rounded to whole patches, at least one."""
    patch = base.model.patch_size
    height, width = (max(1, round(side * factor / patch)) * patch for side in base.model.image_size)
    return height, width


def _counts(base: int, factors: Sequence[float]) -> list[int]:
    return list(dict.fromkeys(max(1, round(base * factor)) for factor in factors))


def _same_span(base: RunConfig, num_frames: int, size: Size) -> tuple[str, ...]:
    """Override of the stride that keeps the duration of the base's clip; empty for sampling without stride."""
    if base.clip.sampling in ("uniform", "segment"):
        return ()
    stride = base.clip.frame_stride * base.model.num_frames // num_frames
    return (f"clip.frame_stride={max(size.least_stride, stride)}",)


def _position(base: RunConfig, size: Size) -> Experiment:
    return Experiment(
        name="position",
        shows="Table 4",
        title="Position embeddings",
        base=base,
        variants=_one_per_value("position_embedding", paper.POSITION),
        motions={"videos": Motions()},
    )


def _dense(base: RunConfig, stride: int, size: Size) -> tuple[str, ...]:
    """Overrides for dense clips: `stride` at 16 fps for `laptop`, else a multiple `stride` of the base's stride."""
    if size.name == "laptop":
        return ("clip.sampling=dense", f"clip.frame_stride={stride}", "clip.target_fps=16.0")
    has_stride = base.clip.sampling not in ("uniform", "segment")
    step = (base.clip.frame_stride if has_stride else 4) * stride
    sampling = base.clip.sampling if base.clip.sampling in ("dense", "center", "coverage") else "dense"
    return (f"clip.sampling={sampling}", f"clip.frame_stride={step}")


def _clips(base: RunConfig, size: Size) -> Experiment:
    if size.name == "full":
        trainings = [Training(name=name, overrides=_model_of(name)) for name in ("base", "hr", "large")]
    else:
        strides = {"short": 2, "long": 6} if size.name == "laptop" else {"short": 1, "long": 4}
        trainings = [Training(name=name, overrides=_dense(base, n, size)) for name, n in strides.items()]
    variants = [_test(training, base, num_clips=count) for training in trainings for count in (1, 3, 5, 10)]
    return Experiment(
        name="clips",
        shows="Figure 6",
        title="Accuracy against the number of test clips",
        base=base,
        variants=tuple(variants),
        motions={"videos": Motions(clips=600, num_frames=48)},
        notes=("The paper's figure has no numbers: its L model, whose clip covers the whole video, needs one clip.",),
    )


def _test(training: Training, base: RunConfig, *, num_clips: int) -> Variant:
    run = training.run(base)
    duration_s = run.model.num_frames * run.clip.frame_stride / run.clip.target_fps
    return Variant(
        label=f"{training.name}, {num_clips} clip{'s' * (num_clips > 1)}",
        training=training,
        series=f"{training.name}: clips of {duration_s:.3g} s",
        panel="clips of a video at test",
        x=num_clips,
        test=("sampling=dense", f"num_clips={num_clips}", "num_crops=1"),
        remarks={"clip, s": f"{duration_s:.3g}"},
    )


_FRAME_ORDERS: Mapping[FrameOrder, str] = {
    "reversed": "frames reversed at test",
    "shuffled": "frames shuffled at test",
    "one": "one frame, repeated, at test",
}


def _order(base: RunConfig, size: Size) -> Experiment:
    steps = {
        "divided_space_time": "time, then space",
        "space_time_reversed": "space, then time",
        "parallel": "both side by side",
    }
    trainings = {scheme: Training(name=scheme, overrides=(f"model.scheme={scheme}",)) for scheme in steps}
    variants = [
        Variant(label=label, training=trainings[scheme], series="order of the steps", paper=paper.STEP_ORDER[scheme])
        for scheme, label in steps.items()
    ]
    variants += [
        Variant(label=label, training=trainings["divided_space_time"], series="order of the frames", frames=frames)
        for frames, label in _FRAME_ORDERS.items()
    ]
    return Experiment(
        name="order",
        shows="section 4.7",
        title="Order of the attention steps, and of the frames",
        base=base,
        variants=tuple(variants),
        motions={"videos": Motions(clips=800)},
        notes=(
            "The paper gives the other orders of the attention steps as differences from the divided scheme. The rows "
            "with changed frames test the model of the first row: one that uses the order of frames must get worse.",
        ),
    )


def _long(base: RunConfig, size: Size) -> Experiment:
    variants = []
    for count in _counts(base.model.num_frames, size.long_frames):
        dense = _dense(base, 3 if size.name == "laptop" else 1, size)
        training = Training(
            name=f"frames_{count}", overrides=(*dense, "clip.sampling=coverage", f"model.num_frames={count}")
        )
        clip = training.run(base).clip
        variants.append(
            Variant(
                label=f"{count} frames",
                training=training,
                series=base.model.scheme_text,
                panel="frames of a clip",
                x=count,
                paper=paper.LONG.get(count, {}) if size.name == "full" else {},
                remarks={"clip, s": f"{count * clip.frame_stride / clip.target_fps:.3g}"},
            )
        )
    notes = "Test clips cover the whole video end to end; their predictions are averaged."
    return Experiment(
        name="long",
        shows="Table 8",
        title="Long videos: frames of a clip",
        base=base,
        variants=tuple(variants),
        motions={"videos": Motions(clips=480, num_frames=96)},
        notes=(notes,) if size.name == "full" else (notes, _long_in_paper()),
    )


def _long_in_paper() -> str:
    rows = [
        f"{count} frames {row['paper TimeSformer']} % in {row['paper clips']:g} clips of {row['paper clip, s']} s"
        for count, row in paper.LONG.items()
    ]
    return f"The paper's results on HowTo100M: {'; '.join(rows)}."


EXPERIMENTS: Mapping[str, Callable[[RunConfig, Size], Experiment]] = {
    "schemes": _schemes,
    "pretraining": _pretraining,
    "data-scale": _data_scale,
    "tokens": _tokens,
    "position": _position,
    "clips": _clips,
    "order": _order,
    "long": _long,
}
"""The experiments that train, by their names on the command line."""
