"""TimeSformer: video classification with space-time attention alone.

    import timesformer as tsf

    predictor = tsf.Predictor("runs/demo")
    predictor("clip.mp4").labels

Names are imported when they are first used, so that `import timesformer` costs nothing.

Source: Bertasius, Wang and Torresani 2021, "Is Space-Time Attention All You Need for Video Understanding?", ICML.
"""

from importlib import import_module
from typing import Any

from timesformer._version import __version__

_HOMES = {
    "timesformer.config.info": ["ModelInfo"],
    "timesformer.config.presets": ["CLIP_PRESETS", "PRESETS"],
    "timesformer.config.run": ["AugmentConfig", "DataConfig", "OptimConfig", "RunConfig"],
    "timesformer.config.schema": ["ClipConfig", "ModelConfig"],
    "timesformer.data.decode": ["VideoInfo"],
    "timesformer.data.manifest": ["Manifest", "load_manifest"],
    "timesformer.data.opening": ["probe", "read_frames"],
    "timesformer.errors": [
        "ConfigError",
        "DataError",
        "DecodeError",
        "DependencyError",
        "TimeSformerError",
        "WeightsError",
    ],
    "timesformer.evaluation.evaluate": ["evaluate"],
    "timesformer.evaluation.report": ["write_report"],
    "timesformer.evaluation.result": ["Evaluation"],
    "timesformer.inference.predictor": ["Prediction", "Predictor"],
    "timesformer.model.schemes": ["SCHEMES"],
    "timesformer.model.cost": ["Cost", "cost"],
    "timesformer.model.timesformer": ["TimeSformer"],
    "timesformer.training.fit": ["train"],
    "timesformer.weights.adapt": ["LoadReport"],
    "timesformer.weights.bundle": ["save"],
    "timesformer.weights.convert": ["save_released", "save_transformers"],
    "timesformer.weights.load": ["load"],
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = sorted(["__version__", *_HOME_OF])


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'timesformer' has no attribute {name!r}")
    value = getattr(import_module(_HOME_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
