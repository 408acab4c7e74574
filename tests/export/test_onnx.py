"""An exported file with the model's outputs: exported once for all tests here."""

import json
import pickle
import re
import sys

import onnx
import pytest
import torch

from timesformer.cli.main import main
from timesformer.config.info import ModelInfo
from timesformer.config.io import to_dict
from timesformer.config.schema import ClipConfig
from timesformer.data.synthetic.dataset import write_clip
from timesformer.data.synthetic.motion import render_clip
from timesformer.errors import ConfigError, DependencyError, TimeSformerError, WeightsError
from timesformer.evaluation.evaluate import open_both
from timesformer.export import onnx as export_module
from timesformer.export.onnx import export_onnx
from timesformer.export.traced import _resized_time, least_frames
from timesformer.inference.onnx_model import OnnxModel, onnx_metadata, open_model, read_onnx
from timesformer.inference.predictor import Predictor
from timesformer.model.cost import cost
from timesformer.model.interpolation import resize
from timesformer.weights.load import load
from timesformer.weights.model_folder import save
from tiny import SCHEME_NAMES, random_clips, random_model, tiny_config

pytestmark = pytest.mark.xdist_group("onnx")

LABELS = tuple("abcdefg")
CONFIG = tiny_config()


def _model():
    clip = ClipConfig(sampling="uniform", num_crops=1)
    return random_model(
        CONFIG, info=ModelInfo(clip=clip, labels=LABELS, license="MIT", source="a test", clip_seconds=2.5)
    )


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """An fp32 file in a folder that did not exist."""
    path = tmp_path_factory.mktemp("onnx") / "new" / "model.onnx"
    export_onnx(_model(), path)
    return path


def _traced(file):
    """The traced graph of the file; tracing again would take most of these tests' time."""
    graph = onnx.load(file)
    del graph.metadata_props[:]
    return lambda module, clips, **_: graph


@pytest.fixture(scope="module")
def int8_file(tmp_path_factory, file):
    path = tmp_path_factory.mktemp("onnx") / "int8.onnx"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(export_module, "trace", _traced(file))
        found = export_onnx(_model(), path, precision="int8")
    assert found.cosine > 0.98
    assert found.bytes == path.stat().st_size
    return path


@pytest.fixture
def video(tmp_path):
    frames = render_clip("shrink", seed=0, num_frames=6, size=(32, 40), background="plain")
    write_clip(tmp_path / "clip.mp4", frames)
    return tmp_path / "clip.mp4"


@torch.no_grad()
@pytest.mark.parametrize("batch", [1, 2, 5])
@pytest.mark.parametrize("frames", [1, 2, 3, 4, 7, 16])
def test_a_file_answers_any_number_of_clips_and_frames_as_the_model(file, batch, frames):
    clips = random_clips(CONFIG, batch=batch, num_frames=frames)
    torch.testing.assert_close(read_onnx(file)(clips), _model()(clips), rtol=1e-4, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("mode", ["bicubic", "nearest"])
@pytest.mark.parametrize("old", [1, 3, 8])
def test_a_time_embedding_is_resized_as_the_model_does_it(mode, old):
    time = torch.randn(1, old, 5)
    for frames in range(1, 20):
        wanted = resize(time, old=(old,), new=(frames,), mode=mode)
        found = _resized_time(time, frames, mode=mode)
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-6 if mode == "bicubic" else 0)


# a trace of each scheme, of which one takes half a minute: hundreds of slices
@pytest.mark.slow
@torch.no_grad()
@pytest.mark.parametrize("scheme", SCHEME_NAMES)
def test_every_scheme_takes_any_number_of_frames_in_fp32_and_int8(scheme, tmp_path, monkeypatch):
    model = random_model(tiny_config(scheme, num_frames=5))
    done = export_onnx(model, tmp_path / "model.onnx")
    assert done.least_frames == (4 if scheme == "sparse_local_global" else 1)
    exported = read_onnx(tmp_path / "model.onnx")
    for frames in {done.least_frames, 4, 5, 6, 11, 16}:
        clips = random_clips(model.config, batch=2, num_frames=frames)
        torch.testing.assert_close(exported(clips), model(clips), rtol=1e-4, atol=1e-5)
    monkeypatch.setattr(export_module, "trace", _traced(tmp_path / "model.onnx"))
    assert export_onnx(model, tmp_path / "int8.onnx", precision="int8").cosine > 0.98


def test_fewest_frames_follow_from_the_scheme():
    fewest = {scheme: least_frames(tiny_config(scheme, num_frames=8)) for scheme in SCHEME_NAMES}
    assert fewest == dict.fromkeys(SCHEME_NAMES, 1) | {"sparse_local_global": 4}
    assert least_frames(tiny_config("sparse_local_global", num_frames=4)) == 4
    assert least_frames(tiny_config("sparse_local_global", num_frames=3)) is None


