"""Prediction: from a video file to its most probable classes."""

from timesformer.inference.fusion import fuse
from timesformer.inference.predictor import Prediction, Predictor

__all__ = ["Prediction", "Predictor", "fuse"]
