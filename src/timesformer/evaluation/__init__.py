"""How good a model is on videos with known classes."""

from timesformer.evaluation.result import Evaluation, Skipped, VideoResult, write_predictions

__all__ = ["Evaluation", "Skipped", "VideoResult", "write_predictions"]
