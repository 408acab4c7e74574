"""How good a model is on videos with known classes."""

from timesformer.evaluation.evaluate import evaluate
from timesformer.evaluation.result import Evaluation, Skipped, VideoResult, write_predictions

__all__ = ["Evaluation", "Skipped", "VideoResult", "evaluate", "write_predictions"]