def test_what_was_compared_is_told(int8_file, file, tmp_path, monkeypatch):
    monkeypatch.setattr(export_module, "trace", _traced(file))
    done = export_onnx(_model(), tmp_path / "model.onnx")
    assert done.checked == ((3, 3), (1, 4), (2, 1))
    assert done.to_dict()["least_frames"] == 1


def test_a_file_predicts_with_another_number_of_frames_as_the_model(file, video, tmp_path):
    folder = save(_model(), tmp_path / "model")
    wanted = Predictor(folder, num_frames=5)(video)
    found = Predictor(file, num_frames=5)(video)
    assert found.labels == wanted.labels
    assert found.probabilities == pytest.approx(wanted.probabilities, abs=1e-4)
    assert pickle.loads(pickle.dumps(open_model(file, num_frames=5))).config.num_frames == 5


def test_numbers_of_frames_that_a_file_cannot_take_are_refused(file):
    with pytest.raises(ConfigError, match="num_frames=3: the ONNX file takes 4 frames or more"):
        OnnxModel(None, config=CONFIG, info=ModelInfo(), path=file, least_frames=4).with_frames(3)
    with pytest.raises(ConfigError, match="num_frames=4: the ONNX file was exported for 3 frames alone; change the"):
        OnnxModel(None, config=CONFIG, info=ModelInfo(), path=file).with_frames(4)
    few = OnnxModel(None, config=CONFIG, info=ModelInfo(), path=file, least_frames=4)
    with pytest.raises(ConfigError, match=r"exported for \[batch, 3, 4 or more, 8, 20\]"):
        few(random_clips(CONFIG, num_frames=3))


def test_a_file_holds_the_config_and_all_that_travels_with_the_weights(file):
    exported = read_onnx(file)
    assert exported.config == CONFIG
    assert exported.info == _model().info


@torch.no_grad()
def test_a_mask_is_exported_too(tmp_path):
    model = random_model(tiny_config("sparse_local_global_centered", num_frames=2))
    export_onnx(model, tmp_path / "model.onnx")
    clips = random_clips(model.config, batch=1)
    torch.testing.assert_close(read_onnx(tmp_path / "model.onnx")(clips), model(clips), rtol=1e-4, atol=1e-5)


def test_in_int8_the_maps_of_all_tokens_are_whole_numbers_and_patches_and_head_are_not(int8_file):
    graph = onnx.load(int8_file).graph
    kinds = [node.op_type for node in graph.node]
    # first block: two steps of query, key, value and out, and the MLP's two; last block: qkv and out of its first step
    assert kinds.count("MatMulInteger") >= 2 * 4 + 2 + 2
    assert kinds.count("Conv") == 1
    assert any(tensor.name.startswith("head.weight") and tensor.data_type == 1 for tensor in graph.initializer)


def test_the_predictor_gives_the_same_answer_from_a_file(file, int8_file, video):
    wanted = Predictor(_model())(video)
    found = Predictor(file)(video)
    assert found.labels == wanted.labels
    assert found.probabilities == pytest.approx(wanted.probabilities, abs=1e-4)
    assert Predictor(int8_file)(video).probabilities == pytest.approx(wanted.probabilities, abs=0.1)


def test_a_file_is_evaluated_as_a_model_is(file, video):
    exported, manifest = open_both(file, _manifest(video))
    assert exported.config == CONFIG
    assert len(manifest.samples) == 1


def _manifest(video):
    path = video.parent / "videos.csv"
    path.write_text(f"{video} 2\n")
    return path


@pytest.mark.parametrize("knob", [{"fast": False}, {"compile": True}, {"precision": "bf16"}])
def test_settings_that_a_file_cannot_follow_are_refused(file, knob):
    with pytest.raises(ConfigError, match="no effect on an ONNX file"):
        Predictor(file, **knob)


def test_a_file_takes_no_overrides_and_no_other_sizes(file):
    with pytest.raises(ConfigError, match="depth: an ONNX file cannot be changed"):
        Predictor(file, depth=1)
    with pytest.raises(ConfigError, match=r"exported for \[batch, 3, 1 or more, 8, 20\]"):
        read_onnx(file)(random_clips(CONFIG, image_size=(8, 16)))


