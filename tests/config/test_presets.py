"""The presets are the paper's models."""

import pytest

from timesformer.config.presets import CLIP_PRESETS, PRESETS, clip_preset, preset
from timesformer.errors import ConfigError
from timesformer.model.cost import cost


@pytest.mark.parametrize(
    ("name", "num_frames", "image_size", "frame_stride"),
    [("base", 8, (224, 224), 32), ("hr", 16, (448, 448), 16), ("large", 96, (224, 224), 4)],
)
def test_the_papers_models_have_its_clips(name, num_frames, image_size, frame_stride):
    model, clip = preset(name), clip_preset(name)
    assert (model.num_frames, model.image_size) == (num_frames, image_size)
    assert (clip.sampling, clip.frame_stride, clip.num_clips, clip.num_crops) == ("dense", frame_stride, 1, 3)
    assert (model.embed_dim, model.depth, model.num_heads, model.patch_size) == (768, 12, 12, 16)
    assert (model.scheme, model.num_classes, model.drop_path) == ("divided_space_time", 400, 0.1)


@pytest.mark.parametrize(
    ("name", "embed_dim", "depth", "num_heads"),
    [("vit_s", 384, 12, 6), ("vit_b", 768, 12, 12), ("vit_l", 1024, 24, 16)],
)
def test_backbones_have_heads_of_64_and_the_clips_of_the_base_model(name, embed_dim, depth, num_heads):
    model = preset(name)
    assert (model.embed_dim, model.depth, model.num_heads) == (embed_dim, depth, num_heads)
    assert model.embed_dim == 64 * model.num_heads
    assert (model.num_frames, model.image_size, model.patch_size) == (8, (224, 224), 16)
    assert clip_preset(name) == clip_preset("base")


@pytest.mark.parametrize("name", ["small", "tiny"])
def test_small_presets_start_from_nothing_and_see_whole_short_videos_once(name):
    assert preset(name).initialization == "scratch"
    assert (clip_preset(name).sampling, clip_preset(name).num_crops) == ("uniform", 1)


@pytest.mark.parametrize(("name", "millions"), [("base", 121.6), ("small", 4.0), ("tiny", 0.5)])
def test_presets_have_the_parameters_that_are_said_of_them(name, millions):
    assert round(cost(preset(name)).parameters / 1e6, 1) == millions


def test_every_preset_has_its_clips():
    assert PRESETS.keys() == CLIP_PRESETS.keys()


@pytest.mark.parametrize("presets", [PRESETS, CLIP_PRESETS])
def test_presets_cannot_be_changed(presets):
    with pytest.raises(TypeError):
        presets["base"] = presets["tiny"]


@pytest.mark.parametrize("look_up", [preset, clip_preset])
def test_unknown_preset_is_refused_with_the_names_and_a_suggestion(look_up):
    with pytest.raises(ConfigError, match=r"preset 'larg' is not one of 'base', 'hr', .*; did you mean 'large'\?"):
        look_up("larg")


def test_unknown_preset_that_is_like_no_other_is_refused_without_a_suggestion():
    with pytest.raises(ConfigError, match=r"preset 'resnet50' is not one of 'base', .* 'tiny'$"):
        preset("resnet50")
