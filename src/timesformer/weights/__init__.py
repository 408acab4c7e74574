"""Weights: the model folder, other projects' formats, and a report on every tensor loaded."""

from timesformer.weights.adapt import LoadReport
from timesformer.weights.formats.released import save_released
from timesformer.weights.formats.transformers import save_transformers
from timesformer.weights.model_folder import save

__all__ = ["LoadReport", "save", "save_released", "save_transformers"]
