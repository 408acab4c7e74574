"""The examples of the guide to fine-tuning run, with tiny weights."""

import re
import shlex
from pathlib import Path

import pytest

from timesformer.cli.main import main
from timesformer.config.info import ModelInfo
from timesformer.config.schema import ClipConfig
from timesformer.data.synthetic.dataset import write_clip
from timesformer.data.synthetic.motion import render_clip
from timesformer.weights.model_folder import save
from tiny import random_model, tiny_config

GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "fine-tuning.md"


def blocks(language):
    """The code blocks of the guide in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", GUIDE.read_text("utf-8"), re.DOTALL | re.MULTILINE)


@pytest.fixture
def working_folder(tmp_path, monkeypatch):
    """The working folder with a list of videos, one of them as `clip.mp4`, and `WEIGHTS`."""
    lines = ["path,label,group"]
    for seed in range(4):
        for label in ("move_left", "shrink"):
            frames = render_clip(label, seed=seed, num_frames=6, size=(32, 40), background="plain")
            write_clip(tmp_path / f"{label}_{seed}.mp4", frames)
            lines.append(f"{label}_{seed}.mp4,{label},person{seed}")
    (tmp_path / "videos.csv").write_text("\n".join(lines) + "\n")
    (tmp_path / "clip.mp4").write_bytes((tmp_path / "shrink_0.mp4").read_bytes())
    save(random_model(tiny_config(), info=ModelInfo(clip=ClipConfig(sampling="uniform"))), tmp_path / "WEIGHTS")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("timesformer.fine_tuning.probe.STRENGTHS", (0.1, 1.0))
    monkeypatch.setattr("timesformer.training.callbacks.draw_curve", lambda history, path: path.touch())


def test_the_commands_of_the_guide_run(working_folder, capsys):
    for line in "".join(blocks("sh")).splitlines():
        with pytest.raises(SystemExit) as stop:
            main(shlex.split(line)[1:])
        captured = capsys.readouterr()
        assert not stop.value.code, captured.err
    files = GUIDE.read_text("utf-8").split("| file in the run folder |")[1]
    table = re.findall(r"^\| `([\w/.]+)` \|", files, re.MULTILINE)
    assert len(table) == 6
    assert [path for path in table if not Path("runs/mine", path).exists()] == []


def test_the_example_in_python_runs(working_folder, capsys):
    (code,) = blocks("python")
    quick = code.replace("epochs=15", "epochs=1")
    exec(compile(quick, str(GUIDE), "exec"), {})
    way, *accuracies = capsys.readouterr().out.split()
    assert way in ("probe", "fine-tuned")
    assert len(accuracies) == 2


def test_the_settings_of_the_guide_are_those_of_the_command(working_folder):
    from timesformer.cli.run_config import PROBE_FIRST
    from timesformer.fine_tuning.probe import __file__ as source

    text = GUIDE.read_text("utf-8")
    assert PROBE_FIRST["probe_views"] == 2
    assert "two clips of each training video" in text
    assert all(f"| `{name}` |" in text for name in PROBE_FIRST["probe_inputs"])
    assert f"{PROBE_FIRST['epochs']} epochs at a learning rate of 0.0001, a quarter less" in text
    assert (PROBE_FIRST["optim"]["lr"], PROBE_FIRST["optim"]["layer_decay"]) == (1e-4, 0.75)
    assert "range(-8, 3)" in Path(source).read_text()  # 11 strengths from 0.0001 to 10
