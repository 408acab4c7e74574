"""From a video file to a named answer."""

from timesformer.inference.predictor import Prediction, Predictor
from timesformer.inference.views import fuse

__all__ = ["Prediction", "Predictor", "fuse"]
