import pytest

from timesformer.config.schema import ClipConfig, ModelConfig
from timesformer.errors import ConfigError
from timesformer.evaluation.protocol import change_views, describe_protocol


@pytest.mark.parametrize(
    ("clip", "expected"),
    [
        (ClipConfig(), "dense 8x32 at 30 fps, 1 clip x 3 crops of 224x192, softmax fusion"),
        (
            ClipConfig(num_clips=10, num_crops=1, fusion="logits", frame_stride=4),
            "dense 8x4 at 30 fps, 10 clips x 1 crop of 224x192, logits fusion",
        ),
        (
            ClipConfig(channel_order="time", background="remove"),
            "dense 8x32 at 30 fps, 3 moments a frame, background removed, 1 clip x 3 crops of 224x192, softmax fusion",
        ),
        (
            ClipConfig(sampling="segment", num_crops=1, background="difference"),
            "segment 8, differences from the background, 1 clip x 1 crop of 224x192, softmax fusion",
        ),
        (
            ClipConfig(sampling="segment", num_crops=1, region="motion"),
            "segment 8, cropped to what moves (at least 0.5 of the frame), 1 clip x 1 crop of 224x192, softmax fusion",
        ),
        (ClipConfig(sampling="segment"), "segment 8, 1 clip x 3 crops of 224x192, softmax fusion"),
        (
            ClipConfig(sampling="coverage"),
            "coverage 8x32 at 30 fps, all clips x 3 crops of 224x192, softmax fusion",
        ),
    ],
)
def test_protocol_names_views_and_fusion(clip: ClipConfig, expected: str):
    assert describe_protocol(ModelConfig(image_size=(224, 192)), clip) == expected


@pytest.mark.parametrize(
    ("clip", "ending"),
    [
        (ClipConfig(sampling="center"), " (views and fusion as in the paper)"),
        (ClipConfig(fusion="logits"), " (views and fusion as in the released code)"),
        (ClipConfig(sampling="center", fusion="logits"), "fusion"),
        (ClipConfig(sampling="center", num_crops=1), "fusion"),
    ],
)
def test_protocol_names_its_source_only_if_all_of_it_agrees(clip: ClipConfig, ending: str):
    assert describe_protocol(ModelConfig(), clip).endswith(ending)


@pytest.mark.parametrize(
    ("precision", "ending"), [("fp32", "in the paper)"), ("bf16", "in the paper), computed in bf16")]
)
def test_protocol_names_another_precision_than_fp32(precision, ending: str):
    assert describe_protocol(ModelConfig(), ClipConfig(sampling="center"), precision=precision).endswith(ending)


def test_other_views_keep_the_rest_of_the_clips():
    clip = ClipConfig(frame_stride=16, mean=(0.5, 0.4, 0.3), channel_order="bgr")
    changed = change_views(clip, {"num_clips": 5, "num_crops": 1, "fusion": "logits"})
    assert (changed.num_clips, changed.num_crops, changed.fusion) == (5, 1, "logits")
    assert (changed.frame_stride, changed.mean, changed.channel_order) == (16, (0.5, 0.4, 0.3), "bgr")


def test_fields_without_effect_on_the_new_views_return_to_their_defaults():
    one_crop = ClipConfig(num_crops=1, test_scale=1.0)
    assert change_views(one_crop, {"num_crops": 3}).test_scale == 8 / 7
    assert change_views(ClipConfig(num_clips=4), {"sampling": "coverage"}).num_clips == 1
    assert change_views(ClipConfig(frame_stride=4), {"sampling": "uniform"}).frame_stride == 32
    assert change_views(one_crop, {}) == one_crop


def test_change_without_effect_is_refused():
    assert change_views(ClipConfig(sampling="uniform"), {"num_clips": 5}).num_clips == 5
    with pytest.raises(ConfigError, match="num_clips=5 has no effect on sampling='center'"):
        change_views(ClipConfig(sampling="center"), {"num_clips": 5})
    with pytest.raises(ConfigError, match=r"test_scale=1\.0 has no effect"):
        change_views(ClipConfig(), {"test_scale": 1.0})
