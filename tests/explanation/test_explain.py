"""`explain`: the map of every method and scheme, what it refuses, and that the model stays as it is."""

import logging
import subprocess
import sys
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import timesformer as tsf
from timesformer.config.info import ModelInfo
from timesformer.config.schema import ClipConfig
from timesformer.data.clips.dataset import read_eval_views
from timesformer.data.video.frame_array import FrameArrayReader
from timesformer.errors import ConfigError, DataError, DecodeError, TimeSformerError
from timesformer.explanation.explain import explain
from timesformer.explanation.explanation import Explanation, Method
from timesformer.model.contribution import contribution
from timesformer.model.rollout import class_rollout, rollout
from timesformer.model.schemes import REGROUPS, SCHEMES, Scheme, Tiles
from timesformer.model.timesformer import TimeSformer
from timesformer.weights.model_folder import save
from tiny import random_model, random_weights, tiny_config
from videos import write_video

LABELS = ("clap", "wave", "caf\u00e9", "jump", "run", "sit", "7")
METHODS: tuple[Method, ...] = ("rollout", "class", "contribution", "occlusion")


def info(**changes: Any) -> ModelInfo:
    return ModelInfo(clip=ClipConfig(**{"sampling": "uniform", "num_crops": 1} | changes), labels=LABELS)


def frames(count: int = 9, height: int = 30, width: int = 71) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (count, height, width, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def model() -> TimeSformer:
    return random_model(tiny_config(), info=info())


def check(explanation: Explanation, *, grid: tuple[int, int, int]) -> None:
    """What holds for every map."""
    assert explanation.map.shape == grid
    assert explanation.map.dtype == np.float32
    assert (explanation.map >= 0).all()
    assert explanation.map.sum() == pytest.approx(1, abs=1e-5)
    assert explanation.map.std() > 0
    assert len(explanation.frames) == len(explanation.seconds) == len(explanation.pixels) == grid[0]
    assert 0 <= explanation.probability <= 1


# --- What is computed ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_method_explains_every_scheme(scheme: str, method: Method):
    model = random_model(tiny_config(scheme), info=info())
    explanation = explain(model, frames(), method=method)
    check(explanation, grid=(3, 2, 5))
    assert explanation.frames.tolist() == [0, 4, 8]
    assert explanation.seconds.tolist() == pytest.approx([0, 4 / 30, 8 / 30])
    assert (explanation.target is None) == (method == "rollout")
    assert (explanation.cls_fraction is None) == (method in ("contribution", "occlusion"))


def test_the_map_is_the_rollout_of_the_center_view(tmp_path: Path):
    model = random_model(tiny_config(), info=info(sampling="dense", num_crops=3, num_clips=2, frame_stride=2))
    path = write_video(tmp_path / "clip.mp4", num_frames=20)
    views, _ = read_eval_views(path, model.config, model.info.clip)
    center = views[1:2]  # of three crops of the first clip
    with torch.no_grad():
        probabilities = model(center).softmax(-1)[0]
    predicted = int(probabilities.argmax())
    expected = {
        ("rollout", None, None, ()): rollout(model, center),
        ("rollout", None, "norm", ("space",)): rollout(model, center, residual="norm", steps=["space"]),
        ("class", None, None, ()): class_rollout(model, center, target=predicted),
        ("class", 5, None, ("space",)): class_rollout(model, center, target=5, steps=["space"]),
    }
    for (method, target, residual, steps), relevance in expected.items():
        got = explain(model, path, method=method, target=target, residual=residual, steps=steps)
        patches, cls = relevance.patches[0], float(relevance.cls[0])
        torch.testing.assert_close(torch.from_numpy(got.map), patches / patches.sum())
        assert got.cls_fraction == pytest.approx(cls / (cls + float(patches.sum())), rel=1e-5)
        shown = predicted if target is None else target
        assert (got.path, got.label) == (str(path), LABELS[shown])
        assert got.probability == pytest.approx(float(probabilities[shown]), rel=1e-5)


def test_the_map_is_the_positive_contribution(tmp_path: Path):
    model = random_model(tiny_config(), info=info())
    path = write_video(tmp_path / "clip.mp4", num_frames=9)
    views, _ = read_eval_views(path, model.config, model.info.clip)
    expected = contribution(model, views, target=3)[0].relu()
    got = explain(model, path, method="contribution", target=3)
    torch.testing.assert_close(torch.from_numpy(got.map), expected / expected.sum())


def test_occlusion_is_the_same_on_the_plain_way(model: TimeSformer):
    fast, plain = (explain(model, frames(), method="occlusion", fast=fast, batch_size=7) for fast in (True, False))
    np.testing.assert_allclose(fast.map, plain.map, atol=1e-4)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    "clip",
    [
        {"channel_order": "time"},
        {"channel_order": "bgr"},
        {"background": "remove"},
        {"background": "difference"},
        {"region": "motion"},
        {"num_crops": 3},
        {"sampling": "segment"},
        {"sampling": "coverage", "frame_stride": 1},
        {"sampling": "dense", "num_clips": 3, "frame_stride": 1},
    ],
    ids=str,
)
def test_every_way_of_sampling_is_explained(clip: dict[str, Any], method: Method):
    check(explain(random_model(tiny_config(), info=info(**clip)), frames(), method=method), grid=(3, 2, 5))


