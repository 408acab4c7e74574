"""`benchmarks/gpu.sh`, tried on a CPU: it needs little more than torch, and keeps what it has when a step fails."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from gpu import Worker, run_all
from gpu_steps import Step, all_steps
from gpu_summary import summary
from import_hooks import import_blocker

ROOT = Path(__file__).parents[2]
TINY = ("--device", "cpu", "--model", "tiny", "--small", "tiny", "--clips", "2", "--rounds", "1")
PACKAGES = ("av", "cyclopts", "pydantic", "safetensors", "transformers", "onnx", "onnxruntime", "rich", "beartype")


def gpu_sh(*arguments: str, path: str = "") -> subprocess.CompletedProcess[str]:
    command = [str(ROOT / "benchmarks" / "gpu.sh"), *arguments]
    environment = os.environ | {"PYTHON": sys.executable, "PYTHONPATH": path}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def product(**changes: object) -> Step:
    return Step(**{"name": "products", "run": "products", "arguments": {"device": "cpu"}, "budget_s": 100} | changes)


@pytest.fixture(scope="module")
def without_packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a run writes if little more than torch is installed."""
    folder = tmp_path_factory.mktemp("gpu")
    (folder / "sitecustomize.py").write_text(import_blocker(*PACKAGES))
    out = folder / "out"
    steps = "products,model bf16 x 2,profile train"
    done = gpu_sh(str(out), *TINY, "--steps", steps, "--minutes", "9", path=str(folder))
    assert done.returncode == 0, done.stderr
    assert "forward pass of 2 clips in bf16" in done.stdout
    return out


def test_benchmarks_run_without_the_packages_of_the_command_line(without_packages: Path):
    steps = json.loads((without_packages / "results.json").read_text())["steps"]
    assert not [(name, step["error"]) for name, step in steps.items() if "error" in step]
    assert list(steps["model bf16 x 2"]["candidates"]) == ["ours", "ours block by block"]
    assert steps["products"]["gmac_per_s"]["bf16"] > 0
    assert steps["profile train bf16 of ours"]["rows"][0]["ms"] > 0


def test_missing_transformers_is_told(without_packages: Path):
    steps = json.loads((without_packages / "results.json").read_text())["steps"]
    assert "transformers is not installed" in steps["model bf16 x 2"]["unavailable"]["transformers"]
    shown = (without_packages / "summary.md").read_text()
    assert "forward pass of 2 clips in bf16 over transformers eager: unknown (transformers is not installed" in shown
    assert "training step of 2 clips in bf16, of the rate of a matrix product: unknown (was not measured)" in shown


def test_results_are_not_replaced_unasked(without_packages: Path):
    done = gpu_sh(str(without_packages), *TINY)
    assert done.returncode == 1
    assert "results.json" in done.stderr
    assert "already exists" in done.stderr


def test_a_step_that_fails_or_takes_too_long_is_recorded_and_the_next_runs(tmp_path: Path):
    steps = [product(name="unknown", run="nope"), product(name="nowhere", arguments={"device": "nowhere"}), product()]
    found = run_all(steps, tmp_path, seconds=500, facts={"device": "cpu", "date": "2026-11", "clips": 2})["steps"]
    assert found["unknown"]["error"] == "KeyError: 'nope'"
    assert "nowhere" in found["nowhere"]["error"]
    assert found["products"]["gmac_per_s"]["fp32"] > 0
    assert json.loads((tmp_path / "results.json").read_text())["steps"].keys() == found.keys()
    assert "* unknown: KeyError: 'nope'" in (tmp_path / "summary.md").read_text()


def test_a_step_beyond_its_time_is_ended(tmp_path: Path):
    (tmp_path / "log").touch()
    worker = Worker(tmp_path / "log")
    assert worker.run(product(), within_s=0.01) == {"error": "took longer than 0 s"}


def test_steps_without_time_are_named(tmp_path: Path):
    found = run_all([product()], tmp_path, seconds=1, facts={"device": "cpu", "date": "2026-11", "clips": 2})
    assert found["steps"]["products"]["error"] == "no time was left"


def test_steps_have_different_names_and_the_targets_come_first():
    names = [step.name for step in all_steps(device="cuda", model="base", small="small", rounds=3, clips=8)]
    assert len(set(names)) == len(names)
    assert names[:3] == ["products", "model bf16 x 8", "train bf16 x 8"]


@pytest.mark.parametrize(("ratio", "said"), [(3.2, "**3.20 times**, target on a GPU 3.00 times: met"), (1.5, "missed")])
def test_targets_are_judged(ratio: float, said: str):
    step = {"speedup_of_ours": {"transformers": {"median": ratio}}}
    results = {"device": "cuda", "date": "2026-11", "clips": 8, "steps": {"model bf16 x 8": step}}
    assert said in summary(results)
