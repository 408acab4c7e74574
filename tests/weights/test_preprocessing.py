"""What a `transformers` folder says of frames: followed, without effect, or refused by file and key."""

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from timesformer.config.info import ModelInfo
from timesformer.config.schema import ClipConfig
from timesformer.errors import WeightsError
from timesformer.weights import save_transformers
from timesformer.weights.formats.transformers_preprocessing import read_preprocessing
from timesformer.weights.load import load
from tiny import random_model, square_config

SIDE = {"size": {"shortest_edge": 12}, "crop_size": {"height": 12, "width": 12}}
HALF = (0.5, 0.5, 0.5)


def clip_of(folder: Path, *, file: str = "preprocessor_config.json", **fields: Any) -> ClipConfig:
    (folder / file).write_text(json.dumps(fields), "utf-8")
    clip = read_preprocessing(folder, image_size=(12, 12))
    assert clip is not None
    return clip


def numbers(clip: ClipConfig) -> tuple[float, ...]:
    return (*clip.mean, *clip.std)


@pytest.mark.parametrize(
    ("fields", "mean", "std"),
    [
        ({"image_mean": 0.25, "image_std": 0.5}, 0.25, 0.5),
        ({"image_mean": None, "image_std": None}, 0.5, 0.5),
        ({}, 0.5, 0.5),
        ({"image_mean": 1, "image_std": 2}, 1, 2),
        ({"do_normalize": False}, 0, 1),
        ({"do_normalize": 0, "image_mean": 0.3}, 0, 1),
        ({"do_rescale": False}, 0.5 / 255, 0.5 / 255),
        ({"rescale_factor": 2 / 255}, 0.25, 0.25),
        ({"rescale_factor": 0.00392156862745098, "image_mean": 0.45, "image_std": 0.225}, 0.45, 0.225),
        ({"rescale_factor": None}, 0.5, 0.5),
        ({"rescale_factor": 1, "do_normalize": False}, 0, 1 / 255),
        ({"image_processor_type": "VivitImageProcessor", **SIDE}, 0.75, 0.25),
        ({"image_processor_type": "VivitImageProcessor", "offset": False}, 0.25, 0.25),
    ],
)
def test_rescaling_and_normalizing_become_mean_and_std(tmp_path: Path, fields: dict, mean: float, std: float):
    assert numbers(clip_of(tmp_path, **fields)) == pytest.approx((mean,) * 3 + (std,) * 3, rel=1e-12)


def test_usual_numbers_stay_as_they_are_written(tmp_path: Path):
    clip = clip_of(tmp_path, image_mean=[0.45, 0.1, 0.7], image_std=[0.225, 0.3, 0.1], rescale_factor=1 / 255)
    assert numbers(clip) == (0.45, 0.1, 0.7, 0.225, 0.3, 0.1)


@pytest.mark.parametrize(
    "fields",
    [
        {"do_convert_rgb": True},
        {"do_convert_rgb": None},
        {"do_resize": True, "do_center_crop": 1, "resample": 2},
        {"resample": None, "size": None, "crop_size": None},
        {"size": 12, "crop_size": 12},
        {"size": {"shortest_edge": 12, "height": None}, "crop_size": [12, 12]},
        {"do_pad": False, "do_sample_frames": None, "return_metadata": True, "data_format": "channels_first"},
        {"input_data_format": None, "return_tensors": "pt", "device": "cuda", "disable_grouping": True},
        {"image_processor_type": "VideoMAEImageProcessorFast", "feature_extractor_type": "VideoMAEFeatureExtractor"},
        {"processor_class": "VideoMAEProcessor", "num_frames": 16, "_valid_processor_keys": ["videos"]},
    ],
)
def test_fields_without_effect_are_read_over(tmp_path: Path, fields: dict):
    assert clip_of(tmp_path, **fields) == ClipConfig(mean=HALF, std=HALF)


@pytest.mark.parametrize(
    "fields", [{"size": {"shortest_edge": 15}, "crop_size": 12}, {"size": 15}, {"size": {"shortest_edge": 15}}]
)
def test_frames_larger_than_the_crop_keep_their_scale_in_one_crop(tmp_path: Path, fields: dict):
    clip = clip_of(tmp_path, **fields)
    assert (clip.num_crops, clip.test_scale) == (1, 1.25)


def test_frames_as_large_as_the_crop_are_those_of_three_crops(tmp_path: Path):
    assert clip_of(tmp_path, **SIDE).num_crops == 3