@pytest.mark.parametrize("method", METHODS)
def test_standardization_before_the_head_and_schemes_of_ones_own_are_explained(method: Method):
    with_norm = random_model(tiny_config("axial", head_norm="batch"), info=info())
    check(explain(with_norm, frames(), method=method), grid=(3, 2, 5))
    halves = Tiles(lambda grid: [(slice(None), slice(None), slice(0, 2)), (slice(None), slice(None), slice(2, None))])
    scheme = Scheme(({"time": REGROUPS["time"]}, {"halves": replace(REGROUPS["space"], partition=halves)}), "halves")
    own = random_weights(TimeSformer(tiny_config(), info=info(), scheme=scheme))
    check(explain(own, frames(), method=method), grid=(3, 2, 5))


@pytest.mark.parametrize("method", METHODS)
def test_weights_may_be_loaded_with_another_number_of_frames(tmp_path: Path, model: TimeSformer, method: Method):
    folder = save(model, tmp_path / "model")
    check(explain(folder, frames(), method=method, num_frames=5), grid=(5, 2, 5))
    assert explain(folder, frames(2), method=method).frames.tolist() == [0, 1, 1]  # a video shorter than the clip


def test_explaining_works_in_inference_mode(model: TimeSformer):
    with torch.inference_mode():
        inside = explain(model, frames())
    np.testing.assert_array_equal(inside.map, explain(model, frames()).map)


# --- The planted square ---------------------------------------------------------------------------------------------


def model_of_brightness() -> TimeSformer:
    """A model whose logit 1 rises with the number of patches that are brighter than middle gray.

    Attention is uniform. A patch is (s, -s, 0, 0) after the norm, with the sign of its brightness; the class token
    starts at (0, 0, 1, -1), so that the last norm keeps the sum of the signs.
    """
    model = TimeSformer(
        tiny_config("joint_space_time", depth=1, num_heads=1, embed_dim=4, image_size=(16, 24), num_classes=2),
        info=ModelInfo(clip=ClipConfig(sampling="uniform", num_crops=1)),
    ).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.fill_(1.0 if "norm" in name and name.endswith("weight") else 0.0)
        model.embedding.patch.weight[0], model.embedding.patch.weight[1] = 1 / 48, -1 / 48
        model.embedding.cls_token[0, 0] = torch.tensor([0.0, 0.0, 1.0, -1.0])
        attention = model.blocks[0].steps["joint"].attention
        attention.qkv.weight[8:] = attention.proj.weight[:] = torch.eye(4)
        model.head.weight[1, 0] = 1
    return model


