"""The runner script: the answers of `predict` without torch and without this package."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from timesformer.cli.main import main
from timesformer.config.info import ModelInfo
from timesformer.config.schema import ClipConfig
from timesformer.data.clips.transforms import resize, to_floats
from timesformer.errors import ConfigError
from timesformer.export import onnx as export_module
from timesformer.export import runner
from timesformer.export.flatten import flatten
from timesformer.export.onnx import export_onnx
from timesformer.inference.fusion import fuse
from timesformer.inference.predictor import Predictor
from tiny import random_model, tiny_config
from videos import set_display_matrix, write_audio, write_video

pytestmark = pytest.mark.xdist_group("onnx")

LABELS = tuple("abcdefg")
BLOCKED = ("torch", "timesformer", "jaxtyping", "einops", "PIL", "onnx")
CLIPS = {
    "uniform": ClipConfig(sampling="uniform", num_crops=1),
    "dense": ClipConfig(frame_stride=2, num_clips=2, channel_order="bgr", fusion="logits", mean=(0.1, 0.4, 0.6)),
    "center": ClipConfig(sampling="center", frame_stride=3, target_fps=15.0, num_crops=1, test_scale=1.3),
    "coverage": ClipConfig(sampling="coverage", frame_stride=1, background="remove"),
    "shifted": ClipConfig(sampling="segment", num_crops=1, num_clips=3),
    "motion": ClipConfig(sampling="segment", num_crops=1, region="motion", min_region=0.3),
    "differences": ClipConfig(
        sampling="segment", num_crops=1, channel_order="time", region="motion", background="difference"
    ),
    "times": ClipConfig(sampling="segment", num_crops=1, channel_order="time", background="remove"),
}


@pytest.fixture(scope="module")
def graph(tmp_path_factory):
    """The traced graph of the model, without metadata."""
    graph = onnx.load(export_onnx(_model("uniform"), tmp_path_factory.mktemp("graph") / "m.onnx").path)
    del graph.metadata_props[:]
    return graph


def _model(name):
    return random_model(tiny_config(), info=ModelInfo(clip=CLIPS[name], labels=LABELS))


@pytest.fixture
def exported(graph, tmp_path, monkeypatch):
    """Writes a runner for clips of some kind."""
    copy = type(graph)()
    copy.CopyFrom(graph)
    monkeypatch.setattr(export_module, "trace", lambda *_, **__: copy)
    return lambda name: export_onnx(_model(name), tmp_path / "model" / "mine.onnx", runner=True)


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """A plain video, one on its side, one whose rate varies, and one of two frames."""
    folder = tmp_path_factory.mktemp("videos")
    turned = set_display_matrix(write_video(folder / "turned.mp4", num_frames=13), (0, 1, -1, 0))
    times = [0, 20, 40, 60, 300, 700, 720, 740, 1500, 1520]
    varying = write_video(folder / "varying.mkv", num_frames=10, times_ms=times, num_b_frames=2)
    plain = write_video(folder / "plain.mp4", num_frames=30, height=64, width=50)
    return [
        str(each) for each in (plain, turned, varying, write_video(folder / "short.webm", num_frames=2, codec="vp9"))
    ]


def run_script(done, *arguments):
    """Exit status, output and errors of a script in a process that can import nothing but what it needs."""
    folder = Path(done.path).parent / "blocked"
    folder.mkdir(exist_ok=True)
    for name in BLOCKED:
        (folder / f"{name}.py").write_text(f"raise ImportError('{name} is blocked')\n")
    command = [sys.executable, "-W", "error", done.runner, *map(str, arguments)]
    env = {**os.environ, "PYTHONPATH": str(folder)}
    ended = subprocess.run(command, env=env, capture_output=True, text=True, timeout=600)
    return ended.returncode, ended.stdout, ended.stderr


@pytest.mark.parametrize("name", CLIPS)
def test_answers_are_those_of_predict(exported, videos, name):
    done = exported(name)
    status, out, err = run_script(done, *videos, "--json")
    assert (status, err) == (0, "")
    found = [json.loads(line) for line in out.splitlines()]
    for answer, wanted in zip(found, Predictor(_model(name))(videos), strict=True):
        # pixels are equal to the bit; the network is summed in another order
        assert answer.pop("probabilities") == pytest.approx(wanted.probabilities, abs=1e-5)
        expected = json.loads(json.dumps(wanted.to_dict()))
        del expected["probabilities"]
        assert answer == expected


def test_text_is_that_of_predict(exported, videos, capsys):
    done = exported("uniform")
    with pytest.raises(SystemExit):
        main(["predict", videos[0], videos[1], "--model", done.path, "--top-k", "2"])
    assert run_script(done, videos[0], videos[1], "--top-k", 2, "--batch-size", 1) == (0, capsys.readouterr().out, "")


def test_unreadable_videos_are_one_line_each_and_the_others_are_classified(exported, videos, tmp_path):
    (tmp_path / "text.mp4").write_text("no video")
    audio, missing = write_audio(tmp_path / "audio.mp3"), tmp_path / "missing.mp4"
    status, out, err = run_script(
        exported("uniform"), missing, videos[0], tmp_path / "text.mp4", audio, tmp_path, "--json", "--top-k", 1
    )
    assert status == 1
    assert err.splitlines() == [
        f"error: {missing}: No such file or directory",
        f"error: {tmp_path}/text.mp4: not a video, or cut off before its index (Invalid data found when processing "
        "input)",
        f"error: {audio}: no video stream (found: audio)",
        f"error: {tmp_path}: a folder, not a video file",
        "4 of 5 videos could not be read",
    ]
    rows = [json.loads(line) for line in out.splitlines()]
    assert [row["path"] for row in rows] == [*map(str, (missing, videos[0], tmp_path / "text.mp4", audio, tmp_path))]
    assert rows[0]["error"] == f"{missing}: No such file or directory"
    assert len(rows[1]["labels"]) == 1


def _without(path, _):
    path.unlink()


def _other_format(path, content):
    path.write_text(json.dumps(content | {"format": "timesformer.preprocessing/2"}))


def _other_model(path, content):
    path.write_text(json.dumps(content | {"model": {"sha256": "0"}}))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_without, "{path}: No such file or directory"),
        (lambda path, _: path.write_text("{"), "{path}: is not a sidecar of format timesformer.preprocessing/1 (Exp"),
        (_other_format, "{path}: is not a sidecar of format timesformer.preprocessing/1 (no or another `format`)"),
        (lambda path, content: path.write_text(json.dumps(content | {"crop": {}})), "{path}: is not a sidecar of"),
        (_other_model, "{model}: is not the file that mine.json describes: its SHA-256 is another"),
    ],
)
def test_a_sidecar_that_does_not_fit_is_refused_in_one_line(exported, videos, change, message):
    done = exported("uniform")
    sidecar = Path(done.sidecar)
    change(sidecar, json.loads(sidecar.read_text("utf-8")))
    status, out, err = run_script(done, videos[0])
    assert (status, out, err.count("\n")) == (1, "", 1)
    assert err.startswith("error: " + message.format(path=sidecar, model=done.path))


def test_wrong_counts_and_codecs_are_refused(exported, videos):
    done = exported("uniform")
    assert run_script(done, videos[0], "--top-k", 0)[2].endswith("'0' is not a whole number from 1\n")
    status, _, err = run_script(done, videos[0], "--allow-codec", "h265x")
    assert (status, err.splitlines()[0][:61]) == (1, "error: allow_codecs: 'h265x' is not a video codec that FFmpeg")


def test_a_model_without_three_channels_has_no_runner(tmp_path):
    with pytest.raises(ConfigError, match=r"in_channels=1: runner=True \(--runner\) needs 3"):
        export_onnx(random_model(tiny_config(in_channels=1)), tmp_path / "m.onnx", runner=True)


@given(
    old=st.tuples(st.integers(1, 90), st.integers(1, 90)),
    new=st.tuples(st.integers(1, 70), st.integers(1, 70)),
    seed=st.integers(0, 99),
)
def test_frames_are_resized_as_torch_does_it_to_the_bit(old, new, seed):
    frames = np.random.default_rng(seed).integers(0, 256, (2, *old, 3), dtype=np.uint8)
    assert np.array_equal(runner.resize(frames, new), resize(frames, new).numpy())


@pytest.mark.parametrize("name", CLIPS)
def test_pixels_are_normalized_as_the_library_does_it(name):
    views = np.random.default_rng(0).integers(0, 256, (2, 3, 4, 5, 6), dtype=np.uint8)
    settings = _settings(CLIPS[name])
    wanted = to_floats(torch.from_numpy(views), CLIPS[name]).numpy()
    np.testing.assert_allclose(runner.normalize(views, settings), wanted, rtol=0, atol=2e-6)  # means, another order


def _settings(clip):
    fields = {name: getattr(clip, name) for name in runner.Settings.__dataclass_fields__ if hasattr(clip, name)}
    return runner.Settings(**fields, num_frames=3, image_size=(8, 20), labels=LABELS, sha256="")


@pytest.mark.parametrize("fusion", ["softmax", "logits"])
def test_views_are_fused_as_the_library_does_it(fusion):
    logits = 20 * torch.randn(4, 7)
    np.testing.assert_allclose(runner.fuse(logits.numpy(), fusion), fuse(logits, fusion).numpy(), rtol=1e-5, atol=1e-7)


def test_the_script_is_the_same_every_time_and_needs_no_other_package():
    text = flatten("timesformer.export.runner", constants={"MODEL": "mine.onnx"})
    assert text == flatten("timesformer.export.runner", constants={"MODEL": "mine.onnx"})
    assert "MODEL = 'mine.onnx'" in text
    imported = {line.split()[1].partition(".")[0] for line in text.splitlines() if line.startswith(("import", "from"))}
    assert imported - set(sys.stdlib_module_names) == {"av", "numpy"}
    compile(text, "run_mine.py", "exec")


_DEEP = '''"""Deep."""
_SIZE = 3
"""Of the deep."""


def deep() -> int:
    return _SIZE


def unused():
    pass
'''
_MIDDLE = """from PKG.deep import deep