def test_the_command_line_exports_and_predicts(tmp_path, video, capsys, monkeypatch, file):
    monkeypatch.setattr(export_module, "trace", _traced(file))
    folder = save(_model(), tmp_path / "model")
    with pytest.raises(SystemExit) as stop:
        main(["export", str(folder), "--output", str(tmp_path / "m.onnx"), "--json"])
    printed = capsys.readouterr()
    assert stop.value.code == 0
    assert json.loads(printed.out)["precision"] == "fp32"
    assert printed.err.startswith("on random clips the logits differ from torch's by ")
    assert printed.err.count("\n") == 1
    with pytest.raises(SystemExit) as stop:
        main(["predict", str(video), "--model", str(tmp_path / "m.onnx"), "--json"])
    assert stop.value.code == 0
    assert len(json.loads(capsys.readouterr().out)["labels"]) == 5


def test_a_file_that_is_there_is_kept_and_a_wrong_name_refused(file, tmp_path):
    with pytest.raises(ConfigError, match="already exists"):
        export_onnx(_model(), file)
    with pytest.raises(WeightsError, match=r"must end in \.onnx"):
        export_onnx(_model(), tmp_path / "model.pt")


def test_a_model_that_answers_otherwise_is_not_written(tmp_path, monkeypatch):
    monkeypatch.setattr(export_module, "trace", lambda module, clips, **_: onnx.load(_other(tmp_path)))
    with pytest.raises(TimeSformerError, match="differs from torch by"):
        export_onnx(_model(), tmp_path / "model.onnx")
    assert not (tmp_path / "model.onnx").exists()


def _other(folder):
    """A graph of the right shapes that sums pixels."""
    info = onnx.helper.make_tensor_value_info
    nodes = [
        onnx.helper.make_node("ReduceSum", ["clips", "axes"], ["sums"], keepdims=0),
        onnx.helper.make_node("Reshape", ["sums", "shape"], ["column"]),
        onnx.helper.make_node("Expand", ["column", "classes"], ["logits"]),
    ]
    constants = {"axes": [1, 2, 3, 4], "shape": [-1, 1], "classes": [1, 7]}
    numbers = [onnx.helper.make_tensor(key, 7, [len(value)], value) for key, value in constants.items()]
    graph = onnx.helper.make_graph(
        nodes, "sums", [info("clips", 1, ["b", 3, 3, 8, 20])], [info("logits", 1, ["b", 7])], numbers
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 20)], ir_version=10)
    onnx.save(model, folder / "other.onnx")
    return folder / "other.onnx"


def test_a_file_of_another_program_and_a_damaged_one_are_refused(tmp_path):
    with pytest.raises(WeightsError, match="was not written by `timesformer export`"):
        read_onnx(_other(tmp_path))
    (tmp_path / "damaged.onnx").write_bytes(b"no graph")
    with pytest.raises(WeightsError, match="ONNX Runtime cannot load it"):
        read_onnx(tmp_path / "damaged.onnx")
    with pytest.raises(WeightsError, match="no such file"):
        read_onnx(tmp_path / "missing.onnx")


def run(capsys, *arguments):
    with pytest.raises(SystemExit) as stop:
        main([str(argument) for argument in arguments])
    printed = capsys.readouterr()
    return stop.value.code, printed.out, printed.err


def test_info_shows_what_a_file_holds_and_costs(file, int8_file, capsys):
    status, out, err = run(capsys, "info", file, "--json")
    content = json.loads(out)
    assert (status, err) == (0, "")
    assert content["model"] == to_dict(CONFIG)
    assert content["cost"]["parameters"] == cost(CONFIG).parameters
    assert content["clip"] == to_dict(_model().info.clip)
    assert (content["labels"], content["license"], content["source"]) == (list(LABELS), "MIT", "a test")
    assert content["weights"] == f"ONNX file {file}, {file.stat().st_size:,} bytes"
    status, out, _ = run(capsys, "info", int8_file)
    assert status == 0
    assert "a, b, c, d, e, f, g" in out and "divided_space_time" in out and "MIT" in out
    status, _, err = run(capsys, "info", file, "--set", "depth=1")
    assert (status, err) == (2, "error: depth: an ONNX file cannot be changed; change the model and export it again\n")


@pytest.mark.parametrize(
    "verb",
    [
        lambda file, tmp_path: ("convert", file, tmp_path / "there"),
        lambda file, tmp_path: ("convert", file, tmp_path / "there", "--to", "released"),
        lambda file, tmp_path: ("export", file, "--output", tmp_path / "there.onnx"),
        lambda file, tmp_path: ("train", "--init-from", file, tmp_path, "--output", tmp_path / "there"),
    ],
)
def test_onnx_file_instead_of_weights_is_refused_by_kind(file, video, tmp_path, capsys, verb):
    for name in ("left", "right"):
        (tmp_path / name).mkdir()
        for number in range(2):
            (tmp_path / name / f"{number}.mp4").write_bytes(video.read_bytes())
    video.unlink()
    upper = tmp_path / "M.ONNX"
    upper.write_bytes(file.read_bytes())
    status, out, err = run(capsys, *verb(upper, tmp_path))
    assert (status, out) == (1, "")
    assert err == (
        f"error: {upper}: is an ONNX model: pass the model folder that it was exported from; only "
        f"`predict --model`, `evaluate --model` and `info` read ONNX files\n"
    )
    assert not list(tmp_path.glob("there*"))