@pytest.mark.parametrize("method", ["class", "occlusion"])
@given(frame=st.integers(0, 2), top=st.integers(5, 35), left=st.integers(8, 65))
def test_a_bright_square_in_one_frame_is_found_at_its_place_and_time(method, frame: int, top: int, left: int):
    video = np.zeros((3, 60, 90, 3), dtype=np.uint8)
    video[frame, top : top + 20, left : left + 20] = 255
    explanation = explain(model_of_brightness(), video, method=method, target=1)
    t, row, column = np.unravel_index(explanation.map.argmax(), explanation.map.shape)
    box_top, box_left, height, width = explanation.box
    y, x = box_top + (row + 0.5) * height / 4, box_left + (column + 0.5) * width / 6
    assert t == frame
    assert explanation.curve[frame] == pytest.approx(1, abs=1e-5)
    # a patch counts as bright from 45 % on, so that its center may lie just beside the square
    assert top - 1 <= y <= top + 21
    assert left - 1 <= x <= left + 21


def test_where_no_patch_is_relevant_the_map_is_uniform_with_a_warning(caplog: pytest.LogCaptureFixture):
    model = random_model(tiny_config(), info=info())
    torch.nn.init.zeros_(model.head.weight)
    for method, cls in (("class", 1.0), ("occlusion", None)):
        with caplog.at_level(logging.WARNING):
            explanation = explain(model, frames(), method=method, target="wave")
        np.testing.assert_allclose(explanation.map, 1 / 30, rtol=1e-6)
        assert explanation.cls_fraction == cls
    assert caplog.messages == ["frames in memory: no patch is relevant for 'wave'; the map is uniform"] * 2


# --- The model stays as it is ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("training", [False, True])
def test_the_model_is_unchanged(method: Method, training: bool):
    model = random_model(tiny_config(dropout=0.5, drop_path=0.5), info=info()).train(training)
    state, clip = deepcopy(model.state_dict()), torch.randn(1, 3, 3, 8, 20)
    before = deepcopy(model).eval()(clip)
    calls: list[str] = []
    hook = model.register_forward_hook(lambda *_: calls.append("called"))
    first, second = (explain(model, frames(), method=method) for _ in range(2))
    hook.remove()
    np.testing.assert_array_equal(first.map, second.map)  # no dropout
    assert all(module.training == training for module in model.modules())
    assert all(parameter.grad is None and parameter.requires_grad for parameter in model.parameters())
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert torch.equal(model.eval()(clip), before)


# --- What is refused ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("target", "index"), [("wave", 1), ("cafe\u0301", 2), ("7", 6), (6, 6), (0, 0)])
def test_a_class_is_named_or_numbered(model: TimeSformer, target: Any, index: int):
    explanation = explain(model, frames(), target=target)
    assert (explanation.target, explanation.label) == (index, LABELS[index])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"target": "wav"}, "the model has no class 'wav'; did you mean 'wave'?"),
        ({"target": "zzz"}, r"the model has no class 'zzz'; its classes start with \['clap', 'wave', .*'run'\]$"),
        ({"target": 7}, "target=7 must be at most 6"),
        ({"target": -1}, "target=-1 must not be negative"),
        ({"target": "wave", "method": "rollout"}, "target='wave' has no effect on method='rollout', which explains no"),
        ({"residual": "half"}, "residual='half' has no effect on method='contribution', only on method='rollout'"),
        ({"residual": "norm", "method": "occlusion"}, "residual='norm' has no effect on method='occlusion', only on"),
        ({"steps": ["space"], "method": "occlusion"}, r"steps=\['space'\] has no effect on method='occlusion', which"),
        ({"steps": ["spase"]}, "unknown attention step 'spase': allowed are 'time', 'space'; did you mean 'space'?"),
        ({"steps": "space"}, r"steps='space' is one name; pass a list of names, such as \['space'\]"),
        ({"steps": ["time"]}, "the class token takes no part in 'time': no patch reaches it; add 'space'"),
        ({"batch_size": 4}, "batch_size=4 has no effect on method='contribution', only on method='occlusion'"),
        ({"precision": "bf16", "method": "rollout"}, "precision='bf16' has no effect on method='rollout', only on"),
        ({"options": tsf.ComputeOptions(fast=False)}, "fast=False has no effect on method='contribution', only on"),
        ({"num_workers": 0, "method": "occlusion"}, "num_workers=0 has no effect on method='occlusion', only on eval"),
        ({"num_frames": 5}, "num_frames: overrides apply to weights that are loaded, not to a model"),
        ({"allow_codecs": ["h264x"]}, "h264x"),
        ({"device": "tpu9"}, "is not a device"),
    ],
    ids=str,
)
def test_an_argument_takes_effect_or_is_refused(model: TimeSformer, arguments: dict[str, Any], message: str):
    with pytest.raises(ConfigError, match=message.replace("?", r"\?")):
        explain(model, frames(), **arguments)


