"""The model: schemes, blocks, embeddings and their cost."""

from timesformer.model.cost import Cost
from timesformer.model.layers import Attention
from timesformer.model.schemes import SCHEMES, Grid, Scheme
from timesformer.model.timesformer import TimeSformer

__all__ = ["SCHEMES", "Attention", "Cost", "Grid", "Scheme", "TimeSformer"]
