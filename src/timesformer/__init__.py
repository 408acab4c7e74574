"""TimeSformer: video classification with space-time attention only.

    import timesformer as tsf

    predictor = tsf.Predictor("runs/demo")
    predictor("clip.mp4").labels

Names are imported on first use, so `import timesformer` is fast.

Source: Bertasius, Wang and Torresani 2021, "Is Space-Time Attention All You Need for Video Understanding?", ICML.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from timesformer._version import __version__

if TYPE_CHECKING:  # for type checkers and editors; a test holds it equal to `_HOMES`
    from timesformer.config.compute import ComputeOptions
    from timesformer.config.info import ModelInfo
    from timesformer.config.presets import CLIP_PRESETS, PRESETS
    from timesformer.config.run import AugmentConfig, DataConfig, OptimConfig, RunConfig
    from timesformer.config.schema import ClipConfig, ModelConfig
    from timesformer.cross_validation.result import CrossValidation
    from timesformer.cross_validation.run import cross_validate
    from timesformer.data.check.data_check import DataCheck, check_dataset
    from timesformer.data.manifest.manifest import Manifest, load_manifest
    from timesformer.data.video.file_reader import VideoInfo
    from timesformer.data.video.reader import probe, read_frames
    from timesformer.errors import ConfigError, DataError, DecodeError, DependencyError, TimeSformerError, WeightsError
    from timesformer.evaluation.calibration import Calibration
    from timesformer.evaluation.evaluate import evaluate
    from timesformer.evaluation.report.page import write_report
    from timesformer.evaluation.result import Evaluation, Skipped, VideoResult
    from timesformer.evaluation.segments.evaluate import evaluate_segments
    from timesformer.evaluation.segments.result import SegmentEvaluation
    from timesformer.explanation.explain import explain
    from timesformer.explanation.explanation import Explanation
    from timesformer.export.onnx import export_onnx
    from timesformer.export.program import export_program
    from timesformer.export.web_page import export_web
    from timesformer.fine_tuning.result import Candidate, FineTuned
    from timesformer.fine_tuning.run import fine_tune
    from timesformer.inference.embed import Embedding, embed
    from timesformer.inference.predictor import Prediction, Predictor
    from timesformer.model.cost import Cost, cost
    from timesformer.model.schemes import SCHEMES, Axes, Grid, Regroup, Scheme, Tiles
    from timesformer.model.timesformer import TimeSformer
    from timesformer.publishing.card import CardFacts
    from timesformer.publishing.measured import Measured, measured
    from timesformer.publishing.push import push
    from timesformer.publishing.upload import Pushed
    from timesformer.retrieval.index import Index
    from timesformer.retrieval.result import Neighbor, SearchResult
    from timesformer.retrieval.search import search
    from timesformer.timelines.run import timeline
    from timesformer.timelines.timeline import Timeline
    from timesformer.training.train import train
    from timesformer.weights.adapt import LoadReport
    from timesformer.weights.formats.released import save_released
    from timesformer.weights.formats.transformers import save_transformers
    from timesformer.weights.load import load
    from timesformer.weights.model_folder import save

_HOMES = {
    "timesformer.config.info": ["ModelInfo"],
    "timesformer.config.presets": ["CLIP_PRESETS", "PRESETS"],
    "timesformer.config.run": ["AugmentConfig", "DataConfig", "OptimConfig", "RunConfig"],
    "timesformer.config.schema": ["ClipConfig", "ModelConfig"],
    "timesformer.cross_validation.result": ["CrossValidation"],
    "timesformer.cross_validation.run": ["cross_validate"],
    "timesformer.data.check.data_check": ["DataCheck", "check_dataset"],
    "timesformer.data.video.file_reader": ["VideoInfo"],
    "timesformer.data.manifest.manifest": ["Manifest", "load_manifest"],
    "timesformer.data.video.reader": ["probe", "read_frames"],
    "timesformer.errors": [
        "ConfigError",
        "DataError",
        "DecodeError",
        "DependencyError",
        "TimeSformerError",
        "WeightsError",
    ],
    "timesformer.evaluation.calibration": ["Calibration"],
    "timesformer.evaluation.evaluate": ["evaluate"],
    "timesformer.evaluation.report.page": ["write_report"],
    "timesformer.evaluation.result": ["Evaluation", "Skipped", "VideoResult"],
    "timesformer.evaluation.segments.evaluate": ["evaluate_segments"],
    "timesformer.evaluation.segments.result": ["SegmentEvaluation"],
    "timesformer.explanation.explain": ["explain"],
    "timesformer.explanation.explanation": ["Explanation"],
    "timesformer.export.onnx": ["export_onnx"],
    "timesformer.export.web_page": ["export_web"],
    "timesformer.export.program": ["export_program"],
    "timesformer.config.compute": ["ComputeOptions"],
    "timesformer.fine_tuning.result": ["Candidate", "FineTuned"],
    "timesformer.fine_tuning.run": ["fine_tune"],
    "timesformer.inference.embed": ["Embedding", "embed"],
    "timesformer.inference.predictor": ["Prediction", "Predictor"],
    "timesformer.model.cost": ["Cost", "cost"],
    "timesformer.model.schemes": ["SCHEMES", "Axes", "Grid", "Regroup", "Scheme", "Tiles"],
    "timesformer.model.timesformer": ["TimeSformer"],
    "timesformer.publishing.card": ["CardFacts"],
    "timesformer.publishing.measured": ["Measured", "measured"],
    "timesformer.publishing.push": ["push"],
    "timesformer.publishing.upload": ["Pushed"],
    "timesformer.retrieval.index": ["Index"],
    "timesformer.retrieval.result": ["Neighbor", "SearchResult"],
    "timesformer.retrieval.search": ["search"],
    "timesformer.timelines.run": ["timeline"],
    "timesformer.timelines.timeline": ["Timeline"],
    "timesformer.training.train": ["train"],
    "timesformer.weights.adapt": ["LoadReport"],
    "timesformer.weights.model_folder": ["save"],
    "timesformer.weights.formats.released": ["save_released"],
    "timesformer.weights.formats.transformers": ["save_transformers"],
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
