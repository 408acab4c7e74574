import json
from pathlib import Path

import pytest

from people_runs import MODEL
from timesformer.config.io import read_config, to_dict
from timesformer.people.config import PeopleRun

TINY = [
    argument
    for name in ("num_frames", "image_size", "embed_dim", "depth", "num_heads")
    for argument in ("--set", f"model.{name}={to_dict(MODEL)[name]}")
]


def test_people_pretrains_a_model_that_can_be_trained_from_and_loaded(run, tmp_path: Path):
    folder = tmp_path / "people"
    arguments = ("--steps", 2, "--batch-size", 4, "--seed", 7, "--device", "cpu", "--precision", "fp32", *TINY)
    status, out, err = run("people", "--output", folder, *arguments, "--set", "lr=0.002")
    assert (status, out) == (0, f"{folder}\n"), err
    assert f"start from it: timesformer train DATA --init-from {folder}" in err
    config = read_config(folder / "config.toml", kind=PeopleRun)
    assert (config.steps, config.batch_size, config.seed, config.lr, config.model) == (2, 4, 7, 0.002, MODEL)
    status, out, _ = run("info", folder, "--json")
    assert status == 0 and json.loads(out)["license"] == "Apache-2.0"

    status, out, err = run("people", "--output", folder, *arguments)
    assert status == 2 and "already holds a run: name another folder" in err
    status, out, err = run("people", "--output", folder, *arguments, "--set", "lr=0.002", "--resume", "--json")
    assert status == 0, err
    assert json.loads(out) == {
        "run": str(folder), "model": str(folder / "model"), "sheet": str(folder / "people.png")
    }  # fmt: skip
    status, _, err = run("people", "--output", folder, *arguments, "--appearance", "depth", "--overwrite")
    assert status == 0, err
    assert read_config(folder / "config.toml", kind=PeopleRun).appearance == "depth"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--appearance", "gray"], "'gray' is not one of both, depth, color"),
        (["--precision", "fp16"], "'fp16' is not one of auto, fp32, bf16"),
        (["--batch-size", "5"], "batch_size=5 must be even"),
        (["--steps", "0"], "steps=0 must be at least 1"),
        (["--set", "model.num_classes=4"], "model.num_classes=4 has no effect: the head is not pretrained"),
        (["--set", "model.dept=4"], "unknown key model.dept; did you mean model.depth?"),
        (["--set", "model.patch_size=7"], "is not a multiple of patch_size=7"),
        (["--device", "cuda:99"], "device='cuda:99' is not available"),
        (["--resume"], "holds no run to resume"),
        (["--resume", "--overwrite"], "resume and overwrite exclude each other"),
    ],
)
def test_wrong_options_are_refused_in_one_line(run, tmp_path: Path, arguments: list[str], message: str):
    status, _, err = run("people", "--output", tmp_path / "run", *arguments)
    assert status == 2
    assert message in " ".join(err.replace("│", " ").split())
    assert not (tmp_path / "run").exists()
