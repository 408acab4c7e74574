"""A program of `torch.export`: exported once for all tests here."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from timesformer.cli.main import main
from timesformer.config.info import ModelInfo
from timesformer.errors import ConfigError, TimeSformerError, WeightsError
from timesformer.export import program as program_module
from timesformer.export.program import EXTRA_FILE, export_program
from timesformer.weights.model_folder import save
from tiny import random_clips, random_model, tiny_config

pytestmark = pytest.mark.xdist_group("onnx")

LABELS = tuple("abcdefg")
CONFIG = tiny_config()
_ELSEWHERE = """
import sys, torch
path, clips, logits = sys.argv[1:]
module = torch.export.load(path).module()
torch.save([module(each) for each in torch.load(clips)], logits)
print(sorted({name.partition(".")[0] for name in sys.modules} & {"timesformer", "einops", "jaxtyping"}))
"""


def _model():
    return random_model(CONFIG, info=ModelInfo(labels=LABELS, license="MIT", source="a test"))


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    return export_program(_model(), tmp_path_factory.mktemp("program") / "new" / "model.pt2")


@torch.no_grad()
def test_a_program_runs_without_this_package_on_any_number_of_clips_and_frames(done, tmp_path):
    clips = [random_clips(CONFIG, batch=b, num_frames=t) for b, t in ((1, 1), (1, 3), (2, 1), (3, 2), (4, 16))]
    torch.save(clips, tmp_path / "clips.pt")
    (tmp_path / "timesformer.py").write_text("raise ImportError('blocked')\n")
    command = [sys.executable, "-c", _ELSEWHERE, done.path, str(tmp_path / "clips.pt"), str(tmp_path / "logits.pt")]
    env = {**os.environ, "PYTHONPATH": str(tmp_path)}
    ended = subprocess.run(command, env=env, check=True, capture_output=True, text=True, timeout=600)
    assert ended.stdout == "[]\n"
    model = _model()
    for given, found in zip(clips, torch.load(tmp_path / "logits.pt"), strict=True):
        torch.testing.assert_close(found, model(given), rtol=1e-4, atol=1e-5)


def test_preprocessing_and_labels_are_inside_and_beside_it(done):
    extra = {EXTRA_FILE: ""}
    torch.export.load(done.path, extra_files=extra)
    inside = json.loads(extra[EXTRA_FILE])
    beside = json.loads(Path(done.sidecar).read_text("utf-8"))
    assert done.sidecar == f"{done.path}.json"
    assert inside["labels"] == beside["labels"] == list(LABELS)
    assert beside["model"].pop("file") == "model.pt2"
    assert beside["model"].pop("bytes") == done.bytes == Path(done.path).stat().st_size
    assert len(beside["model"].pop("sha256")) == 64
    assert inside == beside
    assert (inside["model"]["kind"], inside["license"]) == ("program", "MIT")


def test_random_clips_of_the_trace_are_not_stored(done):
    assert torch.export.load(done.path).example_inputs is None


@pytest.fixture
def traced(done, monkeypatch):
    """Spares tests the trace, which takes most of their time."""
    monkeypatch.setattr(program_module, "trace_program", lambda *_, **__: torch.export.load(done.path))


def test_a_program_that_differs_is_not_written(tmp_path, monkeypatch, traced):
    monkeypatch.setitem(program_module.TOLERANCE, "fp32", 0.0)
    with pytest.raises(TimeSformerError, match=r"differs from torch by .* on 3 x 3 frames, more than 0: nothing is wr"):
        export_program(_model(), tmp_path / "model.pt2")
    assert not list(tmp_path.iterdir())


def test_a_model_that_cannot_be_traced_is_one_line(tmp_path, monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("no such operator\nlong story")

    monkeypatch.setattr(torch.export, "export", fail)
    with pytest.raises(TimeSformerError, match=r"^torch\.export cannot express this model: no such operator$"):
        export_program(_model(), tmp_path / "model.pt2")


def test_a_program_that_exists_is_kept_and_a_wrong_name_refused(done, tmp_path):
    with pytest.raises(ConfigError, match="already exists"):
        export_program(_model(), done.path)
    with pytest.raises(WeightsError, match=r"must end in \.pt2"):
        export_program(_model(), tmp_path / "model.onnx")


def run(capsys, *arguments):
    with pytest.raises(SystemExit) as stop:
        main([str(argument) for argument in arguments])
    printed = capsys.readouterr()
    return stop.value.code, printed.out, printed.err


def test_the_command_line_exports_a_program(tmp_path, capsys, traced):
    folder = save(_model(), tmp_path / "model")
    status, out, err = run(capsys, "export", folder, "--to", "program", "-o", tmp_path / "m.pt2")
    assert (status, out) == (0, f"{tmp_path}/m.pt2\n{tmp_path}/m.pt2.json\n")
    assert err.startswith("on random clips the logits differ from torch's by ")


@pytest.mark.parametrize("option", ["--int8", "--runner"])
def test_options_without_effect_on_a_program_are_refused(tmp_path, capsys, option):
    status, out, err = run(capsys, "export", "tiny", "--to", "program", option, "-o", tmp_path / "m.pt2")
    assert (status, out) == (2, "")
    assert err.startswith(f"error: {option} has no effect with --to program, only with --to onnx")


def test_predict_refuses_a_program_which_could_run_code(done, tmp_path, capsys):
    (tmp_path / "clip.mp4").touch()
    status, out, err = run(capsys, "predict", tmp_path / "clip.mp4", "--model", done.path)
    assert (status, out) == (1, "")
    assert err == (
        f"error: {done.path}: is a program of torch.export, which could run any code as it is opened: pass the model "
        f"folder that it was exported from, or an ONNX file\n"
    )
