"""Every invalid value is refused with a message, and every field has a docstring."""

import ast
import dataclasses
import inspect
from collections.abc import Iterator
from itertools import pairwise

import jaxtyping
import pytest

from timesformer.config.run import AugmentConfig, DataConfig, OptimConfig, RunConfig
from timesformer.config.schema import ClipConfig, ModelConfig, check_image_size
from timesformer.errors import ConfigError


@pytest.fixture(autouse=True, scope="module")
def _annotations_unchecked() -> Iterator[None]:
    """Values of the wrong type are the subject here: the tests' checker of annotations must let them through."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jaxtyping.config, "jaxtyping_disable", True)
        yield


CONFIGS = (ModelConfig, ClipConfig, DataConfig, OptimConfig, RunConfig)

REFUSED = [
    (ModelConfig, {"scheme": "divided"}, r"scheme='divided' is not one of 'space_only', .*'axial'"),
    (
        ModelConfig,
        {"position_embedding": "time"},
        "position_embedding='time' is not one of 'space_time', 'space', 'none'",
    ),
    (
        ModelConfig,
        {"position_interpolation": "linear"},
        "position_interpolation='linear' is not one of 'bicubic', 'nearest'",
    ),
    (ModelConfig, {"initialization": "zeros"}, "initialization='zeros' is not one of 'released', 'scratch'"),
    (ModelConfig, {"num_frames": 0}, "num_frames=0 must be greater than 0"),
    (ModelConfig, {"patch_size": -16}, "patch_size=-16 must be greater than 0"),
    (ModelConfig, {"in_channels": 0}, "in_channels=0 must be greater than 0"),
    (ModelConfig, {"embed_dim": 0}, "embed_dim=0 must be greater than 0"),
    (ModelConfig, {"depth": 0}, "depth=0 must be greater than 0"),
    (ModelConfig, {"num_heads": 0}, "num_heads=0 must be greater than 0"),
    (ModelConfig, {"num_classes": 0}, "num_classes=0 must be greater than 0"),
    (ModelConfig, {"mlp_ratio": 0.0}, "mlp_ratio=0.0 must be greater than 0"),
    (ModelConfig, {"norm_eps": float("nan")}, "norm_eps=nan must be greater than 0"),
    (ModelConfig, {"dropout": 1.0}, "dropout=1.0 must be at least 0 and less than 1"),
    (ModelConfig, {"attention_dropout": -0.1}, "attention_dropout=-0.1 must be at least 0 and less than 1"),
    (ModelConfig, {"head_dropout": 2.0}, "head_dropout=2.0 must be at least 0 and less than 1"),
    (ModelConfig, {"drop_path": float("nan")}, "drop_path=nan must be at least 0 and less than 1"),
    (ModelConfig, {"embed_dim": 10, "num_heads": 4}, "embed_dim=10 is not a multiple of num_heads=4"),
    (ModelConfig, {"image_size": (224, 225)}, r"image_size=\(224, 225\) is not a multiple of patch_size=16"),
    (ModelConfig, {"image_size": 40}, r"image_size=\(40, 40\) is not a multiple of patch_size=16"),
    (ModelConfig, {"image_size": (0, 16)}, r"image_size=\(0, 16\) is not a multiple of patch_size=16"),
    (ModelConfig, {"image_size": (16, 16, 16)}, r"image_size=\(16, 16, 16\) must be one side or \(height, width\)"),
    (ClipConfig, {"sampling": "random"}, "sampling='random' is not one of 'dense', 'center', 'segment'"),
    (ClipConfig, {"channel_order": "gbr"}, "channel_order='gbr' is not one of 'rgb', 'bgr', 'time'"),
    (ClipConfig, {"background": "blur"}, "background='blur' is not one of 'keep', 'remove'"),
    (ClipConfig, {"region": "face"}, "region='face' is not one of 'frame', 'motion'"),
    (
        ClipConfig,
        {"region": "motion", "num_crops": 1, "min_region": 0.0},
        "min_region=0.0 must be greater than 0 and at most 1",
    ),
    (ClipConfig, {"region": "motion"}, "num_crops=3 has no effect with region='motion', .*: set num_crops=1"),
    (ClipConfig, {"min_region": 0.3}, "min_region=0.3 has no effect with region='frame', only with 'motion'"),
    (ClipConfig, {"fusion": "max"}, "fusion='max' is not one of 'softmax', 'logits'"),
    (ClipConfig, {"frame_stride": 0}, "frame_stride=0 must be greater than 0"),
    (ClipConfig, {"target_fps": -30.0}, "target_fps=-30.0 must be greater than 0"),
    (ClipConfig, {"num_clips": 0}, "num_clips=0 must be greater than 0"),
    (ClipConfig, {"num_crops": 2}, "num_crops=2 must be 1 or 3"),
    (ClipConfig, {"test_scale": 0.9}, "test_scale=0.9 must be at least 1"),
    (ClipConfig, {"mean": (0.5, 0.5)}, r"mean=\(0.5, 0.5\) and std=.* need three values"),
    (ClipConfig, {"std": (1.0,)}, r"mean=.* and std=\(1.0,\) need three values"),
    (ClipConfig, {"std": (0.2, 0.0, 0.2)}, r"std=\(0.2, 0.0, 0.2\) must be greater than 0"),
    *(
        (ClipConfig, {"sampling": name, "num_clips": 2}, f"num_clips=2 has no effect on sampling='{name}'")
        for name in ("center", "coverage")
    ),
    (
        DataConfig,
        {"scale_range": (0.9, 1.2)},
        r"scale_range=\(0.9, 1.2\) must be two numbers of at least 1, the smaller one first",
    ),
    (DataConfig, {"scale_range": (1.3, 1.2)}, r"scale_range=\(1.3, 1.2\) must be two numbers of at least 1"),
    (DataConfig, {"val_fraction": 0.0}, "val_fraction=0.0 must be greater than 0 and less than 1"),
    (DataConfig, {"val_fraction": 1.0}, "val_fraction=1.0 must be greater than 0 and less than 1"),
    (DataConfig, {"num_workers": -1}, "num_workers=-1 must not be negative"),
    (OptimConfig, {"optimizer": "lion"}, "optimizer='lion' is not one of 'adamw', 'sgd'"),
    (OptimConfig, {"schedule": "linear"}, "schedule='linear' is not one of 'cosine', 'steps'"),
    (OptimConfig, {"lr": 0.0}, "lr=0.0 must be greater than 0"),
    (OptimConfig, {"weight_decay": -0.1}, "weight_decay=-0.1 must be finite and not negative"),
    (OptimConfig, {"clip_grad_norm": -1.0}, "clip_grad_norm=-1.0 must be finite and not negative"),
    (OptimConfig, {"warmup_fraction": 1.0}, "warmup_fraction=1.0 must be at least 0 and less than 1"),
    (OptimConfig, {"label_smoothing": -0.1}, "label_smoothing=-0.1 must be at least 0 and less than 1"),
    (OptimConfig, {"milestones": (0.5, 0.2)}, r"milestones=\(0.5, 0.2\) must rise between 0 and 1"),
    (OptimConfig, {"milestones": (0.5, 1.0)}, r"milestones=\(0.5, 1.0\) must rise between 0 and 1"),
    (OptimConfig, {"milestones": (0.5,)}, r"milestones=\(0.5,\) have no effect on schedule='cosine'"),
    (ClipConfig, {"test_scale": 1.5}, "test_scale=1.5 has no effect with num_crops=3"),
    (ClipConfig, {"sampling": "uniform", "frame_stride": 4}, "frame_stride=4, .* no effect on sampling='uniform'"),
    (ClipConfig, {"sampling": "segment", "target_fps": 25.0}, "target_fps=25.0 have no effect on sampling='segment'"),
    (ClipConfig, {"target_fps": float("inf")}, "target_fps=inf must be greater than 0, and finite"),
    (DataConfig, {"scale_range": (1.0, 1.2, 1.4)}, r"scale_range=\(1.0, 1.2, 1.4\) must be two numbers"),
    (RunConfig, {"epochs": 0}, "epochs=0 must be greater than 0"),
    (RunConfig, {"batch_size": 0}, "batch_size=0 must be greater than 0"),
    (RunConfig, {"seed": -1}, "seed=-1 must not be negative"),
    (AugmentConfig, {"background_swap": 1.5}, "background_swap=1.5 must lie between 0 and 1"),
    (
        RunConfig,
        {"clip": ClipConfig(background="remove"), "augment": AugmentConfig(background_swap=0.5)},
        "augment.background_swap=0.5 has no effect with clip.background='remove'",
    ),
    (
        RunConfig,
        {"model": ModelConfig(num_frames=2), "augment": AugmentConfig(background_swap=0.5)},
        "augment.background_swap=0.5 needs clips of at least 3 frames to tell what moves: model.num_frames=2",
    ),
    (AugmentConfig, {"tempo": 0.5}, "tempo=0.5 must lie between 1 and 4"),
    (
        RunConfig,
        {"model": ModelConfig(num_frames=2), "augment": AugmentConfig(tempo=2.0)},
        "augment.tempo=2.0 has no effect on clips of less than 3 frames: model.num_frames=2",
    ),
    (DataConfig, {"crop_jitter": 1.5}, "crop_jitter=1.5 must lie between 0 and 1"),
    (OptimConfig, {"pretrained_lr": 0.0}, "pretrained_lr=0.0 must be greater than 0 and at most 1"),
    (
        OptimConfig,
        {"pretrained_lr": 0.1, "freeze": "backbone"},
        "pretrained_lr=0.1 has no effect with freeze='backbone'",
    ),
    (RunConfig, {"init_scale": 0.0, "init_from": "x"}, "init_scale=0.0 must be greater than 0"),
    (
        RunConfig,
        {"clip": ClipConfig(channel_order="time"), "augment": AugmentConfig(hue_jitter=0.1)},
        "hue_jitter=0.1, grayscale=0.0 have no effect with clip.channel_order='time'",
    ),
    (
        RunConfig,
        {"model": ModelConfig(head_norm="batch"), "batch_size": 4, "accumulate": 4},
        "model.head_norm='batch' needs more than one clip at a time: batch_size=4 with accumulate=4",
    ),
    (
        RunConfig,
        {"model": ModelConfig(num_frames=1), "clip": ClipConfig(background="difference")},
        "clip.background='difference' leaves nothing of a single frame: model.num_frames=1",
    ),
    (
        RunConfig,
        {"model": ModelConfig(num_frames=1), "clip": ClipConfig(background="remove")},
        "clip.background='remove' leaves nothing of a single frame: model.num_frames=1",
    ),
    (
        RunConfig,
        {"model": ModelConfig(num_frames=1), "clip": ClipConfig(region="motion", num_crops=1)},
        "clip.region='motion' has no effect on a single frame: model.num_frames=1",
    ),
    (OptimConfig, {"distill_weight": 0.0}, "distill_weight=0.0 must be greater than 0 and at most 1"),
    (OptimConfig, {"distill_temperature": 0.0}, "distill_temperature=0.0 must be greater than 0"),
    (OptimConfig, {"distill_temperature": 1e4}, "distill_temperature=10000.0 must be at most 1000"),
    (
        RunConfig,
        {"optim": OptimConfig(distill_weight=0.7)},
        "optim.distill_weight=0.7 has no effect without distill_from",
    ),
    (
        RunConfig,
        {"optim": OptimConfig(distill_temperature=1.0)},
        "optim.distill_temperature=1.0 has no effect without distill_from",
    ),
    (RunConfig, {"distill_from": "runs/a"}, "distill_from='runs/a' must be a list of models"),
    (RunConfig, {"distill_from": ("runs/a", "")}, r"distill_from=\['runs/a', ''\] has an empty name"),
    (RunConfig, {"output": ""}, "output is empty: name a folder for the run"),
]


@pytest.mark.parametrize(("kind", "values", "message"), REFUSED, ids=[message[:40] for *_, message in REFUSED])
def test_value_out_of_range_is_refused(kind, values, message):
    with pytest.raises(ConfigError, match=message):
        kind(**values)


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (ClipConfig, {"test_scale": 1.0, "num_crops": 1}),
        (ClipConfig, {"num_clips": 10}),
        (DataConfig, {"scale_range": (1.0, 1.0)}),
        (DataConfig, {"num_workers": 0}),
        (OptimConfig, {"weight_decay": 0.0, "clip_grad_norm": 0.0, "warmup_fraction": 0.0}),
        (OptimConfig, {"milestones": (), "schedule": "steps"}),
        (RunConfig, {"seed": 0}),
    ],
)
def test_value_at_the_end_of_its_range_is_taken(kind, values):
    config = kind(**values)
    assert {name: getattr(config, name) for name in values} == values


def test_one_side_gives_a_square_image():
    assert ModelConfig(image_size=32).image_size == (32, 32)


@pytest.mark.parametrize(
    ("kind", "name", "value"),
    [
        (ModelConfig, "image_size", [32, 48]),
        (ClipConfig, "mean", [0.1, 0.2, 0.3]),
        (ClipConfig, "std", [0.1, 0.2, 0.3]),
        (DataConfig, "scale_range", [1.0, 2.0]),
        (OptimConfig, "milestones", [11 / 15, 14 / 15]),
    ],
)
def test_lists_are_kept_as_tuples_so_that_configs_can_be_compared_and_hashed(kind, name, value):
    config = kind(**{name: value})
    assert getattr(config, name) == tuple(value)
    assert hash(config) == hash(kind(**{name: tuple(value)}))


def test_grid_counts_frames_rows_and_columns_of_patches():
    assert ModelConfig(num_frames=3, image_size=(32, 80), patch_size=16).grid == (3, 2, 5)


def test_mlp_dim_is_the_width_times_the_ratio():
    assert ModelConfig(embed_dim=24, num_heads=2, mlp_ratio=2.5).mlp_dim == 60


def test_image_size_is_checked_against_the_patch():
    check_image_size((32, 48), 16)
    with pytest.raises(ConfigError, match=r"image_size=\(32, 40\) is not a multiple of patch_size=16"):
        check_image_size((32, 40), 16)


@pytest.mark.parametrize("kind", CONFIGS)
def test_config_cannot_be_changed(kind):
    config = kind()
    name = dataclasses.fields(kind)[0].name
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(config, name, getattr(config, name))


@pytest.mark.parametrize("kind", CONFIGS)
def test_fields_are_given_by_name_only(kind):
    with pytest.raises(TypeError):
        kind("divided_space_time")


@pytest.mark.parametrize("kind", CONFIGS)
def test_every_field_has_a_docstring(kind):
    (definition,) = ast.parse(inspect.getsource(kind)).body
    documented = {
        before.target.id
        for before, after in pairwise(definition.body)
        if isinstance(before, ast.AnnAssign) and isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
    }
    assert documented == {field.name for field in dataclasses.fields(kind)}
