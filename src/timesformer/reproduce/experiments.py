"""The experiments as data, built from a base run and a size."""

from collections.abc import Callable, Mapping, Sequence

from timesformer.config.presets import CLIP_PRESETS, PRESETS
from timesformer.config.run import RunConfig
from timesformer.errors import ConfigError, did_you_mean
from timesformer.reproduce import paper
from timesformer.reproduce.experiment import Experiment, FrameOrder, Motions, Training, Variant
from timesformer.reproduce.sizes import Size


def define(name: str, base: RunConfig, size: Size) -> Experiment:
    """Make an experiment.

    Args:
        name: One of `EXPERIMENTS`.
        base: The run that its trainings depart from.
        size: Sizes relative to the base.

    Raises:
        ConfigError: There is no experiment of this name, or the base cannot be changed as it asks.
    """
    if name not in EXPERIMENTS:
        raise ConfigError(
            f"experiment {name!r} is not one of cost, {', '.join(EXPERIMENTS)}{did_you_mean(name, EXPERIMENTS)}"
        )
    return EXPERIMENTS[name](base, size)


def _schemes(base: RunConfig, size: Size) -> Experiment:
    variants = [
        Variant(
            label=name,
            training=Training(name=name, overrides=(f"model.scheme={name}",)),
            paper=paper.PAPER_SCHEMES[name],
        )
        for name in paper.PAPER_SCHEMES
    ]
    return Experiment(
        name="schemes",
        shows="Table 1",
        title="Five attention schemes",
        base=base,
        variants=tuple(variants),
        motions={"videos": Motions()},
    )


def _pretraining(base: RunConfig, size: Size) -> Experiment:
    if size.name == "full":
        return _pretraining_of_three(base)
    images, start = (), ""
    if size.name == "laptop":
        sets = ("model.scheme=space_only",)
        images, start = (Training(name="images", overrides=sets, videos="images"),), "images"
    fresh = ('init_from=""', 'model.initialization="scratch"')
    variants = (
        Variant(label="from scratch", training=Training(name="scratch", overrides=fresh), paper=paper.FROM_SCRATCH),
        Variant(
            label="pretrained on images",
            training=Training(name="pretrained", start=start),
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


_IMAGE_NOTES = (
    "The image model is a space-only model, which sees single frames, trained on other videos of the same motions; its "
    "attention is copied into both steps of the divided model, as the paper does with a ViT.",
)


def _pretraining_of_three(base: RunConfig) -> Experiment:
    fresh = Training(name="scratch", overrides=('init_from=""', 'model.initialization="scratch"'))
    variants = [Variant(label="base, from scratch", training=fresh, paper=paper.FROM_SCRATCH)]
    for name, printed in paper.PRETRAINING.items():
        variants.append(
            Variant(label=f"{name}, pretrained", training=Training(name=name, overrides=_model_of(name)), paper=printed)
        )
    return Experiment(
        name="pretraining", shows="Table 3", title="Pretrained on images or not", base=base, variants=tuple(variants)
    )


def _model_of(name: str) -> tuple[str, ...]:
    """Frames, crop and stride of one of the paper's three models."""
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
            "The paper draws this figure without numbers, against SlowFast and I3D, which are not part of this "
            "project; joint attention stands in for them. Every variant runs the same number of epochs, so that fewer "
            "videos also mean fewer steps.",
        ),
    )


def _tokens(base: RunConfig, size: Size) -> Experiment:
    model = base.model
    crops = [_crop(base, factor) for factor in size.crops]
    frames = _counts(model.num_frames, size.frames)
    places = [("height of the crop, pixels", crop[0], model.num_frames, crop) for crop in dict.fromkeys(crops)]
    places += [("frames of a clip", count, count, model.image_size) for count in frames]
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
        for panel, x, count, (height, width) in places
    ]
    return Experiment(
        name="tokens",
        shows="Figure 5",
        title="Accuracy against the number of tokens",
        base=base,
        variants=tuple(variants),
        motions={"videos": Motions(clips=600, num_frames=max(frames), size=max(max(crop) for crop in crops))},
        notes=("The paper draws this figure without numbers.",),
    )


