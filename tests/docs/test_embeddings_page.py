"""The examples of the page about embeddings run, one after the other, as far as their libraries are installed."""

import re
import shlex
import shutil
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from job_tasks import decoding_here, run_here
from timesformer.cli.main import main
from timesformer.config.info import ModelInfo
from timesformer.config.schema import ClipConfig
from timesformer.data.synthetic.dataset import write_clip
from timesformer.data.synthetic.motion import render_clip
from timesformer.jobs import run as job_run
from timesformer.weights.model_folder import save
from tiny import random_model, tiny_config

PAGE = Path(__file__).parents[2] / "docs/guides/embeddings.md"
OTHERS = {"duckdb", "faiss", "lancedb", "fiftyone"}
"""Libraries that the project does not depend on."""


def command_line(*words: str) -> None:
    with pytest.raises(SystemExit) as stop:
        main([*words])
    assert not stop.value.code


def test_the_examples_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("timesformer.cli.job.run_local", run_here)
    monkeypatch.setattr("timesformer.jobs.video_model.decoding", decoding_here)
    monkeypatch.setitem(job_run.run_job.__kwdefaults__, "engine", run_here)
    info = ModelInfo(clip=ClipConfig(sampling="uniform", num_crops=1), labels=tuple("abcdefg"))
    save(random_model(tiny_config(), info=info), tmp_path / "runs" / "demo")
    (tmp_path / "my_videos").mkdir()
    for number in range(2):
        clip = render_clip("shrink", seed=number, num_frames=6, size=(32, 40), background="plain")
        write_clip(tmp_path / "my_videos" / f"{number}.mp4", clip)
    text = PAGE.read_text("utf-8")
    (command,) = re.findall(r"^timesformer (embed .+)$", text, re.MULTILINE)
    command_line(*shlex.split(command))
    command_line("embed", "my_videos", "--model", "runs/demo", "--output", "embeddings/patches", "--level", "patch")
    ran = 0
    for block in re.findall(r"```python\n(.+?)```", text, re.DOTALL):
        compile(block, str(PAGE), "exec")
        imported = set(re.findall(r"^import (\w+)", block, re.MULTILINE))
        if all(find_spec(name) for name in imported & OTHERS):
            exec(block, {})
            ran += 1
    assert ran >= 5
    assert "(2, 24) float16" in capsys.readouterr().out
    assert torch.is_inference_mode_enabled() is False
    shutil.rmtree(tmp_path / "embeddings")