_SIZE = 4


def middle(x: Unknown) -> Unknown:
    return _SIZE + deep()
"""
_TOP = '''"""Top."""
import math

from PKG.middle import middle

NAME = ""

print(NAME, middle(0), math.inf)
'''


def _flattened(tmp_path, monkeypatch, **changes):
    from timesformer.export import flatten as module

    package = f"flat_{tmp_path.name}"  # a new name for each test, because Python keeps a package that it has found
    (tmp_path / package).mkdir()
    for name, text in ({"__init__": "", "deep": _DEEP, "middle": _MIDDLE, "top": _TOP} | changes).items():
        (tmp_path / package / f"{name}.py").write_text(text.replace("PKG", package))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(module, "_PACKAGE", package)
    return module.flatten(f"{package}.top", constants={"NAME": "it's"})


def test_used_definitions_are_copied_and_private_names_kept_apart(tmp_path, monkeypatch, capsys):
    text = _flattened(tmp_path, monkeypatch)
    assert "unused" not in text
    exec(compile(text, "flat", "exec"), {})
    assert capsys.readouterr().out == "it's 7 inf\n"


def test_what_cannot_be_copied_is_refused(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match=r"\.top: deep is not defined in flat_\w+ under this name"):
        _flattened(tmp_path, monkeypatch, top='"""Top."""\nfrom PKG import deep\n\nprint(deep.deep())\n')


def test_two_public_definitions_of_one_name_are_refused(tmp_path, monkeypatch):
    middle, deep = (text.replace("_SIZE", "SIZE") for text in (_MIDDLE, _DEEP))
    with pytest.raises(ValueError, match=r"both define SIZE"):
        _flattened(tmp_path, monkeypatch, middle=middle, deep=deep)
