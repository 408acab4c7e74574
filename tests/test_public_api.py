import subprocess
import sys

import pytest

import timesformer

PUBLIC = [
    "CLIP_PRESETS",
    "AugmentConfig",
    "ClipConfig",
    "ConfigError",
    "Cost",
    "DataConfig",
    "DataError",
    "DecodeError",
    "DependencyError",
    "Evaluation",
    "LoadReport",
    "Manifest",
    "ModelConfig",
    "ModelInfo",
    "OptimConfig",
    "PRESETS",
    "Prediction",
    "Predictor",
    "RunConfig",
    "SCHEMES",
    "TimeSformer",
    "TimeSformerError",
    "VideoInfo",
    "WeightsError",
    "__version__",
    "cost",
    "evaluate",
    "load",
    "load_manifest",
    "probe",
    "read_frames",
    "save",
    "save_released",
    "save_transformers",
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
