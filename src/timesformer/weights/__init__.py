"""Weights: the model folder, everybody else's files, and what becomes of each tensor on the way."""

from timesformer.weights.adapt import LoadReport
from timesformer.weights.formats.released import save_released
from timesformer.weights.formats.transformers import save_transformers
from timesformer.weights.model_folder import save

__all__ = ["LoadReport", "save", "save_released", "save_transformers"]
