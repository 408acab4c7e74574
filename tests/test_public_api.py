import ast
import inspect
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import timesformer

PUBLIC = [
    "CLIP_PRESETS",
    "AugmentConfig",
    "Axes",
    "Calibration",
    "Candidate",
    "CardFacts",
    "ClipConfig",
    "ComputeOptions",
    "ConfigError",
    "Cost",
    "CrossValidation",
    "DataCheck",
    "DataConfig",
    "DataError",
    "DecodeError",
    "DependencyError",
    "Embedding",
    "Evaluation",
    "Explanation",
    "FineTuned",
    "Grid",
    "Index",
    "LoadReport",
    "Manifest",
    "Measured",
    "ModelConfig",
    "ModelInfo",
    "Neighbor",
    "OptimConfig",
    "PRESETS",
    "Prediction",
    "Predictor",
    "Pushed",
    "Regroup",
    "RunConfig",
    "SCHEMES",
    "Scheme",
    "SearchResult",
    "SegmentEvaluation",
    "Skipped",
    "Tiles",
    "TimeSformer",
    "TimeSformerError",
    "Timeline",
    "VideoInfo",
    "VideoResult",
    "WeightsError",
    "__version__",
    "check_dataset",
    "cost",
    "cross_validate",
    "embed",
    "evaluate",
    "evaluate_segments",
    "explain",
    "export_onnx",
    "export_web",
    "export_program",
    "fine_tune",
    "load",
    "load_manifest",
    "measured",
    "probe",
    "push",
    "read_frames",
    "save",
    "save_released",
    "save_transformers",
    "search",
    "timeline",
    "train",
    "write_report",
]


def test_the_public_names_are_these():
    assert timesformer.__all__ == sorted(PUBLIC)


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_is_there_and_documented(name):
    value = getattr(timesformer, name)
    assert name in dir(timesformer)
    if callable(value):
        assert value.__doc__


def test_type_checkers_see_the_same_names_from_the_same_modules():
    tree = ast.parse(Path(timesformer.__file__).read_text("utf-8"))
    (block,) = [node for node in tree.body if isinstance(node, ast.If)]
    seen = {alias.name: node.module for node in block.body for alias in node.names}
    assert seen == timesformer._HOME_OF


USER = """
import numpy as np
import timesformer as tsf

predictor = tsf.Predictor("runs/demo")
reveal_type(predictor)
reveal_type(predictor("clip.mp4").label)
reveal_type(predictor(["a.mp4", "b.mp4"]))
reveal_type(predictor(np.zeros((8, 64, 64, 3), np.uint8)).probabilities)
reveal_type(tsf.load("model"))
reveal_type(tsf.cost(tsf.PRESETS["base"]).parameters)
reveal_type(tsf.Predictor("runs/demo", device="cuda", num_frames=16).batch_size)
reveal_type(tsf.evaluate("runs/demo", "videos", options=tsf.ComputeOptions(batch_size=4)).top1)
reveal_type(tsf.evaluate("runs/demo", "videos", batch_size=4, on_error="skip").num_videos)
predictor("clip.mp4").lable
tsf.Predictor("runs/demo", precision="fp8")
tsf.evaluate("runs/demo", "videos", batch_size="4")
tsf.load("runs/demo", num_frames=8.5)
"""


def test_a_users_file_is_type_checked(tmp_path: Path):
    (tmp_path / "user.py").write_text(USER)
    source = Path(timesformer.__file__).parents[1]
    options = ["--python", sys.prefix, "--extra-search-path", str(source), "--output-format", "concise"]
    checked = subprocess.run(
        [sys.executable, "-m", "ty", "check", *options, "user.py"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    revealed = [line.split("`")[1] for line in checked.stdout.splitlines() if "revealed-type" in line]
    assert revealed == [
        "Predictor", "str", "list[Prediction]", "tuple[float, ...]", "TimeSformer", "int", "int", "float", "int"
    ]  # fmt: skip
    errors = [line for line in checked.stdout.splitlines() if "error" in line]
    assert len(errors) == 4
    for wrong, error in zip(("lable", "fp8", "int", "int"), errors, strict=True):
        assert wrong in error


@pytest.mark.parametrize("module", ["evaluation.evaluate", "explanation.explain", "model.cost", "weights.load"])
def test_no_function_hides_its_module(module: str):
    assert inspect.ismodule(import_module(f"timesformer.{module}"))
    package, name = f"timesformer.{module}".rsplit(".", 1)
    assert inspect.ismodule(getattr(import_module(package), name))


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'TimeSfomer'"):
        timesformer.TimeSfomer  # noqa: B018


@pytest.mark.parametrize("statement", ["import timesformer", "import timesformer.cli.main"])
def test_importing_does_not_import_torch(statement):
    code = f"import sys; {statement}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_model_needs_no_video_library():
    code = (
        "import sys; sys.modules['av'] = None; sys.modules['cyclopts'] = None; import torch; import timesformer as tsf;"
        "tsf.TimeSformer(tsf.PRESETS['tiny'])(torch.zeros(1, 3, 8, 32, 32))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
