"""The examples of the guide to frozen features run, with a tiny V-JEPA 2 in place of the published one."""

import re
import shlex
from pathlib import Path

import pytest
import torch

from timesformer.cli.main import main
from timesformer.data.synthetic.dataset import write_clip
from timesformer.data.synthetic.motion import render_clip

GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "features.md"


def blocks(language: str) -> list[str]:
    """The code blocks of the guide in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", GUIDE.read_text("utf-8"), re.DOTALL | re.MULTILINE)


@pytest.fixture
def tiny_vjepa(monkeypatch):
    """`AutoModel.from_pretrained` gives a V-JEPA 2 of one narrow block with random weights."""
    from transformers import AutoModel, VJEPA2Config, VJEPA2Model

    sizes = {"hidden_size": 12, "num_attention_heads": 2, "num_hidden_layers": 1, "mlp_ratio": 2}
    predictor = {f"pred_{name}": value for name, value in sizes.items()}
    config = VJEPA2Config(patch_size=8, crop_size=16, frames_per_clip=4, tubelet_size=2, **sizes, **predictor)
    torch.manual_seed(0)
    model = VJEPA2Model(config)
    monkeypatch.setattr(AutoModel, "from_pretrained", lambda name: model)


@pytest.fixture
def videos(tmp_path, monkeypatch):
    """The working folder: a list of a clip of each of two classes by each of five persons."""
    lines = ["path,label,group"]
    for seed in range(5):
        for label in ("move_left", "shrink"):
            frames = render_clip(label, seed=seed, num_frames=6, size=(32, 40), background="plain")
            write_clip(tmp_path / f"{label}_{seed}.mp4", frames)
            lines.append(f"{label}_{seed}.mp4,{label},person{seed}")
    (tmp_path / "videos.csv").write_text("\n".join(lines) + "\n")
    monkeypatch.chdir(tmp_path)


def test_features_of_another_model_are_written_trained_on_and_evaluated(tiny_vjepa, videos, capsys):
    write, use = blocks("python")
    exec(compile(write, str(GUIDE), "exec"), {})
    for line in blocks("sh")[1].splitlines():
        with pytest.raises(SystemExit) as stop:
            main(shlex.split(line)[1:])
        captured = capsys.readouterr()
        assert stop.value.code == 0, captured.err
        assert "top-1" in captured.out
    assert "<h2>Confusion matrix</h2>" in Path("report.html").read_text("utf-8")
    exec(compile(use, str(GUIDE), "exec"), {})
    assert len(capsys.readouterr().out.split()) == 4  # accuracy, both ends of its interval, majority class
    assert Path("runs/from_python/head/head.json").exists()