def test_a_missing_file_is_missing_and_a_folder_can_have_any_name(tmp_path, capsys):
    with pytest.raises(WeightsError, match=r"none\.onnx: no such file"):
        load(tmp_path / "none.onnx")
    folder = save(_model(), tmp_path / "model.onnx")
    assert load(folder).config == CONFIG
    assert run(capsys, "info", folder)[0] == 0


def _with(file, path, **metadata):
    """A copy of a file with other metadata; None removes a key."""
    model = onnx.load(file)
    said = {entry.key: entry.value for entry in model.metadata_props} | metadata
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, {key: value for key, value in said.items() if value is not None})
    onnx.save(model, path)
    return path


def _config(**changes):
    values = json.loads(onnx_metadata(CONFIG, _model().info)["timesformer.config"])
    values["model"] |= changes
    return json.dumps(values)


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"timesformer.config": "{"}, r"timesformer\.config in its metadata is not JSON"),
        ({"timesformer.config": "[]"}, "format_version=None, this release reads 1"),
        ({"timesformer.config": "null"}, "format_version=None"),
        ({"timesformer.config": '{"format_version": 2}'}, "format_version=2, this release reads 1"),
        ({"timesformer.config": _config(num_frames="3")}, r'model\.num_frames="3" must be a valid integer'),
        (
            {"timesformer.config": _config(image_size=[8, 16])},
            r"the graph's input is .*, the config says \[batch, 3, frames, 8, 16\]",
        ),
        ({"timesformer.labels": "abc"}, r"timesformer\.labels in its metadata is not JSON"),
        ({"timesformer.labels": "{}"}, r"timesformer\.labels in its metadata is not a list of names"),
        ({"timesformer.labels": '["a", 1]'}, "is not a list of names"),
        ({"timesformer.labels": '["a"]'}, "has 1 labels, its model has num_classes=7"),
        ({"timesformer.least_frames": "0"}, r"timesformer\.least_frames in its metadata is not a whole number from 1"),
        ({"timesformer.least_frames": "true"}, "is not a whole number from 1"),
        ({"timesformer.least_frames": None}, r"the config says \[batch, 3, 3, 8, 20\]"),
        ({"timesformer.labels": None}, "was not written by `timesformer export`"),
        (
            {"timesformer.config": _config(num_classes=8), "timesformer.labels": "[]"},
            r"the graph's output is .*, the config says \[batch, 8\]",
        ),
    ],
)
def test_a_file_with_odd_metadata_is_refused_in_one_line(file, tmp_path, capsys, metadata, message):
    odd = _with(file, tmp_path / "odd.onnx", **metadata)
    status, out, err = run(capsys, "info", odd)
    assert (status in (1, 2), out) == (True, "")
    assert re.fullmatch(rf"error: {odd}: .*{message}.*\n", err)


@pytest.mark.parametrize("content", [b"", b"\x00" * 64, b"<!doctype html>", b"version https://git-lfs", b"PK\x03\x04"])
def test_a_file_that_is_no_graph_is_refused_in_one_line(tmp_path, capfd, content):
    path = tmp_path / "m.onnx"
    path.write_bytes(content)
    status, out, err = run(capfd, "info", path)
    assert (status, out) == (1, "")
    assert re.fullmatch(rf"error: {path}: .+\n", err)


@pytest.mark.parametrize("fraction", [0.001, 0.1, 0.5, 0.9, 0.999])
def test_a_cut_file_is_refused_in_one_line(tmp_path, capfd, file, fraction):
    whole, path = file.read_bytes(), tmp_path / "m.onnx"
    path.write_bytes(whole[: int(fraction * len(whole))])
    status, out, err = run(capfd, "info", path)
    assert (status, out) == (1, "")
    assert re.fullmatch(rf"error: {path}: .+\n", err)


def test_without_the_libraries_the_extra_is_named(tmp_path, monkeypatch, file):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(DependencyError, match=r"timesformer\[export\]"):
        export_onnx(_model(), tmp_path / "model.onnx")
    with pytest.raises(DependencyError, match=r"timesformer\[export\]"):
        read_onnx(file)
