"""Evaluation of a model on labeled videos."""

from timesformer.evaluation.result import Evaluation, Skipped, VideoResult, write_predictions

__all__ = ["Evaluation", "Skipped", "VideoResult", "write_predictions"]