def _crop(base: RunConfig, factor: float) -> tuple[int, int]:
    """The base's crop, scaled and rounded to whole patches, of which at least one stays."""
    patch = base.model.patch_size
    height, width = (max(1, round(side * factor / patch)) * patch for side in base.model.image_size)
    return height, width


def _counts(base: int, factors: Sequence[float]) -> list[int]:
    return list(dict.fromkeys(max(1, round(base * factor)) for factor in factors))


def _same_span(base: RunConfig, num_frames: int, size: Size) -> tuple[str, ...]:
    """The stride at which a clip of other frames covers as much time as the base's, where clips have a stride."""
    if base.clip.sampling in ("uniform", "segment"):
        return ()
    stride = base.clip.frame_stride * base.model.num_frames // num_frames
    return (f"clip.frame_stride={max(size.least_stride, stride)}",)


def _position(base: RunConfig, size: Size) -> Experiment:
    variants = [
        Variant(
            label=name,
            training=Training(name=name, overrides=(f"model.position_embedding={name}",)),
            paper=paper.POSITION[name],
        )
        for name in paper.POSITION
    ]
    return Experiment(
        name="position",
        shows="Table 4",
        title="Position embeddings",
        base=base,
        variants=tuple(variants),
        motions={"videos": Motions()},
    )


def _dense(base: RunConfig, stride: int, size: Size) -> tuple[str, ...]:
    """Dense clips: at the laptop `stride` of videos at 16 frames a second, elsewhere the base's own, times `stride`."""
    if size.name == "laptop":
        return ("clip.sampling=dense", f"clip.frame_stride={stride}", "clip.target_fps=16.0")
    has_stride = base.clip.sampling not in ("uniform", "segment")
    step = (base.clip.frame_stride if has_stride else 4) * stride
    sampling = base.clip.sampling if base.clip.sampling in ("dense", "center", "coverage") else "dense"
    return (f"clip.sampling={sampling}", f"clip.frame_stride={step}")


def _clips(base: RunConfig, size: Size) -> Experiment:
    if size.name == "full":
        models = {name: Training(name=name, overrides=_model_of(name)) for name in ("base", "hr", "large")}
    else:
        strides = (2, 6) if size.name == "laptop" else (1, 4)
        models = {
            label: Training(name=label, overrides=_dense(base, stride, size))
            for label, stride in zip(("short", "long"), strides, strict=True)
        }
    variants = []
    for name, training in models.items():
        run = training.run(base)
        span = run.model.num_frames * run.clip.frame_stride / run.clip.target_fps
        for count in (1, 3, 5, 10):
            variants.append(
                Variant(
                    label=f"{name}, {count} clip{'s' * (count > 1)}",
                    training=training,
                    series=f"{name}: clips of {span:.3g} s",
                    panel="clips of a video at test",
                    x=count,
                    test=("sampling=dense", f"num_clips={count}", "num_crops=1"),
                    remarks={"clip, s": f"{span:.3g}"},
                )
            )
    return Experiment(
        name="clips",
        shows="Figure 6",
        title="Accuracy against the number of test clips",
        base=base,
        variants=tuple(variants),
        motions={"videos": Motions(clips=600, num_frames=48)},
        notes=(
            "The paper draws this figure without numbers: its L model, whose clip covers all of a video, needs one.",
        ),
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
            "The paper's numbers for other orders of the steps are its differences from the divided scheme. The rows "
            "with changed frames test the model of the first row: a model that uses the order of frames must lose.",
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
    notes = "Test clips cover the whole video end to end, and their answers are averaged."
    return Experiment(
        name="long",
        shows="Table 8",
        title="Long videos: frames of a clip",
        base=base,
        variants=tuple(variants),
        motions={"videos": Motions(clips=480, num_frames=96)},
        notes=(notes,) if size.name == "full" else (notes, _long_in_print()),
    )


def _long_in_print() -> str:
    rows = [
        f"{count} frames {row['paper TimeSformer']} % in {row['paper clips']:g} clips of {row['paper clip, s']} s"
        for count, row in paper.LONG.items()
    ]
    return f"The paper prints, for HowTo100M: {'; '.join(rows)}."


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