UNCHECKED = """
import sys
import numpy as np, torch
import timesformer as tsf
from timesformer.model.rollout import rollout
model = tsf.TimeSformer(tsf.PRESETS["tiny"]).eval()
video = np.zeros((8, 40, 40, 3), np.uint8)
for call in (
    lambda: tsf.explain(model, video, method="rolout"),
    lambda: tsf.explain(model, video, method="rollout", residual="norms"),
    lambda: rollout(model, torch.zeros(1, 3, 8, 32, 32), residual="norms"),
):
    try:
        call()
    except tsf.ConfigError as error:
        print(error)
"""


def test_unknown_methods_and_residuals_are_refused():
    """In a process of its own: the shape checks of the tests would refuse them first."""
    done = subprocess.run([sys.executable, "-c", UNCHECKED], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [
        "method='rolout' is not one of 'contribution', 'class', 'rollout', 'occlusion'",
        "residual='norms' is not one of 'half', 'norm'",
        "residual='norms' is not one of 'half', 'norm'",
    ]


def test_a_model_without_class_names_wants_an_index():
    model = random_model(tiny_config(), info=ModelInfo(clip=info().clip))
    with pytest.raises(ConfigError, match="target='wave': the model has no class names; give an index from 0 to 6"):
        explain(model, frames(), target="wave")
    assert explain(model, frames(), target=3).label == "class 3"


def test_a_scheme_in_which_no_step_has_the_class_token_is_refused():
    model = random_model(tiny_config(), info=info())
    model.scheme = Scheme(({"time": REGROUPS["time"]},), "time")
    with pytest.raises(ConfigError, match=r"the class token takes no part in 'time': no patch reaches it$"):
        explain(model, frames(), method="rollout")


def test_an_onnx_file_is_refused_in_one_line(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"mine\.onnx: an ONNX file cannot be explained, because its attention"):
        explain(tmp_path / "mine.onnx", frames())


def test_odd_videos_are_refused(model: TimeSformer, tmp_path: Path):
    with pytest.raises(DecodeError, match=r"missing\.mp4: "):
        explain(model, tmp_path / "missing.mp4")
    with pytest.raises(ConfigError, match=r"fps=25 is for frames in memory, but missing\.mp4 is a file"):
        explain(model, "missing.mp4", fps=25)
    with pytest.raises(DataError, match=r"frames of shape \(3, 8, 8\) and type uint8 are not a video"):
        explain(model, np.zeros((3, 8, 8), dtype=np.uint8))


def test_weights_that_answer_nan_are_an_error():
    model = random_model(tiny_config(), info=info())
    torch.nn.init.constant_(model.head.bias, float("nan"))
    for method in METHODS:
        with pytest.raises(TimeSformerError, match="frames in memory: the model outputs nan or inf"):
            explain(model, frames(), method=method)


def test_frames_in_memory_have_the_given_rate(model: TimeSformer):
    explanation = explain(model, frames(), fps=10)
    assert explanation.seconds.tolist() == pytest.approx([0, 0.4, 0.8])
    assert (explanation.path, explanation.name) == ("", "frames")
    np.testing.assert_array_equal(explanation.pixels, FrameArrayReader(frames(), fps=10).read([0, 4, 8]))


def test_progress_ends_at_its_total(model: TimeSformer):
    for method, total in (("class", 1), ("rollout", 1), ("occlusion", 30)):
        told: list[tuple[int, int]] = []
        explain(model, frames(), method=method, on_progress=lambda done, total, told=told: told.append((done, total)))
        assert told[-1] == (total, total)
