"""From a video file to a named answer."""

from timesformer.inference.fusion import fuse
from timesformer.inference.predictor import Prediction, Predictor

__all__ = ["Prediction", "Predictor", "fuse"]