def test_vivit_resizes_to_256_for_224_unless_told_otherwise(tmp_path: Path):
    clip = clip_of(tmp_path, image_processor_type="VivitImageProcessor")
    assert (clip.num_crops, clip.test_scale) == (1, 8 / 7)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"do_normalize": "false"}, 'do_normalize="false" must be true or false'),
        ({"do_normalize": None}, "do_normalize=null must be true or false: versions of transformers disagree"),
        ({"do_rescale": 2}, "do_rescale=2 must be true or false"),
        ({"do_resize": False}, "do_resize=false must be true"),
        ({"do_center_crop": False}, "do_center_crop=false must be true"),
        ({"do_flip_channel_order": True}, "do_flip_channel_order=true must be false: this step is not supported"),
        ({"do_sample_frames": True}, "do_sample_frames=true must be false"),
        ({"do_pad": "yes"}, 'do_pad="yes" must be false'),
        ({"resample": 3}, "resample=3 must be 2: frames are always resized bilinearly"),
        (
            {"size": {"height": 12, "width": 12}},
            r"size=.* must be a whole number from 1, or .*frames keep their aspect ratio",
        ),
        ({"size": {"shortest_edge": 12, "longest_edge": 20}}, "size=.*frames keep their aspect ratio"),
        ({"size": {"shortest_edge": "12"}}, "size=.*frames keep their aspect ratio"),
        ({"size": {}}, "size={} must be"),
        ({"size": [12, 12]}, r"size=\[12, 12\] must be"),
        ({"size": True}, "size=true must be"),
        ({"size": 12, "default_to_square": True}, "default_to_square=true must be false"),
        ({"size": 11}, "size=11 must be at least 12, the crop"),
        (
            {"crop_size": {"height": 12, "width": 16}},
            r"crop_size=.* must be of the aspect ratio of image_size=\[12, 12\]",
        ),
        ({"crop_size": "12"}, 'crop_size="12" must be a whole number'),
        ({"crop_size": {"shortest_edge": 12}}, "crop_size=.* must be a whole number"),
        ({"image_mean": [0.5, 0.5]}, r"image_mean=\[0.5, 0.5\] must be a finite number, or a list of three"),
        ({"image_mean": [0.5, None, 0.5]}, r"image_mean=\[0.5, null, 0.5\] must be"),
        ({"image_mean": "0.5"}, 'image_mean="0.5" must be'),
        ({"image_mean": True}, "image_mean=true must be"),
        ({"image_mean": float("nan")}, "image_mean=NaN must be"),
        ({"image_std": 10**400}, r"image_std=10+\.\.\. must be a finite number"),
        ({"image_std": [0.5, 0, 0.5]}, r"image_std=\[0.5, 0, 0.5\] must be greater than 0"),
        ({"rescale_factor": 0}, "rescale_factor=0 must be greater than 0"),
        ({"rescale_factor": "1/255"}, 'rescale_factor="1/255" must be a finite number'),
        ({"rescale_factor": 1e-300, "image_mean": 1e100}, "mean=.* must be finite numbers"),
        ({"offset": True}, "offset=true must be false: only ViViT's processors apply it"),
        ({"image_processor_type": "CLIPImageProcessor"}, 'image_processor_type="CLIPImageProcessor" must be one of'),
        ({"feature_extractor_type": 3}, "feature_extractor_type=3 must be one of"),
    ],
)
def test_what_cannot_be_followed_is_refused_by_file_and_key(tmp_path: Path, fields: dict, message: str):
    with pytest.raises(WeightsError, match=rf"preprocessor_config\.json: {message}"):
        clip_of(tmp_path, **fields)


def test_crop_of_another_size_than_the_model_is_followed_in_proportion_and_told(tmp_path: Path, caplog):
    with caplog.at_level(logging.WARNING):
        clip = clip_of(tmp_path, size={"shortest_edge": 28}, crop_size=24)
    assert clip.test_scale == 28 / 24
    assert caplog.messages == [
        f"{tmp_path}/preprocessor_config.json: crop_size=24: "
        "clips are resized to 12 x 12, the image_size of config.json"
    ]


# --- Other files ----------------------------------------------------------------------------------------------------


def test_processor_of_videos_is_read_from_its_own_file(tmp_path: Path):
    clip = clip_of(
        tmp_path, file="video_preprocessor_config.json", video_processor_type="TimesformerVideoProcessor", image_std=0.2
    )
    assert numbers(clip) == (0.485, 0.456, 0.406, 0.2, 0.2, 0.2)


@pytest.mark.parametrize("key", ["image_processor", "video_processor"])
def test_processor_is_read_from_its_part_of_a_file_of_several(tmp_path: Path, key: str):
    assert clip_of(tmp_path, file="processor_config.json", **{key: {"image_mean": 0.1}}).mean == (0.1, 0.1, 0.1)


def test_part_that_is_no_object_is_refused(tmp_path: Path):
    with pytest.raises(WeightsError, match=r"processor_config\.json: image_processor=\[\] must be an object"):
        clip_of(tmp_path, file="processor_config.json", image_processor=[])


def test_two_files_that_agree_are_one_and_two_that_differ_are_refused(tmp_path: Path):
    clip_of(tmp_path, image_mean=0.1)
    clip_of(tmp_path, file="video_preprocessor_config.json", image_mean=[0.1, 0.1, 0.1])
    with pytest.raises(
        WeightsError, match=r"video_preprocessor_config\.json: preprocesses frames differently from .*/prep"
    ):
        clip_of(tmp_path, file="video_preprocessor_config.json", image_mean=0.2)


def test_folder_that_says_nothing_of_frames_has_no_preprocessing(tmp_path: Path):
    assert read_preprocessing(tmp_path, image_size=(12, 12)) is None


# --- What our own writer left ---------------------------------------------------------------------------------------


@pytest.fixture
def ours(tmp_path: Path) -> Path:
    info = ModelInfo(clip=ClipConfig(num_crops=1, mean=(0.1, 0.2, 0.3)), labels=tuple("abcdefg"))
    return save_transformers(random_model(square_config(), info=info), tmp_path / "ours")


def edit(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | changes), "utf-8")


def test_preprocessing_edited_in_our_folder_is_not_ignored(ours: Path):
    edit(ours / "preprocessor_config.json", do_normalize=False)
    with pytest.raises(WeightsError, match=r"timesformer\.json: its mean and std differ from preprocessor_config"):
        load(ours)
    (ours / "timesformer.json").unlink()
    assert numbers(load(ours).info.clip) == (0, 0, 0, 1, 1, 1)


def test_labels_edited_in_our_folder_are_not_ignored(ours: Path):
    edit(ours / "config.json", id2label={str(i): letter for i, letter in enumerate("gfedcba")})
    with pytest.raises(WeightsError, match=r"timesformer\.json: its labels differ from id2label in config\.json"):
        load(ours)
